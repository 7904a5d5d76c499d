CREATE TABLE IF NOT EXISTS {database}.segment_changes
(
    segment LowCardinality(String) COMMENT 'Id of the segment',
    profile_id String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When it became so: exact also where only time passed; UTC' CODEC(Delta(8), ZSTD(1)),
    entered Bool COMMENT 'true: entered; false: exited',
    reason LowCardinality(String) COMMENT 'event: something happened; time: a window closed or a score was recomputed; historical: an import said so',
    definitions UInt64 COMMENT 'Version of the definitions in force' CODEC(Delta(8), ZSTD(1)),
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    sequence UInt64 COMMENT 'Log sequence of the record that led to it' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (segment, profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Each entry into a segment and each exit from it; one row each';
