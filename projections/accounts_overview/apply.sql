INSERT INTO accounts_overview (ledger_id, account_number, status, opened_at, last_event_at, events, purchases, position)
SELECT e.ledger_id, e.account_number,
       COALESCE((array_agg(CASE e.type WHEN 'account.frozen' THEN 'frozen'
                                       WHEN 'account.closed' THEN 'closed'
                                       ELSE 'open' END ORDER BY e.position DESC)
                    FILTER (WHERE e.type IN ('account.opened', 'account.frozen', 'account.unfrozen', 'account.closed')))[1],
                (SELECT a.status FROM accounts_overview a
                  WHERE a.ledger_id = $1 AND a.account_number = e.account_number),
                'open'),
       min(e.recorded_at),
       max(e.recorded_at),
       count(*),
       count(*) FILTER (WHERE e.type = 'credits.purchased'),
       max(e.position)
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.account_number IS NOT NULL
 GROUP BY e.ledger_id, e.account_number
    ON CONFLICT (ledger_id, account_number) DO UPDATE
   SET status = excluded.status,
       last_event_at = excluded.last_event_at,
       events = accounts_overview.events + excluded.events,
       purchases = accounts_overview.purchases + excluded.purchases,
       position = excluded.position;

INSERT INTO account_days (ledger_id, account_number, unit, day, net, held, disputed, position)
SELECT DISTINCT ON (e.account_number, e.unit, (e.recorded_at AT TIME ZONE 'UTC')::date)
       e.ledger_id, e.account_number, e.unit, (e.recorded_at AT TIME ZONE 'UTC')::date,
       e.balance_after, e.held_after, e.disputed_after, e.position
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.unit IS NOT NULL
 ORDER BY e.account_number, e.unit, (e.recorded_at AT TIME ZONE 'UTC')::date, e.position DESC
    ON CONFLICT (ledger_id, account_number, unit, day) DO UPDATE
   SET net = excluded.net,
       held = excluded.held,
       disputed = excluded.disputed,
       position = excluded.position;
