//! What an event orders in the outside world. Pure: the rows are written in the event's own commit.

use super::event::{Event, EventBody};

/// Something that must be done outside, exactly once in effect. No event orders anything yet, so there is no variant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {}

/// The effects that one event orders. The match is exhaustive, so that whoever adds an event has to say.
pub fn effects_of(event: &Event) -> Vec<Effect> {
    match event.body {
        EventBody::AccountOpened(_)
        | EventBody::AccountChanged(_)
        | EventBody::AccountFrozen(_)
        | EventBody::AccountUnfrozen(_)
        | EventBody::AccountClosed(_)
        | EventBody::CreditsPurchased(_)
        | EventBody::CreditsGranted(_)
        | EventBody::CreditsSpent(_)
        | EventBody::CreditsHeld(_)
        | EventBody::HoldCaptured(_)
        | EventBody::HoldReleased(_)
        | EventBody::CreditsExpired(_)
        | EventBody::CreditsAdjusted(_)
        | EventBody::PurchaseClawed(_)
        | EventBody::PurchaseRestored(_)
        | EventBody::PaymentNoted(_)
        | EventBody::DebtSettled(_)
        | EventBody::LimitChanged(_)
        | EventBody::FeatureSet(_)
        | EventBody::PriceSet(_)
        | EventBody::LedgerConfigured(_)
        | EventBody::KeyCreated(_)
        | EventBody::KeyRevoked(_)
        | EventBody::HistoryLost(_) => Vec::new(),
    }
}
