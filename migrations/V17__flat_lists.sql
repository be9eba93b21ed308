-- Lists that are filtered, without reading what the filter leaves out: accounts opened in a time that is long past, orders of
-- an account that have come to a rare end, findings of a rare kind.
--
-- Locks: each table against writes, while its index is made.

CREATE INDEX accounts_opened ON accounts (ledger_id, opened_at, account_number);
CREATE INDEX orders_account_status ON orders (ledger_id, account_number, status, order_id);
CREATE INDEX reconciliation_findings_kind ON reconciliation_findings (ledger_id, kind, finding_id);
CREATE INDEX reconciliation_findings_state_kind ON reconciliation_findings (ledger_id, state, kind, finding_id);
