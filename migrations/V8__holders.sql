-- The accounts that credits of a purchase were ever transferred to. A refund looks for its credits there, long after their
-- lots may have closed. Rows of their own, so that a transfer need not read the purchase, nor write ever longer lists.
CREATE TABLE purchase_holders (
    ledger_id       bigint NOT NULL,
    purchase_id     uuid   NOT NULL,
    account_number  bigint NOT NULL CHECK (account_number > 0),
    PRIMARY KEY (ledger_id, purchase_id, account_number)
);
ALTER TABLE purchase_holders ENABLE ROW LEVEL SECURITY;
ALTER TABLE purchase_holders FORCE ROW LEVEL SECURITY;
CREATE POLICY one_ledger ON purchase_holders
    USING (ledger_id = NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint);
GRANT SELECT, INSERT ON purchase_holders TO counterfoil_runtime;
