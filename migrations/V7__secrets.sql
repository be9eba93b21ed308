-- Secrets of ledgers, sealed under a key that the database never sees.
--
-- Locks: webhook_secrets against everything, for an instant.

-- What each ledger calls Stripe with.
CREATE TABLE stripe_credentials (
    ledger_id       bigint      PRIMARY KEY,
    -- Another one each time that they are replaced.
    version         uuid        NOT NULL,
    -- AES-256-GCM: nonce, ciphertext, tag.
    api_key         bytea       NOT NULL CHECK (octet_length(api_key) BETWEEN 29 AND 512),
    -- Which key opens it.
    sealed_under    text        NOT NULL CHECK (length(sealed_under) BETWEEN 1 AND 64),
    -- What people recognise the API key by: how it begins and ends.
    hint            text        NOT NULL CHECK (length(hint) BETWEEN 1 AND 32),
    -- Where calls go; to Stripe if absent.
    base_url        text        CHECK (length(base_url) BETWEEN 1 AND 500),
    -- The Stripe account that the key belongs to, if that was asked.
    stripe_account  text        CHECK (length(stripe_account) BETWEEN 1 AND 255),
    set_at          timestamptz NOT NULL
);
ALTER TABLE stripe_credentials ENABLE ROW LEVEL SECURITY;
ALTER TABLE stripe_credentials FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON stripe_credentials
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT, UPDATE ON stripe_credentials TO counterfoil_runtime;

-- Signing secrets are sealed as well, by processes that have a key for it.
ALTER TABLE webhook_secrets
    ALTER COLUMN secret DROP NOT NULL,
    ADD COLUMN sealed bytea CHECK (octet_length(sealed) BETWEEN 29 AND 512),
    ADD COLUMN sealed_under text CHECK (length(sealed_under) BETWEEN 1 AND 64),
    ADD CONSTRAINT webhook_secrets_one_form CHECK (num_nonnulls(secret, sealed) = 1),
    ADD CONSTRAINT webhook_secrets_sealed_whole CHECK (num_nonnulls(sealed, sealed_under) IN (0, 2));
GRANT UPDATE ON webhook_secrets TO counterfoil_runtime;
