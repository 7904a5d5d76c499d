CREATE OR REPLACE VIEW {database}.campaign_performance
(
    campaign String COMMENT 'Id of the campaign',
    decisions UInt64 COMMENT 'Number of decisions',
    fired UInt64 COMMENT 'Decisions that ordered a mail',
    held UInt64 COMMENT 'Decisions put off',
    suppressed UInt64 COMMENT 'Decisions against a mail',
    customers UInt64 COMMENT 'Different customers for whom it fired, exact',
    accepted UInt64 COMMENT 'Mails that the destination took',
    dropped UInt64 COMMENT 'Mails not sent',
    bounced UInt64 COMMENT 'Mails refused for good',
    unknown UInt64 COMMENT 'Mails whose end nobody saw',
    acceptance_rate Nullable(Float64) COMMENT 'accepted / (accepted + dropped + bounced + unknown), 0 to 1; NULL before the first end',
    last_fired Nullable(DateTime64(3, 'UTC')) COMMENT 'When it fired last; UTC'
)
AS SELECT
    campaign,
    countIf(kind = 'decision') AS decisions,
    countIf(kind = 'decision' AND outcome = 'fired') AS fired,
    countIf(kind = 'decision' AND outcome = 'held') AS held,
    countIf(kind = 'decision' AND outcome = 'suppressed') AS suppressed,
    uniqExactIf(profile_id, kind = 'decision' AND outcome = 'fired') AS customers,
    countIf(kind = 'message' AND outcome = 'accepted') AS accepted,
    countIf(kind = 'message' AND outcome = 'dropped') AS dropped,
    countIf(kind = 'message' AND outcome = 'bounced') AS bounced,
    countIf(kind = 'message' AND outcome = 'unknown') AS unknown,
    accepted / nullIf(accepted + dropped + bounced + unknown, 0) AS acceptance_rate,
    maxOrNullIf(at, kind = 'decision' AND outcome = 'fired') AS last_fired
FROM
(
    SELECT 'decision' AS kind, toString(campaign) AS campaign, toString(outcome) AS outcome, profile_id, at FROM {database}.decisions
    UNION ALL
    SELECT 'message' AS kind, toString(campaign) AS campaign, toString(outcome) AS outcome, profile_id, at FROM {database}.messages
)
GROUP BY campaign
COMMENT 'One row per campaign: what it decided and what became of its mails';

-- A sum of changes: it needs each of them once.
CREATE OR REPLACE VIEW {database}.segment_health
(
    segment String COMMENT 'Id of the segment',
    members Int64 COMMENT 'Customers in it now',
    too_small Bool COMMENT 'Fewer than 100 members',
    entered_24h UInt64 COMMENT 'Entries in the last 24 hours',
    exited_24h UInt64 COMMENT 'Exits in the last 24 hours',
    last_change DateTime64(3, 'UTC') COMMENT 'Time of the latest entry or exit; UTC'
)
AS SELECT
    toString(segment_changes.segment) AS segment,
    toInt64(countIf(entered)) - toInt64(countIf(NOT entered)) AS members,
    toBool(members < 100) AS too_small,
    countIf(entered AND at > now64(3) - INTERVAL 24 HOUR) AS entered_24h,
    countIf(NOT entered AND at > now64(3) - INTERVAL 24 HOUR) AS exited_24h,
    max(at) AS last_change
FROM {database}.segment_changes
GROUP BY segment
COMMENT 'One row per segment: its size now and the movement of the last day';

-- windowFunnel takes no DateTime64, so it counts milliseconds. A window of 7 days is 604,800,000 of them.
CREATE OR REPLACE VIEW {database}.funnel
(
    step UInt8 COMMENT '1 to 4',
    event String COMMENT 'The event of this step',
    customers UInt64 COMMENT 'Different customers who got at least this far, in this order, within 7 days of the first step',
    of_first Nullable(Float64) COMMENT 'customers / customers of step 1, 0 to 1'
)
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
        SELECT profile_id, windowFunnel(604800000)(
            toUInt64(greatest(toUnixTimestamp64Milli(occurred), 0)),
            event = 'Product Viewed', event = 'Product Added', event = 'Checkout Started', event = 'Order Completed') AS level
        FROM {database}.events
        WHERE event IN ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed')
        GROUP BY profile_id
    )
) AS counted
CROSS JOIN (SELECT number FROM numbers(4)) AS steps
ORDER BY step
COMMENT 'From view to order: how many customers got how far';

CREATE OR REPLACE VIEW {database}.cohort_retention
(
    cohort Date32 COMMENT 'Monday of the week (UTC) of the customers'' first order',
    week UInt32 COMMENT 'Calendar weeks since then; 0 is the week of the first order',
    customers UInt64 COMMENT 'Different customers of the cohort who ordered in that week'
)
AS SELECT
    first_week AS cohort,
    toUInt32(intDiv(toInt32(ordered) - toInt32(first_week), 7)) AS week,
    uniqExact(profile_id) AS customers
FROM
(
    SELECT profile_id, arrayMin(weeks) AS first_week, arrayJoin(weeks) AS ordered
    FROM
    (
        SELECT profile_id, groupUniqArray(toDate32(occurred) - (toDayOfWeek(occurred) - 1)) AS weeks
        FROM {database}.events
        WHERE event = 'Order Completed'
        GROUP BY profile_id
    )
)
GROUP BY cohort, week
COMMENT 'Of the customers who first ordered in a week, how many ordered in the weeks after';

CREATE OR REPLACE VIEW {database}.attribution
(
    event_id String COMMENT 'The order, see events',
    occurred DateTime64(3, 'UTC') COMMENT 'When it was ordered; UTC',
    profile_id String COMMENT 'The customer',
    order_id String COMMENT 'The producer''s order id',
    revenue Decimal(18, 4) COMMENT 'What was ordered; main units of currency',
    currency String COMMENT 'ISO 4217, as the producer wrote it: never sum over different ones',
    campaign String COMMENT 'Campaign of the last mail that a destination accepted within the 7 days before the order',
    decision_id String COMMENT 'That mail''s decision',
    mailed_at DateTime64(3, 'UTC') COMMENT 'When that mail was accepted; UTC'
)
AS SELECT
    o.event_id AS event_id, o.occurred AS occurred, o.profile_id AS profile_id, o.order_id AS order_id,
    o.revenue AS revenue, o.currency AS currency, m.campaign AS campaign, m.decision_id AS decision_id, m.at AS mailed_at
FROM
(
    SELECT event_id, occurred, profile_id, properties.order_id AS order_id, revenue, toString(currency) AS currency
    FROM {database}.events
    WHERE event = 'Order Completed' AND NOT historical
) AS o
ASOF INNER JOIN
(
    SELECT profile_id, at, toString(campaign) AS campaign, decision_id
    FROM {database}.messages
    WHERE outcome = 'accepted'
) AS m ON o.profile_id = m.profile_id AND o.occurred >= m.at
WHERE o.occurred < m.at + INTERVAL 7 DAY
COMMENT 'Orders after a mail, each with the last mail before it. It says what came after, not what was caused';
