-- Each account: how it stands and what it has done so far.
CREATE TABLE accounts_overview (
    ledger_id       bigint      NOT NULL,
    account_number  bigint      NOT NULL,
    status          text        NOT NULL,
    opened_at       timestamptz NOT NULL,
    last_event_at   timestamptz NOT NULL,
    events          bigint      NOT NULL,
    purchases       bigint      NOT NULL,
    position        bigint      NOT NULL,
    PRIMARY KEY (ledger_id, account_number)
);

-- What each account had of each unit at the end of each day on which that changed.
CREATE TABLE account_days (
    ledger_id       bigint NOT NULL,
    account_number  bigint NOT NULL,
    unit            text   NOT NULL,
    day             date   NOT NULL,
    net             bigint NOT NULL,
    available       bigint NOT NULL GENERATED ALWAYS AS (GREATEST(net, 0)) STORED,
    debt            bigint NOT NULL GENERATED ALWAYS AS (GREATEST(-net, 0)) STORED,
    held            bigint NOT NULL,
    disputed        bigint NOT NULL,
    position        bigint NOT NULL,
    PRIMARY KEY (ledger_id, account_number, unit, day)
);
