CREATE VIEW attune.attribution
(
    `event_id` String COMMENT 'The order, see events',
    `occurred` DateTime64(3, 'UTC') COMMENT 'When it was ordered; UTC',
    `profile_id` String COMMENT 'The customer: of profiles that were merged the one in which they go on, whichever ordered or got the mail',
    `order_id` String COMMENT 'The producer\'s order id',
    `revenue` Decimal(18, 4) COMMENT 'What was ordered; main units of currency',
    `currency` String COMMENT 'ISO 4217, as the producer wrote it: never sum over different ones',
    `campaign` String COMMENT 'Campaign of the last mail that a destination accepted within the 7 days before the order',
    `decision_id` String COMMENT 'That mail\'s decision',
    `mailed_at` DateTime64(3, 'UTC') COMMENT 'When that mail was accepted; UTC'
)
COMMENT 'Orders after a mail, each with the last mail before it. It says what came after, not what was caused'
AS SELECT
    o.event_id AS event_id,
    o.occurred AS occurred,
    o.customer AS profile_id,
    o.order_id AS order_id,
    o.revenue AS revenue,
    o.currency AS currency,
    s.campaign AS campaign,
    s.decision_id AS decision_id,
    s.at AS mailed_at
FROM
(
    SELECT
        e.event_id AS event_id,
        e.occurred AS occurred,
        coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer,
        e.properties.order_id AS order_id,
        e.revenue AS revenue,
        toString(e.currency) AS currency
    FROM attune.events AS e
    LEFT JOIN attune.merged_profiles AS m ON m.profile_id = e.profile_id
    WHERE (e.event = 'Order Completed') AND (e.type = 'track') AND (NOT e.historical)
) AS o
ASOF INNER JOIN
(
    SELECT
        coalesce(nullIf(m.current_id, ''), d.profile_id) AS customer,
        d.at AS at,
        toString(d.campaign) AS campaign,
        d.decision_id AS decision_id
    FROM attune.messages AS d
    LEFT JOIN attune.merged_profiles AS m ON m.profile_id = d.profile_id
    WHERE d.outcome = 'accepted'
) AS s ON (o.customer = s.customer) AND (o.occurred >= s.at)
WHERE o.occurred < (s.at + toIntervalDay(7));

CREATE TABLE attune.audit_readings
(
    `at` DateTime64(3, 'UTC') COMMENT 'When the audit ran; UTC' CODEC(Delta(8), ZSTD(1)),
    `check` LowCardinality(String) COMMENT 'data_age, volume, null_rate, psi, log_loss, calibration, campaign_never_fired, segment_unused, block_never_shown or field_unread',
    `subject` String COMMENT 'What was looked at: a score or feature, an event (and its field), a campaign, a segment, a template' CODEC(ZSTD(1)),
    `value` Float64 COMMENT 'The figure; its unit is that of the check, see docs/audit.md',
    `threshold` Float64 COMMENT 'What it was held against',
    `values` UInt64 COMMENT 'How many values it rests on',
    `alarm` Bool COMMENT 'true: somebody should look at it',
    `detail` String COMMENT 'In words' CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (check, subject, at)
TTL toDateTime(at) + toIntervalMonth(25)
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1, index_granularity = 8192
COMMENT 'What each scheduled audit found, alarms and the rest; one row per figure';

CREATE VIEW attune.campaign_performance
(
    `campaign` String COMMENT 'Id of the campaign',
    `decisions` UInt64 COMMENT 'Number of decisions',
    `fired` UInt64 COMMENT 'Decisions that ordered a mail',
    `held` UInt64 COMMENT 'Decisions put off',
    `suppressed` UInt64 COMMENT 'Decisions against a mail',
    `customers` UInt64 COMMENT 'Different customers for whom it fired, exact; profiles that were merged are one',
    `accepted` UInt64 COMMENT 'Mails that the destination took',
    `dropped` UInt64 COMMENT 'Mails not sent',
    `bounced` UInt64 COMMENT 'Mails refused for good',
    `unknown` UInt64 COMMENT 'Mails whose end nobody saw',
    `acceptance_rate` Nullable(Float64) COMMENT 'accepted / (accepted + dropped + bounced + unknown), 0 to 1; NULL before the first end',
    `last_fired` Nullable(DateTime64(3, 'UTC')) COMMENT 'When it fired last; UTC'
)
COMMENT 'One row per campaign: what it decided and what became of its mails'
AS SELECT
    campaign,
    countIf(kind = 'decision') AS decisions,
    countIf((kind = 'decision') AND (outcome = 'fired')) AS fired,
    countIf((kind = 'decision') AND (outcome = 'held')) AS held,
    countIf((kind = 'decision') AND (outcome = 'suppressed')) AS suppressed,
    uniqExactIf(customer, (kind = 'decision') AND (outcome = 'fired')) AS customers,
    countIf((kind = 'message') AND (outcome = 'accepted')) AS accepted,
    countIf((kind = 'message') AND (outcome = 'dropped')) AS dropped,
    countIf((kind = 'message') AND (outcome = 'bounced')) AS bounced,
    countIf((kind = 'message') AND (outcome = 'unknown')) AS unknown,
    accepted / nullIf(((accepted + dropped) + bounced) + unknown, 0) AS acceptance_rate,
    maxOrNullIf(at, (kind = 'decision') AND (outcome = 'fired')) AS last_fired
FROM
(
    SELECT
        'decision' AS kind,
        toString(d.campaign) AS campaign,
        toString(d.outcome) AS outcome,
        coalesce(nullIf(m.current_id, ''), d.profile_id) AS customer,
        d.at AS at
    FROM attune.decisions AS d
    LEFT JOIN attune.merged_profiles AS m ON m.profile_id = d.profile_id
    UNION ALL
    SELECT
        'message' AS kind,
        toString(campaign) AS campaign,
        toString(outcome) AS outcome,
        '' AS customer,
        at
    FROM attune.messages
)
GROUP BY campaign;

CREATE VIEW attune.cohort_retention
(
    `cohort` Date32 COMMENT 'Monday of the week (UTC) of the customers\' first order',
    `week` UInt32 COMMENT 'Calendar weeks since then; 0 is the week of the first order',
    `customers` UInt64 COMMENT 'Different customers of the cohort who ordered in that week; profiles that were merged are one'
)
COMMENT 'Of the customers who first ordered in a week, how many ordered in the weeks after'
AS SELECT
    first_week AS cohort,
    toUInt32(intDiv(toInt32(ordered) - toInt32(first_week), 7)) AS week,
    uniqExact(customer) AS customers
FROM
(
    SELECT
        customer,
        arrayMin(weeks) AS first_week,
        arrayJoin(weeks) AS ordered
    FROM
    (
        SELECT
            coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer,
            groupUniqArray(toDate32(e.occurred) - (toDayOfWeek(e.occurred) - 1)) AS weeks
        FROM attune.events AS e
        LEFT JOIN attune.merged_profiles AS m ON m.profile_id = e.profile_id
        WHERE (e.event = 'Order Completed') AND (e.type = 'track')
        GROUP BY customer
    )
)
GROUP BY
    cohort,
    week;

CREATE TABLE attune.decisions
(
    `decision_id` String COMMENT 'Id of the decision; its message carries it too' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'UTC') COMMENT 'When it was decided; UTC' CODEC(Delta(8), ZSTD(1)),
    `profile_id` String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    `campaign` LowCardinality(String) COMMENT 'Id of the campaign',
    `key` String COMMENT 'What it was decided for, such as a cart_id; empty when the campaign has no key' CODEC(ZSTD(1)),
    `outcome` LowCardinality(String) COMMENT 'fired: a mail was ordered; held: it will be judged again; suppressed: no mail',
    `reason` LowCardinality(String) COMMENT 'Why it was held or suppressed; empty when fired',
    `detail` String COMMENT 'The reason in words' CODEC(ZSTD(3)),
    `cause` String COMMENT 'event_id of the event that triggered the campaign' CODEC(ZSTD(1)),
    `destination` LowCardinality(String) COMMENT 'Where the mail goes; empty unless fired',
    `template` LowCardinality(String) COMMENT 'Template of the mail; empty unless fired',
    `clv` Decimal(18, 2) COMMENT 'Expected net value of the customer when it was decided; main currency units',
    `definitions` UInt64 COMMENT 'Version of the definitions in force' CODEC(Delta(8), ZSTD(1)),
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `sequence` UInt64 COMMENT 'Log sequence of the record at which it was decided' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX decision_id decision_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (campaign, outcome, toStartOfHour(at), profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'What each campaign decided about each customer, and why; one row each';

CREATE VIEW attune.drift
(
    `check` String COMMENT 'As in audit_readings',
    `subject` String COMMENT 'As in audit_readings',
    `value` Float64 COMMENT 'The latest figure',
    `threshold` Float64 COMMENT 'What it was held against',
    `alarm` Bool COMMENT 'Whether it was an alarm',
    `since` Nullable(DateTime64(3, 'UTC')) COMMENT 'The first audit of the alarm\'s unbroken row, where it is one; UTC',
    `at` DateTime64(3, 'UTC') COMMENT 'The latest audit that looked; UTC',
    `detail` String COMMENT 'In words'
)
COMMENT 'One row per figure that audits look at: the latest, and since when it has been an alarm'
AS SELECT
    toString(r.check) AS check,
    r.subject AS subject,
    argMax(r.value, r.at) AS value,
    argMax(r.threshold, r.at) AS threshold,
    argMax(r.alarm, r.at) AS alarm,
    if(alarm, minIf(r.at, r.at > q.calm), NULL) AS since,
    max(r.at) AS at,
    argMax(r.detail, r.at) AS detail
FROM attune.audit_readings AS r
LEFT JOIN
(
    SELECT
        check,
        subject,
        maxIf(at, NOT alarm) AS calm
    FROM attune.audit_readings
    GROUP BY
        check,
        subject
) AS q ON (q.check = r.check) AND (q.subject = r.subject)
GROUP BY
    check,
    subject;

CREATE TABLE attune.events
(
    `event_id` String COMMENT 'The producer\'s message id; unique' CODEC(ZSTD(1)),
    `type` LowCardinality(String) COMMENT 'track, identify, page, screen, group or alias; delivery: the end of a mail\'s delivery',
    `event` LowCardinality(String) COMMENT 'Name of the event (track), the page or the screen, as the producer wrote it; Order Completed and the like follow Segment\'s ecommerce spec',
    `profile_id` String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    `user_id` String COMMENT 'The producer\'s user id, or its keyed hash where the id itself is personal; empty: anonymous' CODEC(ZSTD(1)),
    `occurred` DateTime64(3, 'UTC') COMMENT 'When it happened, as the sender says, clock skew corrected; UTC, to the millisecond; before 1900 or after April 2262 the nearest of these' CODEC(Delta(8), ZSTD(1)),
    `accepted` DateTime64(3, 'UTC') COMMENT 'When it reached us; UTC, to the millisecond' CODEC(Delta(8), ZSTD(1)),
    `historical` Bool COMMENT 'true: an import or backfill, which fired nothing',
    `properties_text` String EPHEMERAL COMMENT 'For inserts only: the JSON text of properties',
    `properties_keep` String EPHEMERAL COMMENT 'For inserts only: the text for properties_raw, empty where properties says it all',
    `properties` JSON(max_dynamic_paths = 64, cart_id String, category String, currency String, order_id String, product_id String) DEFAULT ifNull(accurateCastOrNull(properties_text, 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)'), CAST('{}', 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)')) COMMENT 'The event\'s properties. order_id, product_id, category, cart_id and currency are text, empty when absent; others are read as properties.name.:String (.:Float64, .:Int64, ...)',
    `properties_raw` String DEFAULT if(notEmpty(properties_keep), properties_keep, if(isNull(accurateCastOrNull(properties_text, 'JSON(max_dynamic_paths = 64, order_id String, product_id String, category String, cart_id String, currency String)')), properties_text, '')) COMMENT 'The whole JSON text where properties cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty' CODEC(ZSTD(3)),
    `traits_text` String EPHEMERAL COMMENT 'For inserts only: the JSON text of traits',
    `traits_keep` String EPHEMERAL COMMENT 'For inserts only: the text for traits_raw, empty where traits says it all',
    `traits` JSON(max_dynamic_paths = 64) DEFAULT ifNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)'), CAST('{}', 'JSON(max_dynamic_paths = 64)')) COMMENT 'What an identify said of the customer; holds no personal field',
    `traits_raw` String DEFAULT if(notEmpty(traits_keep), traits_keep, if(isNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)')), traits_text, '')) COMMENT 'The whole JSON text where traits cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty' CODEC(ZSTD(3)),
    `context` String COMMENT 'The event\'s context (page, campaign, library, ...) as JSON text, for JSONExtractString and the like; empty when absent' CODEC(ZSTD(3)),
    `consent` Map(LowCardinality(String), Bool) COMMENT 'What this event said of consent, by channel: true grants, false withdraws',
    `revenue` Decimal(18, 4) COMMENT 'properties.revenue, else properties.total, else, of orders and refunds, price times quantity over properties.products (rows of before this was added: 0), exact, in main units of currency; 0 when the event names none',
    `currency` LowCardinality(String) COMMENT 'properties.currency, as written (ISO 4217); empty when absent',
    `clv` Decimal(18, 2) COMMENT 'Expected net value of the customer over the model\'s horizon, as known right after this event; main currency units',
    `clv_confidence` Float64 COMMENT 'How far clv is known: the square of the mean as a share of the mean square of what customers like this one are worth, 0 to 1; the relative standard deviation is sqrt(1 / clv_confidence - 1); as known right after this event',
    `alive` Float64 COMMENT 'Probability that the customer is still one, 0 to 1, as known right after this event',
    `propensity` Map(LowCardinality(String), Float64) COMMENT 'Probability that the customer does what the workspace foretells within its horizon, by name, 0 to 1, as known right after this event; without the names whose model was not in force',
    `propensity_confidence` Map(LowCardinality(String), Float64) COMMENT 'How far each propensity is known: 1 less the width of its 90 % interval, 0 to 1',
    `segments` Array(LowCardinality(String)) COMMENT 'Segments that the customer was in right after this event, sorted',
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `sequence` UInt64 COMMENT 'Place in the log, rising in its partition: what an erasure looks for' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX event_id event_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX position (partition, sequence) TYPE minmax GRANULARITY 1
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(accepted)
ORDER BY (event, toStartOfHour(occurred), profile_id, occurred)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192, min_bytes_for_wide_part = 134217728
COMMENT 'Every event of the log, with what was known of the customer right after it; one row each';

CREATE VIEW attune.events_per_hour
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour in which the events occurred; UTC',
    `event` LowCardinality(String) COMMENT 'Name of the event (track), the page or the screen, as in events',
    `type` LowCardinality(String) COMMENT 'track, identify, page, screen, group, alias or delivery',
    `currency` LowCardinality(String) COMMENT 'Currency of revenue (ISO 4217), as the producer wrote it; empty: the events named none',
    `events` UInt64 COMMENT 'Number of events, exact',
    `revenue` Decimal(38, 4) COMMENT 'Sum of their revenue, exact, in main units of currency'
)
COMMENT 'Events and revenue of each hour, by event and currency; cheap however many events there are'
AS SELECT
    hour,
    event,
    type,
    currency,
    sum(events) AS events,
    sum(revenue) AS revenue
FROM attune.events_per_hour_sums AS s
GROUP BY
    hour,
    event,
    type,
    currency;

CREATE MATERIALIZED VIEW attune.events_per_hour_feed TO attune.events_per_hour_sums
(
    `hour` DateTime('UTC') COMMENT 'See events_per_hour_sums',
    `event` LowCardinality(String) COMMENT 'See events_per_hour_sums',
    `type` LowCardinality(String) COMMENT 'See events_per_hour_sums',
    `currency` LowCardinality(String) COMMENT 'See events_per_hour_sums',
    `events` UInt64 COMMENT 'See events_per_hour_sums',
    `revenue` Decimal(38, 4) COMMENT 'See events_per_hour_sums'
)
COMMENT 'Adds each insert into events to events_per_hour_sums'
AS SELECT
    toStartOfHour(toDateTime(intDiv(toUnixTimestamp64Milli(least(greatest(occurred, toDateTime64('1970-01-01 00:00:00', 3, 'UTC')), toDateTime64('2106-02-07 06:00:00', 3, 'UTC'))), 1000), 'UTC')) AS hour,
    event,
    type,
    currency,
    count() AS events,
    sum(revenue) AS revenue
FROM attune.events
GROUP BY
    hour,
    event,
    type,
    currency;

CREATE TABLE attune.events_per_hour_sums
(
    `hour` DateTime('UTC') COMMENT 'Start of the hour in which the events occurred; UTC; before 1970 or after 2106 the nearest of these',
    `event` LowCardinality(String) COMMENT 'Name of the event, as in events',
    `type` LowCardinality(String) COMMENT 'Type of the event, as in events',
    `currency` LowCardinality(String) COMMENT 'Currency of revenue, as in events',
    `events` SimpleAggregateFunction(sum, UInt64) COMMENT 'Number of events: a sum over several rows',
    `revenue` SimpleAggregateFunction(sum, Decimal(38, 4)) COMMENT 'Their revenue, exact, in main units of currency: a sum over several rows'
)
ENGINE = AggregatingMergeTree
ORDER BY (event, hour, type, currency)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'What events_per_hour adds up; read that';

CREATE VIEW attune.funnel
(
    `step` UInt8 COMMENT '1 to 4',
    `event` String COMMENT 'The event of this step',
    `customers` UInt64 COMMENT 'Different customers who got at least this far, in this order, within 7 days of the first step; profiles that were merged are one',
    `of_first` Nullable(Float64) COMMENT 'customers / customers of step 1, 0 to 1'
)
COMMENT 'From view to order: how many customers got how far'
AS SELECT
    toUInt8(number + 1) AS step,
    ['Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed'][step] AS event,
    levels[step] AS customers,
    customers / nullIf(levels[1], 0) AS of_first
FROM
(
    SELECT [countIf(level >= 1), countIf(level >= 2), countIf(level >= 3), countIf(level >= 4)] AS levels
    FROM
    (
        SELECT
            coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer,
            windowFunnel(604800000)(toUInt64(greatest(toUnixTimestamp64Milli(e.occurred), 0)), e.event = 'Product Viewed', e.event = 'Product Added', e.event = 'Checkout Started', e.event = 'Order Completed') AS level
        FROM attune.events AS e
        LEFT JOIN attune.merged_profiles AS m ON m.profile_id = e.profile_id
        WHERE (e.event IN ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed')) AND (e.type = 'track')
        GROUP BY customer
    )
) AS counted
CROSS JOIN
(
    SELECT number
    FROM numbers(4)
) AS steps
ORDER BY step ASC;

CREATE VIEW attune.merged_profiles
(
    `profile_id` String COMMENT 'A profile that went on in another one',
    `current_id` String COMMENT 'The profile that the customer has now',
    `at` DateTime64(3, 'UTC') COMMENT 'Since when; UTC'
)
COMMENT 'One row per profile that was merged. The customer of a row of any table: LEFT JOIN merged_profiles USING profile_id, then if(current_id = \'\', profile_id, current_id)'
AS SELECT
    loser AS profile_id,
    argMax(winner, sequence) AS current_id,
    argMax(m.at, sequence) AS at
FROM attune.profile_merges AS m
WHERE refused = ''
GROUP BY loser;

CREATE TABLE attune.messages
(
    `event_id` String COMMENT 'Id of the event that told of this end, see events' CODEC(ZSTD(1)),
    `decision_id` String COMMENT 'The decision that ordered the mail, see decisions' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'UTC') COMMENT 'When it ended; UTC' CODEC(Delta(8), ZSTD(1)),
    `profile_id` String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    `campaign` LowCardinality(String) COMMENT 'Id of the campaign',
    `destination` LowCardinality(String) COMMENT 'Where it was sent',
    `template` LowCardinality(String) COMMENT 'Template of the mail',
    `outcome` LowCardinality(String) COMMENT 'accepted: the destination took it; dropped: not sent; bounced: refused for good; unknown: nobody saw the reply',
    `reason` LowCardinality(String) COMMENT 'Why it was dropped, bounced or unknown; empty when accepted',
    `attempt` UInt32 COMMENT 'Which attempt ended it, 1 is the first; 0: not said',
    `clv` Decimal(18, 2) COMMENT 'Expected net value of the customer then; main currency units',
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `sequence` UInt64 COMMENT 'Log sequence of the event that told of it' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX decision_id decision_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (campaign, outcome, toStartOfHour(at), profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'The end of each delivery; one row each';

CREATE TABLE attune.profile_merges
(
    `loser` String COMMENT 'The profile that went on in another one: rows of before keep its id' CODEC(ZSTD(1)),
    `winner` String COMMENT 'The one in which it went on' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'UTC') COMMENT 'When; UTC' CODEC(Delta(8), ZSTD(1)),
    `refused` LowCardinality(String) COMMENT 'Why a call that tied the two together did not make them one, such as too_many_merges; empty: they are one',
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `sequence` UInt64 COMMENT 'Log sequence of the record that led to it: the highest of a loser counts' CODEC(Delta(8), ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (loser, sequence)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Which profiles turned out to be one customer; when a winner goes on in another one itself, there is a new row for each that it had taken in';

CREATE TABLE attune.profiles
(
    `profile_id` String COMMENT 'The customer' CODEC(ZSTD(1)),
    `updated_at` DateTime64(3, 'UTC') COMMENT 'The customer\'s clock: the latest accepted seen, or the due time that ran last; UTC',
    `first_seen` Nullable(DateTime64(3, 'UTC')) COMMENT 'Earliest occurred of all events; UTC',
    `last_seen` Nullable(DateTime64(3, 'UTC')) COMMENT 'Latest occurred of all events; UTC',
    `traits_text` String EPHEMERAL COMMENT 'For inserts only: the JSON text of traits',
    `traits_keep` String EPHEMERAL COMMENT 'For inserts only: the text for traits_raw, empty where traits says it all',
    `traits` JSON(max_dynamic_paths = 64) DEFAULT ifNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)'), CAST('{}', 'JSON(max_dynamic_paths = 64)')) COMMENT 'Latest value of each trait; holds no personal field',
    `traits_raw` String DEFAULT if(notEmpty(traits_keep), traits_keep, if(isNull(accurateCastOrNull(traits_text, 'JSON(max_dynamic_paths = 64)')), traits_text, '')) COMMENT 'The whole JSON text where traits cannot say all of it: null, empty objects, names with dots, long or huge numbers, arrays of several kinds, more than 32 levels or 512 fields, what ClickHouse cannot parse; else empty' CODEC(ZSTD(3)),
    `consents` Map(LowCardinality(String), Bool) COMMENT 'What the customer last said, by channel; a channel that is missing is unknown, which is no consent',
    `counts` Map(LowCardinality(String), UInt64) COMMENT 'How often each event happened, by its name',
    `orders` UInt64 COMMENT 'Number of orders completed',
    `refunds` UInt64 COMMENT 'Number of refunds',
    `revenue` Decimal(18, 4) COMMENT 'Sum of the completed orders before refunds, exact; main currency units',
    `refunded` Decimal(18, 4) COMMENT 'Sum of the refunds, exact; main currency units',
    `first_order` Nullable(DateTime64(3, 'UTC')) COMMENT 'When the first order occurred; NULL: none yet; UTC',
    `last_order` Nullable(DateTime64(3, 'UTC')) COMMENT 'When the latest order occurred; NULL: none yet; UTC',
    `lifecycle` LowCardinality(String) COMMENT 'Stage of life as of updated_at: visitor, new, active, at_risk or lapsed; empty: written by an older version',
    `tier` LowCardinality(String) COMMENT 'Loyalty tier of the workspace\'s table as of updated_at; empty: none',
    `style_group` LowCardinality(String) COMMENT 'Category that the customer leans to most, decayed by half in 30 days; empty: nothing is known',
    `style_confidence` Float64 COMMENT 'How well style_group is founded as of updated_at: its weight in that of all categories and five views more; 0 to 1, in hundredths',
    `discount_affinity` Float64 COMMENT 'Decayed share of the orders that were made at a discount, 0 to 1',
    `send_hour` Nullable(UInt8) COMMENT 'Hour of the day, UTC, at which the customer is most active; NULL: nothing is known',
    `zone` LowCardinality(String) COMMENT 'IANA name of the customer\'s time zone; empty: unknown',
    `merged_into` String COMMENT 'The profile in which this one goes on, which has all that it was; empty: it is a customer\'s own. Count customers WHERE merged_into = \'\'',
    `clv` Decimal(18, 2) COMMENT 'Expected net value over the model\'s horizon; main currency units',
    `clv_confidence` Float64 COMMENT 'How far clv is known: the square of the mean as a share of the mean square of what customers like this one are worth, 0 to 1; the relative standard deviation is sqrt(1 / clv_confidence - 1)',
    `alive` Float64 COMMENT 'Probability of being still a customer, 0 to 1',
    `propensity` Map(LowCardinality(String), Float64) COMMENT 'Probability that the customer does what the workspace foretells within its horizon, by name, 0 to 1; without the names whose model was not in force',
    `propensity_confidence` Map(LowCardinality(String), Float64) COMMENT 'How far each propensity is known: 1 less the width of its 90 % interval, 0 to 1',
    `propensity_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When propensity was computed; NULL: never; UTC',
    `scored_at` Nullable(DateTime64(3, 'UTC')) COMMENT 'When clv and alive were computed; NULL: never; UTC',
    `segments` Array(LowCardinality(String)) COMMENT 'Segments that the customer is in, sorted',
    `definitions` UInt64 COMMENT 'Version of the definitions by which segments was computed',
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `version` UInt64 COMMENT 'Log sequence of the record that led to this state: the highest counts'
)
ENGINE = ReplacingMergeTree(version)
ORDER BY profile_id
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192, min_bytes_for_wide_part = 134217728
COMMENT 'Latest state of each customer; read it with FINAL, since older rows go only when parts merge';

CREATE TABLE attune.schema_migrations
(
    `migration` UInt32 COMMENT 'Number of the migration, from 1',
    `step` UInt32 COMMENT 'Statement within it, from 1',
    `name` String COMMENT 'Name of the migration',
    `checksum` String COMMENT 'SHA-256 of the statement, hexadecimal',
    `applied_at` DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When it ran; UTC'
)
ENGINE = ReplacingMergeTree(applied_at)
ORDER BY (migration, step)
SETTINGS index_granularity = 8192
COMMENT 'Which statements of the schema have run';

CREATE TABLE attune.segment_changes
(
    `segment` LowCardinality(String) COMMENT 'Id of the segment',
    `profile_id` String COMMENT 'The customer, see profiles' CODEC(ZSTD(1)),
    `at` DateTime64(3, 'UTC') COMMENT 'When it became so: exact also where only time passed; UTC' CODEC(Delta(8), ZSTD(1)),
    `entered` Bool COMMENT 'true: entered; false: exited',
    `reason` LowCardinality(String) COMMENT 'event: something happened; time: a window closed or a score was recomputed; historical: an import said so',
    `definitions` UInt64 COMMENT 'Version of the definitions in force' CODEC(Delta(8), ZSTD(1)),
    `partition` UInt16 COMMENT 'Partition of the log, 0 to partitions - 1',
    `sequence` UInt64 COMMENT 'Log sequence of the record that led to it' CODEC(Delta(8), ZSTD(1)),
    INDEX profile profile_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (segment, profile_id, at)
SETTINGS non_replicated_deduplication_window = 10000, index_granularity = 8192
COMMENT 'Each entry into a segment and each exit from it; one row each';

CREATE VIEW attune.segment_health
(
    `segment` String COMMENT 'Id of the segment',
    `members` Int64 COMMENT 'Customers in it now',
    `too_small` Bool COMMENT 'Fewer than 100 members',
    `entered_24h` UInt64 COMMENT 'Entries in the last 24 hours',
    `exited_24h` UInt64 COMMENT 'Exits in the last 24 hours',
    `last_change` DateTime64(3, 'UTC') COMMENT 'Time of the latest entry or exit; UTC'
)
COMMENT 'One row per segment: its size now and the movement of the last day'
AS SELECT
    toString(segment_changes.segment) AS segment,
    toInt64(countIf(entered)) - toInt64(countIf(NOT entered)) AS members,
    toBool(members < 100) AS too_small,
    countIf(entered AND (at > (now64(3) - toIntervalHour(24)))) AS entered_24h,
    countIf((NOT entered) AND (at > (now64(3) - toIntervalHour(24)))) AS exited_24h,
    max(at) AS last_change
FROM attune.segment_changes
GROUP BY segment;

