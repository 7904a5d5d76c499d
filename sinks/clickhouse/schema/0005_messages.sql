CREATE TABLE IF NOT EXISTS {database}.messages
(
    event_id String COMMENT 'Id of the event that told of this end, see events' CODEC(ZSTD(1)),
    decision_id String COMMENT 'The decision that ordered the mail, see decisions' CODEC(ZSTD(1)),
    at DateTime64(3, 'UTC') COMMENT 'When it ended; UTC' CODEC(Delta(8), ZSTD(1)),
    profile_id String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    campaign LowCardinality(String) COMMENT 'Id of the campaign',
    destination LowCardinality(String) COMMENT 'Where it was sent',
    template LowCardinality(String) COMMENT 'Template of the mail',
    outcome LowCardinality(String) COMMENT 'accepted: the destination took it; dropped: not sent; bounced: refused for good; unknown: nobody saw the reply',
    reason LowCardinality(String) COMMENT 'Why it was dropped, bounced or unknown; empty when accepted',
    attempt UInt32 COMMENT 'Which attempt ended it, 1 is the first; 0: not said',
    clv Decimal(18, 2) COMMENT 'Expected net value of the customer then; main currency units',
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    sequence UInt64 COMMENT 'Log sequence of the event that told of it' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX decision_id decision_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (campaign, outcome, toStartOfHour(at), profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'The end of each delivery; one row each';
