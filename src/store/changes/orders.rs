//! Orders, and refunds that are asked of us.
//!
//! An erasure of an account takes what its orders know of a person; as with notes, it reaches what the same batch wrote
//! before it, and nothing that comes after it.

use std::collections::BTreeMap;

use tokio_postgres::types::Type;
use uuid::Uuid;

use super::{Changes, accounts::uuid_array};
use crate::{
    domain::{
        EventBody, Private,
        ids::{OrderId, PurchaseId},
        order::{ORDER_STATE_VERSION, OrderDetails},
    },
    store::session::{Pipeline, Session, Statement, Value},
};

pub(super) static STATEMENTS: &[&Statement] = &[&ERASE_ORDERS, &WRITE_ORDERS, &INSERT_REFUND_REQUESTS];

/// Before any order is written: what the batch adds after an erasure stays.
static ERASE_ORDERS: Statement = Statement {
    name: "erase_orders",
    sql: "UPDATE orders SET locale = NULL, success_url = NULL, cancel_url = NULL, session_url = NULL
           WHERE ledger_id = $1 AND account_number = $2",
    parameters: &[Type::INT8, Type::INT8],
};

/// What a checkout needs to know is written with its order, and where it can be paid once.
static WRITE_ORDERS: Statement = Statement {
    name: "write_orders",
    sql: "INSERT INTO orders AS o (ledger_id, order_id, account_number, status, version, purchases, locale, success_url,
              cancel_url, session_url, state_version, state)
          SELECT h.ledger_id, u.order_id, u.account_number, u.status, u.version, u.purchases::uuid[], u.locale,
                 u.success_url, u.cancel_url, u.session_url, $2, u.state::jsonb
            FROM ledger_heads h,
                 unnest($3::uuid[], $4::int8[], $5::text[], $6::int8[], $7::text[], $8::text[], $9::text[], $10::text[],
                        $11::text[], $12::text[])
                 AS u (order_id, account_number, status, version, purchases, locale, success_url, cancel_url,
                       session_url, state)
           WHERE h.ledger_id = $1
          ON CONFLICT (ledger_id, order_id) DO UPDATE
             SET status = excluded.status, version = excluded.version, purchases = excluded.purchases,
                 session_url = COALESCE(excluded.session_url, o.session_url),
                 state_version = excluded.state_version, state = excluded.state",
    parameters: &[
        Type::INT8,
        Type::INT2,
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
    ],
};

static INSERT_REFUND_REQUESTS: Statement = Statement {
    name: "insert_refund_requests",
    sql: "INSERT INTO refund_requests (ledger_id, refund_id, account_number, order_id, payment)
          SELECT h.ledger_id, u.refund_id, u.account_number, u.order_id, u.payment
            FROM ledger_heads h,
                 unnest($2::uuid[], $3::int8[], $4::uuid[], $5::text[])
                 AS u (refund_id, account_number, order_id, payment)
           WHERE h.ledger_id = $1",
    parameters: &[Type::INT8, Type::UUID_ARRAY, Type::INT8_ARRAY, Type::UUID_ARRAY, Type::TEXT_ARRAY],
};

/// What the batch writes of them.
#[derive(Default)]
pub(super) struct OrderColumns<'a> {
    ledger: i64,
    erased: Vec<i64>,
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    statuses: Vec<&'static str>,
    versions: Vec<i64>,
    purchases: Vec<String>,
    locales: Vec<Option<&'a str>>,
    success_urls: Vec<Option<&'a str>>,
    cancel_urls: Vec<Option<&'a str>>,
    session_urls: Vec<Option<&'a str>>,
    states: Vec<String>,
    refunds: RefundColumns,
}

#[derive(Default)]
struct RefundColumns {
    ids: Vec<Uuid>,
    accounts: Vec<i64>,
    orders: Vec<Option<Uuid>>,
    payments: Vec<String>,
}

/// What the batch knows of an order that no event may hold.
#[derive(Default)]
struct Kept<'a> {
    account: i64,
    details: Option<&'a OrderDetails>,
    url: Option<&'a str>,
}

fn uuid_of(order: OrderId) -> Uuid {
    Uuid::from_u128(order.to_bits())
}

impl<'a> OrderColumns<'a> {
    pub(super) fn new(changes: &Changes<'a>) -> serde_json::Result<Self> {
        let mut columns = Self { ledger: changes.ledger.0, ..Self::default() };
        let mut kept: BTreeMap<OrderId, Kept<'a>> = BTreeMap::new();
        for private in &changes.private {
            match private {
                Private::Ordered { order, account, details } => {
                    *kept.entry(*order).or_default() =
                        Kept { account: account.0, details: Some(details), url: None };
                }
                Private::Session { order, account, url } => {
                    let kept = kept.entry(*order).or_default();
                    (kept.account, kept.url) = (account.0, Some(url.as_str()));
                }
                Private::Erased { account, .. } => {
                    columns.erased.push(account.0);
                    kept.retain(|_, kept| kept.account != account.0);
                }
                Private::Note { .. }
                | Private::Opened { .. }
                | Private::Profile { .. }
                | Private::Linked { .. }
                | Private::KeySecret { .. } => {}
            }
        }
        for order in changes.set.orders.values().filter(|order| changes.is_changed(order.version)) {
            let kept = kept.remove(&order.id).unwrap_or_default();
            let detail = |of: fn(&OrderDetails) -> &Option<String>| of(kept.details?).as_deref();
            columns.ids.push(uuid_of(order.id));
            columns.accounts.push(order.account.0);
            columns.statuses.push(order.status.as_str());
            columns.versions.push(order.version.0);
            columns
                .purchases
                .push(uuid_array(order.purchases.iter().map(|purchase| PurchaseId::to_bits(*purchase))));
            columns.locales.push(detail(|details| &details.locale));
            columns.success_urls.push(detail(|details| &details.success_url));
            columns.cancel_urls.push(detail(|details| &details.cancel_url));
            columns.session_urls.push(kept.url);
            columns.states.push(serde_json::to_string(order)?);
        }
        columns.refunds.add_all(changes);
        Ok(columns)
    }

    pub(super) fn push<'p>(&'p self, session: &'p Session, pipeline: &mut Pipeline<'p>) {
        for account in &self.erased {
            pipeline.rows(session, &ERASE_ORDERS, vec![&self.ledger, account]);
        }
        if !self.ids.is_empty() {
            let values: Vec<Value<'_>> = vec![
                &self.ledger,
                &ORDER_STATE_VERSION,
                &self.ids,
                &self.accounts,
                &self.statuses,
                &self.versions,
                &self.purchases,
                &self.locales,
                &self.success_urls,
                &self.cancel_urls,
                &self.session_urls,
                &self.states,
            ];
            pipeline.rows(session, &WRITE_ORDERS, values);
        }
        let refunds = &self.refunds;
        if !refunds.ids.is_empty() {
            let values: Vec<Value<'_>> =
                vec![&self.ledger, &refunds.ids, &refunds.accounts, &refunds.orders, &refunds.payments];
            pipeline.rows(session, &INSERT_REFUND_REQUESTS, values);
        }
    }
}

impl RefundColumns {
    fn add_all(&mut self, changes: &Changes<'_>) {
        for event in changes.events() {
            let (EventBody::RefundRequested(body), Some(account)) = (&event.body, event.account) else {
                continue;
            };
            self.ids.push(Uuid::from_u128(body.refund.to_bits()));
            self.accounts.push(account.0);
            self.orders.push(body.order.map(uuid_of));
            self.payments.push(body.payment.to_string());
        }
    }
}
