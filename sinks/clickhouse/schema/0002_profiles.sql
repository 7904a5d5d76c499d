CREATE TABLE IF NOT EXISTS {database}.profiles
(
    profile_id String COMMENT 'The customer' CODEC(ZSTD(1)),
    updated_at DateTime64(3, 'UTC') COMMENT 'The customer''s clock: the latest accepted seen, or the due time that ran last; UTC',
    first_seen Nullable(DateTime64(3, 'UTC')) COMMENT 'Earliest occurred of all events; UTC',
    last_seen Nullable(DateTime64(3, 'UTC')) COMMENT 'Latest occurred of all events; UTC',
    traits_text String EPHEMERAL COMMENT 'For inserts only: the JSON text of traits',
    traits_keep String EPHEMERAL COMMENT 'For inserts only: the text for traits_raw, empty where traits says it all',
    traits JSON(max_dynamic_paths = 64)
        DEFAULT ifNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)'), CAST('{}', 'JSON(max_dynamic_paths = 64)'))
        COMMENT 'Latest value of each trait; holds no personal field',
    traits_raw String
        DEFAULT if(notEmpty(traits_keep), traits_keep, if(isNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)')), traits_text, ''))
        COMMENT 'The whole JSON text where traits cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty'
        CODEC(ZSTD(3)),
    consents Map(LowCardinality(String), Bool) COMMENT 'What the customer last said, by channel; a channel that is missing is unknown, which is no consent',
    counts Map(LowCardinality(String), UInt64) COMMENT 'How often each event happened, by its name',
    orders UInt64 COMMENT 'Number of orders completed',
    refunds UInt64 COMMENT 'Number of refunds',
    revenue Decimal(18, 4) COMMENT 'Sum of the completed orders before refunds, exact; main currency units',
    refunded Decimal(18, 4) COMMENT 'Sum of the refunds, exact; main currency units',
    first_order Nullable(DateTime64(3, 'UTC')) COMMENT 'When the first order occurred; NULL: none yet; UTC',
    last_order Nullable(DateTime64(3, 'UTC')) COMMENT 'When the latest order occurred; NULL: none yet; UTC',
    clv Decimal(18, 2) COMMENT 'Expected net value over the model''s horizon; main currency units',
    alive Float64 COMMENT 'Probability of being still a customer, 0 to 1',
    scored_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When clv and alive were computed; NULL: never; UTC',
    segments Array(LowCardinality(String)) COMMENT 'Segments that the customer is in, sorted',
    definitions UInt64 COMMENT 'Version of the definitions by which segments was computed',
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    version UInt64 COMMENT 'Log sequence of the record that led to this state: the highest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY profile_id
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Latest state of each customer; read it with FINAL, since older rows go only when parts merge';
