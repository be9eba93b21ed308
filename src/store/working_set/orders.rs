//! Loads orders, whose customers are, and links by which orders are placed. What was bought with orders is loaded as all
//! purchases are.
//!
//! Asked only for commands that name orders, customers or links, so that all others pay nothing for it.

use time::OffsetDateTime;
use tokio_postgres::{Row, types::Type};
use uuid::Uuid;

use super::Loaded;
use crate::{
    domain::{
        amount::Amount,
        checkout_link::CheckoutLink,
        ids::{AccountNumber, CheckoutLinkId, PriceId, StripeId},
        order::{ORDER_STATE_VERSION, Order},
    },
    store::{
        rows::{RowError, state, timestamp},
        session::Statement,
    },
};

pub(super) static STATEMENTS: &[&Statement] = &[&LOAD_ORDERS, &LOAD_CUSTOMERS, &LOAD_CHECKOUT_LINKS];

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

pub(super) static LOAD_CHECKOUT_LINKS: Statement = Statement {
    name: "load_checkout_links",
    sql: "SELECT l.* FROM unnest($2::uuid[]) w (link_id),
                 LATERAL (SELECT l.link_id, l.account_number, l.price, l.quantity, l.expires_at FROM checkout_links l
                           WHERE l.ledger_id = $1 AND l.link_id = w.link_id AND l.revoked_at IS NULL OFFSET 0) l",
    parameters: &[Type::INT8, Type::UUID_ARRAY],
};

pub(super) fn read_link(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let link = link_from_row(row)?;
    loaded.set.links.insert(link.id, link);
    Ok(())
}

/// The link of a row of `checkout_links`.
pub(in crate::store) fn link_from_row(row: &Row) -> Result<CheckoutLink, RowError> {
    let expires_at: Option<OffsetDateTime> = row.try_get("expires_at")?;
    Ok(CheckoutLink {
        id: CheckoutLinkId::from_bits(row.try_get::<_, Uuid>("link_id")?.as_u128()),
        account: AccountNumber(row.try_get("account_number")?),
        price: PriceId::parse(row.try_get("price")?).map_err(|_| RowError::Value { column: "price" })?,
        quantity: Amount::new(row.try_get("quantity")?).ok_or(RowError::Value { column: "quantity" })?,
        expires_at: expires_at.map(|moment| timestamp(moment, "expires_at")).transpose()?,
    })
}
