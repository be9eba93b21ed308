//! What the events say of customers, orders and refunds that are asked for, beside what is stored of them.
//!
//! As with balances, everything is counted once more from the events, into temporary tables; the comparison is of the
//! accounts of one page, in the transaction that counts the last events.

use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::domain::ids::{OrderId, RefundRequestId};

/// What is counted.
pub(super) const TABLES: &str = "
    CREATE TEMPORARY TABLE recounted_customers
        (ledger_id bigint, account_number bigint, customer text, PRIMARY KEY (ledger_id, account_number));
    CREATE TEMPORARY TABLE recounted_orders
        (ledger_id bigint, order_id uuid, account_number bigint, version bigint, status text, purchases uuid[],
         PRIMARY KEY (ledger_id, order_id));
    CREATE TEMPORARY TABLE recounted_refunds
        (ledger_id bigint, refund_id uuid, account_number bigint, order_id uuid, payment text,
         PRIMARY KEY (ledger_id, refund_id))";

/// Counts the events in `($2, $3]` of the ledger `$1`.
pub(super) const COUNT: [&str; 3] = [COUNT_CUSTOMERS, COUNT_ORDERS, COUNT_REFUNDS];

const COUNT_CUSTOMERS: &str = "
    INSERT INTO pg_temp.recounted_customers
    SELECT DISTINCT ON (e.account_number) e.ledger_id, e.account_number, e.body ->> 'customer' FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'customer.linked'
     ORDER BY e.account_number, e.position DESC
        ON CONFLICT (ledger_id, account_number) DO UPDATE SET customer = excluded.customer";

/// Whatever happens to an order that is paid, it stays paid.
const COUNT_ORDERS: &str = "
    INSERT INTO pg_temp.recounted_orders AS r
    SELECT e.ledger_id, substr(e.body ->> 'order', 5)::uuid, max(e.account_number), max(e.position),
           CASE WHEN bool_or(e.type = 'order.paid') THEN 'paid'
                ELSE (array_agg(CASE e.type WHEN 'order.expired' THEN 'expired' WHEN 'order.failed' THEN 'failed'
                                            ELSE 'placed' END ORDER BY e.position DESC))[1] END,
           COALESCE(array_agg(substr(e.body ->> 'purchase', 5)::uuid ORDER BY e.position)
                    FILTER (WHERE e.type = 'order.paid' AND e.body ->> 'purchase' IS NOT NULL), '{}')
      FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND starts_with(e.type, 'order.')
     GROUP BY 1, 2
        ON CONFLICT (ledger_id, order_id) DO UPDATE
           SET version = excluded.version, purchases = r.purchases || excluded.purchases,
               status = CASE r.status WHEN 'paid' THEN 'paid' ELSE excluded.status END";

const COUNT_REFUNDS: &str = "
    INSERT INTO pg_temp.recounted_refunds
    SELECT e.ledger_id, substr(e.body ->> 'refund', 5)::uuid, e.account_number,
           substr(e.body ->> 'order', 5)::uuid, e.body ->> 'payment'
      FROM events e
     WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = 'refund.requested'";

// `$2` and `$3` are the numbers of the accounts, as in `stored_accounts`.

const DIFFERING_CUSTOMERS: &str = "
    SELECT a.account_number
      FROM accounts a
      LEFT JOIN pg_temp.recounted_customers r ON r.ledger_id = $1 AND r.account_number = a.account_number
     WHERE a.ledger_id = $1 AND a.account_number > $2 AND a.account_number <= $3
       AND (a.stripe_customer, a.state ->> 'stripe_customer') IS DISTINCT FROM (r.customer, r.customer)
     ORDER BY a.account_number";

const COMPARED_ORDERS: &str = "
    SELECT order_id, COALESCE(r.account_number, o.account_number) AS account_number,
           (o.account_number, o.version, o.status, o.purchases) IS DISTINCT FROM
               (r.account_number, r.version, r.status, r.purchases)
           OR (o.state ->> 'id', o.state ->> 'status', o.state ->> 'version') IS DISTINCT FROM
               ('ord_' || replace(order_id::text, '-', ''), r.status, r.version::text) AS differs
      FROM (SELECT * FROM orders WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) o
      FULL JOIN (SELECT * FROM pg_temp.recounted_orders
                  WHERE ledger_id = $1 AND account_number > $2 AND account_number <= $3) r USING (order_id)
     ORDER BY order_id";

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

/// What was compared of the accounts of a page, and what of it differs, by account.
#[derive(Default)]
pub struct ComparedOrders {
    /// Accounts whose customer is not what their events say.
    pub customers: Vec<i64>,
    /// How many orders there are.
    pub orders: usize,
    /// Orders that are not what their events say.
    pub differing_orders: Vec<(i64, OrderId)>,
    /// Refunds that are not what their events say.
    pub differing_refunds: Vec<(i64, RefundRequestId)>,
}

/// Compares what is stored of the accounts numbered in the range with what was counted.
pub(super) async fn compare(client: &Client, ledger: i64, range: [i64; 2]) -> Result<ComparedOrders, Error> {
    let rows = async |statement: &'static str| super::rows(client, statement, ledger, range).await;
    let mut compared = ComparedOrders::default();
    for row in rows(DIFFERING_CUSTOMERS).await? {
        compared.customers.push(row.try_get("account_number")?);
    }
    for row in rows(COMPARED_ORDERS).await? {
        compared.orders += 1;
        if let Some((account, id)) = differing(&row)? {
            compared.differing_orders.push((account, OrderId::from_bits(id)));
        }
    }
    for row in rows(COMPARED_REFUNDS).await? {
        if let Some((account, id)) = differing(&row)? {
            compared.differing_refunds.push((account, RefundRequestId::from_bits(id)));
        }
    }
    Ok(compared)
}

fn differing(row: &Row) -> Result<Option<(i64, u128)>, Error> {
    let differs: bool = row.try_get("differs")?;
    let id: Uuid = row.try_get(0)?;
    Ok(if differs { Some((row.try_get("account_number")?, id.as_u128())) } else { None })
}
