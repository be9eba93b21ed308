-- When a ledger's history was last found to have lost another one.
--
-- Locks: `ledger_heads` against everything, for the moment that it takes; it is not rewritten.

-- Every process that knew what was lost comes to it one day: the loss is recorded once, by the first. Absent if nothing was
-- ever lost.
ALTER TABLE ledger_heads ADD COLUMN lost_at timestamptz;
