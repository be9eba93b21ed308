INSERT INTO history_entries (ledger_id, account_number, position)
SELECT e.ledger_id, e.account_number, e.position
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.account_number IS NOT NULL
 ORDER BY e.account_number, e.position;
