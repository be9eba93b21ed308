-- Which events are whose: what an account's history is read by.
CREATE TABLE history_entries (
    ledger_id      bigint NOT NULL,
    account_number bigint NOT NULL,
    position       bigint NOT NULL,
    -- Read backwards from a position: newest first, however long the history is.
    PRIMARY KEY (ledger_id, account_number, position)
);

-- What the events say, told when it is read: an event never changes, so to keep its words beside it would only be to keep it
-- twice. Words only, in English and in German: amounts stand in columns of their own, because how a unit is written is a
-- setting and not a fact. Money is written out, with the decimals of its currency. Nothing here can fail, whatever a body
-- holds: a page can always be read.
CREATE VIEW history AS
SELECT h.ledger_id,
       h.account_number,
       h.position,
       e.type,
       e.unit,
       e.amount,
       e.balance_after,
       t.words[1] AS description,
       t.words[2] AS description_de,
       e.recorded_at,
       e.effective_at,
       e.actor,
       COALESCE(e.body ->> 'spend', e.body ->> 'hold', e.body ->> 'refund', e.body ->> 'order', e.body ->> 'transfer', e.body ->> 'purchase',
                e.body ->> 'lot', e.body ->> 'subscription') AS reference
  FROM history_entries h
  JOIN events e ON e.ledger_id = h.ledger_id AND e.position = h.position
 CROSS JOIN LATERAL (
       SELECT COALESCE(e.body #>> '{money,currency}', e.body ->> 'currency') AS currency,
              COALESCE(e.body #>> '{money,gross}', e.body ->> 'amount') AS amount
       ) p
 CROSS JOIN LATERAL (
       SELECT upper(p.currency) || ' ' ||
              CASE WHEN p.currency IN ('bif', 'clp', 'djf', 'gnf', 'jpy', 'kmf', 'krw', 'mga', 'pyg',
                                       'rwf', 'ugx', 'vnd', 'vuv', 'xaf', 'xof', 'xpf')
                        OR p.amount !~ '^[0-9]+$'
                   THEN p.amount
                   WHEN p.currency IN ('bhd', 'jod', 'kwd', 'omr', 'tnd')
                   THEN to_char(p.amount::numeric / 1000, 'FM9999999999999990.000')
                   ELSE to_char(p.amount::numeric / 100, 'FM99999999999999990.00')
              END AS written
       ) m
 CROSS JOIN LATERAL (
       SELECT CASE e.body #>> '{cause,fact,kind}'
                  WHEN 'refund' THEN
                      CASE e.body #>> '{cause,fact,status}'
                          WHEN 'succeeded' THEN ARRAY['a refund succeeded', 'eine Erstattung ist erfolgt']
                          WHEN 'failed' THEN ARRAY['a refund failed', 'eine Erstattung ist gescheitert']
                          WHEN 'cancelled' THEN ARRAY['a refund was cancelled', 'eine Erstattung wurde abgebrochen']
                          ELSE ARRAY['a refund is pending', 'eine Erstattung ist unterwegs'] END
                  WHEN 'credit_note' THEN
                      CASE e.body #>> '{cause,fact,status}'
                          WHEN 'cancelled' THEN ARRAY['a credit note was voided', 'eine Gutschrift wurde storniert']
                          ELSE ARRAY['a credit note was issued', 'eine Gutschrift wurde ausgestellt'] END
                  WHEN 'charge_refunded' THEN ARRAY['the payment was refunded', 'die Zahlung wurde erstattet']
                  WHEN 'fraud_warning' THEN ARRAY['the card''s network warns of fraud', 'das Kartennetz warnt vor Betrug']
                  WHEN 'dispute' THEN
                      CASE e.body #>> '{cause,fact,status}'
                          WHEN 'won' THEN ARRAY['a dispute was won', 'ein Zahlungsstreit wurde gewonnen']
                          WHEN 'lost' THEN ARRAY['a dispute was lost', 'ein Zahlungsstreit wurde verloren']
                          WHEN 'open' THEN ARRAY['the payment is disputed', 'die Zahlung wird bestritten']
                          ELSE ARRAY['the bank asks about the payment', 'die Bank fragt nach der Zahlung'] END
                  ELSE
                      CASE WHEN e.body ->> 'cause' = 'noted_before'
                           THEN ARRAY['the payment was refunded or disputed early',
                                      'die Zahlung wurde früh erstattet oder bestritten']
                           WHEN e.body ->> 'cause' = 'credits_returned'
                           THEN ARRAY['credits of a refunded payment came back',
                                      'Credits einer erstatteten Zahlung kamen zurück']
                           WHEN e.body -> 'cause' ? 'refund_requested'
                           THEN ARRAY['a refund was asked for', 'eine Erstattung wurde erbeten']
                           WHEN e.body -> 'cause' ? 'refund_refused'
                           THEN ARRAY['a refund was refused', 'eine Erstattung wurde abgelehnt']
                           ELSE ARRAY['the payment changed', 'die Zahlung hat sich geändert'] END
              END AS words
       ) c
 CROSS JOIN LATERAL (
       SELECT CASE e.type
                  WHEN 'account.opened' THEN ARRAY['Account opened', 'Konto eröffnet']
                  WHEN 'account.changed' THEN
                      CASE WHEN e.body -> 'fields' ? 'erased'
                           THEN ARRAY['Personal data erased', 'Personenbezogene Daten gelöscht']
                           ELSE (SELECT ARRAY[concat('Account details changed: ', string_agg(f.name, ', ' ORDER BY f.place)),
                                              concat('Kontodaten geändert: ', string_agg(f.name_de, ', ' ORDER BY f.place))]
                                   FROM (SELECT a.field #>> '{}' AS name,
                                                CASE a.field #>> '{}' WHEN 'email' THEN 'E-Mail'
                                                                      WHEN 'name' THEN 'Name'
                                                                      WHEN 'locale' THEN 'Sprache'
                                                                      WHEN 'metadata' THEN 'eigene Angaben'
                                                                      ELSE a.field #>> '{}' END AS name_de,
                                                a.place
                                           FROM jsonb_path_query(e.body, '$.fields[*]') WITH ORDINALITY a (field, place)) f) END
                  WHEN 'account.frozen' THEN
                      CASE e.body ->> 'cause'
                          WHEN 'dispute' THEN ARRAY['Account frozen: a payment is disputed',
                                                    'Konto gesperrt: eine Zahlung wird bestritten']
                          WHEN 'fraud_warning' THEN ARRAY['Account frozen: the card''s network warns of fraud',
                                                          'Konto gesperrt: das Kartennetz warnt vor Betrug']
                          ELSE ARRAY['Account frozen', 'Konto gesperrt'] END
                  WHEN 'account.unfrozen' THEN ARRAY['Account unfrozen', 'Konto entsperrt']
                  WHEN 'account.closed' THEN ARRAY['Account closed', 'Konto geschlossen']
                  WHEN 'credits.purchased' THEN
                      (SELECT ARRAY[concat('Bought ', e.unit, ' for ', m.written, b.what),
                                    concat('Gekauft: ', e.unit, ' für ', replace(m.written, '.', ','), b.what)]
                         FROM (SELECT ' (' || (e.body ->> 'price') || ' × ' || COALESCE(e.body ->> 'quantity', '1') || ')' AS what) b)
                  WHEN 'credits.granted' THEN
                      CASE WHEN e.body ->> 'source' = 'requested'
                           THEN ARRAY[concat('Granted ', e.unit), concat('Gutgeschrieben: ', e.unit)]
                           WHEN e.body ->> 'source' = 'sign_up'
                           THEN ARRAY[concat('Granted ', e.unit, ' to a new account'),
                                      concat('Gutgeschrieben zur Eröffnung: ', e.unit)]
                           WHEN e.body -> 'source' ? 'trial'
                           THEN ARRAY[concat('Granted ', e.unit, ' for a trial'),
                                      concat('Gutgeschrieben zur Probe: ', e.unit)]
                           WHEN e.body -> 'source' ? 'invoice_line'
                           THEN ARRAY[concat('Granted ', e.unit, ' by a subscription at no charge'),
                                      concat('Gutgeschrieben durch kostenloses Abonnement: ', e.unit)]
                           ELSE ARRAY[concat('Granted ', e.unit, ' by a checkout at no charge'),
                                      concat('Gutgeschrieben nach kostenlosem Checkout: ', e.unit)] END
                  WHEN 'credits.spent' THEN
                      (SELECT ARRAY[concat('Spent ', e.unit, ' on ' || s.feature, s.times,
                                           CASE WHEN s.is_overdrawn THEN ', overdrawing the account' END),
                                    concat('Verbraucht: ', e.unit, ' für ' || s.feature, s.times,
                                           CASE WHEN s.is_overdrawn THEN ', das Konto ist damit überzogen' END)]
                         FROM (SELECT e.body ->> 'feature' AS feature,
                                      ' × ' || NULLIF(e.body ->> 'quantity', '1') AS times,
                                      e.body ? 'overdraft' AS is_overdrawn) s)
                  WHEN 'credits.held' THEN ARRAY[concat('Set ', e.unit, ' aside for a job'),
                                                 concat('Für einen Auftrag zurückgelegt: ', e.unit)]
                  WHEN 'hold.captured' THEN ARRAY['Charged for a job', 'Für einen Auftrag abgerechnet']
                  WHEN 'hold.released' THEN
                      CASE e.body ->> 'cause'
                          WHEN 'lapsed' THEN ARRAY['Released what was set aside for a job: its time ran out',
                                                   'Für einen Auftrag Zurückgelegtes wieder frei: seine Zeit ist abgelaufen']
                          ELSE ARRAY['Released what was set aside for a job', 'Für einen Auftrag Zurückgelegtes wieder frei'] END
                  WHEN 'credits.expired' THEN ARRAY[concat('Expired ', e.unit), concat('Verfallen: ', e.unit)]
                  WHEN 'credits.adjusted' THEN
                      CASE WHEN e.body ->> 'adjusted' ~ '^[1-9]'
                           THEN ARRAY[concat('Added ', e.unit, ' by hand'), concat('Von Hand hinzugefügt: ', e.unit)]
                           ELSE ARRAY[concat('Removed ', e.unit, ' by hand'), concat('Von Hand entfernt: ', e.unit)] END
                  WHEN 'purchase.clawed' THEN
                      CASE WHEN e.amount < 0
                           THEN ARRAY[concat('Took ', e.unit, ' back: ', c.words[1]),
                                      concat('Zurückgenommen: ', e.unit, ', ', c.words[2])]
                           ELSE ARRAY[concat('Took no ', e.unit, ' back: ', c.words[1]),
                                      concat('Nicht zurückgenommen: ', e.unit, ', ', c.words[2])] END
                  WHEN 'purchase.restored' THEN
                      CASE WHEN e.amount > 0
                           THEN ARRAY[concat('Gave ', e.unit, ' back: ', c.words[1]),
                                      concat('Zurückgegeben: ', e.unit, ', ', c.words[2])]
                           ELSE ARRAY[concat('Gave no ', e.unit, ' back: ', c.words[1]),
                                      concat('Nicht zurückgegeben: ', e.unit, ', ', c.words[2])] END
                  WHEN 'transfer.sent' THEN ARRAY[concat('Sent ', e.unit, ' to another account'),
                                                  concat('An ein anderes Konto gesendet: ', e.unit)]
                  WHEN 'transfer.received' THEN ARRAY[concat('Received ', e.unit, ' from another account'),
                                                      concat('Von einem anderen Konto erhalten: ', e.unit)]
                  WHEN 'debt.settled' THEN ARRAY[concat('Paid off debt of ', e.unit), concat('Schulden beglichen: ', e.unit)]
                  WHEN 'customer.linked' THEN
                      CASE e.body ->> 'cause'
                          WHEN 'deleted' THEN ARRAY['Customer at Stripe is gone', 'Kunde bei Stripe gelöscht']
                          ELSE ARRAY['Linked to a customer at Stripe', 'Mit einem Kunden bei Stripe verknüpft'] END
                  WHEN 'order.placed' THEN
                      ARRAY[concat('Began a checkout (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')'),
                            concat('Checkout begonnen (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')]
                  WHEN 'order.session_created' THEN ARRAY['Checkout is ready to be paid', 'Checkout kann bezahlt werden']
                  WHEN 'order.paid' THEN
                      CASE WHEN e.body ->> 'again' = 'true'
                           THEN ARRAY['Checkout was paid once more', 'Checkout wurde noch einmal bezahlt']
                           ELSE ARRAY['Checkout was paid', 'Checkout wurde bezahlt'] END
                  WHEN 'order.expired' THEN ARRAY['Checkout was not paid in time', 'Checkout wurde nicht rechtzeitig bezahlt']
                  WHEN 'order.failed' THEN
                      CASE e.body ->> 'reason'
                          WHEN 'payment_failed' THEN ARRAY['Checkout failed: its payment did not arrive',
                                                           'Checkout gescheitert: die Zahlung ging nicht ein']
                          WHEN 'refused' THEN ARRAY['Checkout failed: Stripe refused it',
                                                    'Checkout gescheitert: Stripe hat ihn abgelehnt']
                          ELSE ARRAY['Checkout failed: it was given up', 'Checkout gescheitert: er wurde aufgegeben'] END
                  WHEN 'refund.requested' THEN
                      ARRAY[concat('Asked for a refund of ', m.written),
                            concat('Erstattung von ', replace(m.written, '.', ','), ' erbeten')]
                  WHEN 'refund.refused' THEN
                      CASE e.body ->> 'reason'
                          WHEN 'already_refunded' THEN ARRAY['Refund refused: the money has gone back already',
                                                             'Erstattung abgelehnt: das Geld ging schon zurück']
                          WHEN 'disputed' THEN ARRAY['Refund refused: the payment is disputed',
                                                     'Erstattung abgelehnt: die Zahlung wird bestritten']
                          WHEN 'insufficient_funds' THEN ARRAY['Refund refused: the balance at Stripe does not cover it',
                                                               'Erstattung abgelehnt: das Guthaben bei Stripe reicht nicht aus']
                          WHEN 'refused' THEN ARRAY['Refund refused: Stripe does not do it',
                                                    'Erstattung abgelehnt: Stripe führt sie nicht aus']
                          ELSE ARRAY['Refund refused: it was given up', 'Erstattung abgelehnt: sie wurde aufgegeben'] END
                  WHEN 'checkout_link.created' THEN
                      ARRAY[concat('Made a link to buy (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')'),
                            concat('Link zum Kaufen erstellt (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')]
                  WHEN 'checkout_link.revoked' THEN ARRAY['Revoked a link to buy', 'Link zum Kaufen widerrufen']
                  WHEN 'subscription.started' THEN ARRAY['Subscription started', 'Abonnement begonnen']
                  WHEN 'subscription.changed' THEN
                      CASE WHEN e.body -> 'change' ? 'prorated'
                           THEN ARRAY['Subscription changed within its period', 'Abonnement während des Zeitraums geändert']
                           WHEN e.body #>> '{change,terms,status}' = 'past_due'
                           THEN ARRAY['Subscription payment is overdue', 'Zahlung des Abonnements ist überfällig']
                           WHEN e.body #>> '{change,terms,status}' = 'unpaid'
                           THEN ARRAY['Subscription is not paid', 'Abonnement ist nicht bezahlt']
                           WHEN e.body #>> '{change,terms,cancel_at_period_end}' = 'true'
                           THEN ARRAY['Subscription changed: it ends with its period',
                                      'Abonnement geändert: es endet mit dem Zeitraum']
                           ELSE ARRAY['Subscription changed', 'Abonnement geändert'] END
                  WHEN 'subscription.change_requested' THEN
                      CASE WHEN e.body #>> '{change,cancel,at}' = 'now'
                           THEN ARRAY['Asked to end the subscription at once', 'Sofortiges Ende des Abonnements erbeten']
                           WHEN e.body -> 'change' ? 'cancel'
                           THEN ARRAY['Asked to end the subscription with its period',
                                      'Ende des Abonnements mit dem Zeitraum erbeten']
                           WHEN e.body -> 'change' ? 'resume'
                           THEN ARRAY['Asked to let the subscription go on', 'Fortsetzung des Abonnements erbeten']
                           ELSE (SELECT ARRAY[concat('Asked to change the subscription to ', s.price, ' × ', s.quantity),
                                              concat('Wechsel des Abonnements erbeten: ', s.price, ' × ', s.quantity)]
                                   FROM (SELECT e.body #>> '{change,switch,price}' AS price,
                                                e.body #>> '{change,switch,quantity}' AS quantity) s) END
                  WHEN 'subscription.change_settled' THEN
                      CASE e.body ->> 'refusal'
                          WHEN 'subscription_ended' THEN ARRAY['Change of subscription refused: it has ended',
                                                               'Änderung des Abonnements abgelehnt: es ist beendet']
                          WHEN 'payment_failed' THEN ARRAY['Change of subscription refused: it was not paid',
                                                           'Änderung des Abonnements abgelehnt: sie wurde nicht bezahlt']
                          WHEN 'item_gone' THEN ARRAY['Change of subscription refused: the price is not subscribed to any more',
                                                      'Änderung des Abonnements abgelehnt: der Preis ist nicht mehr Teil davon']
                          WHEN 'refused' THEN ARRAY['Change of subscription refused: Stripe does not make it',
                                                    'Änderung des Abonnements abgelehnt: Stripe führt sie nicht aus']
                          WHEN 'given_up' THEN ARRAY['Change of subscription refused: it was given up',
                                                     'Änderung des Abonnements abgelehnt: sie wurde aufgegeben']
                          ELSE ARRAY['Change of subscription made', 'Änderung des Abonnements ausgeführt'] END
                  WHEN 'subscription.ended' THEN ARRAY['Subscription ended', 'Abonnement beendet']
                  WHEN 'credits.rolled_over' THEN ARRAY[concat('Moved ', e.unit, ' into the next period'),
                                                        concat('In den nächsten Zeitraum übernommen: ', e.unit)]
                  WHEN 'limit.changed' THEN
                      CASE WHEN e.body ->> 'overdraft' ~ '^[1-9]'
                           THEN ARRAY[concat('Overdraft limit of ', e.unit, ' changed'),
                                      concat('Überziehungsrahmen geändert: ', e.unit)]
                           ELSE ARRAY[concat('Overdraft of ', e.unit, ' no longer allowed'),
                                      concat('Überziehen nicht mehr erlaubt: ', e.unit)] END
                  -- Written by a newer release; a later version of this projection will know the words.
                  ELSE ARRAY[e.type, e.type]
              END AS words
        -- Told once and not once for each language.
        OFFSET 0
       ) t;
