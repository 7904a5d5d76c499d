CREATE TABLE IF NOT EXISTS {database}.profile_merges
(
    loser String COMMENT 'The profile that went on in another one: rows of before keep its id' CODEC(ZSTD(1)),
    winner String COMMENT 'The one in which it went on' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When; UTC' CODEC(Delta(8), ZSTD(1)),
    refused LowCardinality(String) COMMENT 'Why a call that tied the two together did not make them one, such as too_many_merges; empty: they are one',
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    sequence UInt64 COMMENT 'Log sequence of the record that led to it: the highest of a loser counts' CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (loser, sequence)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Which profiles turned out to be one customer; when a winner goes on in another one itself, there is a new row for each that it had taken in';

CREATE OR REPLACE VIEW {database}.merged_profiles
(
    profile_id String COMMENT 'A profile that went on in another one',
    current_id String COMMENT 'The profile that the customer has now',
    at DateTime64(3, 'UTC') COMMENT 'Since when; UTC'
)
AS SELECT loser AS profile_id, argMax(winner, sequence) AS current_id, argMax(m.at, sequence) AS at
FROM {database}.profile_merges AS m
WHERE refused = ''
GROUP BY loser
COMMENT 'One row per profile that was merged. The customer of a row of any table: LEFT JOIN merged_profiles USING profile_id, then if(current_id = '''', profile_id, current_id)';

ALTER TABLE {database}.profiles ADD COLUMN IF NOT EXISTS merged_into String COMMENT 'The profile in which this one goes on, which has all that it was; empty: it is a customer''s own. Count customers WHERE merged_into = ''''' AFTER zone;
