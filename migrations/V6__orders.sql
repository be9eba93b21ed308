-- Selling through Stripe: customers, orders, and refunds that are asked of us.
--
-- Locks: accounts against reads and writes, for the moment that a column without a default takes; then against writes,
-- while the index is made.

-- The account's customer at Stripe, of which it is the only account.
ALTER TABLE accounts ADD COLUMN stripe_customer text CHECK (length(stripe_customer) BETWEEN 1 AND 255);
CREATE UNIQUE INDEX accounts_stripe_customer ON accounts (ledger_id, stripe_customer)
    WHERE stripe_customer IS NOT NULL;

-- Checkouts. An order's id begins with the position at which it was placed, so that ids are in order of time.
CREATE TABLE orders (
    ledger_id       bigint   NOT NULL,
    order_id        uuid     NOT NULL,
    account_number  bigint   NOT NULL,
    status          text     NOT NULL CHECK (status IN ('placed', 'paid', 'expired', 'failed')),
    -- The position of its last event.
    version         bigint   NOT NULL CHECK (version > 0),
    -- What was bought with it: one purchase for each paid session that was not free.
    purchases       uuid[]   NOT NULL,
    -- What the checkout needs to know. Addresses may name a person: erased with the account.
    locale          text,
    success_url     text,
    cancel_url      text,
    -- Where it can be paid. Whoever knows the address can do so, and sees what the buyer has typed in.
    session_url     text,
    state_version   smallint NOT NULL CHECK (state_version > 0),
    state           jsonb    NOT NULL CHECK (jsonb_typeof(state) = 'object'),
    PRIMARY KEY (ledger_id, order_id)
);
CREATE INDEX orders_status ON orders (ledger_id, status, order_id);
-- Made last: of two that it thinks equally good, the planner takes the later one.
CREATE INDEX orders_account ON orders (ledger_id, account_number, order_id);
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON orders
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON orders TO counterfoil_runtime;

-- Which payment each refund is of that was asked of us; how far it has come stands with the payment.
CREATE TABLE refund_requests (
    ledger_id       bigint NOT NULL,
    refund_id       uuid   NOT NULL,
    account_number  bigint NOT NULL,
    order_id        uuid,
    payment         text   NOT NULL CHECK (length(payment) BETWEEN 1 AND 255),
    PRIMARY KEY (ledger_id, refund_id)
);
CREATE INDEX refund_requests_order ON refund_requests (ledger_id, order_id, refund_id) WHERE order_id IS NOT NULL;
ALTER TABLE refund_requests ENABLE ROW LEVEL SECURITY;
ALTER TABLE refund_requests FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON refund_requests
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT ON refund_requests TO counterfoil_runtime;
