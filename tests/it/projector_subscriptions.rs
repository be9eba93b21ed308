//! What an account's history says of subscriptions.

use std::collections::BTreeMap;

use counterfoil::domain::{
    event::{
        CreditsGranted, CreditsRolledOver, GrantSource, Prorated, SubscriptionChange,
        SubscriptionChangeRequested, SubscriptionChangeSettled, SubscriptionChanged, SubscriptionEnded,
        SubscriptionStarted,
    },
    ids::{LotId, OrderId, Position, PriceId, StripeId, SubscriptionChangeId},
    subscription::{InvoiceLine, Period, SubscriptionStatus, SubscriptionTerms},
    subscription_change::{CancelAt, ChangeRefusal, Proration, WantedChange},
    time::Timestamp,
};

use crate::projector_support::{Fact, SEED};

fn stripe_id(id: &str) -> StripeId {
    StripeId::parse(id).expect("an id")
}

fn terms(status: SubscriptionStatus, cancel_at_period_end: bool) -> SubscriptionTerms {
    SubscriptionTerms {
        as_of: Timestamp::default(),
        status,
        items: Vec::new(),
        period_end: None,
        cancel_at_period_end,
        collection_paused: false,
    }
}

/// Each with the words for it.
pub fn stories() -> Vec<(Fact, &'static str)> {
    let (subscription, ends_at) = (|| stripe_id("sub_1"), Timestamp::default());
    let changed = |change| Fact::about(SubscriptionChanged { subscription: subscription(), change });
    let told = |status, ends| changed(SubscriptionChange::Terms(terms(status, ends)));
    let line = InvoiceLine {
        invoice: stripe_id("in_1"),
        line: stripe_id("il_1"),
        subscription: subscription(),
        period: Period { start: ends_at, end: ends_at },
        ends_at,
        prorated: false,
    };
    let granted = |source| {
        let lot = LotId::new(Position(1), 0, &SEED);
        Fact::credits(CreditsGranted { lot, source, granted: 5, expires_at: None, priority: 50 }, 5, 5)
    };
    let prorated = Prorated {
        invoice: stripe_id("in_1"),
        period_end: ends_at,
        replaced: None,
        credits: BTreeMap::new(),
    };
    let order = OrderId::new(Position(1), 0, &SEED);
    let started = SubscriptionStarted {
        subscription: subscription(),
        order: None,
        terms: terms(SubscriptionStatus::Active, false),
    };
    let ended = SubscriptionEnded {
        subscription: subscription(),
        terms: terms(SubscriptionStatus::Canceled, false),
        shortened: Vec::new(),
    };
    let rolled_over = CreditsRolledOver { subscription: subscription(), ends_at, lots: Vec::new() };
    vec![
        (Fact::about(started), "Subscription started"),
        (granted(GrantSource::Trial(line.clone())), "Granted credits for a trial"),
        (granted(GrantSource::InvoiceLine(line)), "Granted credits by a subscription at no charge"),
        (told(SubscriptionStatus::Active, false), "Subscription changed"),
        (told(SubscriptionStatus::Active, true), "Subscription changed: it ends with its period"),
        (told(SubscriptionStatus::PastDue, false), "Subscription payment is overdue"),
        (told(SubscriptionStatus::Unpaid, false), "Subscription is not paid"),
        (changed(SubscriptionChange::Order(order)), "Subscription changed"),
        (changed(SubscriptionChange::Prorated(prorated)), "Subscription changed within its period"),
        (Fact::credits(rolled_over, 0, 0), "Moved credits into the next period"),
        (Fact::about(ended), "Subscription ended"),
    ]
    .into_iter()
    .chain(asked_for())
    .collect()
}

/// What was asked for here, and what became of it.
fn asked_for() -> Vec<(Fact, &'static str)> {
    let request = SubscriptionChangeId::new(Position(1), 0, &SEED);
    let asked = |change| {
        let subscription = stripe_id("sub_1");
        Fact::about(SubscriptionChangeRequested { subscription, request, change })
    };
    let settled = |refusal| {
        let subscription = stripe_id("sub_1");
        Fact::about(SubscriptionChangeSettled { subscription, request, refusal })
    };
    let price = |id| PriceId::parse(id).expect("a price");
    let switch = WantedChange::Switch {
        replaces: price("price_plan"),
        price: price("price_plus"),
        quantity: 2,
        proration: Proration::Now,
    };
    vec![
        (asked(WantedChange::Cancel { at: CancelAt::Now }), "Asked to end the subscription at once"),
        (
            asked(WantedChange::Cancel { at: CancelAt::PeriodEnd }),
            "Asked to end the subscription with its period",
        ),
        (asked(WantedChange::Resume {}), "Asked to let the subscription go on"),
        (asked(switch), "Asked to change the subscription to price_plus × 2"),
        (settled(None), "Change of subscription made"),
        (settled(Some(ChangeRefusal::SubscriptionEnded)), "Change of subscription refused: it has ended"),
        (settled(Some(ChangeRefusal::PaymentFailed)), "Change of subscription refused: it was not paid"),
        (
            settled(Some(ChangeRefusal::ItemGone)),
            "Change of subscription refused: the price is not subscribed to any more",
        ),
        (settled(Some(ChangeRefusal::Refused)), "Change of subscription refused: Stripe does not make it"),
        (settled(Some(ChangeRefusal::GivenUp)), "Change of subscription refused: it was given up"),
    ]
}
