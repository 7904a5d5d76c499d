-- Immutable facts. Partitions follow `accepted`, our own clock: a producer's `occurred` may name any year, and each
-- month named would be a part of its own.
CREATE TABLE IF NOT EXISTS {database}.events
(
    event_id String COMMENT 'The producer''s message id; unique' CODEC(ZSTD(1)),
    type LowCardinality(String) COMMENT 'track, identify, page, screen, group or alias; delivery: the end of a mail''s delivery',
    event LowCardinality(String) COMMENT 'Name of the event (track), the page or the screen, as the producer wrote it; Order Completed and the like follow Segment''s ecommerce spec',
    profile_id String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    user_id String COMMENT 'The producer''s user id, or its keyed hash where the id itself is personal; empty: anonymous' CODEC(ZSTD(1)),
    occurred DateTime64(3, 'UTC') COMMENT 'When it happened, as the sender says, clock skew corrected; UTC, to the millisecond; before 1900 or after April 2262 the nearest of these' CODEC(Delta(8), ZSTD(1)),
    accepted DateTime64(3, 'UTC') COMMENT 'When it reached us; UTC, to the millisecond' CODEC(Delta(8), ZSTD(1)),
    historical Bool COMMENT 'true: an import or backfill, which fired nothing',
    properties_text String EPHEMERAL COMMENT 'For inserts only: the JSON text of properties',
    properties_keep String EPHEMERAL COMMENT 'For inserts only: the text for properties_raw, empty where properties says it all',
    properties JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)
        DEFAULT ifNull(accurateCastOrNull(properties_text, 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)'), CAST('{}', 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)'))
        COMMENT 'The event''s properties. order_id, product_id, category, cart_id and currency are text, empty when absent; others are read as properties.name.:String (.:Float64, .:Int64, ...)',
    properties_raw String
        DEFAULT if(notEmpty(properties_keep), properties_keep, if(isNull(accurateCastOrNull(properties_text, 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)')), properties_text, ''))
        COMMENT 'The whole JSON text where properties cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty'
        CODEC(ZSTD(3)),
    traits_text String EPHEMERAL COMMENT 'For inserts only: the JSON text of traits',
    traits_keep String EPHEMERAL COMMENT 'For inserts only: the text for traits_raw, empty where traits says it all',
    traits JSON(max_dynamic_paths = 64)
        DEFAULT ifNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)'), CAST('{}', 'JSON(max_dynamic_paths = 64)'))
        COMMENT 'What an identify said of the customer; holds no personal field',
    traits_raw String
        DEFAULT if(notEmpty(traits_keep), traits_keep, if(isNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)')), traits_text, ''))
        COMMENT 'The whole JSON text where traits cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty'
        CODEC(ZSTD(3)),
    context String COMMENT 'The event''s context (page, campaign, library, ...) as JSON text, for JSONExtractString and the like; empty when absent' CODEC(ZSTD(3)),
    consent Map(LowCardinality(String), Bool) COMMENT 'What this event said of consent, by channel: true grants, false withdraws',
    revenue Decimal(18, 4) COMMENT 'properties.revenue, else properties.total, exact, in main units of currency; 0 when the event names neither',
    currency LowCardinality(String) COMMENT 'properties.currency, as written (ISO 4217); empty when absent',
    clv Decimal(18, 2) COMMENT 'Expected net value of the customer over the model''s horizon, as known right after this event; main currency units',
    alive Float64 COMMENT 'Probability that the customer is still one, 0 to 1, as known right after this event',
    segments Array(LowCardinality(String)) COMMENT 'Segments that the customer was in right after this event, sorted',
    partition UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    sequence UInt64 COMMENT 'Place in the log, rising in its partition: what an erasure looks for' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX event_id event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX position (partition, sequence) TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(accepted)
ORDER BY (event, toStartOfHour(occurred), profile_id, occurred)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'Every event of the log, with what was known of the customer right after it; one row each';
