-- What was used, by day.
CREATE TABLE usage (
    ledger_id       bigint NOT NULL,
    day             date   NOT NULL,
    -- Empty where no feature was named.
    feature         text   NOT NULL,
    unit            text   NOT NULL,
    uses            bigint NOT NULL,
    quantity        bigint NOT NULL,
    amount          bigint NOT NULL,
    PRIMARY KEY (ledger_id, day, feature, unit)
);
-- Of a feature that is rarely used, its own days are read and not those of all others.
CREATE INDEX usage_feature ON usage (ledger_id, feature, day, unit);

-- The same by account.
CREATE TABLE account_usage (
    ledger_id       bigint NOT NULL,
    account_number  bigint NOT NULL,
    day             date   NOT NULL,
    feature         text   NOT NULL,
    unit            text   NOT NULL,
    uses            bigint NOT NULL,
    quantity        bigint NOT NULL,
    amount          bigint NOT NULL,
    PRIMARY KEY (ledger_id, account_number, day, feature, unit)
);
CREATE INDEX account_usage_feature ON account_usage (ledger_id, account_number, feature, day, unit);
