-- Findings that are filtered by a rare kind, without reading those that the filter leaves out.
--
-- Locks: the table against writes, while its indexes are made.

CREATE INDEX reconciliation_findings_kind ON reconciliation_findings (ledger_id, kind, finding_id);
CREATE INDEX reconciliation_findings_state_kind ON reconciliation_findings (ledger_id, state, kind, finding_id);
