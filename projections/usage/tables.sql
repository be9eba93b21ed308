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
