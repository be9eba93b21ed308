-- The proof that events are what they were: a Merkle tree of each ledger, and its signed heads.
--
-- Whatever is here can be made again from the events and a key, except for one thing: what was signed and published.
--
-- Locks: only on tables that this file makes.

-- The logs of each ledger: one, until history is lost and another takes its place.
CREATE TABLE logs (
    ledger_id           bigint      NOT NULL,
    number              integer     NOT NULL CHECK (number > 0),
    -- What the log is called in every checkpoint, and its keys with it.
    origin              text        NOT NULL CHECK (length(origin) BETWEEN 1 AND 255 AND origin !~ '[[:space:]+]'),
    -- The history that it is of: see ledger_heads.
    incarnation         uuid        NOT NULL,
    opened_at           timestamptz NOT NULL,
    -- The log that it took the place of, as it was last known.
    predecessor_origin  text        CHECK (length(predecessor_origin) BETWEEN 1 AND 255),
    predecessor_size    bigint      CHECK (predecessor_size >= 0),
    predecessor_root    bytea       CHECK (octet_length(predecessor_root) = 32),
    -- How many events the last checkpoint covers.
    size                bigint      NOT NULL DEFAULT 0 CHECK (size >= 0),
    -- How many events the last checkpoint covers that left this database for every place that it is sent to.
    published_size      bigint      NOT NULL DEFAULT 0 CHECK (published_size BETWEEN 0 AND size),
    -- Who seals: a takeover moves the fence, and whoever has another one seals nothing.
    fence               bigint      NOT NULL DEFAULT 0,
    leased_until        timestamptz,
    -- Why nothing more is signed.
    halted              text        CHECK (length(halted) BETWEEN 1 AND 64),
    halted_because      text        CHECK (length(halted_because) BETWEEN 1 AND 1000),
    halted_at           timestamptz,
    PRIMARY KEY (ledger_id, number),
    CONSTRAINT logs_predecessor CHECK (num_nonnulls(predecessor_origin, predecessor_size, predecessor_root) IN (0, 3)),
    CONSTRAINT logs_halt CHECK (num_nonnulls(halted, halted_because, halted_at) IN (0, 3))
) WITH (fillfactor = 50);
ALTER TABLE logs ENABLE ROW LEVEL SECURITY;
ALTER TABLE logs FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON logs
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON logs TO counterfoil_runtime;

-- What checkpoints are signed with. Every key whose time has not passed signs.
CREATE TABLE log_keys (
    ledger_id     bigint      NOT NULL,
    number        integer     NOT NULL CHECK (number > 0),
    public_key    bytea       NOT NULL CHECK (octet_length(public_key) = 32),
    -- The private half, sealed under a key that the database never sees.
    seed          bytea       NOT NULL CHECK (octet_length(seed) BETWEEN 29 AND 512),
    sealed_under  text        NOT NULL CHECK (length(sealed_under) BETWEEN 1 AND 64),
    created_at    timestamptz NOT NULL,
    -- From when on it signs no more; absent while nothing has taken its place.
    retires_at    timestamptz,
    PRIMARY KEY (ledger_id, number)
);
ALTER TABLE log_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE log_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON log_keys
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON log_keys TO counterfoil_runtime;

-- Signed tree heads, each as it was signed. Append only, by the rights of the service.
CREATE TABLE checkpoints (
    ledger_id  bigint      NOT NULL,
    log        integer     NOT NULL,
    size       bigint      NOT NULL CHECK (size > 0),
    root       bytea       NOT NULL CHECK (octet_length(root) = 32),
    note       text        NOT NULL CHECK (length(note) BETWEEN 1 AND 65536),
    signed_at  timestamptz NOT NULL,
    PRIMARY KEY (ledger_id, log, size)
);
ALTER TABLE checkpoints ENABLE ROW LEVEL SECURITY;
ALTER TABLE checkpoints FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON checkpoints
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT ON checkpoints TO counterfoil_runtime;

-- The nodes of every eighth level of the tree, 256 to a row; the last row of a level grows until it is full.
CREATE TABLE tiles (
    ledger_id  bigint    NOT NULL,
    log        integer   NOT NULL,
    level      smallint  NOT NULL CHECK (level BETWEEN 0 AND 7),
    index      bigint    NOT NULL CHECK (index >= 0),
    -- SHA-256 hashes, one after the other: nothing that could be compressed.
    nodes      bytea     NOT NULL CHECK (octet_length(nodes) BETWEEN 32 AND 8192 AND octet_length(nodes) % 32 = 0),
    PRIMARY KEY (ledger_id, log, level, index)
);
ALTER TABLE tiles ALTER COLUMN nodes SET STORAGE EXTERNAL;
ALTER TABLE tiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE tiles FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON tiles
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON tiles TO counterfoil_runtime;
