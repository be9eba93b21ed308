-- Nothing about credits is passed over: what is not known here stops the projection.
INSERT INTO unknown_events (ledger_id, position, type, version)
SELECT e.ledger_id, e.position, e.type, e.version
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.unit IS NOT NULL
   AND NOT (CASE e.type WHEN 'credits.granted' THEN e.version <= 3
                        WHEN 'credits.purchased' THEN e.version <= 2
                        WHEN 'credits.spent' THEN e.version = 1
                        WHEN 'credits.held' THEN e.version = 1
                        WHEN 'hold.captured' THEN e.version = 1
                        WHEN 'hold.released' THEN e.version = 1
                        WHEN 'credits.expired' THEN e.version = 1
                        WHEN 'credits.adjusted' THEN e.version = 1
                        WHEN 'debt.settled' THEN e.version = 1
                        WHEN 'purchase.clawed' THEN e.version <= 3
                        WHEN 'purchase.restored' THEN e.version <= 2
                        WHEN 'credits.rolled_over' THEN e.version = 1
                        WHEN 'transfer.sent' THEN e.version = 1
                        WHEN 'transfer.received' THEN e.version = 1
                        -- Moves nothing.
                        WHEN 'limit.changed' THEN true
                        ELSE e.amount = 0 AND NOT e.body ?| '{lot,lots,draws,moves}' END);

INSERT INTO pending_counts (ledger_id, position, counts)
SELECT e.ledger_id, e.position, COALESCE((e.body ->> 'claw_on_pending')::boolean, false)
  FROM events e
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'ledger.configured';

-- A fact stands in the event of each purchase that it moves; only the first report of a state counts.
INSERT INTO payment_facts (ledger_id, payment, kind, object, state, rank, amount, currency, position)
SELECT DISTINCT ON (f.payment, f.kind, f.object, f.state)
       f.ledger_id, f.payment, f.kind, f.object, f.state,
       CASE f.state WHEN 'open' THEN 1 WHEN 'succeeded' THEN 1
                    WHEN 'won' THEN 2 WHEN 'lost' THEN 2 WHEN 'failed' THEN 2 WHEN 'cancelled' THEN 2
                    ELSE 0 END,
       f.amount, f.currency, f.position
  FROM (
       SELECT e.ledger_id, e.position, e.body ->> 'payment' AS payment, p.fact ->> 'kind' AS kind,
              COALESCE(p.fact ->> 'refund', p.fact ->> 'note', p.fact ->> 'dispute', p.fact ->> 'charge') AS object,
              COALESCE(p.fact ->> 'status', p.fact ->> 'amount_refunded') AS state,
              COALESCE(p.fact ->> 'amount', p.fact ->> 'amount_refunded')::bigint AS amount,
              p.fact ->> 'currency' AS currency
         FROM events e
        CROSS JOIN LATERAL (SELECT COALESCE(e.body #> '{cause,fact}', e.body -> 'fact') AS fact) p
        WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
          AND e.type IN ('payment.noted', 'purchase.clawed', 'purchase.restored')
          AND p.fact ->> 'kind' IN ('refund', 'credit_note', 'dispute', 'charge_refunded')
       ) f
 ORDER BY f.payment, f.kind, f.object, f.state, f.position
    ON CONFLICT (ledger_id, payment, kind, object, state) DO NOTHING;

INSERT INTO lots (ledger_id, lot, account_number, unit, entered_at, entered, position, expires_at, priority, purchase, origin,
                  granted, currency, cost, payment, paid, cost_before)
SELECT e.ledger_id,
       n.lot, e.account_number, e.unit, e.recorded_at, e.position, e.position - 1,
       (e.body ->> 'expires_at')::timestamptz,
       COALESCE((e.body ->> 'priority')::smallint, 50),
       n.purchase,
       CASE WHEN n.purchase IS NOT NULL THEN n.lot END,
       COALESCE(e.body ->> 'granted', e.body ->> 'adjusted')::bigint,
       e.body #>> '{money,currency}',
       (e.body ->> 'cost')::bigint,
       n.payment,
       COALESCE(e.body #>> '{paid_with,gross}', e.body #>> '{money,gross}')::bigint,
       CASE WHEN n.purchase IS NOT NULL THEN
           sum((e.body ->> 'cost')::bigint) OVER (PARTITION BY n.payment ORDER BY e.position) - (e.body ->> 'cost')::bigint
               + COALESCE((SELECT sum(o.cost) FROM lots o
                            WHERE o.ledger_id = $1 AND o.payment = n.payment AND o.lot = o.origin), 0)
       END
  FROM events e
 CROSS JOIN LATERAL (
       SELECT substr(e.body ->> 'lot', 5)::uuid AS lot,
              substr(e.body ->> 'purchase', 5)::uuid AS purchase,
              COALESCE(e.body ->> 'payment', e.body ->> 'purchase') AS payment
       OFFSET 0
       ) n
 WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
   AND e.type IN ('credits.purchased', 'credits.granted', 'credits.adjusted') AND n.lot IS NOT NULL;

-- Lots that others live on in; those may have been made by the same page.
INSERT INTO lots (ledger_id, lot, account_number, unit, entered_at, entered, position, expires_at, priority, purchase, parent,
                  origin, granted, currency, cost, payment, paid, cost_before)
WITH RECURSIVE made AS (
    SELECT e.ledger_id, e.position, e.account_number, e.unit, e.recorded_at,
           substr(m.parent, 5)::uuid AS parent, substr(m.lot, 5)::uuid AS lot, m.granted, m.expires_at, m.cost
      FROM events e
     CROSS JOIN LATERAL (
           SELECT d ->> 'lot' AS parent, d #>> '{into,lot}' AS lot, (d ->> 'amount')::bigint AS granted,
                  (d #>> '{into,expires_at}')::timestamptz AS expires_at, (d #>> '{into,cost}')::bigint AS cost
             FROM jsonb_array_elements(e.body -> 'moves') d
            WHERE e.type IN ('purchase.clawed', 'purchase.restored') AND d ? 'into'
            UNION ALL
           SELECT d ->> 'lot', d #>> '{into,lot}', (d ->> 'amount')::bigint, (d #>> '{into,expires_at}')::timestamptz,
                  (d #>> '{into,cost}')::bigint
             FROM jsonb_array_elements(e.body -> 'lots') d
            WHERE e.type = 'credits.rolled_over'
            UNION ALL
           SELECT d ->> 'of', d ->> 'lot', (d ->> 'granted')::bigint, (d ->> 'expires_at')::timestamptz,
                  (d ->> 'cost')::bigint
             FROM jsonb_array_elements(e.body -> 'lots') d
            WHERE e.type = 'transfer.received'
           ) m
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
       AND e.type IN ('purchase.clawed', 'purchase.restored', 'credits.rolled_over', 'transfer.received')
), found AS (
    SELECT m.ledger_id, m.lot, m.account_number, m.unit, m.recorded_at, m.position, m.expires_at, l.priority, l.purchase,
           m.parent, l.origin, m.granted, l.currency, m.cost, l.payment, l.paid, l.cost_before
      FROM made m
     CROSS JOIN LATERAL (SELECT o.* FROM lots o WHERE o.ledger_id = $1 AND o.lot = m.parent OFFSET 0) l
     UNION ALL
    SELECT m.ledger_id, m.lot, m.account_number, m.unit, m.recorded_at, m.position, m.expires_at, f.priority, f.purchase,
           m.parent, f.origin, m.granted, f.currency, m.cost, f.payment, f.paid, f.cost_before
      FROM found f
      JOIN made m ON m.parent = f.lot
)
SELECT f.ledger_id, f.lot, f.account_number, f.unit, f.recorded_at, f.position, f.position - 1, f.expires_at, f.priority,
       f.purchase, f.parent, f.origin, f.granted, f.currency, f.cost, f.payment, f.paid, f.cost_before
  FROM found f;

-- A subscription that ends takes the grace away that its lots had.
UPDATE lots l
   SET expires_at = s.expires_at
  FROM (
       SELECT substr(d ->> 'lot', 5)::uuid AS lot, (d ->> 'expires_at')::timestamptz AS expires_at
         FROM events e
        CROSS JOIN LATERAL jsonb_array_elements(e.body -> 'shortened') d
        WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'subscription.ended'
       OFFSET 0
       ) s
 WHERE l.ledger_id = $1 AND l.lot = s.lot
   -- Only these are looked at, whatever else is in the table.
   AND l.lot = ANY ((SELECT array_agg(substr(d ->> 'lot', 5)::uuid)
                       FROM events e
                      CROSS JOIN LATERAL jsonb_array_elements(e.body -> 'shortened') d
                      WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3
                        AND e.type = 'subscription.ended')::uuid[]);

-- What each event does to each lot that it touches: to its credits, and to its money. Of a lot is recognised what its used
-- credits cost: always counted from its beginning, so that the sum of what is rounded is what was paid. What has gone back
-- comes out of what is deferred first, and out of what was earned when that is used up.
INSERT INTO lot_changes (ledger_id, position, lot, remaining, held, disputed, spent, settled, expired, adjusted, clawed, moved,
                         back, refunded, carried_on, recognised, breakage, deferred)
WITH shifts AS MATERIALIZED (
    SELECT m.position, m.lot,
           sum(CASE 'remaining' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS remaining,
           sum(CASE 'held' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS held,
           sum(CASE 'disputed' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS disputed,
           sum(CASE 'spent' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS spent,
           sum(CASE 'settled' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS settled,
           sum(CASE 'expired' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS expired,
           sum(CASE 'adjusted' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS adjusted,
           sum(CASE 'clawed' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS clawed,
           sum(CASE 'moved' WHEN m.into THEN m.amount WHEN m.out_of THEN -m.amount ELSE 0 END)::bigint AS moved,
           COALESCE(sum(m.carried_on), 0)::bigint AS carried_on
      FROM (
           -- Most events by far, and the simplest.
           SELECT e.position, substr(d ->> 'lot', 5)::uuid AS lot, (d ->> 'amount')::bigint AS amount, 'remaining' AS out_of,
                  'spent' AS into, NULL::bigint AS carried_on
             FROM events e
            CROSS JOIN LATERAL jsonb_array_elements(e.body -> 'draws') d
            WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'credits.spent'
            UNION ALL
           SELECT e.position, substr(o.lot, 5)::uuid, o.amount, o.out_of, o.into, o.carried_on
             FROM events e
            CROSS JOIN LATERAL (
               SELECT d ->> 'lot' AS lot, (d ->> 'amount')::bigint AS amount, 'remaining' AS out_of,
                      CASE e.type WHEN 'credits.held' THEN 'held' ELSE 'adjusted' END AS into,
                      NULL::bigint AS carried_on
                 FROM jsonb_array_elements(e.body -> 'draws') d
                WHERE e.type IN ('credits.held', 'credits.adjusted')
                UNION ALL
               SELECT e.body ->> 'lot', (e.body ->> 'granted')::bigint, NULL, 'remaining', NULL
                WHERE e.type IN ('credits.purchased', 'credits.granted')
                UNION ALL
               SELECT e.body ->> 'lot', (e.body ->> 'adjusted')::bigint, NULL, 'remaining', NULL
                WHERE e.type = 'credits.adjusted' AND e.body ->> 'lot' IS NOT NULL
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'held', 'spent', NULL
                 FROM jsonb_array_elements(e.body -> 'draws') d
                WHERE e.type = 'hold.captured'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'held', 'remaining', NULL
                 FROM jsonb_array_elements(e.body -> 'returned') d
                WHERE e.type IN ('hold.captured', 'hold.released')
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'remaining', 'spent', NULL
                 FROM jsonb_array_elements(e.body -> 'excess') d
                WHERE e.type = 'hold.captured'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'remaining', 'expired', NULL
                 FROM jsonb_array_elements(e.body -> 'lots') d
                WHERE e.type = 'credits.expired'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'remaining', 'moved', (d #>> '{into,cost}')::bigint
                 FROM jsonb_array_elements(e.body -> 'lots') d
                WHERE e.type = 'credits.rolled_over'
                UNION ALL
               SELECT d #>> '{into,lot}', (d ->> 'amount')::bigint, NULL, 'remaining', NULL
                 FROM jsonb_array_elements(e.body -> 'lots') d
                WHERE e.type = 'credits.rolled_over'
                UNION ALL
               -- What goes with the credits that are sent stands in the recipient's event, which is the next one.
               SELECT d ->> 'of', (d ->> 'granted')::bigint, 'remaining', 'moved', (d ->> 'cost')::bigint
                 FROM (SELECT r.body FROM events r
                        WHERE r.ledger_id = $1 AND r.position = e.position + 1 AND r.type = 'transfer.received'
                       OFFSET 0) n
                CROSS JOIN LATERAL jsonb_array_elements(n.body -> 'lots') d
                WHERE e.type = 'transfer.sent'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'granted')::bigint, NULL, 'remaining', NULL
                 FROM jsonb_array_elements(e.body -> 'lots') d
                WHERE e.type = 'transfer.received'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint, 'remaining', 'settled', NULL
                 FROM jsonb_array_elements(e.body -> 'settlements') d
                WHERE e.type = 'debt.settled'
                UNION ALL
               SELECT d ->> 'lot', (d ->> 'amount')::bigint,
                      CASE d ->> 'move' WHEN 'own_taken' THEN 'remaining'
                                        WHEN 'own_returned' THEN 'disputed'
                                        WHEN 'own_clawed' THEN 'disputed'
                                        WHEN 'own_unclawed' THEN 'clawed'
                                        WHEN 'other_taken' THEN 'remaining'
                                        ELSE 'settled' END,
                      CASE d ->> 'move' WHEN 'own_taken' THEN 'disputed'
                                        WHEN 'own_clawed' THEN 'clawed'
                                        WHEN 'own_unclawed' THEN 'disputed'
                                        WHEN 'other_taken' THEN 'settled'
                                        ELSE CASE WHEN d ? 'into' THEN 'moved' ELSE 'remaining' END END,
                      (d #>> '{into,cost}')::bigint
                 FROM jsonb_array_elements(e.body -> 'moves') d
                WHERE e.type IN ('purchase.clawed', 'purchase.restored') AND d ? 'lot'
                UNION ALL
               SELECT d #>> '{into,lot}', (d ->> 'amount')::bigint, NULL, 'remaining', NULL
                 FROM jsonb_array_elements(e.body -> 'moves') d
                WHERE e.type IN ('purchase.clawed', 'purchase.restored') AND d ? 'into'
                  ) o
            WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type <> 'credits.spent'
              AND e.unit IS NOT NULL
           ) m
     GROUP BY m.position, m.lot
),
-- How much of the payment had gone back after an event that may have changed that, as the decision counted it. All lots of
-- the payment together give up what went back, to the cent.
backs AS (
    SELECT e.position, l.lot, l.back AS back_before,
           (div((l.cost_before + l.cost)::numeric * LEAST(b.back, l.paid), l.paid)
               - div(l.cost_before::numeric * LEAST(b.back, l.paid), l.paid))::bigint AS back
      FROM (SELECT p.position, p.unit, substr(p.body ->> 'purchase', 5)::uuid AS purchase
              FROM events p
             WHERE p.ledger_id = $1 AND p.position > $2 AND p.position <= $3
               AND p.type IN ('credits.purchased', 'purchase.clawed', 'purchase.restored')
            OFFSET 0) e
     CROSS JOIN LATERAL (
           SELECT o.lot, o.payment, o.currency, o.cost, o.cost_before, o.paid, o.back
             FROM lots o
            WHERE o.ledger_id = $1 AND o.purchase = e.purchase AND o.unit = e.unit
              AND o.lot = o.origin AND o.paid > 0
           OFFSET 0
           ) l
     CROSS JOIN LATERAL (
           SELECT COALESCE((SELECT p.counts FROM pending_counts p
                             WHERE p.ledger_id = $1 AND p.position <= e.position
                             ORDER BY p.position DESC LIMIT 1), false) AS counts
           OFFSET 0
           ) pending
     CROSS JOIN LATERAL (
           -- No sum of a charge has credit notes in it, so that they count beside it.
           SELECT COALESCE(sum(s.amount) FILTER (WHERE s.kind = 'refund' AND s.state = 'succeeded'), 0) AS succeeded,
                  COALESCE(sum(s.amount) FILTER (WHERE s.kind = 'refund' AND s.state = 'pending'), 0) AS pending,
                  COALESCE(sum(s.amount) FILTER (WHERE s.kind = 'refund' AND s.state IN ('failed', 'cancelled')), 0) AS undone,
                  COALESCE(sum(s.amount) FILTER (WHERE s.kind = 'credit_note' AND s.state = 'succeeded'), 0) AS credited,
                  COALESCE(sum(s.amount) FILTER (WHERE s.state = 'lost'), 0) AS lost,
                  COALESCE(max(s.amount) FILTER (WHERE s.kind = 'charge_refunded'), 0) AS charged
             -- Of a refund or dispute its last state counts; of the sums that a charge has shown the highest.
             FROM (SELECT DISTINCT ON (r.kind, r.object, r.shown) r.kind, r.state, r.amount, r.currency
                     FROM (SELECT p.*, CASE p.kind WHEN 'charge_refunded' THEN p.state END AS shown
                             FROM payment_facts p
                            WHERE p.ledger_id = $1 AND p.payment = l.payment AND p.position <= e.position) r
                    ORDER BY r.kind, r.object, r.shown, r.rank DESC, r.position) s
            WHERE s.currency = l.currency
           OFFSET 0
           ) f
     CROSS JOIN LATERAL (
           SELECT f.lost + f.credited
                       + CASE WHEN pending.counts THEN GREATEST(f.succeeded + f.pending, f.charged - f.undone)
                              ELSE GREATEST(f.succeeded, f.charged - f.undone - f.pending) END AS back
           ) b
),
-- Lots that others live on in give money back by the credits that are taken of them; the rest comes out of the origin.
successors AS (
    SELECT r.position, r.lot, r.origin,
           (div(r.cost::numeric * r.clawed_after, r.granted)
               - div(r.cost::numeric * (r.clawed_after - r.clawed), r.granted))::bigint AS refunded
      FROM (
           SELECT s.position, s.lot, s.clawed, l.origin, l.cost, l.granted,
                  (l.clawed + sum(s.clawed) OVER (PARTITION BY s.lot ORDER BY s.position))::bigint AS clawed_after
             FROM shifts s
            CROSS JOIN LATERAL (
                  SELECT o.origin, o.cost, o.granted, o.clawed FROM lots o
                   WHERE o.ledger_id = $1 AND o.lot = s.lot AND o.origin <> o.lot
                  OFFSET 0
                  ) l
            WHERE s.clawed <> 0
           ) r
),
refunds AS (
    SELECT b.position, b.lot,
           b.back - lag(b.back, 1, b.back_before) OVER (PARTITION BY b.lot ORDER BY b.position) AS back,
           b.back - lag(b.back, 1, b.back_before) OVER (PARTITION BY b.lot ORDER BY b.position) AS refunded
      FROM backs b
     UNION ALL
    SELECT s.position, s.origin, 0, -s.refunded FROM successors s
     UNION ALL
    SELECT s.position, s.lot, 0, s.refunded FROM successors s
),
moved AS (
    SELECT m.position, m.lot, sum(m.remaining)::bigint AS remaining, sum(m.held)::bigint AS held,
           sum(m.disputed)::bigint AS disputed, sum(m.spent)::bigint AS spent, sum(m.settled)::bigint AS settled,
           sum(m.expired)::bigint AS expired, sum(m.adjusted)::bigint AS adjusted, sum(m.clawed)::bigint AS clawed,
           sum(m.moved)::bigint AS moved, sum(m.carried_on)::bigint AS carried_on, sum(m.back)::bigint AS back,
           sum(m.refunded)::bigint AS refunded
      FROM (
           SELECT s.position, s.lot, s.remaining, s.held, s.disputed, s.spent, s.settled, s.expired, s.adjusted,
                  s.clawed, s.moved, s.carried_on, 0 AS back, 0 AS refunded
             FROM shifts s
            UNION ALL
           SELECT r.position, r.lot, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, r.back, r.refunded FROM refunds r
           ) m
     GROUP BY m.position, m.lot
),
running AS (
    SELECT m.*, l.cost, l.granted,
           l.recognised AS recognised_before, l.breakage AS breakage_before, l.deferred AS deferred_before,
           l.live + sum(m.remaining + m.held + m.disputed) OVER w AS live,
           l.used + sum(m.spent + m.settled) OVER w AS used,
           l.lost + sum(m.expired + m.adjusted) OVER w AS lost,
           l.kept - sum(m.carried_on + m.refunded) OVER w AS kept
      FROM moved m
     CROSS JOIN LATERAL (
           SELECT o.cost, o.granted, o.recognised, o.breakage, o.deferred, o.remaining + o.held + o.disputed AS live,
                  o.spent + o.settled AS used, o.expired + o.adjusted AS lost,
                  COALESCE(o.cost, 0) - o.carried_on - o.refunded AS kept
             FROM lots o
            WHERE o.ledger_id = $1 AND o.lot = m.lot
           OFFSET 0
           ) l
    WINDOW w AS (PARTITION BY m.lot ORDER BY m.position)
),
earning AS (
    SELECT r.*, CASE WHEN r.live = 0 OR r.cost IS NULL THEN 0
                     ELSE GREATEST(r.kept - div(r.cost * (r.used + r.lost), r.granted), 0) END AS deferred
      FROM running r
),
standing AS (
    SELECT e.*, CASE WHEN e.cost IS NULL THEN 0
                     WHEN e.lost = 0 THEN e.kept - e.deferred
                     ELSE LEAST(e.kept - e.deferred, div(e.cost * e.used, e.granted)) END AS recognised
      FROM earning e
)
SELECT h.ledger_id, s.position, s.lot, s.remaining, s.held, s.disputed, s.spent, s.settled, s.expired, s.adjusted, s.clawed,
       s.moved, s.back, s.refunded, s.carried_on, s.recognised, s.breakage, s.deferred
  FROM ledger_heads h
 CROSS JOIN LATERAL (
       SELECT s.position, s.lot, s.remaining, s.held, s.disputed, s.spent, s.settled, s.expired, s.adjusted, s.clawed,
              s.moved, s.back, s.refunded, s.carried_on,
              s.recognised - lag(s.recognised, 1, s.recognised_before::numeric) OVER w AS recognised,
              s.kept - s.deferred - s.recognised
                  - lag(s.kept - s.deferred - s.recognised, 1, s.breakage_before::numeric) OVER w AS breakage,
              s.deferred - lag(s.deferred, 1, s.deferred_before::numeric) OVER w AS deferred
         FROM standing s
       WINDOW w AS (PARTITION BY s.lot ORDER BY s.position)
       OFFSET 0
       ) s
 WHERE h.ledger_id = $1
 ORDER BY s.position, s.lot;

INSERT INTO journal (ledger_id, position, currency, account_number, type, day, sold, refunded, carried, recognised, breakage,
                     deferred)
SELECT j.ledger_id, j.position, j.currency, j.account_number, e.type, (e.recorded_at AT TIME ZONE 'UTC')::date,
       j.sold, j.refunded, j.carried, j.recognised, j.breakage, j.deferred
  FROM (
       SELECT c.ledger_id, c.position, l.currency, l.account_number,
              sum(CASE WHEN l.is_sold AND c.position = l.entered THEN l.cost ELSE 0 END) AS sold,
              sum(c.refunded) AS refunded,
              sum(CASE WHEN NOT l.is_sold AND c.position = l.entered THEN l.cost ELSE 0 END - c.carried_on) AS carried,
              sum(c.recognised) AS recognised, sum(c.breakage) AS breakage, sum(c.deferred) AS deferred
         FROM lot_changes c
        CROSS JOIN LATERAL (
              SELECT o.currency, o.account_number, o.entered, o.cost, o.lot = o.origin AS is_sold
                FROM lots o
               WHERE o.ledger_id = $1 AND o.lot = c.lot AND o.cost IS NOT NULL
              OFFSET 0
              ) l
        WHERE c.ledger_id = $1 AND c.position > $2 AND c.position <= $3
        GROUP BY c.ledger_id, c.position, l.currency, l.account_number
       ) j
 CROSS JOIN LATERAL (
       SELECT e.type, e.recorded_at FROM events e WHERE e.ledger_id = $1 AND e.position = j.position OFFSET 0
       ) e
 WHERE (j.sold, j.refunded, j.carried, j.recognised, j.breakage, j.deferred) <> (0, 0, 0, 0, 0, 0)
 ORDER BY j.position;

-- Where the changes leave each lot. An update that joins might begin with all lots that there are.
INSERT INTO lots (ledger_id, lot, account_number, unit, entered_at, entered, position, priority, granted, remaining, held,
                  disputed, spent, settled, expired, adjusted, clawed, moved, currency, cost, purchase, origin, payment, paid,
                  cost_before, back, refunded, carried_on, recognised, breakage, deferred)
SELECT l.ledger_id, l.lot, l.account_number, l.unit, l.entered_at, l.entered, GREATEST(l.position, c.position), l.priority,
       l.granted, l.remaining + c.remaining, l.held + c.held, l.disputed + c.disputed, l.spent + c.spent,
       l.settled + c.settled, l.expired + c.expired, l.adjusted + c.adjusted, l.clawed + c.clawed, l.moved + c.moved,
       l.currency, l.cost, l.purchase, l.origin, l.payment, l.paid, l.cost_before, l.back + c.back, l.refunded + c.refunded,
       l.carried_on + c.carried_on, l.recognised + c.recognised, l.breakage + c.breakage, l.deferred + c.deferred
  FROM (
       SELECT s.lot, max(s.position) AS position, sum(s.remaining)::bigint AS remaining, sum(s.held)::bigint AS held,
              sum(s.disputed)::bigint AS disputed, sum(s.spent)::bigint AS spent, sum(s.settled)::bigint AS settled,
              sum(s.expired)::bigint AS expired, sum(s.adjusted)::bigint AS adjusted, sum(s.clawed)::bigint AS clawed,
              sum(s.moved)::bigint AS moved, sum(s.back)::bigint AS back, sum(s.refunded)::bigint AS refunded,
              sum(s.carried_on)::bigint AS carried_on, sum(s.recognised)::bigint AS recognised,
              sum(s.breakage)::bigint AS breakage, sum(s.deferred)::bigint AS deferred
         FROM lot_changes s
        WHERE s.ledger_id = $1 AND s.position > $2 AND s.position <= $3
        GROUP BY s.lot
       ) c
 CROSS JOIN LATERAL (SELECT o.* FROM lots o WHERE o.ledger_id = $1 AND o.lot = c.lot OFFSET 0) l
    ON CONFLICT (ledger_id, lot) DO UPDATE
   SET position = excluded.position, remaining = excluded.remaining, held = excluded.held, disputed = excluded.disputed,
       spent = excluded.spent, settled = excluded.settled, expired = excluded.expired, adjusted = excluded.adjusted,
       clawed = excluded.clawed, moved = excluded.moved, back = excluded.back, refunded = excluded.refunded,
       carried_on = excluded.carried_on, recognised = excluded.recognised, breakage = excluded.breakage,
       deferred = excluded.deferred;

INSERT INTO revenue (ledger_id, currency, day, deferred_at_open, sold, recognised, breakage, refunded)
SELECT d.ledger_id, d.currency, d.day,
       COALESCE((SELECT r.deferred_at_close FROM revenue r
                  WHERE r.ledger_id = $1 AND r.currency = d.currency ORDER BY r.day DESC LIMIT 1), 0)
           + sum(d.change) OVER (PARTITION BY d.currency ORDER BY d.day) - d.change,
       d.sold, d.recognised, d.breakage, d.refunded
  FROM (
       SELECT j.ledger_id, j.currency, j.day, sum(j.sold) AS sold, sum(j.recognised) AS recognised,
              sum(j.breakage) AS breakage, sum(j.refunded) AS refunded,
              sum(j.sold - j.recognised - j.breakage - j.refunded) AS change
         FROM journal j
        WHERE j.ledger_id = $1 AND j.position > $2 AND j.position <= $3
        GROUP BY j.ledger_id, j.currency, j.day
       ) d
 ORDER BY d.currency, d.day
    ON CONFLICT (ledger_id, currency, day) DO UPDATE
   SET sold = revenue.sold + excluded.sold,
       recognised = revenue.recognised + excluded.recognised,
       breakage = revenue.breakage + excluded.breakage,
       refunded = revenue.refunded + excluded.refunded;

INSERT INTO deferred_days (ledger_id, account_number, currency, day, deferred)
SELECT d.ledger_id, d.account_number, d.currency, d.day,
       COALESCE((SELECT b.deferred FROM deferred_days b
                  WHERE b.ledger_id = $1 AND b.account_number = d.account_number AND b.currency = d.currency
                  ORDER BY b.day DESC LIMIT 1), 0)
           + sum(d.change) OVER (PARTITION BY d.account_number, d.currency ORDER BY d.day)
  FROM (
       SELECT j.ledger_id, j.account_number, j.currency, j.day, sum(j.deferred) AS change
         FROM journal j
        WHERE j.ledger_id = $1 AND j.position > $2 AND j.position <= $3
        GROUP BY j.ledger_id, j.account_number, j.currency, j.day
       ) d
 ORDER BY d.account_number, d.currency, d.day
    ON CONFLICT (ledger_id, account_number, currency, day) DO UPDATE SET deferred = excluded.deferred;
