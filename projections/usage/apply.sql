INSERT INTO account_usage (ledger_id, account_number, day, feature, unit, uses, quantity, amount)
SELECT u.ledger_id, u.account_number, u.day, u.feature, u.unit, count(*), sum(u.quantity), sum(u.amount)
  FROM (
       SELECT e.ledger_id, e.account_number, (e.recorded_at AT TIME ZONE 'UTC')::date AS day,
              COALESCE(e.body ->> 'feature', '') AS feature, e.unit,
              COALESCE((e.body ->> 'quantity')::bigint, 0) AS quantity,
              CASE e.type WHEN 'credits.spent' THEN (e.body ->> 'spent')::bigint
                          ELSE (e.body ->> 'captured')::bigint END AS amount
         FROM events e
        WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
          AND e.type IN ('credits.spent', 'hold.captured')
       ) u
 GROUP BY u.ledger_id, u.account_number, u.day, u.feature, u.unit
    ON CONFLICT (ledger_id, account_number, day, feature, unit) DO UPDATE
   SET uses = account_usage.uses + excluded.uses,
       quantity = account_usage.quantity + excluded.quantity,
       amount = account_usage.amount + excluded.amount;

INSERT INTO usage (ledger_id, day, feature, unit, uses, quantity, amount)
SELECT u.ledger_id, u.day, u.feature, u.unit, count(*), sum(u.quantity), sum(u.amount)
  FROM (
       SELECT e.ledger_id, (e.recorded_at AT TIME ZONE 'UTC')::date AS day,
              COALESCE(e.body ->> 'feature', '') AS feature, e.unit,
              COALESCE((e.body ->> 'quantity')::bigint, 0) AS quantity,
              CASE e.type WHEN 'credits.spent' THEN (e.body ->> 'spent')::bigint
                          ELSE (e.body ->> 'captured')::bigint END AS amount
         FROM events e
        WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
          AND e.type IN ('credits.spent', 'hold.captured')
       ) u
 GROUP BY u.ledger_id, u.day, u.feature, u.unit
    ON CONFLICT (ledger_id, day, feature, unit) DO UPDATE
   SET uses = usage.uses + excluded.uses,
       quantity = usage.quantity + excluded.quantity,
       amount = usage.amount + excluded.amount;
