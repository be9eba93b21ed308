-- Lots of all kinds, and what became of the credits and of the money of each.
CREATE TABLE lots (
    ledger_id       bigint      NOT NULL,
    lot             uuid        NOT NULL,
    account_number  bigint      NOT NULL,
    unit            text        NOT NULL,
    entered_at      timestamptz NOT NULL,
    -- The event that it entered by, and the last one that it has seen.
    entered         bigint      NOT NULL,
    position        bigint      NOT NULL,
    expires_at      timestamptz,
    priority        smallint    NOT NULL,
    purchase        uuid,
    -- The lot that lives on in it.
    parent          uuid,
    -- The purchase's own lot of this unit, which it comes from in the end; itself, if it was bought.
    origin          uuid,

    granted         bigint      NOT NULL CHECK (granted > 0),
    remaining       bigint      NOT NULL DEFAULT 0 CHECK (remaining >= 0),
    held            bigint      NOT NULL DEFAULT 0 CHECK (held >= 0),
    disputed        bigint      NOT NULL DEFAULT 0 CHECK (disputed >= 0),
    spent           bigint      NOT NULL DEFAULT 0 CHECK (spent >= 0),
    settled         bigint      NOT NULL DEFAULT 0 CHECK (settled >= 0),
    expired         bigint      NOT NULL DEFAULT 0 CHECK (expired >= 0),
    adjusted        bigint      NOT NULL DEFAULT 0 CHECK (adjusted >= 0),
    clawed          bigint      NOT NULL DEFAULT 0 CHECK (clawed >= 0),
    moved           bigint      NOT NULL DEFAULT 0 CHECK (moved >= 0),

    -- Money, in the smallest part of the currency; absent for what was not paid for.
    currency        text,
    cost            bigint      CHECK (cost >= 0),
    -- What the payment was, tax included, and what of its cost belongs to lots before this one.
    payment         text,
    paid            bigint      CHECK (paid >= 0),
    cost_before     bigint      CHECK (cost_before >= 0),
    -- What has gone back of what was paid, and how much of it this lot gave up: all but what later lots did.
    back            bigint      NOT NULL DEFAULT 0 CHECK (back >= 0),
    refunded        bigint      NOT NULL DEFAULT 0,
    carried_on      bigint      NOT NULL DEFAULT 0 CHECK (carried_on >= 0),
    recognised      bigint      NOT NULL DEFAULT 0,
    breakage        bigint      NOT NULL DEFAULT 0,
    deferred        bigint      NOT NULL DEFAULT 0 CHECK (deferred >= 0),

    PRIMARY KEY (ledger_id, lot),
    -- A lot that an event of the same page makes has nothing yet when that page begins to be folded.
    CONSTRAINT lots_credits_add_up CHECK (position < entered OR
        granted = remaining + held + disputed + spent + settled + expired + adjusted + clawed + moved),
    CONSTRAINT lots_money_adds_up CHECK (position < entered OR
        COALESCE(cost, 0) = refunded + carried_on + recognised + breakage + deferred),
    CONSTRAINT lots_nothing_left_is_nothing_deferred CHECK (remaining + held + disputed > 0 OR deferred = 0),
    CONSTRAINT lots_money_is_whole CHECK (num_nulls(cost, currency, purchase, origin, paid, cost_before) IN (0, 6))
) WITH (fillfactor = 60);
CREATE INDEX lots_purchase ON lots (ledger_id, purchase) WHERE purchase IS NOT NULL;
CREATE INDEX lots_payment ON lots (ledger_id, payment) WHERE payment IS NOT NULL;
CREATE INDEX lots_account ON lots (ledger_id, account_number, entered, lot);

-- What each event did to each lot that it touched.
CREATE TABLE lot_changes (
    ledger_id       bigint NOT NULL,
    position        bigint NOT NULL,
    lot             uuid   NOT NULL,
    remaining       bigint NOT NULL,
    held            bigint NOT NULL,
    disputed        bigint NOT NULL,
    spent           bigint NOT NULL,
    settled         bigint NOT NULL,
    expired         bigint NOT NULL,
    adjusted        bigint NOT NULL,
    clawed          bigint NOT NULL,
    moved           bigint NOT NULL,
    back            bigint NOT NULL,
    refunded        bigint NOT NULL,
    carried_on      bigint NOT NULL,
    recognised      bigint NOT NULL,
    breakage        bigint NOT NULL,
    deferred        bigint NOT NULL,
    PRIMARY KEY (ledger_id, position, lot)
);

-- What was reported of payments: each refund and credit note in each of its states, each dispute, each sum that a charge showed.
CREATE TABLE payment_facts (
    ledger_id       bigint NOT NULL,
    payment         text   NOT NULL,
    kind            text   NOT NULL,
    object          text   NOT NULL,
    -- Of a charge the sum, which is a state of its own.
    state           text   NOT NULL,
    rank            smallint NOT NULL,
    amount          bigint NOT NULL,
    currency        text   NOT NULL,
    -- The event that reported it first.
    position        bigint NOT NULL,
    PRIMARY KEY (ledger_id, payment, kind, object, state)
);

-- Whether refunds that are on their way count, from a position on.
CREATE TABLE pending_counts (
    ledger_id       bigint  NOT NULL,
    position        bigint  NOT NULL,
    counts          boolean NOT NULL,
    PRIMARY KEY (ledger_id, position)
);

-- What each event did to the books: one row for an event, currency and account, and none if no money was concerned.
CREATE TABLE journal (
    ledger_id       bigint NOT NULL,
    position        bigint NOT NULL,
    currency        text   NOT NULL,
    account_number  bigint NOT NULL,
    type            text   NOT NULL,
    day             date   NOT NULL,
    sold            bigint NOT NULL,
    refunded        bigint NOT NULL,
    -- Cost that came from lots of another account, or went there.
    carried         bigint NOT NULL,
    recognised      bigint NOT NULL,
    breakage        bigint NOT NULL,
    -- The change of what is deferred.
    deferred        bigint NOT NULL,
    PRIMARY KEY (ledger_id, position, currency, account_number),
    CONSTRAINT journal_balances CHECK (sold - refunded + carried = recognised + breakage + deferred)
);

-- Reports read the journal by day; days follow positions.
CREATE INDEX journal_day ON journal (ledger_id, day, position, currency, account_number);

-- The days of the journal, summed.
CREATE TABLE revenue (
    ledger_id           bigint NOT NULL,
    currency            text   NOT NULL,
    day                 date   NOT NULL,
    deferred_at_open    bigint NOT NULL CHECK (deferred_at_open >= 0),
    sold                bigint NOT NULL,
    recognised          bigint NOT NULL,
    breakage            bigint NOT NULL,
    refunded            bigint NOT NULL,
    deferred_at_close   bigint NOT NULL
        GENERATED ALWAYS AS (deferred_at_open + sold - recognised - breakage - refunded) STORED,
    PRIMARY KEY (ledger_id, currency, day),
    CONSTRAINT revenue_nothing_below_zero CHECK (deferred_at_open + sold - recognised - breakage - refunded >= 0)
);

-- What is deferred for an account, as of the end of each day on which that changed.
CREATE TABLE deferred_days (
    ledger_id       bigint NOT NULL,
    account_number  bigint NOT NULL,
    currency        text   NOT NULL,
    day             date   NOT NULL,
    deferred        bigint NOT NULL CHECK (deferred >= 0),
    PRIMARY KEY (ledger_id, account_number, currency, day)
);

-- Can hold nothing: an event about credits that this SQL does not know stops the projection here, by its position.
CREATE TABLE unknown_events (
    ledger_id       bigint NOT NULL,
    position        bigint NOT NULL,
    type            text   NOT NULL,
    version         smallint NOT NULL,
    PRIMARY KEY (ledger_id, position),
    CONSTRAINT books_know_every_event_about_credits CHECK (position < 0)
);
