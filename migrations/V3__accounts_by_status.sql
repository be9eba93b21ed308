-- Accounts of one status, newest first, without reading all those of the others. The status changes rarely, so that what
-- an account has can still be updated in place.
--
-- Locks: accounts against writes, while the index is made.

CREATE INDEX accounts_status ON accounts (ledger_id, status, account_number);
