-- A roll-up: the sums of each insert, which merges add up. Its window lets a repeated insert count once here too, also
-- where the first attempt stored the events and died before this.
CREATE TABLE IF NOT EXISTS {database}.events_per_hour_sums
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which the events occurred; UTC; before 1970 or after 2106 the nearest of these',
    event LowCardinality(String) COMMENT 'Name of the event, as in events',
    type LowCardinality(String) COMMENT 'Type of the event, as in events',
    currency LowCardinality(String) COMMENT 'Currency of revenue, as in events',
    events SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of events: a sum over several rows',
    revenue SimpleAggregateFunction(sum, Decimal(38, 4)) COMMENT 'Their revenue, exact, in main units of currency: a sum over several rows'
)
ENGINE = AggregatingMergeTree
ORDER BY (event, hour, type, currency)
SETTINGS non_replicated_deduplication_window = 10000
COMMENT 'What events_per_hour adds up; read that';

CREATE MATERIALIZED VIEW IF NOT EXISTS {database}.events_per_hour_feed TO {database}.events_per_hour_sums
(
    hour DateTime('UTC') COMMENT 'See events_per_hour_sums',
    event LowCardinality(String) COMMENT 'See events_per_hour_sums',
    type LowCardinality(String) COMMENT 'See events_per_hour_sums',
    currency LowCardinality(String) COMMENT 'See events_per_hour_sums',
    events UInt64 COMMENT 'See events_per_hour_sums',
    revenue Decimal(38, 4) COMMENT 'See events_per_hour_sums'
)
AS SELECT
    toStartOfHour(toDateTime(toUnixTimestamp64Milli(least(greatest(occurred, toDateTime64('1970-01-01 00:00:00', 3, 'UTC')), toDateTime64('2106-02-07 06:00:00', 3, 'UTC'))) DIV 1000, 'UTC')) AS hour,
    event,
    type,
    currency,
    count() AS events,
    sum(revenue) AS revenue
FROM {database}.events
GROUP BY hour, event, type, currency
COMMENT 'Adds each insert into events to events_per_hour_sums';

CREATE OR REPLACE VIEW {database}.events_per_hour
(
    hour DateTime('UTC') COMMENT 'Start of the hour in which the events occurred; UTC',
    event LowCardinality(String) COMMENT 'Name of the event (track), the page or the screen, as in events',
    type LowCardinality(String) COMMENT 'track, identify, page, screen, group, alias or delivery',
    currency LowCardinality(String) COMMENT 'Currency of revenue (ISO 4217), as the producer wrote it; empty: the events named none',
    events UInt64 COMMENT 'Number of events, exact',
    revenue Decimal(38, 4) COMMENT 'Sum of their revenue, exact, in main units of currency'
)
AS SELECT hour, event, type, currency, sum(events) AS events, sum(revenue) AS revenue
FROM {database}.events_per_hour_sums AS s
GROUP BY hour, event, type, currency
COMMENT 'Events and revenue of each hour, by event and currency; cheap however many events there are';
