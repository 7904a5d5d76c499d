CREATE TABLE IF NOT EXISTS {database}.audit_readings
(
    at DateTime64(3, 'UTC') COMMENT 'When the audit ran; UTC' CODEC(Delta(8), ZSTD(1)),
    check LowCardinality(String) COMMENT 'data_age, volume, null_rate, psi, log_loss, campaign_never_fired, segment_unused, block_never_shown or field_unread',
    subject String COMMENT 'What was looked at: a score or feature, an event (and its field), a campaign, a segment, a template' CODEC(ZSTD(1)),
    value Float64 COMMENT 'The figure; its unit is that of the check, see docs/audit.md',
    threshold Float64 COMMENT 'What it was held against',
    values UInt64 COMMENT 'How many values it rests on',
    alarm Bool COMMENT 'true: somebody should look at it',
    detail String COMMENT 'In words' CODEC(ZSTD(3))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(at)
ORDER BY (check, subject, at)
TTL toDateTime(at) + INTERVAL 25 MONTH
SETTINGS non_replicated_deduplication_window = 10000, ttl_only_drop_parts = 1
COMMENT 'What each scheduled audit found, alarms and the rest; one row per figure';
CREATE OR REPLACE VIEW {database}.drift
(
    check String COMMENT 'As in audit_readings',
    subject String COMMENT 'As in audit_readings',
    value Float64 COMMENT 'The latest figure',
    threshold Float64 COMMENT 'What it was held against',
    alarm Bool COMMENT 'Whether it was an alarm',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'The first audit of the alarm''s unbroken row, where it is one; UTC',
    at DateTime64(3, 'UTC') COMMENT 'The latest audit that looked; UTC',
    detail String COMMENT 'In words'
)
AS SELECT
    toString(r.check) AS check,
    r.subject AS subject,
    argMax(r.value, r.at) AS value,
    argMax(r.threshold, r.at) AS threshold,
    argMax(r.alarm, r.at) AS alarm,
    if(alarm, minIf(r.at, r.at > q.calm), NULL) AS since,
    max(r.at) AS at,
    argMax(r.detail, r.at) AS detail
FROM {database}.audit_readings AS r
LEFT JOIN (SELECT check, subject, maxIf(at, NOT alarm) AS calm FROM {database}.audit_readings GROUP BY check, subject) AS q
    ON q.check = r.check AND q.subject = r.subject
GROUP BY check, subject
COMMENT 'One row per figure that audits look at: the latest, and since when it has been an alarm';
