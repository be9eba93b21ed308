-- Which events are whose: what an account's history is read by.
CREATE TABLE history_entries (
    ledger_id      bigint NOT NULL,
    account_number bigint NOT NULL,
    position       bigint NOT NULL,
    -- Read backwards from a position: newest first, however long the history is.
    PRIMARY KEY (ledger_id, account_number, position)
);

-- What the events say, told when it is read: an event never changes, so to keep its words beside it would only be to keep it
-- twice. Words only: amounts stand in columns of their own, because how a unit is written is a setting and not a fact. Money
-- is written out, with the decimals of its currency. Nothing here can fail, whatever a body holds: a page can always be read.
CREATE VIEW history AS
SELECT h.ledger_id,
       h.account_number,
       h.position,
       e.type,
       e.unit,
       e.amount,
       e.balance_after,
       CASE e.type
           WHEN 'account.opened' THEN 'Account opened'
           WHEN 'account.changed' THEN
               CASE WHEN e.body -> 'fields' ? 'erased' THEN 'Personal data erased'
                    ELSE concat('Account details changed: ',
                                (SELECT string_agg(f.field #>> '{}', ', ' ORDER BY f.place)
                                   FROM jsonb_path_query(e.body, '$.fields[*]') WITH ORDINALITY f (field, place)))
               END
           WHEN 'account.frozen' THEN
               CASE e.body ->> 'cause' WHEN 'dispute' THEN 'Account frozen: a payment is disputed'
                                       WHEN 'fraud_warning' THEN 'Account frozen: the card''s network warns of fraud'
                                       ELSE 'Account frozen' END
           WHEN 'account.unfrozen' THEN 'Account unfrozen'
           WHEN 'account.closed' THEN 'Account closed'
           WHEN 'credits.purchased' THEN
               concat('Bought ', e.unit, ' for ', m.written,
                      ' (' || (e.body ->> 'price') || ' × ' || COALESCE(e.body ->> 'quantity', '1') || ')')
           WHEN 'credits.granted' THEN
               CASE WHEN e.body ->> 'source' = 'requested' THEN concat('Granted ', e.unit)
                    WHEN e.body ->> 'source' = 'sign_up' THEN concat('Granted ', e.unit, ' to a new account')
                    WHEN e.body -> 'source' ? 'trial' THEN concat('Granted ', e.unit, ' for a trial')
                    WHEN e.body -> 'source' ? 'invoice_line'
                    THEN concat('Granted ', e.unit, ' by a subscription at no charge')
                    ELSE concat('Granted ', e.unit, ' by a checkout at no charge') END
           WHEN 'credits.spent' THEN
               concat('Spent ', e.unit,
                      ' on ' || (e.body ->> 'feature'),
                      ' × ' || NULLIF(e.body ->> 'quantity', '1'),
                      CASE WHEN e.body ? 'overdraft' THEN ', overdrawing the account' END)
           WHEN 'credits.held' THEN concat('Set ', e.unit, ' aside for a job')
           WHEN 'hold.captured' THEN 'Charged for a job'
           WHEN 'hold.released' THEN
               CASE e.body ->> 'cause' WHEN 'lapsed' THEN 'Released what was set aside for a job: its time ran out'
                                       ELSE 'Released what was set aside for a job' END
           WHEN 'credits.expired' THEN concat('Expired ', e.unit)
           WHEN 'credits.adjusted' THEN
               CASE WHEN e.body ->> 'adjusted' ~ '^[1-9]' THEN concat('Added ', e.unit, ' by hand')
                    ELSE concat('Removed ', e.unit, ' by hand') END
           WHEN 'purchase.clawed' THEN
               concat(CASE WHEN e.amount < 0 THEN 'Took ' || e.unit || ' back: '
                           ELSE 'Took no ' || e.unit || ' back: ' END, c.cause)
           WHEN 'purchase.restored' THEN
               concat(CASE WHEN e.amount > 0 THEN 'Gave ' || e.unit || ' back: '
                           ELSE 'Gave no ' || e.unit || ' back: ' END, c.cause)
           WHEN 'transfer.sent' THEN concat('Sent ', e.unit, ' to another account')
           WHEN 'transfer.received' THEN concat('Received ', e.unit, ' from another account')
           WHEN 'debt.settled' THEN concat('Paid off debt of ', e.unit)
           WHEN 'customer.linked' THEN
               CASE e.body ->> 'cause' WHEN 'deleted' THEN 'Customer at Stripe is gone'
                                       ELSE 'Linked to a customer at Stripe' END
           WHEN 'order.placed' THEN
               concat('Began a checkout (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')
           WHEN 'order.session_created' THEN 'Checkout is ready to be paid'
           WHEN 'order.paid' THEN
               CASE WHEN e.body ->> 'again' = 'true' THEN 'Checkout was paid once more' ELSE 'Checkout was paid' END
           WHEN 'order.expired' THEN 'Checkout was not paid in time'
           WHEN 'order.failed' THEN
               CASE e.body ->> 'reason' WHEN 'payment_failed' THEN 'Checkout failed: its payment did not arrive'
                                        WHEN 'refused' THEN 'Checkout failed: Stripe refused it'
                                        ELSE 'Checkout failed: it was given up' END
           WHEN 'refund.requested' THEN concat('Asked for a refund of ', m.written)
           WHEN 'refund.refused' THEN
               concat('Refund refused: ',
                      CASE e.body ->> 'reason' WHEN 'already_refunded' THEN 'the money has gone back already'
                                               WHEN 'disputed' THEN 'the payment is disputed'
                                               WHEN 'insufficient_funds' THEN 'the balance at Stripe does not cover it'
                                               WHEN 'refused' THEN 'Stripe does not do it'
                                               ELSE 'it was given up' END)
           WHEN 'checkout_link.created' THEN
               concat('Made a link to buy (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')
           WHEN 'checkout_link.revoked' THEN 'Revoked a link to buy'
           WHEN 'subscription.started' THEN 'Subscription started'
           WHEN 'subscription.changed' THEN
               CASE WHEN e.body -> 'change' ? 'prorated' THEN 'Subscription changed within its period'
                    WHEN e.body #>> '{change,terms,status}' = 'past_due' THEN 'Subscription payment is overdue'
                    WHEN e.body #>> '{change,terms,status}' = 'unpaid' THEN 'Subscription is not paid'
                    WHEN e.body #>> '{change,terms,cancel_at_period_end}' = 'true'
                    THEN 'Subscription changed: it ends with its period'
                    ELSE 'Subscription changed' END
           WHEN 'subscription.change_requested' THEN
               CASE WHEN e.body #>> '{change,cancel,at}' = 'now' THEN 'Asked to end the subscription at once'
                    WHEN e.body -> 'change' ? 'cancel' THEN 'Asked to end the subscription with its period'
                    WHEN e.body -> 'change' ? 'resume' THEN 'Asked to let the subscription go on'
                    ELSE concat('Asked to change the subscription to ', e.body #>> '{change,switch,price}', ' × ',
                                e.body #>> '{change,switch,quantity}') END
           WHEN 'subscription.change_settled' THEN
               CASE e.body ->> 'refusal' WHEN 'subscription_ended' THEN 'Change of subscription refused: it has ended'
                                         WHEN 'payment_failed' THEN 'Change of subscription refused: it was not paid'
                                         WHEN 'item_gone' THEN 'Change of subscription refused: the price is not subscribed to any more'
                                         WHEN 'refused' THEN 'Change of subscription refused: Stripe does not make it'
                                         WHEN 'given_up' THEN 'Change of subscription refused: it was given up'
                                         ELSE 'Change of subscription made' END
           WHEN 'subscription.ended' THEN 'Subscription ended'
           WHEN 'credits.rolled_over' THEN concat('Moved ', e.unit, ' into the next period')
           WHEN 'limit.changed' THEN
               CASE WHEN e.body ->> 'overdraft' ~ '^[1-9]' THEN concat('Overdraft limit of ', e.unit, ' changed')
                    ELSE concat('Overdraft of ', e.unit, ' no longer allowed') END
           -- Written by a newer release; a later version of this projection will know the words.
           ELSE e.type
       END AS description,
       -- The same in German.
       CASE e.type
           WHEN 'account.opened' THEN 'Konto eröffnet'
           WHEN 'account.changed' THEN
               CASE WHEN e.body -> 'fields' ? 'erased' THEN 'Personenbezogene Daten gelöscht'
                    ELSE concat('Kontodaten geändert: ',
                                (SELECT string_agg(CASE f.field #>> '{}' WHEN 'email' THEN 'E-Mail'
                                                                         WHEN 'name' THEN 'Name'
                                                                         WHEN 'locale' THEN 'Sprache'
                                                                         WHEN 'metadata' THEN 'eigene Angaben'
                                                                         ELSE f.field #>> '{}' END, ', ' ORDER BY f.place)
                                   FROM jsonb_path_query(e.body, '$.fields[*]') WITH ORDINALITY f (field, place)))
               END
           WHEN 'account.frozen' THEN
               CASE e.body ->> 'cause' WHEN 'dispute' THEN 'Konto gesperrt: eine Zahlung wird bestritten'
                                       WHEN 'fraud_warning' THEN 'Konto gesperrt: das Kartennetz warnt vor Betrug'
                                       ELSE 'Konto gesperrt' END
           WHEN 'account.unfrozen' THEN 'Konto entsperrt'
           WHEN 'account.closed' THEN 'Konto geschlossen'
           WHEN 'credits.purchased' THEN
               concat('Gekauft: ', e.unit, ' für ', replace(m.written, '.', ','),
                      ' (' || (e.body ->> 'price') || ' × ' || COALESCE(e.body ->> 'quantity', '1') || ')')
           WHEN 'credits.granted' THEN
               CASE WHEN e.body ->> 'source' = 'requested' THEN concat('Gutgeschrieben: ', e.unit)
                    WHEN e.body ->> 'source' = 'sign_up' THEN concat('Gutgeschrieben zur Eröffnung: ', e.unit)
                    WHEN e.body -> 'source' ? 'trial' THEN concat('Gutgeschrieben zur Probe: ', e.unit)
                    WHEN e.body -> 'source' ? 'invoice_line'
                    THEN concat('Gutgeschrieben durch kostenloses Abonnement: ', e.unit)
                    ELSE concat('Gutgeschrieben nach kostenlosem Checkout: ', e.unit) END
           WHEN 'credits.spent' THEN
               concat('Verbraucht: ', e.unit,
                      ' für ' || (e.body ->> 'feature'),
                      ' × ' || NULLIF(e.body ->> 'quantity', '1'),
                      CASE WHEN e.body ? 'overdraft' THEN ', das Konto ist damit überzogen' END)
           WHEN 'credits.held' THEN concat('Für einen Auftrag zurückgelegt: ', e.unit)
           WHEN 'hold.captured' THEN 'Für einen Auftrag abgerechnet'
           WHEN 'hold.released' THEN
               CASE e.body ->> 'cause' WHEN 'lapsed' THEN 'Für einen Auftrag Zurückgelegtes wieder frei: seine Zeit ist abgelaufen'
                                       ELSE 'Für einen Auftrag Zurückgelegtes wieder frei' END
           WHEN 'credits.expired' THEN concat('Verfallen: ', e.unit)
           WHEN 'credits.adjusted' THEN
               CASE WHEN e.body ->> 'adjusted' ~ '^[1-9]' THEN concat('Von Hand hinzugefügt: ', e.unit)
                    ELSE concat('Von Hand entfernt: ', e.unit) END
           WHEN 'purchase.clawed' THEN
               concat(CASE WHEN e.amount < 0 THEN 'Zurückgenommen: ' ELSE 'Nicht zurückgenommen: ' END, e.unit, ', ', d.cause)
           WHEN 'purchase.restored' THEN
               concat(CASE WHEN e.amount > 0 THEN 'Zurückgegeben: ' ELSE 'Nicht zurückgegeben: ' END, e.unit, ', ', d.cause)
           WHEN 'transfer.sent' THEN concat('An ein anderes Konto gesendet: ', e.unit)
           WHEN 'transfer.received' THEN concat('Von einem anderen Konto erhalten: ', e.unit)
           WHEN 'debt.settled' THEN concat('Schulden beglichen: ', e.unit)
           WHEN 'customer.linked' THEN
               CASE e.body ->> 'cause' WHEN 'deleted' THEN 'Kunde bei Stripe gelöscht'
                                       ELSE 'Mit einem Kunden bei Stripe verknüpft' END
           WHEN 'order.placed' THEN
               concat('Checkout begonnen (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')
           WHEN 'order.session_created' THEN 'Checkout kann bezahlt werden'
           WHEN 'order.paid' THEN
               CASE WHEN e.body ->> 'again' = 'true' THEN 'Checkout wurde noch einmal bezahlt'
                    ELSE 'Checkout wurde bezahlt' END
           WHEN 'order.expired' THEN 'Checkout wurde nicht rechtzeitig bezahlt'
           WHEN 'order.failed' THEN
               CASE e.body ->> 'reason' WHEN 'payment_failed' THEN 'Checkout gescheitert: die Zahlung ging nicht ein'
                                        WHEN 'refused' THEN 'Checkout gescheitert: Stripe hat ihn abgelehnt'
                                        ELSE 'Checkout gescheitert: er wurde aufgegeben' END
           WHEN 'refund.requested' THEN concat('Erstattung von ', replace(m.written, '.', ','), ' erbeten')
           WHEN 'refund.refused' THEN
               concat('Erstattung abgelehnt: ',
                      CASE e.body ->> 'reason' WHEN 'already_refunded' THEN 'das Geld ging schon zurück'
                                               WHEN 'disputed' THEN 'die Zahlung wird bestritten'
                                               WHEN 'insufficient_funds' THEN 'das Guthaben bei Stripe reicht nicht aus'
                                               WHEN 'refused' THEN 'Stripe führt sie nicht aus'
                                               ELSE 'sie wurde aufgegeben' END)
           WHEN 'checkout_link.created' THEN
               concat('Link zum Kaufen erstellt (', e.body ->> 'price', ' × ', e.body ->> 'quantity', ')')
           WHEN 'checkout_link.revoked' THEN 'Link zum Kaufen widerrufen'
           WHEN 'subscription.started' THEN 'Abonnement begonnen'
           WHEN 'subscription.changed' THEN
               CASE WHEN e.body -> 'change' ? 'prorated' THEN 'Abonnement während des Zeitraums geändert'
                    WHEN e.body #>> '{change,terms,status}' = 'past_due' THEN 'Zahlung des Abonnements ist überfällig'
                    WHEN e.body #>> '{change,terms,status}' = 'unpaid' THEN 'Abonnement ist nicht bezahlt'
                    WHEN e.body #>> '{change,terms,cancel_at_period_end}' = 'true'
                    THEN 'Abonnement geändert: es endet mit dem Zeitraum'
                    ELSE 'Abonnement geändert' END
           WHEN 'subscription.change_requested' THEN
               CASE WHEN e.body #>> '{change,cancel,at}' = 'now' THEN 'Sofortiges Ende des Abonnements erbeten'
                    WHEN e.body -> 'change' ? 'cancel' THEN 'Ende des Abonnements mit dem Zeitraum erbeten'
                    WHEN e.body -> 'change' ? 'resume' THEN 'Fortsetzung des Abonnements erbeten'
                    ELSE concat('Wechsel des Abonnements erbeten: ', e.body #>> '{change,switch,price}', ' × ',
                                e.body #>> '{change,switch,quantity}') END
           WHEN 'subscription.change_settled' THEN
               CASE e.body ->> 'refusal' WHEN 'subscription_ended' THEN 'Änderung des Abonnements abgelehnt: es ist beendet'
                                         WHEN 'payment_failed' THEN 'Änderung des Abonnements abgelehnt: sie wurde nicht bezahlt'
                                         WHEN 'item_gone' THEN 'Änderung des Abonnements abgelehnt: der Preis ist nicht mehr Teil davon'
                                         WHEN 'refused' THEN 'Änderung des Abonnements abgelehnt: Stripe führt sie nicht aus'
                                         WHEN 'given_up' THEN 'Änderung des Abonnements abgelehnt: sie wurde aufgegeben'
                                         ELSE 'Änderung des Abonnements ausgeführt' END
           WHEN 'subscription.ended' THEN 'Abonnement beendet'
           WHEN 'credits.rolled_over' THEN concat('In den nächsten Zeitraum übernommen: ', e.unit)
           WHEN 'limit.changed' THEN
               CASE WHEN e.body ->> 'overdraft' ~ '^[1-9]' THEN concat('Überziehungsrahmen geändert: ', e.unit)
                    ELSE concat('Überziehen nicht mehr erlaubt: ', e.unit) END
           ELSE e.type
       END AS description_de,
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
                      CASE e.body #>> '{cause,fact,status}' WHEN 'succeeded' THEN 'a refund succeeded'
                                                            WHEN 'failed' THEN 'a refund failed'
                                                            WHEN 'cancelled' THEN 'a refund was cancelled'
                                                            ELSE 'a refund is pending' END
                  WHEN 'charge_refunded' THEN 'the payment was refunded'
                  WHEN 'fraud_warning' THEN 'the card''s network warns of fraud'
                  WHEN 'dispute' THEN
                      CASE e.body #>> '{cause,fact,status}' WHEN 'won' THEN 'a dispute was won'
                                                            WHEN 'lost' THEN 'a dispute was lost'
                                                            WHEN 'open' THEN 'the payment is disputed'
                                                            ELSE 'the bank asks about the payment' END
                  ELSE CASE e.body ->> 'cause'
                           WHEN 'noted_before' THEN 'the payment was refunded or disputed early'
                           WHEN 'credits_returned' THEN 'credits of a refunded payment came back'
                           ELSE CASE WHEN e.body -> 'cause' ? 'refund_requested' THEN 'a refund was asked for'
                                     WHEN e.body -> 'cause' ? 'refund_refused' THEN 'a refund was refused'
                                     ELSE 'the payment changed' END END
              END AS cause
       ) c
 CROSS JOIN LATERAL (
       SELECT CASE e.body #>> '{cause,fact,kind}'
                  WHEN 'refund' THEN
                      CASE e.body #>> '{cause,fact,status}' WHEN 'succeeded' THEN 'eine Erstattung ist erfolgt'
                                                            WHEN 'failed' THEN 'eine Erstattung ist gescheitert'
                                                            WHEN 'cancelled' THEN 'eine Erstattung wurde abgebrochen'
                                                            ELSE 'eine Erstattung ist unterwegs' END
                  WHEN 'charge_refunded' THEN 'die Zahlung wurde erstattet'
                  WHEN 'fraud_warning' THEN 'das Kartennetz warnt vor Betrug'
                  WHEN 'dispute' THEN
                      CASE e.body #>> '{cause,fact,status}' WHEN 'won' THEN 'ein Zahlungsstreit wurde gewonnen'
                                                            WHEN 'lost' THEN 'ein Zahlungsstreit wurde verloren'
                                                            WHEN 'open' THEN 'die Zahlung wird bestritten'
                                                            ELSE 'die Bank fragt nach der Zahlung' END
                  ELSE CASE e.body ->> 'cause'
                           WHEN 'noted_before' THEN 'die Zahlung wurde früh erstattet oder bestritten'
                           WHEN 'credits_returned' THEN 'Credits einer erstatteten Zahlung kamen zurück'
                           ELSE CASE WHEN e.body -> 'cause' ? 'refund_requested' THEN 'eine Erstattung wurde erbeten'
                                     WHEN e.body -> 'cause' ? 'refund_refused' THEN 'eine Erstattung wurde abgelehnt'
                                     ELSE 'die Zahlung hat sich geändert' END END
              END AS cause
       ) d;
