//! Loads subscriptions. Asked only for commands that name some.

use tokio_postgres::{Row, types::Type};

use super::Loaded;
use crate::{
    domain::subscription::{SUBSCRIPTION_STATE_VERSION, Subscription},
    store::{
        rows::{RowError, state},
        session::Statement,
    },
};

pub(super) static LOAD_SUBSCRIPTIONS: Statement = Statement {
    name: "load_subscriptions",
    sql: "SELECT s.state_version, s.state
            FROM unnest($2::text[]) w (subscription_id),
                 LATERAL (SELECT s.state_version, s.state::text AS state FROM subscriptions s
                           WHERE s.ledger_id = $1 AND s.subscription_id = w.subscription_id OFFSET 0) s",
    parameters: &[Type::INT8, Type::TEXT_ARRAY],
};

pub(super) fn read_subscription(loaded: &mut Loaded, row: &Row) -> Result<(), RowError> {
    let (version, known) = (row.try_get("state_version")?, SUBSCRIPTION_STATE_VERSION);
    let subscription: Subscription = state("subscription", version, known, row.try_get("state")?)?;
    loaded.set.subscriptions.insert(subscription.id.clone(), subscription);
    Ok(())
}
