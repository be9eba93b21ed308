//! Loads orders, and whose customers are. What was bought with orders is loaded as all purchases are.
//!
//! Asked only for commands that name orders or customers, so that all others pay nothing for it.

use tokio_postgres::{Row, types::Type};

use super::Loaded;
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

pub(super) static STATEMENTS: &[&Statement] = &[&LOAD_ORDERS, &LOAD_CUSTOMERS];

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
