//! The inbox: from a stored webhook to commands of the ledger.
//!
//! Webhooks are stored as they arrive (`service::webhooks`) and answered at once; here they are worked off, whenever the
//! ledger can take them.
//!
//! | file | holds |
//! | --- | --- |
//! | `worker` | which ledgers are worked on, when, and for how long |
//! | `batch` | one batch: claimed, worked on, finished |
//! | `tidy` | what is not done is counted, old bodies are forgotten |
//! | `questions` | what a body leaves open is asked of Stripe |
//! | `mapping` | facts that Stripe reported become commands under the names of business facts |
//! | `billing` | the same for subscriptions and their invoices |
//! | `holder` | whose a subscription or a customer is, as the ledger knows it |
//! | `judgement` | what an event would come to, without anything being done |
//! | `agreement` | whether a fact that is told again is told with the same money |
//! | `ties` | which of two states of one second is the newer |
//! | `outcome` | every way in which a webhook can end other than processed |
//!
//! Invariants:
//! - a webhook is never dropped: it ends processed, ignored or quarantined, with the reason, or is tried again for as long as an
//!   outage lasts;
//! - the same webhook again, or another that tells the same, changes nothing;
//! - Stripe is asked only for what the body leaves open, outside of any transaction, and never changed; what Stripe cannot
//!   tell, or cannot be asked, is put aside as `needs_stripe`, to be replayed.

mod agreement;
mod batch;
mod billing;
mod holder;
mod judgement;
mod mapping;
mod outcome;
mod questions;
mod tidy;
mod ties;
mod worker;

pub use batch::Batches;
pub use holder::{Holder, find_holder};
pub use judgement::{Judgement, judge};
pub use worker::InboxWorker;
