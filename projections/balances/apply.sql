-- The sum so far is added here and not on conflict, because the constraint looks at the row before the conflict is seen.
INSERT INTO balances (ledger_id, account_number, unit, net, net_as_recorded, held, disputed, position)
SELECT e.ledger_id,
       e.account_number,
       e.unit,
       sum(e.amount)::bigint
           + COALESCE((SELECT b.net FROM balances b
                        WHERE b.ledger_id = $1 AND b.account_number = e.account_number AND b.unit = e.unit), 0),
       (array_agg(e.balance_after ORDER BY e.position DESC))[1],
       (array_agg(e.held_after ORDER BY e.position DESC))[1],
       (array_agg(e.disputed_after ORDER BY e.position DESC))[1],
       max(e.position)
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.unit IS NOT NULL
 GROUP BY e.ledger_id, e.account_number, e.unit
    ON CONFLICT (ledger_id, account_number, unit) DO UPDATE
   SET net = excluded.net,
       net_as_recorded = excluded.net_as_recorded,
       held = excluded.held,
       disputed = excluded.disputed,
       position = excluded.position;
