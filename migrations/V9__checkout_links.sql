-- Links by which a price can be bought for an account, by whoever has the link.
--
-- Locks: none on tables that are there.

CREATE TABLE checkout_links (
    ledger_id       bigint      NOT NULL,
    link_id         uuid        NOT NULL,
    account_number  bigint      NOT NULL,
    price           text        NOT NULL CHECK (length(price) BETWEEN 1 AND 128),
    quantity        bigint      NOT NULL CHECK (quantity BETWEEN 1 AND 10000),
    created_at      timestamptz NOT NULL,
    expires_at      timestamptz,
    revoked_at      timestamptz,
    -- What the checkouts need to know. Addresses may name a person: erased with the account.
    locale          text,
    success_url     text,
    cancel_url      text,
    -- How many orders were placed by it, and the last of them.
    orders          bigint      NOT NULL DEFAULT 0 CHECK (orders >= 0),
    last_order      uuid,
    PRIMARY KEY (ledger_id, link_id),
    CONSTRAINT checkout_links_followed CHECK ((orders > 0) = (last_order IS NOT NULL))
);
CREATE INDEX checkout_links_account ON checkout_links (ledger_id, account_number, link_id);
ALTER TABLE checkout_links ENABLE ROW LEVEL SECURITY;
ALTER TABLE checkout_links FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON checkout_links
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON checkout_links TO counterfoil_runtime;
