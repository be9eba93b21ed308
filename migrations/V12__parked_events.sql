-- Statistics pass over an event that they cannot count, and remember it.
--
-- Locks: `projection_versions` against everything, for a moment; it is not rewritten.

-- Whether such an event is passed over, or stops the build.
ALTER TABLE projection_versions ADD COLUMN parks boolean NOT NULL DEFAULT false;

-- The events that were passed over.
CREATE TABLE projection_parked (
    ledger_id    bigint      NOT NULL,
    projection   text        NOT NULL,
    build        integer     NOT NULL,
    position     bigint      NOT NULL CHECK (position > 0),
    -- The SQLSTATE that it raised, and what the database said.
    category     text        NOT NULL,
    reason       text        NOT NULL,
    parked_at    timestamptz NOT NULL,
    PRIMARY KEY (ledger_id, projection, build, position)
);
ALTER TABLE projection_parked ENABLE ROW LEVEL SECURITY;
ALTER TABLE projection_parked FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON projection_parked
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT, DELETE ON projection_parked TO counterfoil_runtime;
