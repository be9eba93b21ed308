-- What folds events into tables to be read from, and how far it has come.
--
-- The tables of the projections themselves are not made by migrations: `counterfoil migrate` makes them from
-- `projections/`, each build in a schema of its own.
--
-- Locks: only on tables that this file makes.

-- The builds that there are, newest last. A build is one version of a projection's SQL with tables of its own; rebuilding
-- makes another one beside it. Like `ledgers` this holds nothing of any ledger and is open to all. What is in `apply` is
-- run by the service, which is why only the owner can write here.
CREATE TABLE projection_versions (
    projection   text        NOT NULL CHECK (projection ~ '^[a-z][a-z0-9_]{0,31}$'),
    -- 1, and one more for each build of the projection.
    build        integer     NOT NULL CHECK (build > 0),
    -- SHA-256 of the projection's SQL, the first twelve digits.
    version      text        NOT NULL CHECK (version ~ '^[0-9a-f]{12}$'),
    -- Where the build's tables are.
    schema_name  text        NOT NULL UNIQUE,
    -- The statements that fold the events of one ledger in ($2, $3], $1 being the ledger.
    apply        text[]      NOT NULL CHECK (cardinality(apply) > 0),
    -- Whether ledgers begin to follow it by themselves: not if it was made to rebuild chosen ledgers.
    for_all      boolean     NOT NULL,
    made_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Since when no ledger is read from it any more.
    retired_at   timestamptz,
    PRIMARY KEY (projection, build)
);
GRANT SELECT ON projection_versions TO counterfoil_runtime;

-- How far each build has folded each ledger. Moved in the transaction that folds, so it never says more than is there.
CREATE TABLE projection_cursors (
    ledger_id        bigint      NOT NULL,
    projection       text        NOT NULL,
    build            integer     NOT NULL,
    -- The last position that is folded.
    position         bigint      NOT NULL DEFAULT 0 CHECK (position >= 0),
    -- Whether the ledger is read from this build.
    is_serving       boolean     NOT NULL,
    -- The event that cannot be folded: nothing after it is, until a build with other SQL takes over.
    halted_position  bigint      CHECK (halted_position = position + 1),
    -- The SQLSTATE that it raised.
    halted_category  text,
    halted_reason    text,
    halted_at        timestamptz,
    PRIMARY KEY (ledger_id, projection, build),
    CONSTRAINT projection_cursors_halt
        CHECK (num_nulls(halted_position, halted_category, halted_reason, halted_at) IN (0, 4))
) WITH (fillfactor = 20);
CREATE UNIQUE INDEX projection_cursors_serving ON projection_cursors (ledger_id, projection) WHERE is_serving;
ALTER TABLE projection_cursors ENABLE ROW LEVEL SECURITY;
ALTER TABLE projection_cursors FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON projection_cursors
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON projection_cursors TO counterfoil_runtime;
