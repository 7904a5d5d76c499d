ALTER TABLE {database}.profiles ADD COLUMN IF NOT EXISTS lifecycle LowCardinality(String) COMMENT 'Stage of life as of updated_at: visitor, new, active, at_risk or lapsed; empty: written by an older version' AFTER last_order,
    ADD COLUMN IF NOT EXISTS tier LowCardinality(String) COMMENT 'Loyalty tier of the workspace''s table as of updated_at; empty: none' AFTER lifecycle,
    ADD COLUMN IF NOT EXISTS style_group LowCardinality(String) COMMENT 'Category that the customer leans to most, decayed by half in 30 days; empty: nothing is known' AFTER tier,
    ADD COLUMN IF NOT EXISTS style_confidence Float64 COMMENT 'How well style_group is founded as of updated_at: its weight in that of all categories and five views more; 0 to 1, in hundredths' AFTER style_group,
    ADD COLUMN IF NOT EXISTS discount_affinity Float64 COMMENT 'Decayed share of the orders that were made at a discount, 0 to 1' AFTER style_confidence,
    ADD COLUMN IF NOT EXISTS send_hour Nullable(UInt8) COMMENT 'Hour of the day, UTC, at which the customer is most active; NULL: nothing is known' AFTER discount_affinity,
    ADD COLUMN IF NOT EXISTS zone LowCardinality(String) COMMENT 'IANA name of the customer''s time zone; empty: unknown' AFTER send_hour;
