//! What events do to subscriptions, and to the lots that live by them.

use super::is_news;
use crate::domain::{
    account::{Account, Pool},
    event::{
        CreditsRolledOver, Event, ShortenedLot, SubscriptionChange, SubscriptionChangeRequested,
        SubscriptionChangeSettled, SubscriptionChanged, SubscriptionEnded, SubscriptionStarted,
    },
    ids::{LotId, StripeId, Unit},
    subscription::{InvoiceLine, PeriodLot, Subscription},
    subscription_change::{ChangeOutcome, RequestedChange},
    working_set::WorkingSet,
};

pub(super) fn start(working_set: &mut WorkingSet, event: &Event, body: &SubscriptionStarted) {
    let Some(account) = event.account else { return };
    working_set.subscriptions.entry(body.subscription.clone()).or_insert_with(|| Subscription {
        id: body.subscription.clone(),
        account,
        order: body.order,
        terms: body.terms.clone(),
        started: event.position,
        started_at: event.recorded_at,
        lots: Vec::new(),
        changes: Vec::new(),
        requests: Vec::new(),
        version: event.position,
    });
}

/// The subscription, if it has not seen the event; it has now.
fn unseen<'a>(
    working_set: &'a mut WorkingSet,
    subscription: &StripeId,
    event: &Event,
) -> Option<&'a mut Subscription> {
    let subscription = working_set.subscriptions.get_mut(subscription)?;
    is_news(&mut subscription.version, event).then_some(subscription)
}

pub(super) fn change(working_set: &mut WorkingSet, event: &Event, body: &SubscriptionChanged) {
    let Some(subscription) = unseen(working_set, &body.subscription, event) else { return };
    match &body.change {
        SubscriptionChange::Terms(terms) => subscription.terms = terms.clone(),
        SubscriptionChange::Order(order) => subscription.order = Some(*order),
        SubscriptionChange::Prorated(prorated) => {
            subscription.expect(prorated.period_end, prorated.replaced, &prorated.credits);
        }
    }
}

pub(super) fn request(working_set: &mut WorkingSet, event: &Event, body: &SubscriptionChangeRequested) {
    let Some(subscription) = unseen(working_set, &body.subscription, event) else { return };
    subscription.request(RequestedChange {
        id: body.request,
        change: body.change.clone(),
        requested_at: event.recorded_at,
        outcome: None,
    });
}

pub(super) fn settle(working_set: &mut WorkingSet, event: &Event, body: &SubscriptionChangeSettled) {
    let Some(subscription) = unseen(working_set, &body.subscription, event) else { return };
    subscription.settle(body.request, body.refusal.map_or(ChangeOutcome::Made, ChangeOutcome::Refused));
}

pub(super) fn end(working_set: &mut WorkingSet, event: &Event, body: &SubscriptionEnded) {
    let Some(subscription) = unseen(working_set, &body.subscription, event) else { return };
    subscription.terms = body.terms.clone();
}

/// A line granted a lot.
pub(super) fn take_in(
    working_set: &mut WorkingSet,
    event: &Event,
    line: &InvoiceLine,
    lot: LotId,
    granted: i64,
) {
    let Some(unit) = &event.unit else { return };
    let Some(subscription) = unseen(working_set, &line.subscription, event) else { return };
    subscription.take_in(unit, lot, granted, line);
}

pub(super) fn take_over(working_set: &mut WorkingSet, event: &Event, body: &CreditsRolledOver) {
    let Some(unit) = &event.unit else { return };
    let Some(subscription) = unseen(working_set, &body.subscription, event) else { return };
    for rolled in &body.lots {
        subscription.remember(PeriodLot { unit: unit.clone(), lot: rolled.into.lot, ends_at: body.ends_at });
    }
}

/// Moves credits into the new period.
pub(super) fn roll_over(account: &mut Account, unit: &Unit, body: &CreditsRolledOver) {
    let spilled = account.next_lot_is_spilled();
    let book = super::book(account, unit);
    for rolled in &body.lots {
        book.give_back(rolled.lot, rolled.amount, Pool::Remaining, Some(rolled.into), spilled);
    }
}

/// Lots that expire sooner. One that is closed stands in a row of its own and has nothing left to expire.
pub(super) fn shorten(account: &mut Account, lots: &[ShortenedLot]) {
    for shortened in lots {
        let lot = account.books.get_mut(&shortened.unit).and_then(|book| book.lots.get_mut(&shortened.lot));
        if let Some(lot) = lot {
            lot.expires_at = Some(shortened.expires_at);
        }
    }
}
