//! Subscriptions: `customer.subscription.created`, `.updated`, `.paused`, `.resumed` and `.deleted`.
//!
//! Invariant: a state is of the moment of its event, so that it does not matter in which order events come.

use super::{
    fact::{Fact, SubscriptionReport},
    fields::Fields,
    metadata,
    no_fact::{NeedsStripe, NoFact, Nonsense, Problem},
};
use crate::domain::{
    ids::PriceId,
    subscription::{SubscribedPrice, SubscriptionStatus, SubscriptionTerms},
    time::Timestamp,
};

/// What Stripe calls the object.
pub(super) const KIND: &str = "subscription";

/// Reads how a subscription was at `as_of`.
pub(super) fn report(subscription: &Fields<'_>, as_of: Timestamp) -> Result<Fact, NoFact> {
    subscription.expect_kind(KIND)?;
    let id = subscription.own_id()?;
    let needs = |missing| NeedsStripe { kind: KIND, id: id.clone(), missing };
    let status = subscription.text("status")?.ok_or_else(|| needs("status"))?;
    let status =
        SubscriptionStatus::parse(status).ok_or_else(|| subscription.nonsense("status", Problem::Unknown))?;
    let list = subscription.object("items")?.ok_or_else(|| needs("items"))?;
    if list.flag("has_more")? == Some(true) {
        return Err(needs("items").into());
    }
    let items = list.objects("data")?.ok_or_else(|| needs("items"))?;
    let marks = subscription.object("metadata")?;
    let (account, order) = match &marks {
        Some(marks) => (metadata::subscriber(marks)?, metadata::order_of(marks)?),
        None => (None, None),
    };
    let terms = SubscriptionTerms {
        as_of,
        status,
        items: items.iter().map(item).collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect(),
        period_end: period_end(subscription, &items)?,
        cancel_at_period_end: subscription.flag("cancel_at_period_end")?.unwrap_or(false),
        collection_paused: subscription.value("pause_collection").is_some(),
    };
    Ok(Fact::SubscriptionTold(SubscriptionReport {
        customer: subscription.id("customer")?,
        subscription: id,
        account,
        order,
        terms,
    }))
}

fn item(item: &Fields<'_>) -> Result<Option<SubscribedPrice>, Nonsense> {
    let price = item.id("price")?.or(item.id("plan")?);
    let price = price.and_then(|price| PriceId::parse(price.as_str()).ok());
    let quantity = item.count("quantity")?.unwrap_or(1);
    Ok(price.map(|price| SubscribedPrice { price, quantity }))
}

/// Items say it since 2025-03-31; before, the subscription did.
fn period_end(subscription: &Fields<'_>, items: &[Fields<'_>]) -> Result<Option<Timestamp>, Nonsense> {
    let mut seconds = subscription.count("current_period_end")?;
    for item in items {
        seconds = seconds.max(item.count("current_period_end")?);
    }
    Ok(seconds.and_then(Timestamp::from_unix_seconds))
}
