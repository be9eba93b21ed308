-- Who was given credits of other accounts' purchases, by account: to compare a page of accounts with their events.
--
-- Locks: `purchase_holders` against transfers while the index is made; it has a row for each purchase and account that
-- credits of it were sent to.

CREATE INDEX purchase_holders_account ON purchase_holders (ledger_id, account_number, purchase_id);
