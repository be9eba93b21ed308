//! What an event would come to, without anything being done: for whoever compares what Stripe has with what the ledger has.
//!
//! Invariant: an event is judged here by the same reader and the same mapping that it would meet in the inbox.

use super::{batch::check, holder::Holder, mapping, outcome::NotDone};
use crate::{
    domain::{Command, ids::Key},
    store::{configuration::Configuration, ledgers::Ledger},
    stripe::{self, Event, NeedsStripe, NoFact},
};

/// What an event would come to.
#[derive(Clone, Debug, PartialEq)]
pub enum Judgement {
    /// Commands, each with the name of the business fact, if it has one.
    Commands(Vec<(Option<Key>, Command)>),
    /// Stripe has to be asked first.
    Asks(NeedsStripe),
    /// Nothing: it is none of the ledger's business, and why.
    Ignored(String),
    /// A person has to look at it, and why.
    Quarantined(String),
}

/// What an event would come to in that ledger. Whose the subscription or the customer is that it is about, if it is about one,
/// says `holder`.
pub fn judge(
    ledger: &Ledger,
    configuration: &Configuration,
    event: &Event,
    holder: Option<&Holder>,
) -> Judgement {
    if let Err(not_done) = check(ledger, event) {
        return not_done.into();
    }
    let fact = match stripe::extract(event) {
        Ok(fact) => fact,
        Err(NoFact::NeedsStripe(needs)) => return Judgement::Asks(needs),
        Err(reason) => return NotDone::from(reason).into(),
    };
    match mapping::commands(fact, configuration, holder.into()) {
        Ok(keyed) => Judgement::Commands(keyed.into_iter().map(|keyed| (keyed.key, keyed.command)).collect()),
        Err(not_done) => not_done.into(),
    }
}

impl From<NotDone> for Judgement {
    fn from(not_done: NotDone) -> Self {
        match not_done {
            NotDone::Ignored(reason) => Self::Ignored(reason.to_string()),
            NotDone::Quarantined(reason) => Self::Quarantined(reason.to_string()),
        }
    }
}
