-- The tables of the write path and of what stands beside it.
--
-- Every table that holds anything of a ledger begins with `ledger_id` in its primary key, is guarded by row-level
-- security on the setting `counterfoil.ledger_id`, and is written with `ledger_id = …` at every level of a statement.
-- `ledgers` alone is open to all: it is the directory that says which ledgers there are, and holds nothing else.
--
-- Locks: only on tables that this file makes.

-- The directory of ledgers.
CREATE TABLE ledgers (
    ledger_id   bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug        text        NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{0,31}$'),
    mode        text        NOT NULL CHECK (mode IN ('live', 'test')),
    created_at  timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON ledgers TO counterfoil_runtime;

-- Where a ledger ends. Its row lock orders everything that is written to the ledger.
-- Each update makes a new version of the one row: a low fill factor keeps them on its page.
CREATE TABLE ledger_heads (
    ledger_id    bigint      PRIMARY KEY,
    -- The position of the last event; 0 before the first.
    position     bigint      NOT NULL CHECK (position >= 0),
    -- Random for each batch, and stored with the batch's last event: tells one history from another.
    batch_id     uuid        NOT NULL,
    -- When the last event was recorded: time never goes back.
    recorded_at  timestamptz NOT NULL,
    -- Changed by whoever must be sure that nothing sent before him can still be written.
    fence        uuid        NOT NULL,
    -- Which history position tokens speak of: changes when history was lost.
    incarnation  uuid        NOT NULL
) WITH (fillfactor = 10);
ALTER TABLE ledger_heads ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_heads FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON ledger_heads
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON ledger_heads TO counterfoil_runtime;

-- What an operator decided for a ledger, as of its last `ledger.configured`.
CREATE TABLE ledger_settings (
    ledger_id      bigint   PRIMARY KEY,
    state_version  smallint NOT NULL,
    settings       jsonb    NOT NULL CHECK (jsonb_typeof(settings) = 'object')
);
ALTER TABLE ledger_settings ENABLE ROW LEVEL SECURITY;
ALTER TABLE ledger_settings FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON ledger_settings
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON ledger_settings TO counterfoil_runtime;

-- The facts. Positions have no gaps and their order is commit order. No index by account: each index costs every write,
-- and the history projection has one.
CREATE TABLE events (
    ledger_id       bigint      NOT NULL,
    position        bigint      NOT NULL CHECK (position > 0),
    -- The position of the first event of the command that this one belongs to.
    command         bigint      NOT NULL CHECK (command BETWEEN 1 AND position),
    -- How many events the command has; on its first event only, so that a key's hit reads one range.
    command_size    integer     CHECK (command_size > 0),
    -- On the last event of a batch only.
    batch_id        uuid,
    account_number  bigint      CHECK (account_number > 0),
    type            text        NOT NULL CHECK (length(type) BETWEEN 1 AND 64),
    version         smallint    NOT NULL CHECK (version > 0),
    unit            text        CHECK (length(unit) BETWEEN 1 AND 32),
    -- The change of available minus debt; sums stay within what a double holds exactly.
    amount          bigint      NOT NULL CHECK (amount BETWEEN -9007199254740991 AND 9007199254740991),
    balance_after   bigint      CHECK (balance_after BETWEEN -9007199254740991 AND 9007199254740991),
    held_after      bigint      CHECK (held_after BETWEEN 0 AND 9007199254740991),
    disputed_after  bigint      CHECK (disputed_after BETWEEN 0 AND 9007199254740991),
    recorded_at     timestamptz NOT NULL,
    -- When it took effect, where that is not when it was recorded.
    effective_at    timestamptz,
    actor           text        NOT NULL CHECK (length(actor) BETWEEN 1 AND 64),
    request_id      text        CHECK (length(request_id) BETWEEN 1 AND 128),
    key_namespace   text        CHECK (key_namespace IN ('client', 'stripe', 'system')),
    key             text        CHECK (length(key) BETWEEN 1 AND 255),
    -- The first 16 bytes of SHA-256 over namespace and key: what the unique index holds.
    key_hash        bytea       CHECK (octet_length(key_hash) = 16),
    -- SHA-256 of the request that the key belongs to.
    fingerprint     bytea       CHECK (octet_length(fingerprint) = 32),
    -- Salted SHA-256 of the erasable note in `event_notes`.
    note_hash       bytea       CHECK (octet_length(note_hash) = 32),
    body            jsonb       NOT NULL CHECK (jsonb_typeof(body) = 'object'),
    PRIMARY KEY (ledger_id, position),
    CONSTRAINT events_size_on_first CHECK ((command_size IS NOT NULL) = (command = position)),
    CONSTRAINT events_key_on_first CHECK (key_hash IS NULL OR command = position),
    CONSTRAINT events_key_whole CHECK (num_nulls(key_namespace, key, key_hash) IN (0, 3)),
    CONSTRAINT events_fingerprint_of_key CHECK (fingerprint IS NULL OR key_hash IS NOT NULL),
    CONSTRAINT events_balance_of_unit CHECK (num_nulls(unit, balance_after, held_after, disputed_after) IN (0, 4)),
    CONSTRAINT events_amount_of_unit CHECK (unit IS NOT NULL OR amount = 0),
    CONSTRAINT events_unit_of_account CHECK (unit IS NULL OR account_number IS NOT NULL)
);
CREATE UNIQUE INDEX events_key ON events (ledger_id, key_hash) WHERE key_hash IS NOT NULL;
ALTER TABLE events ENABLE ROW LEVEL SECURITY;
ALTER TABLE events FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON events
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT ON events TO counterfoil_runtime;

-- The service has no right to change events. This stops those who have: owners and superusers, by mistake.
CREATE FUNCTION refuse_to_change_events() RETURNS trigger LANGUAGE plpgsql AS
$$BEGIN RAISE EXCEPTION 'events are append-only: % is refused', TG_OP USING ERRCODE = 'insufficient_privilege'; END$$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_to_change_events();

-- Free text and metadata of an event: erasable, which is why the event holds only its hash.
CREATE TABLE event_notes (
    ledger_id       bigint NOT NULL,
    position        bigint NOT NULL,
    -- Whose erasure erases it.
    account_number  bigint,
    salt            bytea  NOT NULL CHECK (octet_length(salt) = 16),
    content         jsonb  NOT NULL CHECK (jsonb_typeof(content) = 'object'),
    PRIMARY KEY (ledger_id, position)
);
CREATE INDEX event_notes_account ON event_notes (ledger_id, account_number, position);
ALTER TABLE event_notes ENABLE ROW LEVEL SECURITY;
ALTER TABLE event_notes FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON event_notes
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON event_notes TO counterfoil_runtime;

-- The state that commands are decided on, always current. `state` holds open lots, holds and debts, except lots that
-- have rows of their own. The fill factor leaves room for new versions on the same page.
CREATE TABLE accounts (
    ledger_id       bigint      NOT NULL,
    account_number  bigint      NOT NULL CHECK (account_number > 0),
    -- The client's name of it; `erased:<number>` after an erasure.
    external_id     text        NOT NULL CHECK (length(external_id) BETWEEN 1 AND 128),
    status          text        NOT NULL CHECK (status IN ('open', 'frozen', 'closed')),
    opened_at       timestamptz NOT NULL,
    -- The position of its last event.
    version         bigint      NOT NULL,
    -- The version before: whoever writes says which one he decided on, and fails if it is another; 0 for a new account.
    decided_on      bigint      NOT NULL,
    -- When something of it happens by itself next: an expiry or a lapse.
    next_due_at     timestamptz,
    -- Purchases that must be loaded with it.
    watched         uuid[]      NOT NULL DEFAULT '{}',
    state_version   smallint    NOT NULL CHECK (state_version > 0),
    -- Not jsonb: it is rewritten with each spend, and nothing in the server takes it apart.
    state           json        NOT NULL CHECK (json_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, account_number),
    CONSTRAINT accounts_external_id UNIQUE (ledger_id, external_id),
    CONSTRAINT accounts_version CHECK (version >= account_number AND decided_on < version)
) WITH (fillfactor = 60);
CREATE INDEX accounts_due ON accounts (ledger_id, next_due_at) WHERE next_due_at IS NOT NULL;
ALTER TABLE accounts ENABLE ROW LEVEL SECURITY;
ALTER TABLE accounts FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON accounts
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON accounts TO counterfoil_runtime;

-- Lots that do not stand in their account's state: closed ones, and those beyond the first few dozen of an account.
CREATE TABLE lots (
    ledger_id       bigint   NOT NULL,
    lot_id          uuid     NOT NULL,
    account_number  bigint   NOT NULL,
    unit            text     NOT NULL,
    purchase_id     uuid,
    -- Whether anything of it is left, held or set aside.
    is_open         boolean  NOT NULL,
    state_version   smallint NOT NULL CHECK (state_version > 0),
    -- Absent for a lot that was closed, is open again, and stands in its account's state.
    state           jsonb    CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, lot_id),
    CONSTRAINT lots_open_state CHECK (state IS NOT NULL OR NOT is_open)
);
CREATE INDEX lots_open ON lots (ledger_id, account_number) WHERE is_open;
CREATE INDEX lots_purchase ON lots (ledger_id, purchase_id) WHERE purchase_id IS NOT NULL;
ALTER TABLE lots ENABLE ROW LEVEL SECURITY;
ALTER TABLE lots FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON lots
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON lots TO counterfoil_runtime;

-- What one payment bought.
CREATE TABLE purchases (
    ledger_id       bigint   NOT NULL,
    purchase_id     uuid     NOT NULL,
    account_number  bigint   NOT NULL,
    -- The payment that paid for it: `pi_…` or, outside of Stripe, the purchase's own id.
    payment         text     CHECK (length(payment) BETWEEN 1 AND 255),
    version         bigint   NOT NULL CHECK (version > 0),
    -- Lots that are not its own and that undoing what was taken may touch: loaded with it, as its own are.
    other_lots      uuid[]   NOT NULL,
    state_version   smallint NOT NULL CHECK (state_version > 0),
    state           jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, purchase_id)
);
CREATE INDEX purchases_payment ON purchases (ledger_id, payment);
CREATE INDEX purchases_account ON purchases (ledger_id, account_number, purchase_id);
ALTER TABLE purchases ENABLE ROW LEVEL SECURITY;
ALTER TABLE purchases FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON purchases
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON purchases TO counterfoil_runtime;

-- Everything that was reported of a payment, before and after its purchase is known.
CREATE TABLE payments (
    ledger_id      bigint   NOT NULL,
    payment        text     NOT NULL CHECK (length(payment) BETWEEN 1 AND 255),
    version        bigint   NOT NULL CHECK (version > 0),
    state_version  smallint NOT NULL CHECK (state_version > 0),
    state          jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, payment)
);
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
ALTER TABLE payments FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON payments
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON payments TO counterfoil_runtime;

-- What is known of an account's holder: all of it erasable.
CREATE TABLE profiles (
    ledger_id       bigint NOT NULL,
    account_number  bigint NOT NULL,
    email           text,
    name            text,
    locale          text,
    metadata        jsonb  NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    PRIMARY KEY (ledger_id, account_number)
);
ALTER TABLE profiles ENABLE ROW LEVEL SECURITY;
ALTER TABLE profiles FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON profiles
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON profiles TO counterfoil_runtime;

-- What features cost.
CREATE TABLE features (
    ledger_id      bigint   NOT NULL,
    feature        text     NOT NULL CHECK (length(feature) BETWEEN 1 AND 64),
    -- The position of the `feature.set` that it is of.
    version        bigint   NOT NULL CHECK (version > 0),
    state_version  smallint NOT NULL CHECK (state_version > 0),
    state          jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, feature)
);
ALTER TABLE features ENABLE ROW LEVEL SECURITY;
ALTER TABLE features FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON features
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON features TO counterfoil_runtime;

-- What prices grant.
CREATE TABLE prices (
    ledger_id      bigint   NOT NULL,
    price          text     NOT NULL CHECK (length(price) BETWEEN 1 AND 128),
    -- The position of the `price.set` that it is of.
    version        bigint   NOT NULL CHECK (version > 0),
    state_version  smallint NOT NULL CHECK (state_version > 0),
    state          jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, price)
);
ALTER TABLE prices ENABLE ROW LEVEL SECURITY;
ALTER TABLE prices FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON prices
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON prices TO counterfoil_runtime;

-- API keys. A key's text names its ledger, so that row-level security guards this table as well.
CREATE TABLE api_keys (
    ledger_id     bigint      NOT NULL,
    key_id        uuid        NOT NULL,
    -- SHA-256 of the secret.
    secret_hash   bytea       NOT NULL CHECK (octet_length(secret_hash) = 32),
    name          text        NOT NULL,
    scopes        text[]      NOT NULL CHECK (cardinality(scopes) > 0),
    created_at    timestamptz NOT NULL,
    expires_at    timestamptz,
    revoked_at    timestamptz,
    last_used_at  timestamptz,
    PRIMARY KEY (ledger_id, key_id),
    CONSTRAINT api_keys_secret UNIQUE (ledger_id, secret_hash)
);
ALTER TABLE api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE api_keys FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON api_keys
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON api_keys TO counterfoil_runtime;

-- Signing secrets of Stripe's webhook endpoints. Several may be valid at once, for rotation.
CREATE TABLE webhook_secrets (
    ledger_id          bigint      NOT NULL,
    webhook_secret_id  uuid        NOT NULL,
    secret             text        NOT NULL CHECK (length(secret) BETWEEN 1 AND 255),
    created_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (ledger_id, webhook_secret_id),
    CONSTRAINT webhook_secrets_secret UNIQUE (ledger_id, secret)
);
ALTER TABLE webhook_secrets ENABLE ROW LEVEL SECURITY;
ALTER TABLE webhook_secrets FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON webhook_secrets
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, DELETE ON webhook_secrets TO counterfoil_runtime;

-- Webhooks as they arrived. `received` waits for the worker, `failed` waits to be tried again, `quarantined` waits for
-- a person; `processed` and `ignored` are done.
CREATE TABLE stripe_inbox (
    ledger_id        bigint      NOT NULL,
    -- Stripe's id of the event.
    event_id         text        NOT NULL CHECK (length(event_id) BETWEEN 1 AND 255),
    type             text        NOT NULL CHECK (length(type) BETWEEN 1 AND 128),
    received_at      timestamptz NOT NULL,
    -- Exactly as it was signed; pruned when it is old and done.
    body             bytea,
    status           text        NOT NULL
                     CHECK (status IN ('received', 'processed', 'ignored', 'failed', 'quarantined')),
    -- Why it was ignored or quarantined, by a short code; why it failed, in words that name no one.
    reason           text        CHECK (length(reason) BETWEEN 1 AND 500),
    -- How often it was taken up.
    attempts         integer     NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    -- When the worker is to take it up; absent when that is not for the worker to do.
    next_attempt_at  timestamptz,
    -- Who has taken it up and until when; a worker whose fence is no longer here can finish nothing.
    claim_fence      uuid,
    claimed_until    timestamptz,
    finished_at      timestamptz,
    PRIMARY KEY (ledger_id, event_id),
    CONSTRAINT stripe_inbox_waits CHECK ((next_attempt_at IS NOT NULL) = (status IN ('received', 'failed'))),
    CONSTRAINT stripe_inbox_finished CHECK ((finished_at IS NOT NULL) = (status IN ('processed', 'ignored'))),
    CONSTRAINT stripe_inbox_claim CHECK ((claim_fence IS NULL) = (claimed_until IS NULL)),
    CONSTRAINT stripe_inbox_reason CHECK (reason IS NOT NULL OR status IN ('received', 'processed')),
    CONSTRAINT stripe_inbox_body CHECK (body IS NOT NULL OR status IN ('processed', 'ignored'))
);
CREATE INDEX stripe_inbox_due ON stripe_inbox (ledger_id, next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX stripe_inbox_list ON stripe_inbox (ledger_id, received_at, event_id);
CREATE INDEX stripe_inbox_of_status ON stripe_inbox (ledger_id, status, received_at, event_id);
CREATE INDEX stripe_inbox_prunable ON stripe_inbox (ledger_id, finished_at)
    WHERE finished_at IS NOT NULL AND body IS NOT NULL;
ALTER TABLE stripe_inbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE stripe_inbox FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON stripe_inbox
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON stripe_inbox TO counterfoil_runtime;
