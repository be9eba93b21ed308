//! What an event orders in the outside world. Pure: the rows are written in the event's own commit.
//!
//! Invariant: the shape of an [`Effect`] is kept in rows that may be carried out by a later version, so it only grows, by
//! variants and by fields that may be absent.

use serde::{Deserialize, Serialize};

use super::{
    event::{CustomerLinked, Event, EventBody, LinkCause},
    ids::{AccountNumber, OrderId, RefundRequestId, StripeId, SubscriptionChangeId},
};

/// Something that must be done outside, exactly once in effect. It names what it is about, and nothing else: whoever does
/// it reads the rest when it is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Effect {
    /// Makes the account's customer at Stripe, unless it has one by then.
    CreateCustomer {
        /// Whose.
        account: AccountNumber,
        /// The order that it is made for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        order: Option<OrderId>,
    },
    /// Makes the checkout session of an order.
    CreateCheckoutSession {
        /// Who ordered.
        account: AccountNumber,
        /// What was ordered.
        order: OrderId,
    },
    /// Asks Stripe for a refund.
    CreateRefund {
        /// Who bought.
        account: AccountNumber,
        /// Which refund.
        refund: RefundRequestId,
    },
    /// Asks Stripe to change a subscription.
    ChangeSubscription {
        /// Whose.
        account: AccountNumber,
        /// Which change.
        request: SubscriptionChangeId,
    },
    /// Moves the clock of a simulated Stripe on with the ledger's. Stripe itself has no such clock.
    AdvanceStripeClock {
        /// How many seconds the ledger's clock is ahead.
        ahead: i64,
    },
}

impl Effect {
    /// Every kind there is.
    pub const KINDS: [&str; 5] = [
        "create_customer",
        "create_checkout_session",
        "create_refund",
        "change_subscription",
        "advance_stripe_clock",
    ];

    /// Its kind as stored.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CreateCustomer { .. } => "create_customer",
            Self::CreateCheckoutSession { .. } => "create_checkout_session",
            Self::CreateRefund { .. } => "create_refund",
            Self::ChangeSubscription { .. } => "change_subscription",
            Self::AdvanceStripeClock { .. } => "advance_stripe_clock",
        }
    }

    /// Effects of one key are carried out one after the other, as they were ordered. An account's customer and its
    /// sessions share one: the customer is there before the session, and requests that race never make two.
    pub fn key(&self) -> String {
        match self {
            Self::CreateCustomer { account, .. } | Self::CreateCheckoutSession { account, .. } => {
                format!("checkout:{account}")
            }
            Self::CreateRefund { account, .. } => format!("refund:{account}"),
            Self::ChangeSubscription { account, .. } => format!("subscription:{account}"),
            Self::AdvanceStripeClock { .. } => "clock".to_owned(),
        }
    }

    /// Whether the effects behind it wait if it was given up: sessions need the customer, and nothing else needs anything.
    pub fn dead_blocks_key(&self) -> bool {
        matches!(self, Self::CreateCustomer { .. })
    }
}

/// The effects that one event orders. The match is exhaustive, so that whoever adds an event has to say.
pub fn effects_of(event: &Event) -> Vec<Effect> {
    match &event.body {
        EventBody::OrderPlaced(body) => checkout(event, body.customer.as_ref(), body.order),
        EventBody::CustomerLinked(CustomerLinked {
            customer,
            cause: LinkCause::Deleted,
            order: Some(order),
        }) => checkout(event, customer.as_ref(), *order),
        EventBody::RefundRequested(body) => {
            of_account(event, |account| vec![Effect::CreateRefund { account, refund: body.refund }])
        }
        EventBody::SubscriptionChangeRequested(body) => {
            of_account(event, |account| vec![Effect::ChangeSubscription { account, request: body.request }])
        }
        EventBody::ClockAdvanced(body) => vec![Effect::AdvanceStripeClock { ahead: body.ahead }],
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
        | EventBody::TransferSent(_)
        | EventBody::TransferReceived(_)
        | EventBody::CustomerLinked(_)
        | EventBody::OrderSessionCreated(_)
        | EventBody::OrderPaid(_)
        | EventBody::OrderExpired(_)
        | EventBody::OrderFailed(_)
        | EventBody::RefundRefused(_)
        | EventBody::CheckoutLinkCreated(_)
        | EventBody::CheckoutLinkRevoked(_)
        | EventBody::SubscriptionStarted(_)
        | EventBody::SubscriptionChanged(_)
        | EventBody::SubscriptionChangeSettled(_)
        | EventBody::SubscriptionEnded(_)
        | EventBody::CreditsRolledOver(_)
        | EventBody::LimitChanged(_)
        | EventBody::FeatureSet(_)
        | EventBody::PriceSet(_)
        | EventBody::LedgerConfigured(_)
        | EventBody::KeyCreated(_)
        | EventBody::KeyRevoked(_)
        | EventBody::HistoryLost(_) => Vec::new(),
    }
}

/// What the checkout of an order asks for: the customer, if the account has none, and then the session.
fn checkout(event: &Event, customer: Option<&StripeId>, order: OrderId) -> Vec<Effect> {
    of_account(event, |account| {
        let session = Effect::CreateCheckoutSession { account, order };
        match customer {
            Some(_) => vec![session],
            None => vec![Effect::CreateCustomer { account, order: Some(order) }, session],
        }
    })
}

fn of_account(event: &Event, effects: impl FnOnce(AccountNumber) -> Vec<Effect>) -> Vec<Effect> {
    event.account.map(effects).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::{Position, Seed};

    #[test]
    fn effects_are_stored_as_they_always_were() {
        let (account, seed) = (AccountNumber(7), Seed([0; 16]));
        let order = OrderId::new(Position(9), 0, &seed);
        let refund = RefundRequestId::new(Position(9), 0, &seed);
        let request = SubscriptionChangeId::new(Position(9), 0, &seed);
        for (effect, written, key, blocks) in [
            (
                Effect::CreateCustomer { account, order: Some(order) },
                format!(r#"{{"kind":"create_customer","account":7,"order":"{order}"}}"#),
                "checkout:7",
                true,
            ),
            (
                Effect::CreateCustomer { account, order: None },
                r#"{"kind":"create_customer","account":7}"#.to_owned(),
                "checkout:7",
                true,
            ),
            (
                Effect::CreateCheckoutSession { account, order },
                format!(r#"{{"kind":"create_checkout_session","account":7,"order":"{order}"}}"#),
                "checkout:7",
                false,
            ),
            (
                Effect::CreateRefund { account, refund },
                format!(r#"{{"kind":"create_refund","account":7,"refund":"{refund}"}}"#),
                "refund:7",
                false,
            ),
            (
                Effect::ChangeSubscription { account, request },
                format!(r#"{{"kind":"change_subscription","account":7,"request":"{request}"}}"#),
                "subscription:7",
                false,
            ),
            (
                Effect::AdvanceStripeClock { ahead: 86_400 },
                r#"{"kind":"advance_stripe_clock","ahead":86400}"#.to_owned(),
                "clock",
                false,
            ),
        ] {
            assert_eq!(serde_json::to_string(&effect).expect("serialises"), written);
            assert_eq!(serde_json::from_str::<Effect>(&written).expect("reads"), effect);
            assert!(written.contains(&format!("\"{}\"", effect.kind())));
            assert!(Effect::KINDS.contains(&effect.kind()));
            assert_eq!((effect.key().as_str(), effect.dead_blocks_key()), (key, blocks));
        }
    }
}
