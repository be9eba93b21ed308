//! Reconciliation: what Stripe knows and the ledger does not is taken in, and where they differ is told.
//!
//! Webhooks get lost, and databases are restored. Every few minutes the events that Stripe keeps are read and those that
//! the inbox lacks are put into it, where they go the way of every webhook. Every day what Stripe has is held against what
//! the ledger has. After a restore both happen before anything that the ledger ordered is carried out.
//!
//! | file | holds |
//! | --- | --- |
//! | `worker` | which ledgers are worked on, and when |
//! | `turn` | what is done while the lease of a ledger is held |
//! | `events` | Stripe's events are taken in |
//! | `compare` | Stripe and the ledger are compared, a day after the other |
//! | `examine` | whether they agree about one thing, or a page of things |
//! | `invoices` | the same of invoices of subscriptions |
//! | `repair` | differences are repaired |
//! | `trouble` | why something could not be done |
//!
//! Invariants:
//! - what Stripe tells reaches the ledger through the inbox alone, under the names of the business facts: whatever is done
//!   twice, by whomever, changes nothing;
//! - one process at a time works on a ledger, by a lease; what it has begun is begun again by the next one if it dies;
//! - Stripe is asked page by page, within the rate of the ledger's client, and no transaction is open meanwhile.

mod compare;
mod events;
mod examine;
mod invoices;
mod repair;
mod trouble;
mod turn;
mod worker;

use std::{sync::Arc, time::Duration};

use tokio::sync::mpsc;

pub use trouble::Stopped;
pub use worker::ReconcileWorker;

use crate::{credentials::StripeClients, domain::ids::LedgerId, store::pool::Database, writer::Writers};

/// Reconciles ledgers with Stripe.
pub struct Reconciler {
    database: Database,
    writers: Arc<Writers>,
    clients: Arc<StripeClients>,
    /// Tells the inbox that there is something new.
    bell: mpsc::Sender<LedgerId>,
    /// How often events are read.
    every: Duration,
}

impl Reconciler {
    /// Works on `database` and asks Stripe with `clients`; reads events as often as `every` says. Whatever is put into the
    /// inbox is told to `bell`, and what a person has to have put right goes to `writers`.
    pub fn new(
        database: Database,
        writers: Arc<Writers>,
        clients: Arc<StripeClients>,
        bell: mpsc::Sender<LedgerId>,
        every: Duration,
    ) -> Self {
        Self { database, writers, clients, bell, every }
    }
}
