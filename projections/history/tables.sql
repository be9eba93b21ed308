CREATE TABLE history (
    ledger_id       bigint      NOT NULL,
    account_number  bigint      NOT NULL,
    position        bigint      NOT NULL,
    type            text        NOT NULL,
    unit            text,
    amount          bigint      NOT NULL,
    balance_after   bigint,
    description     text        NOT NULL,
    description_de  text        NOT NULL,
    recorded_at     timestamptz NOT NULL,
    effective_at    timestamptz,
    actor           text        NOT NULL,
    reference       text,
    -- Read backwards from a position: newest first, however long the history is.
    PRIMARY KEY (ledger_id, account_number, position)
);
