//! Reconciliation with Stripe: how far it has come, who works on it, what it found, and whether effects may be carried out.
//!
//! | file | holds |
//! | --- | --- |
//! | `turn` | who works on a ledger, what is due, and how far events were taken in |
//! | `gate` | whether the ledger has all that Stripe knows, so that effects may be carried out |
//! | `runs` | runs, those included that are asked for |
//! | `recorded` | what the ledger has of what Stripe has as well |
//! | `findings` | where Stripe and the ledger differ, and what was decided of it |
//!
//! Invariants:
//! - one process at a time works on a ledger, by a lease; what is written under it names its fence;
//! - a difference is one row, however often it is met.

pub mod findings;
pub mod gate;
pub mod recorded;
pub mod runs;
pub mod turn;

use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use super::scope::{self, Parameter};
use crate::domain::ids::LedgerId;

/// An id that comes after those that were made before.
#[expect(
    clippy::disallowed_methods,
    reason = "a clock that is a little off only makes a list's order a little off"
)]
fn new_id() -> Uuid {
    Uuid::now_v7()
}

async fn read(
    client: &Client,
    ledger: LedgerId,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    let begin = scope::begin_reading(ledger);
    scope::within(client, &begin, client.query_typed(statement, parameters)).await
}

/// Rows that a change returns.
async fn change(
    client: &Client,
    ledger: LedgerId,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Vec<Row>, Error> {
    let begin = scope::begin_writing(ledger);
    scope::within(client, &begin, client.query_typed(statement, parameters)).await
}

/// How many rows a change was made to.
async fn write(
    client: &Client,
    ledger: LedgerId,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<u64, Error> {
    let begin = scope::begin_writing(ledger);
    scope::within(client, &begin, client.execute_typed(statement, parameters)).await
}
