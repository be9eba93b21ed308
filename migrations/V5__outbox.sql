-- What events order outside of the ledger, until it is done.
--
-- A row of `outbox` is written with the event that orders it and is never changed: it leaves when it is done, or moves to
-- `outbox_retry` or `outbox_dead`. Who may work on it is said by the lease of its shard, not by the row.
--
-- Locks: only on tables that this file makes.

-- Effects that nobody has failed at. The primary key is the order in which a shard is read, from its watermark on.
CREATE TABLE outbox (
    ledger_id   bigint      NOT NULL,
    -- Of the key: see `shard_of` in `src/store/outbox.rs`.
    shard       smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    -- The event that orders it, and which of that event's effects it is.
    position    bigint      NOT NULL CHECK (position > 0),
    ordinal     smallint    NOT NULL CHECK (ordinal >= 0),
    effect_id   uuid        NOT NULL,
    -- Effects of one key are carried out one after the other.
    key         text        NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    kind        text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    effect      jsonb       NOT NULL CHECK (jsonb_typeof(effect) = 'object'),
    created_at  timestamptz NOT NULL,
    PRIMARY KEY (ledger_id, shard, position, ordinal),
    CONSTRAINT outbox_effect UNIQUE (ledger_id, effect_id)
);
ALTER TABLE outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON outbox
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON outbox TO counterfoil_runtime;

-- Who works on a shard. A takeover moves the fence, and whatever is completed names the fence that it was begun under.
CREATE TABLE outbox_leases (
    ledger_id      bigint      NOT NULL,
    shard          smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    fence          bigint      NOT NULL DEFAULT 0,
    -- Absent when nobody has it.
    leased_until   timestamptz,
    -- The watermark: nothing of the shard is left in `outbox` up to this position.
    done_position  bigint      NOT NULL DEFAULT 0 CHECK (done_position >= 0),
    PRIMARY KEY (ledger_id, shard)
) WITH (fillfactor = 25);
ALTER TABLE outbox_leases ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_leases FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON outbox_leases
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON outbox_leases TO counterfoil_runtime;

-- Effects that did not succeed and are tried again, and those of the same key behind them.
CREATE TABLE outbox_retry (
    ledger_id        bigint      NOT NULL,
    shard            smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    position         bigint      NOT NULL CHECK (position > 0),
    ordinal          smallint    NOT NULL CHECK (ordinal >= 0),
    effect_id        uuid        NOT NULL,
    key              text        NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    kind             text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    effect           jsonb       NOT NULL CHECK (jsonb_typeof(effect) = 'object'),
    created_at       timestamptz NOT NULL,
    -- From when on the time is counted in which it may be repeated.
    repeat_from      timestamptz NOT NULL,
    -- How often it was tried in vain.
    attempts         integer     NOT NULL CHECK (attempts >= 0),
    -- When it is tried next; absent while it waits for an earlier one of its key.
    next_attempt_at  timestamptz,
    -- Whether it has to be looked for before it is tried again: it may have happened.
    must_look        boolean     NOT NULL,
    -- What it failed at last.
    destination      text        CHECK (length(destination) BETWEEN 1 AND 64),
    class            text        CHECK (length(class) BETWEEN 1 AND 64),
    code             text        CHECK (length(code) BETWEEN 1 AND 64),
    PRIMARY KEY (ledger_id, shard, position, ordinal),
    CONSTRAINT outbox_retry_effect UNIQUE (ledger_id, effect_id),
    CONSTRAINT outbox_retry_cause CHECK (num_nulls(destination, class, code) IN (0, 3))
);
CREATE INDEX outbox_retry_due ON outbox_retry (ledger_id, shard, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX outbox_retry_key ON outbox_retry (ledger_id, shard, key, position, ordinal);
ALTER TABLE outbox_retry ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_retry FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON outbox_retry
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE, DELETE ON outbox_retry TO counterfoil_runtime;

-- Effects that wait for a person.
CREATE TABLE outbox_dead (
    ledger_id    bigint      NOT NULL,
    shard        smallint    NOT NULL CHECK (shard BETWEEN 0 AND 63),
    position     bigint      NOT NULL CHECK (position > 0),
    ordinal      smallint    NOT NULL CHECK (ordinal >= 0),
    effect_id    uuid        NOT NULL,
    key          text        NOT NULL CHECK (length(key) BETWEEN 1 AND 128),
    kind         text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    effect       jsonb       NOT NULL CHECK (jsonb_typeof(effect) = 'object'),
    created_at   timestamptz NOT NULL,
    attempts     integer     NOT NULL CHECK (attempts >= 0),
    died_at      timestamptz NOT NULL,
    -- Whether later ones of its key wait for it.
    blocks       boolean     NOT NULL,
    destination  text        NOT NULL CHECK (length(destination) BETWEEN 1 AND 64),
    class        text        NOT NULL CHECK (length(class) BETWEEN 1 AND 64),
    code         text        NOT NULL CHECK (length(code) BETWEEN 1 AND 64),
    PRIMARY KEY (ledger_id, shard, position, ordinal),
    CONSTRAINT outbox_dead_effect UNIQUE (ledger_id, effect_id)
);
CREATE INDEX outbox_dead_key ON outbox_dead (ledger_id, shard, key) WHERE blocks;
CREATE INDEX outbox_dead_cause ON outbox_dead (ledger_id, destination, class, code, position, ordinal);
ALTER TABLE outbox_dead ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_dead FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON outbox_dead
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON outbox_dead TO counterfoil_runtime;

-- What people decided of dead effects. Append only, by the rights of the service.
CREATE TABLE outbox_decisions (
    ledger_id    bigint      NOT NULL,
    effect_id    uuid        NOT NULL,
    decided_at   timestamptz NOT NULL,
    decision     text        NOT NULL CHECK (decision IN ('retry', 'discard')),
    actor        text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 64),
    reason       text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 1000),
    -- The effect as it was then.
    position     bigint      NOT NULL,
    ordinal      smallint    NOT NULL,
    key          text        NOT NULL,
    kind         text        NOT NULL,
    effect       jsonb       NOT NULL,
    created_at   timestamptz NOT NULL,
    attempts     integer     NOT NULL,
    died_at      timestamptz NOT NULL,
    destination  text        NOT NULL,
    class        text        NOT NULL,
    code         text        NOT NULL,
    PRIMARY KEY (ledger_id, effect_id, decided_at)
);
ALTER TABLE outbox_decisions ENABLE ROW LEVEL SECURITY;
ALTER TABLE outbox_decisions FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON outbox_decisions
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT ON outbox_decisions TO counterfoil_runtime;
