CREATE TABLE balances (
    ledger_id       bigint NOT NULL,
    account_number  bigint NOT NULL,
    unit            text   NOT NULL,
    net             bigint NOT NULL,
    net_as_recorded bigint NOT NULL,
    available       bigint NOT NULL GENERATED ALWAYS AS (GREATEST(net, 0)) STORED,
    debt            bigint NOT NULL GENERATED ALWAYS AS (GREATEST(-net, 0)) STORED,
    held            bigint NOT NULL,
    disputed        bigint NOT NULL,
    position        bigint NOT NULL,
    PRIMARY KEY (ledger_id, account_number, unit),
    -- An event whose amount and balance contradict each other stops the projection here.
    CONSTRAINT balances_add_up CHECK (net = net_as_recorded)
);
