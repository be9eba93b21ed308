-- The sum so far is added here and not on conflict, because the constraint looks at the row before the conflict is seen.
INSERT INTO balances (ledger_id, account_number, unit, net, net_as_recorded, held, disputed, position)
SELECT s.ledger_id,
       s.account_number,
       s.unit,
       s.net + COALESCE((SELECT b.net FROM balances b
                          WHERE b.ledger_id = $1 AND b.account_number = s.account_number AND b.unit = s.unit), 0),
       l.balance_after,
       l.held_after,
       l.disputed_after,
       s.position
  FROM (
       SELECT e.ledger_id, e.account_number, e.unit, sum(e.amount)::bigint AS net, max(e.position) AS position
         FROM events e
        WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.unit IS NOT NULL
        GROUP BY e.ledger_id, e.account_number, e.unit
       ) s
 CROSS JOIN LATERAL (
       SELECT e.balance_after, e.held_after, e.disputed_after
         FROM events e
        WHERE e.ledger_id = $1 AND e.position = s.position
       OFFSET 0
       ) l
    ON CONFLICT (ledger_id, account_number, unit) DO UPDATE
   SET net = excluded.net,
       net_as_recorded = excluded.net_as_recorded,
       held = excluded.held,
       disputed = excluded.disputed,
       position = excluded.position;
