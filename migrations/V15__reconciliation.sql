-- Reconciliation with Stripe: how far it has come, its runs, and what it found.
--
-- Locks: only on tables that this file makes.

-- Where reconciliation stands, who works on it, and whether effects may be carried out.
CREATE TABLE reconciliation (
    ledger_id           bigint      NOT NULL,
    -- Moved by whoever takes the lease; whatever is written under the lease names it.
    fence               bigint      NOT NULL DEFAULT 0,
    -- Absent when nobody has it.
    leased_until        timestamptz,
    -- Stripe's events were taken in up to here, by Stripe's clock.
    events_until        timestamptz NOT NULL,
    -- When Stripe's events were last read to their end.
    events_read_at      timestamptz,
    -- Stripe and the ledger were compared up to here; absent before the first time.
    compared_until      timestamptz,
    next_events_at      timestamptz NOT NULL,
    next_comparison_at  timestamptz NOT NULL,
    next_recovery_at    timestamptz NOT NULL,
    -- The history and the place for which the ledger was last known to have all that Stripe knows. Effects are carried out
    -- in no other one.
    incarnation         uuid,
    place               text        CHECK (length(place) BETWEEN 1 AND 255),
    -- Since when an older state is said, or was seen, to have been put in the place of a newer one.
    restored_at         timestamptz,
    PRIMARY KEY (ledger_id)
) WITH (fillfactor = 50);
ALTER TABLE reconciliation ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciliation FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON reconciliation
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE ON reconciliation TO counterfoil_runtime;

-- Runs, those that are asked for included. Ids are in the order in which runs were asked for.
CREATE TABLE reconciliation_runs (
    ledger_id     bigint      NOT NULL,
    run_id        uuid        NOT NULL,
    kind          text        NOT NULL CHECK (kind IN ('events', 'comparison', 'recovery')),
    state         text        NOT NULL CHECK (state IN ('requested', 'running', 'done', 'failed')),
    actor         text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 64),
    -- Whether what can be repaired is repaired at once.
    repairs       boolean     NOT NULL,
    -- What is compared, by Stripe's clock; absent for what is due.
    since         timestamptz,
    until         timestamptz,
    requested_at  timestamptz NOT NULL,
    started_at    timestamptz,
    finished_at   timestamptz,
    counts        jsonb       NOT NULL CHECK (jsonb_typeof(counts) = 'object'),
    -- Why it failed: a code, a colon and words.
    error         text        CHECK (length(error) BETWEEN 1 AND 500),
    PRIMARY KEY (ledger_id, run_id),
    CONSTRAINT reconciliation_runs_window CHECK (since < until),
    CONSTRAINT reconciliation_runs_finished CHECK ((finished_at IS NOT NULL) = (state IN ('done', 'failed'))),
    CONSTRAINT reconciliation_runs_error CHECK ((error IS NOT NULL) = (state = 'failed'))
);
CREATE INDEX reconciliation_runs_open ON reconciliation_runs (ledger_id, run_id) WHERE finished_at IS NULL;
ALTER TABLE reconciliation_runs ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciliation_runs FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON reconciliation_runs
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE, DELETE ON reconciliation_runs TO counterfoil_runtime;

-- Where Stripe and the ledger differ. Ids are in the order in which differences were first found.
CREATE TABLE reconciliation_findings (
    ledger_id    bigint      NOT NULL,
    finding_id   uuid        NOT NULL,
    kind         text        NOT NULL CHECK (length(kind) BETWEEN 1 AND 64),
    -- What it is about: Stripe's id of a session, a refund, a dispute; an order; a time.
    object       text        NOT NULL CHECK (length(object) BETWEEN 1 AND 255),
    state        text        NOT NULL CHECK (state IN ('open', 'repairing', 'repaired', 'dismissed', 'vanished')),
    details      jsonb       NOT NULL CHECK (jsonb_typeof(details) = 'object'),
    -- Why the ledger does not have it, or why a repair did not succeed: a code, a colon and words that name no one.
    reason       text        CHECK (length(reason) BETWEEN 1 AND 500),
    found_at     timestamptz NOT NULL,
    -- When it was last met.
    seen_at      timestamptz NOT NULL,
    closed_at    timestamptz,
    -- What somebody decided of it last.
    decided_at   timestamptz,
    actor        text        CHECK (length(actor) BETWEEN 1 AND 64),
    note         text        CHECK (length(note) BETWEEN 1 AND 1000),
    PRIMARY KEY (ledger_id, finding_id),
    CONSTRAINT reconciliation_findings_once UNIQUE (ledger_id, kind, object),
    CONSTRAINT reconciliation_findings_closed
        CHECK ((closed_at IS NOT NULL) = (state IN ('repaired', 'dismissed', 'vanished'))),
    CONSTRAINT reconciliation_findings_decision CHECK (num_nulls(decided_at, actor, note) IN (0, 3))
);
CREATE INDEX reconciliation_findings_state ON reconciliation_findings (ledger_id, state, finding_id);
ALTER TABLE reconciliation_findings ENABLE ROW LEVEL SECURITY;
ALTER TABLE reconciliation_findings FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON reconciliation_findings
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE ON reconciliation_findings TO counterfoil_runtime;
