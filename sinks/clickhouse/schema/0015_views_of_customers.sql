-- Rows of before a merge keep the id of the profile that was merged: a customer is who merged_profiles says that it is
-- now. And a page may be called as an order is: only what was tracked is one.
CREATE OR REPLACE VIEW {database}.campaign_performance
(
    campaign String COMMENT 'Id of the campaign',
    decisions UInt64 COMMENT 'Number of decisions',
    fired UInt64 COMMENT 'Decisions that ordered a mail',
    held UInt64 COMMENT 'Decisions put off',
    suppressed UInt64 COMMENT 'Decisions against a mail',
    customers UInt64 COMMENT 'Different customers for whom it fired, exact; profiles that were merged are one',
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
    uniqExactIf(customer, kind = 'decision' AND outcome = 'fired') AS customers,
    countIf(kind = 'message' AND outcome = 'accepted') AS accepted,
    countIf(kind = 'message' AND outcome = 'dropped') AS dropped,
    countIf(kind = 'message' AND outcome = 'bounced') AS bounced,
    countIf(kind = 'message' AND outcome = 'unknown') AS unknown,
    accepted / nullIf(accepted + dropped + bounced + unknown, 0) AS acceptance_rate,
    maxOrNullIf(at, kind = 'decision' AND outcome = 'fired') AS last_fired
FROM
(
    SELECT 'decision' AS kind, toString(d.campaign) AS campaign, toString(d.outcome) AS outcome, coalesce(nullIf(m.current_id, ''), d.profile_id) AS customer, d.at AS at
    FROM {database}.decisions AS d
    LEFT JOIN {database}.merged_profiles AS m ON m.profile_id = d.profile_id
    UNION ALL
    SELECT 'message' AS kind, toString(campaign) AS campaign, toString(outcome) AS outcome, '' AS customer, at FROM {database}.messages
)
GROUP BY campaign
COMMENT 'One row per campaign: what it decided and what became of its mails';

CREATE OR REPLACE VIEW {database}.funnel
(
    step UInt8 COMMENT '1 to 4',
    event String COMMENT 'The event of this step',
    customers UInt64 COMMENT 'Different customers who got at least this far, in this order, within 7 days of the first step; profiles that were merged are one',
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
        SELECT coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer, windowFunnel(604800000)(
            toUInt64(greatest(toUnixTimestamp64Milli(e.occurred), 0)),
            e.event = 'Product Viewed', e.event = 'Product Added', e.event = 'Checkout Started', e.event = 'Order Completed') AS level
        FROM {database}.events AS e
        LEFT JOIN {database}.merged_profiles AS m ON m.profile_id = e.profile_id
        WHERE e.event IN ('Product Viewed', 'Product Added', 'Checkout Started', 'Order Completed') AND e.type = 'track'
        GROUP BY customer
    )
) AS counted
CROSS JOIN (SELECT number FROM numbers(4)) AS steps
ORDER BY step
COMMENT 'From view to order: how many customers got how far';

CREATE OR REPLACE VIEW {database}.cohort_retention
(
    cohort Date32 COMMENT 'Monday of the week (UTC) of the customers'' first order',
    week UInt32 COMMENT 'Calendar weeks since then; 0 is the week of the first order',
    customers UInt64 COMMENT 'Different customers of the cohort who ordered in that week; profiles that were merged are one'
)
AS SELECT
    first_week AS cohort,
    toUInt32(intDiv(toInt32(ordered) - toInt32(first_week), 7)) AS week,
    uniqExact(customer) AS customers
FROM
(
    SELECT customer, arrayMin(weeks) AS first_week, arrayJoin(weeks) AS ordered
    FROM
    (
        SELECT coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer, groupUniqArray(toDate32(e.occurred) - (toDayOfWeek(e.occurred) - 1)) AS weeks
        FROM {database}.events AS e
        LEFT JOIN {database}.merged_profiles AS m ON m.profile_id = e.profile_id
        WHERE e.event = 'Order Completed' AND e.type = 'track'
        GROUP BY customer
    )
)
GROUP BY cohort, week
COMMENT 'Of the customers who first ordered in a week, how many ordered in the weeks after';

CREATE OR REPLACE VIEW {database}.attribution
(
    event_id String COMMENT 'The order, see events',
    occurred DateTime64(3, 'UTC') COMMENT 'When it was ordered; UTC',
    profile_id String COMMENT 'The customer: of profiles that were merged the one in which they go on, whichever ordered or got the mail',
    order_id String COMMENT 'The producer''s order id',
    revenue Decimal(18, 4) COMMENT 'What was ordered; main units of currency',
    currency String COMMENT 'ISO 4217, as the producer wrote it: never sum over different ones',
    campaign String COMMENT 'Campaign of the last mail that a destination accepted within the 7 days before the order',
    decision_id String COMMENT 'That mail''s decision',
    mailed_at DateTime64(3, 'UTC') COMMENT 'When that mail was accepted; UTC'
)
AS SELECT
    o.event_id AS event_id, o.occurred AS occurred, o.customer AS profile_id, o.order_id AS order_id,
    o.revenue AS revenue, o.currency AS currency, s.campaign AS campaign, s.decision_id AS decision_id, s.at AS mailed_at
FROM
(
    SELECT e.event_id AS event_id, e.occurred AS occurred, coalesce(nullIf(m.current_id, ''), e.profile_id) AS customer, e.properties.order_id AS order_id, e.revenue AS revenue, toString(e.currency) AS currency
    FROM {database}.events AS e
    LEFT JOIN {database}.merged_profiles AS m ON m.profile_id = e.profile_id
    WHERE e.event = 'Order Completed' AND e.type = 'track' AND NOT e.historical
) AS o
ASOF INNER JOIN
(
    SELECT coalesce(nullIf(m.current_id, ''), d.profile_id) AS customer, d.at AS at, toString(d.campaign) AS campaign, d.decision_id AS decision_id
    FROM {database}.messages AS d
    LEFT JOIN {database}.merged_profiles AS m ON m.profile_id = d.profile_id
    WHERE d.outcome = 'accepted'
) AS s ON o.customer = s.customer AND o.occurred >= s.at
WHERE o.occurred < s.at + INTERVAL 7 DAY
COMMENT 'Orders after a mail, each with the last mail before it. It says what came after, not what was caused';
