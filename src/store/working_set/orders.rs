//! Loads orders, with what was bought with them, and whose customers are.
//!
//! Asked only for commands that name orders or customers, so that all others pay nothing for it.

use tokio_postgres::{Row, types::Type};

use super::{Loaded, Reader, read_lot, read_payment, read_purchase};
use crate::{
    domain::{
        ids::{AccountNumber, StripeId},
        order::{ORDER_STATE_VERSION, Order},
    },
    store::{
        rows::{RowError, state},
        session::Statement,
    },
};

pub(super) static STATEMENTS: &[&Statement] = &[
    &LOAD_ORDERS,
    &LOAD_CUSTOMERS,
    &LOAD_PURCHASES_OF_ORDERS,
    &LOAD_LOTS_OF_ORDERS,
    &LOAD_PAYMENTS_OF_ORDERS,
];

/// What was bought with orders. Their accounts are loaded as others are, and come before the lots that are put into them.
pub(super) static PURCHASES: &[(&Statement, Reader)] = &[
    (&LOAD_PURCHASES_OF_ORDERS, read_purchase),
    (&LOAD_LOTS_OF_ORDERS, read_lot),
    (&LOAD_PAYMENTS_OF_ORDERS, read_payment),
];

pub(super) static LOAD_ORDERS: Statement = Statement {
    name: "load_orders",
    sql: "SELECT o.state_version, o.state
            FROM unnest($2::uuid[]) w (order_id),
                 LATERAL (SELECT o.state_version, o.state::text AS state FROM orders o
                           WHERE o.ledger_id = $1 AND o.order_id = w.order_id OFFSET 0) o",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

pub(super) fn read_order(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let order: Order =
        state("order", row.try_get("state_version")?, ORDER_STATE_VERSION, row.try_get("state")?)?;
    loaded.set.orders.insert(order.id, order);
    Ok(())
}

pub(super) static LOAD_CUSTOMERS: Statement = Statement {
    name: "load_customers",
    sql: "SELECT a.stripe_customer, a.account_number
            FROM unnest($2::text[]) w (stripe_customer),
                 LATERAL (SELECT a.stripe_customer, a.account_number FROM accounts a
                           WHERE a.ledger_id = $1 AND a.stripe_customer = w.stripe_customer OFFSET 0) a",
    parameters: &[Type::INT8, Type::TEXT_ARRAY],
};

pub(super) fn read_customer(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let customer = StripeId::parse(row.try_get("stripe_customer")?)
        .map_err(|_| RowError::Value { column: "stripe_customer" })?;
    loaded.set.customers.insert(customer, AccountNumber(row.try_get("account_number")?));
    Ok(())
}

macro_rules! purchases_of_orders {
    () => {
        concat!(
            "SELECT ",
            purchase_columns!(),
            " FROM unnest($2::uuid[]) w (order_id),
                   LATERAL (SELECT o.purchases FROM orders o
                             WHERE o.ledger_id = $1 AND o.order_id = w.order_id OFFSET 0) o,
                   unnest(o.purchases) b (purchase_id), ",
            purchases_where!("p.purchase_id = b.purchase_id"),
        )
    };
}

static LOAD_PURCHASES_OF_ORDERS: Statement = Statement {
    name: "load_purchases_of_orders",
    sql: concat!("SELECT p.state_version, p.state::text AS state FROM (", purchases_of_orders!(), ") p"),
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

static LOAD_LOTS_OF_ORDERS: Statement = Statement {
    name: "load_lots_of_orders",
    sql: concat!(
        "SELECT l.* FROM (",
        purchases_of_orders!(),
        ") p, ",
        lots_where!("l.purchase_id = p.purchase_id"),
        " UNION ALL SELECT l.* FROM (",
        purchases_of_orders!(),
        ") p, unnest(p.other_lots) w (lot_id), ",
        lots_where!("l.lot_id = w.lot_id"),
    ),
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

static LOAD_PAYMENTS_OF_ORDERS: Statement = Statement {
    name: "load_payments_of_orders",
    sql: concat!(
        "SELECT m.* FROM (",
        purchases_of_orders!(),
        ") p, ",
        payments_where!("m.payment = p.payment"),
    ),
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};
