-- A clock that can be moved on, for test ledgers alone.
--
-- Locks: ledger_heads against everything, for as long as one row for each ledger takes to be written.

-- How far the ledger's clock is ahead of the database's, in seconds; absent for a live ledger, whose clock is the
-- database's. Moved by `clock.advanced` alone.
ALTER TABLE ledger_heads ADD COLUMN clock_ahead bigint CHECK (clock_ahead >= 0);
-- The owner sees the rows of all ledgers only while row-level security is not forced.
ALTER TABLE ledger_heads NO FORCE ROW LEVEL SECURITY;
UPDATE ledger_heads h SET clock_ahead = 0 FROM ledgers l WHERE l.ledger_id = h.ledger_id AND l.mode = 'test';
ALTER TABLE ledger_heads FORCE ROW LEVEL SECURITY;
