-- Subscriptions at Stripe: how each is, and what its invoices granted so far.
--
-- Locks: none on tables that are there.

CREATE TABLE subscriptions (
    ledger_id        bigint   NOT NULL,
    subscription_id  text     NOT NULL CHECK (length(subscription_id) BETWEEN 1 AND 255),
    account_number   bigint   NOT NULL,
    status           text     NOT NULL CHECK (status IN ('incomplete', 'trialing', 'active', 'past_due', 'unpaid', 'paused',
                                                         'incomplete_expired', 'canceled')),
    -- The position of the event by which it became known, and of its last one.
    started          bigint   NOT NULL CHECK (started > 0),
    version          bigint   NOT NULL CHECK (version >= started),
    state_version    smallint NOT NULL CHECK (state_version > 0),
    state            jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, subscription_id)
);
CREATE INDEX subscriptions_account ON subscriptions (ledger_id, account_number, started);
ALTER TABLE subscriptions ENABLE ROW LEVEL SECURITY;
ALTER TABLE subscriptions FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON subscriptions
    USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
GRANT SELECT, INSERT, UPDATE ON subscriptions TO counterfoil_runtime;
