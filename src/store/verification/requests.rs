//! What the events say of refunds that are asked for, links to buy, and who was given credits of which purchase, beside
//! what is stored of them.
//!
//! As with balances, everything is counted once more from the events, into temporary tables; the comparison is of the
//! accounts of one page, in the transaction that counts the last events.

use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::domain::ids::{CheckoutLinkId, PurchaseId, RefundRequestId};

/// What is counted.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE recounted_refunds
        (ledger_id bigint, refund_id uuid, account_number bigint, order_id uuid, payment text,
         PRIMARY KEY (ledger_id, refund_id));
    CREATE TEMPORARY TABLE recounted_links
        (ledger_id bigint, link_id uuid, account_number bigint, price text, quantity bigint, created_at timestamptz,
         expires_at timestamptz, revoked_at timestamptz, orders bigint DEFAULT 0, last_order uuid,
         PRIMARY KEY (ledger_id, link_id));
    CREATE TEMPORARY TABLE recounted_holders
        (ledger_id bigint, account_number bigint, purchase_id uuid,
         PRIMARY KEY (ledger_id, account_number, purchase_id))";

/// Counts the events in `($2, $3]` of the ledger `$1`.
pub(super) const COUNT: [&str; 5] =
    [COUNT_REFUNDS, COUNT_LINKS, COUNT_REVOCATIONS, COUNT_FOLLOWED, COUNT_HOLDERS];

const COUNT_REFUNDS: &str = "
    INSERT INTO pg_temp.recounted_refunds
    SELECT e.ledger_id, substr(e.body ->> 'refund', 5)::uuid, e.account_number,
           substr(e.body ->> 'order', 5)::uuid, e.body ->> 'payment'
      FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'refund.requested'";

const COUNT_LINKS: &str = "
    INSERT INTO pg_temp.recounted_links (ledger_id, link_id, account_number, price, quantity, created_at, expires_at)
    SELECT e.ledger_id, substr(e.body ->> 'link', 5)::uuid, e.account_number, e.body ->> 'price',
           (e.body ->> 'quantity')::bigint, e.recorded_at, (e.body ->> 'expires_at')::timestamptz
      FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'checkout_link.created'";

const COUNT_REVOCATIONS: &str = "
    UPDATE pg_temp.recounted_links l SET revoked_at = e.recorded_at
      FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'checkout_link.revoked'
       AND l.ledger_id = $1 AND l.link_id = substr(e.body ->> 'link', 5)::uuid";

/// Whoever follows a link is the link.
const COUNT_FOLLOWED: &str = "
    UPDATE pg_temp.recounted_links l SET orders = l.orders + f.orders, last_order = f.last_order
      FROM (SELECT substr(e.actor, 19)::uuid AS link_id, count(*) AS orders,
                   (array_agg(substr(e.body ->> 'order', 5)::uuid ORDER BY e.position DESC))[1] AS last_order
              FROM events e
             WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'order.placed'
               AND starts_with(e.actor, 'checkout_link:lnk_')
             GROUP BY 1) f
     WHERE l.ledger_id = $1 AND l.link_id = f.link_id";

const COUNT_HOLDERS: &str = "
    INSERT INTO pg_temp.recounted_holders
    SELECT DISTINCT e.ledger_id, e.account_number, substr(l ->> 'purchase', 5)::uuid
      FROM events e CROSS JOIN LATERAL jsonb_array_elements(e.body -> 'lots') l
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'transfer.received'
       AND l ->> 'purchase' IS NOT NULL
        ON CONFLICT DO NOTHING";

// `$2` and `$3` are the numbers of the accounts, as in `stored_accounts`.

/// A refund has its row, and its payment knows it.
const COMPARED_REFUNDS: &str = "
    SELECT refund_id, COALESCE(r.account_number, q.account_number) AS account_number,
           (q.account_number, q.order_id, q.payment) IS DISTINCT FROM (r.account_number, r.order_id, r.payment)
           OR NOT COALESCE(p.state -> 'requested' ? ('rfd_' || replace(refund_id::text, '-', '')), false) AS differs
      FROM (SELECT * FROM refund_requests
             WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) q
      FULL JOIN (SELECT * FROM pg_temp.recounted_refunds
                  WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) r USING (refund_id)
      LEFT JOIN payments p ON p.ledger_id = $1 AND p.payment = r.payment
     ORDER BY refund_id";

const COMPARED_LINKS: &str = "
    SELECT link_id, COALESCE(r.account_number, l.account_number) AS account_number,
           (l.account_number, l.price, l.quantity, l.created_at, l.expires_at, l.revoked_at, l.orders, l.last_order)
               IS DISTINCT FROM
           (r.account_number, r.price, r.quantity, r.created_at, r.expires_at, r.revoked_at, r.orders, r.last_order)
               AS differs
      FROM (SELECT * FROM checkout_links
             WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) l
      FULL JOIN (SELECT * FROM pg_temp.recounted_links
                  WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) r USING (link_id)
     ORDER BY link_id";

const DIFFERING_HOLDERS: &str = "
    SELECT purchase_id, account_number, true AS differs
      FROM (SELECT * FROM purchase_holders
             WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) h
      FULL JOIN (SELECT * FROM pg_temp.recounted_holders
                  WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) r
            USING (account_number, purchase_id)
     WHERE h.ledger_id IS NULL OR r.ledger_id IS NULL
     ORDER BY account_number, purchase_id";

/// What was compared of the accounts of a page, and what of it differs, by account.
#[derive(Default)]
pub struct ComparedRequests {
    /// Refunds that are not what their events say.
    pub differing_refunds: Vec<(i64, RefundRequestId)>,
    /// Links to buy that are not what their events say.
    pub differing_links: Vec<(i64, CheckoutLinkId)>,
    /// Purchases of which an account was given credits and is not noted to, or the other way round.
    pub differing_holders: Vec<(i64, PurchaseId)>,
}

/// Compares what is stored of the accounts numbered in the range with what was counted.
pub(super) async fn compare(
    client: &Client,
    ledger: i64,
    range: [i64; 2],
) -> Result<ComparedRequests, Error> {
    let rows = async |statement: &'static str| super::rows(client, statement, ledger, range).await;
    let mut compared = ComparedRequests::default();
    for row in rows(COMPARED_REFUNDS).await? {
        if let Some((account, id)) = differing(&row)? {
            compared.differing_refunds.push((account, RefundRequestId::from_bits(id)));
        }
    }
    for row in rows(COMPARED_LINKS).await? {
        if let Some((account, id)) = differing(&row)? {
            compared.differing_links.push((account, CheckoutLinkId::from_bits(id)));
        }
    }
    for row in rows(DIFFERING_HOLDERS).await? {
        if let Some((account, id)) = differing(&row)? {
            compared.differing_holders.push((account, PurchaseId::from_bits(id)));
        }
    }
    Ok(compared)
}

fn differing(row: &Row) -> Result<Option<(i64, u128)>, Error> {
    let differs: bool = row.try_get("differs")?;
    let id: Uuid = row.try_get(0)?;
    Ok(if differs { Some((row.try_get("account_number")?, id.as_u128())) } else { None })
}
