//! What must always hold, tried on random histories.
//!
//! A deliberately naive model of a whole ledger runs beside the code under test and shares only its command types: it
//! keeps flat lists, derives every sum anew, and is written to be compared with the rules by eye. After every step both
//! must tell the same, and every invariant must hold.
//!
//! | file | holds |
//! | --- | --- |
//! | `model/` | the model |
//! | `steps` | what random histories consist of: small steps that name things by small numbers |
//! | `plans` | how they are drawn |
//! | `commands` | what a step asks for on a ledger |
//! | `harness` | runs a plan on the code and on the model |
//! | `needs` | working sets with only what a command says that it needs |
//! | `summary` | what of both is compared: everything but ids |
//! | `invariants` | what must hold of the code's state and events by themselves |
//! | `properties` | the properties |
//! | `golden` | the stored shapes of events, which must stay readable for ever |

mod billing;
mod commands;
mod golden;
mod harness;
mod invariants;
mod model;
mod needs;
mod plans;
mod properties;
mod steps;
mod summary;

pub(crate) use self::{harness::Harness, plans::plan};
