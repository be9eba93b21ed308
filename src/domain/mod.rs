//! The rules of the ledger, pure: no I/O, no clock, no randomness, no async.
//!
//! A [`Command`] is decided on a [`WorkingSet`] that holds everything it may look at ([`Command::needs`] says what that
//! is): [`decide`] answers with events or with the [`Rejection`] that names the broken rule, and [`evolve`] applies an
//! event to the working set. Replaying the events gives the same state, because events carry what was decided (which
//! lots were drawn, what a clawback touched) and replay never decides again.
//!
//! | file | holds |
//! | --- | --- |
//! | `amount`, `day`, `ids`, `time` | values that cannot be invalid |
//! | `event`, `canonical`, `effects` | facts, the bytes that are hashed, and what they order in the outside world |
//! | `command`, `commands/` | wishes, and one file for each with its checks |
//! | `account`, `purchase`, `payment`, `order`, `subscription`, `subscription_change`, `checkout_link`, `catalogue`, `listing`, `settings`, `working_set` | state |
//! | `decide`, `evolve` | the two entries |
//! | `sale`, `invoice_worth` | what is sold by a checkout, and by a line of a subscription's invoice |
//! | `invariants` | what must hold of the state, whatever happened |
//! | `due`, `clawback`, `follow_up` | what follows from time, from money that goes back, and from credits that come in |

pub mod account;
pub mod amount;
pub mod canonical;
pub mod catalogue;
pub mod checkout_link;
pub mod clawback;
pub mod command;
pub mod day;
pub mod effects;
pub mod event;
pub mod evolve;
pub mod ids;
pub mod invariants;
pub mod invoice_worth;
pub mod listing;
pub mod order;
pub mod payment;
pub mod purchase;
pub mod redirect;
pub mod rejection;
pub mod sale;
mod schema;
pub mod settings;
pub mod subscription;
pub mod subscription_change;
pub mod time;
pub mod working_set;

mod commands;
mod decide;
mod due;
mod follow_up;
#[cfg(test)]
pub(crate) mod testing;

pub use command::{Command, Context, Needs};
pub use decide::{account_at, decide};
pub use event::{Event, EventBody};
pub use evolve::evolve;
pub use rejection::Rejection;
pub use working_set::{Decision, Private, WorkingSet};

#[cfg(test)]
mod stories;
