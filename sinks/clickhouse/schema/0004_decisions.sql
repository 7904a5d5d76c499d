CREATE TABLE IF NOT EXISTS {database}.decisions
(
    decision_id String COMMENT 'Id of the decision; its message carries it too' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When it was decided; UTC' CODEC(Delta(8), ZSTD(1)),
    profile_id String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    campaign LowCardinality(String) COMMENT 'Id of the campaign',
    key String COMMENT 'What it was decided for, such as a cart_id; empty when the campaign has no key' CODEC(ZSTD(1)),
    outcome LowCardinality(String) COMMENT 'fired: a mail was ordered; held: it will be judged again; suppressed: no mail',
    reason LowCardinality(String) COMMENT 'Why it was held or suppressed; empty when fired',
    detail String COMMENT 'The reason in words' CODEC(ZSTD(3)),
    cause String COMMENT 'event_id of the event that triggered the campaign' CODEC(ZSTD(1)),
    destination LowCardinality(String) COMMENT 'Where the mail goes; empty unless fired',
    template LowCardinality(String) COMMENT 'Template of the mail; empty unless fired',
    clv Decimal(18, 2) COMMENT 'Expected net value of the customer when it was decided; main currency units',
    definitions UInt64 COMMENT 'Version of the definitions in force' CODEC(Delta(8), ZSTD(1)),
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    sequence UInt64 COMMENT 'Log sequence of the record at which it was decided' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX decision_id decision_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (campaign, outcome, toStartOfHour(at), profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What each campaign decided about each customer, and why; one row each';
