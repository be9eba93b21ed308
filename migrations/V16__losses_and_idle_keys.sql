-- When a ledger's history was last found to have lost another one; keys of requests that had nothing to change.
--
-- Locks: `ledger_heads` against everything, for the moment that it takes; it is not rewritten.

-- Every process that knew what was lost comes to it one day: the loss is recorded once, by the first. Absent if nothing was
-- ever lost.
ALTER TABLE ledger_heads ADD COLUMN lost_at timestamptz;

-- Keys of clients whose command was accepted and led to no event, because everything was as it asks already. A late repeat
-- must not do what was not to be done the first time. The other keys stand on the first event of their command.
CREATE TABLE idle_keys (
    ledger_id    bigint NOT NULL,
    -- The first 16 bytes of SHA-256 over namespace and key, as with events.
    key_hash     bytea  NOT NULL CHECK (octet_length(key_hash) = 16),
    key          text   NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    -- SHA-256 of the request that the key belongs to.
    fingerprint  bytea  CHECK (octet_length(fingerprint) = 32),
    -- The head that it was decided on.
    position     bigint NOT NULL CHECK (position >= 0),
    PRIMARY KEY (ledger_id, key_hash)
);
ALTER TABLE idle_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE idle_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON idle_keys
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT ON idle_keys TO counterfoil_runtime;
