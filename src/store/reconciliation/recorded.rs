//! What the ledger has on record, to be held against what Stripe has.
//!
//! Events are read by ranges of positions, which the primary key holds: positions are in the order of time, so that a moment
//! is found by halving.

use std::collections::HashMap;

use time::OffsetDateTime;
use tokio_postgres::{Client, Row, types::Type};
use uuid::Uuid;

use super::read;
use crate::{
    domain::{
        Event,
        ids::{Key, LedgerId, OrderId, PaymentReference, Position},
        payment::{PAYMENT_STATE_VERSION, Payment},
        time::Timestamp,
    },
    store::{
        events::{event_columns, event_from_row},
        rows::{RowError, state, timestamp},
        scope::Parameter,
    },
};

/// The events that tell of something that Stripe has as well.
const TYPES: [&str; 6] = [
    "credits.purchased",
    "credits.granted",
    "purchase.clawed",
    "purchase.restored",
    "payment.noted",
    "order.paid",
];

/// The events of the commands that were carried out under these keys, by key.
///
/// # Errors
/// Those of the database, and events that cannot be read.
pub async fn find_commands(
    client: &Client,
    ledger: LedgerId,
    keys: &[Key],
) -> Result<HashMap<Key, Vec<Event>>, RowError> {
    let statement = concat!(
        "SELECT k.position AS first, ",
        event_columns!(),
        " FROM unnest($2::bytea[]) w (key_hash),
               LATERAL (SELECT k.position, k.command_size FROM events k
                         WHERE k.ledger_id = $1 AND k.key_hash = w.key_hash OFFSET 0) k,
               LATERAL (SELECT * FROM events e
                         WHERE e.ledger_id = $1 AND e.position >= k.position
                           AND e.position < k.position + k.command_size OFFSET 0) e
         ORDER BY e.position"
    );
    let hashes: Vec<[u8; 16]> = keys.iter().map(Key::hash).collect();
    let hashes: Vec<&[u8]> = hashes.iter().map(<[u8; 16]>::as_slice).collect();
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&hashes, Type::BYTEA_ARRAY)];
    let rows = read(client, ledger, statement, &parameters).await?;
    let mut by_position: HashMap<i64, Vec<Event>> = HashMap::new();
    for row in &rows {
        by_position.entry(row.try_get("first")?).or_default().push(event_from_row(row)?);
    }
    let keyed = |events: Vec<Event>| Some((events.first()?.key.clone()?, events));
    Ok(by_position.into_values().filter_map(keyed).collect())
}

/// What is known of these payments.
///
/// # Errors
/// Those of the database, and state that cannot be read.
pub async fn find_payments(
    client: &Client,
    ledger: LedgerId,
    payments: &[PaymentReference],
) -> Result<HashMap<PaymentReference, Payment>, RowError> {
    let statement = "SELECT p.state_version, p.state::text AS state
                       FROM unnest($2::text[]) w (payment),
                            LATERAL (SELECT * FROM payments p
                                      WHERE p.ledger_id = $1 AND p.payment = w.payment OFFSET 0) p";
    let names: Vec<String> = payments.iter().map(ToString::to_string).collect();
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&names, Type::TEXT_ARRAY)];
    let rows = read(client, ledger, statement, &parameters).await?;
    let payments: Result<Vec<Payment>, _> = rows.iter().map(payment_from_row).collect();
    Ok(payments?.into_iter().map(|payment| (payment.reference.clone(), payment)).collect())
}

/// The payments that paid an order.
///
/// # Errors
/// Those of the database, and state that cannot be read.
pub async fn payments_of_order(
    client: &Client,
    ledger: LedgerId,
    order: OrderId,
) -> Result<Vec<Payment>, RowError> {
    let statement = "SELECT y.state_version, y.state::text AS state
                       FROM (SELECT o.purchases FROM orders o WHERE o.ledger_id = $1 AND o.order_id = $2) o,
                            unnest(o.purchases) b (purchase_id),
                            LATERAL (SELECT p.payment FROM purchases p
                                      WHERE p.ledger_id = $1 AND p.purchase_id = b.purchase_id OFFSET 0) p,
                            LATERAL (SELECT * FROM payments y
                                      WHERE y.ledger_id = $1 AND y.payment = p.payment OFFSET 0) y";
    let order = Uuid::from_u128(order.to_bits());
    let rows = read(client, ledger, statement, &[(&ledger.0, Type::INT8), (&order, Type::UUID)]).await?;
    rows.iter().map(payment_from_row).collect()
}

fn payment_from_row(row: &Row) -> Result<Payment, RowError> {
    state("payment", row.try_get("state_version")?, PAYMENT_STATE_VERSION, row.try_get("state")?)
}

/// The last position, and the last one before a moment.
///
/// # Errors
/// Those of the database, and a ledger that is not there.
pub async fn find_end(
    client: &Client,
    ledger: LedgerId,
    moment: Option<Timestamp>,
) -> Result<Position, RowError> {
    let head = "SELECT position FROM ledger_heads WHERE ledger_id = $1";
    let rows = read(client, ledger, head, &[(&ledger.0, Type::INT8)]).await?;
    let head: i64 = rows.first().ok_or(RowError::Value { column: "position" })?.try_get("position")?;
    let Some(moment) = moment else { return Ok(Position(head)) };
    let probe = "SELECT recorded_at FROM events WHERE ledger_id = $1 AND position = $2";
    // All up to `before` are before the moment, and none after `after` is.
    let (mut before, mut after) = (0, head);
    while before < after {
        let middle = before + (after - before + 1) / 2;
        let rows = read(client, ledger, probe, &[(&ledger.0, Type::INT8), (&middle, Type::INT8)]).await?;
        let row = rows.first().ok_or(RowError::Value { column: "position" })?;
        let recorded_at: OffsetDateTime = row.try_get("recorded_at")?;
        if timestamp(recorded_at, "recorded_at")? < moment {
            before = middle;
        } else {
            after = middle - 1;
        }
    }
    Ok(Position(before))
}

/// The events after `after`, up to and with `until`, that tell of something that Stripe has as well.
///
/// # Errors
/// Those of the database, and events that cannot be read.
pub async fn list_facts(
    client: &Client,
    ledger: LedgerId,
    after: Position,
    until: Position,
) -> Result<Vec<Event>, RowError> {
    let statement = concat!(
        "SELECT ",
        event_columns!(),
        " FROM events e
          WHERE e.ledger_id = $1 AND e.position > $2 AND e.position <= $3 AND e.type = ANY ($4)
          ORDER BY e.position"
    );
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&after.0, Type::INT8),
        (&until.0, Type::INT8),
        (&TYPES.as_slice(), Type::TEXT_ARRAY),
    ];
    read(client, ledger, statement, &parameters).await?.iter().map(event_from_row).collect()
}
