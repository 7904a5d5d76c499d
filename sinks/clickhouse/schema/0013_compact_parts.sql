-- A part of events has some two hundred streams of columns, those of JSON included: as files of their own they cost more
-- than what is in them. Below this size a part keeps them in one file; merging makes larger ones.
ALTER TABLE {database}.events MODIFY SETTING min_bytes_for_wide_part = 134217728;
ALTER TABLE {database}.profiles MODIFY SETTING min_bytes_for_wide_part = 134217728;
