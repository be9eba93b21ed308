//! What is done beside the work: what is not done is counted, and old bodies are forgotten.
//!
//! Invariant: a ledger that cannot be counted keeps the numbers of the others from nobody, and keeps its own last ones.

use std::{collections::HashMap, time::Duration};

use metrics::gauge;

use crate::{
    domain::ids::LedgerId,
    store::{inbox::InboxStatus, ledgers::Ledger},
    telemetry::metrics::INBOX_EVENTS,
};

use super::{batch::Batches, worker::every};

/// How often entries are counted and old bodies forgotten.
const TIDY_EVERY: Duration = Duration::from_secs(10);
/// How long a body is kept after the work on it was done: as long as somebody may want to know what Stripe said.
const RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// How many bodies of one ledger are forgotten at once.
const PRUNE_BATCH: i64 = 500;

/// What was counted of each ledger last.
type Counted = HashMap<LedgerId, Vec<(InboxStatus, i64)>>;

/// Tidies up from time to time, for as long as it is polled.
pub(super) async fn tidy_up(batches: &Batches) {
    let (mut moments, mut counted) = (every(TIDY_EVERY), Counted::new());
    loop {
        moments.tick().await;
        match batches.list_ledgers().await {
            Ok(ledgers) => tidy_all(batches, &ledgers, &mut counted).await,
            Err(error) => tracing::warn!(%error, "it cannot be found out where webhooks are to be counted"),
        }
    }
}

async fn tidy_all(batches: &Batches, ledgers: &[Ledger], counted: &mut Counted) {
    // Told once for all: if the database is away, every ledger gives trouble.
    let mut trouble = None;
    for ledger in ledgers.iter().map(|ledger| ledger.ledger) {
        match batches.tidy(ledger, RETENTION, PRUNE_BATCH).await {
            Ok(counts) => {
                counted.insert(ledger, counts);
            }
            Err(error) => {
                trouble.get_or_insert((ledger, error));
            }
        }
    }
    if let Some((ledger, error)) = trouble {
        tracing::warn!(%error, %ledger, "stored webhooks could not be counted");
    }
    publish(counted);
}

fn publish(counted: &Counted) {
    for status in InboxStatus::OPEN {
        let of_status = counted.values().flatten().filter(|(counted, _)| *counted == status);
        let entries: i64 = of_status.map(|(_, entries)| entries).sum();
        gauge!(INBOX_EVENTS, "status" => status.as_str()).set(entries as f64);
    }
}
