//! Changes of subscriptions: carried out under the key of the effect that ordered them, or only tried.
//!
//! A change that was carried out leaves its id in the subscription's metadata, so that it can be told whether it happened.

use std::collections::HashMap;

use serde_json::Value;
use stripe_billing::{
    invoice::{
        CreatePreviewInvoice, CreatePreviewInvoiceSubscriptionDetails,
        CreatePreviewInvoiceSubscriptionDetailsItems,
        CreatePreviewInvoiceSubscriptionDetailsProrationBehavior as PreviewedProration,
    },
    subscription::{
        CancelSubscription, UpdateSubscription, UpdateSubscriptionItems, UpdateSubscriptionPaymentBehavior,
        UpdateSubscriptionProrationBehavior,
    },
};

use super::{CallError, StripeClient, garbled, in_path, origin::CHANGE};
use crate::{
    domain::{
        ids::{EffectId, PriceId, StripeId, SubscriptionChangeId},
        subscription_change::{Proration, WantedChange},
    },
    stripe::{PreviewedInvoice, StripeObject, read_preview},
};

/// A subscription as it is at Stripe, as far as a change needs it.
#[derive(Clone, Debug)]
pub struct SubscriptionAtStripe(StripeObject);

impl SubscriptionAtStripe {
    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        matches!(self.text("status"), Some("canceled" | "incomplete_expired"))
    }

    /// Whether the change was made. How it is now does not matter: it may have been changed again.
    pub fn has_seen(&self, request: SubscriptionChangeId) -> bool {
        let seen = self.0.json().pointer("/metadata").and_then(|marks| marks.get(CHANGE));
        seen.and_then(Value::as_str) == Some(request.to_string().as_str())
    }

    /// The item of a price, `si_…`.
    pub fn item_of(&self, price: &PriceId) -> Option<&str> {
        let items = self.0.json().pointer("/items/data")?.as_array()?;
        let item = items
            .iter()
            .find(|item| item.pointer("/price/id").and_then(Value::as_str) == Some(price.as_str()))?;
        item.get("id")?.as_str()
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.json().get(name)?.as_str()
    }
}

/// An item that is to get another price or quantity.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SwitchedItem {
    /// Which one, `si_…`.
    pub item: String,
    /// The new price.
    pub price: PriceId,
    /// How many of it.
    pub quantity: u64,
    /// When that is charged.
    pub proration: Proration,
}

impl SwitchedItem {
    /// What a change means for a subscription as it is at Stripe; nothing if it is no switch, or of an item that is gone.
    pub fn of(change: &WantedChange, subscription: &SubscriptionAtStripe) -> Option<Self> {
        let WantedChange::Switch { replaces, price, quantity, proration } = change else { return None };
        let item = subscription.item_of(replaces)?.to_owned();
        let quantity = u64::try_from(*quantity).ok()?;
        Some(Self { item, price: price.clone(), quantity, proration: *proration })
    }
}

/// What is to be done to a subscription.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Update {
    /// It ends with its period, or does not.
    EndWithPeriod(bool),
    /// An item gets another price or quantity.
    Switch(SwitchedItem),
}

impl StripeClient {
    /// A subscription, to be changed.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn find_subscription(&self, id: &StripeId) -> Result<SubscriptionAtStripe, CallError> {
        self.fetch_subscription(id).await.map(SubscriptionAtStripe)
    }

    /// Ends a subscription at once. It cannot happen twice: one that has ended is not found any more.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none that lives.
    pub async fn cancel_subscription(&self, id: &StripeId, effect: EffectId) -> Result<(), CallError> {
        self.create(&CancelSubscription::new(in_path(id)), effect).await.map(drop)
    }

    /// Changes a subscription. A switch that is charged at once is made only if it is paid.
    ///
    /// # Errors
    /// [`CallError`]; 402 if it could not be paid.
    pub async fn update_subscription(
        &self,
        id: &StripeId,
        update: &Update,
        request: SubscriptionChangeId,
        effect: EffectId,
    ) -> Result<(), CallError> {
        let marks = HashMap::from([(CHANGE.to_owned(), request.to_string())]);
        let mut changed = UpdateSubscription::new(in_path(id)).metadata(marks);
        match update {
            Update::EndWithPeriod(ends) => changed = changed.cancel_at_period_end(*ends),
            Update::Switch(switched) => {
                let mut item = UpdateSubscriptionItems::new();
                item.id = Some(switched.item.clone());
                item.price = Some(switched.price.to_string());
                item.quantity = Some(switched.quantity);
                let proration = match switched.proration {
                    Proration::Now => UpdateSubscriptionProrationBehavior::AlwaysInvoice,
                    Proration::NextInvoice => UpdateSubscriptionProrationBehavior::CreateProrations,
                    Proration::Never => UpdateSubscriptionProrationBehavior::None,
                };
                changed = changed
                    .items(vec![item])
                    .proration_behavior(proration)
                    .payment_behavior(UpdateSubscriptionPaymentBehavior::ErrorIfIncomplete);
            }
        }
        self.create(&changed, effect).await.map(drop)
    }

    /// What the next invoice would be after a switch. Changes nothing.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn preview_switch(
        &self,
        id: &StripeId,
        switched: &SwitchedItem,
    ) -> Result<PreviewedInvoice, CallError> {
        let mut item = CreatePreviewInvoiceSubscriptionDetailsItems::new();
        item.id = Some(switched.item.clone());
        item.price = Some(switched.price.to_string());
        item.quantity = Some(switched.quantity);
        let mut details = CreatePreviewInvoiceSubscriptionDetails::new();
        details.items = Some(vec![item]);
        details.proration_behavior = Some(match switched.proration {
            Proration::Now => PreviewedProration::AlwaysInvoice,
            Proration::NextInvoice => PreviewedProration::CreateProrations,
            Proration::Never => PreviewedProration::None,
        });
        let request = CreatePreviewInvoice::new().subscription(id.as_str()).subscription_details(details);
        let answer = self.preview(&request).await?;
        let unreadable = |problem| garbled(format!("a previewed invoice cannot be read: {problem}"), false);
        read_preview(&answer, id).map_err(unreadable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn subscription(status: &str) -> SubscriptionAtStripe {
        let request = SubscriptionChangeId::from_bits(7).to_string();
        let json = json!({
            "object": "subscription", "id": "sub_1", "status": status, "metadata": { CHANGE: request },
            "items": { "data": [
                { "id": "si_1", "price": { "id": "price_plan" } }, { "id": "si_2", "price": { "id": "price_plus" } },
            ] },
        });
        SubscriptionAtStripe(StripeObject::read("subscription", json).expect("a subscription"))
    }

    #[test]
    fn a_subscription_tells_what_a_change_needs() {
        let subscription_alive = subscription("past_due");
        assert!(!subscription_alive.has_ended() && subscription("canceled").has_ended());
        assert!(subscription("incomplete_expired").has_ended());
        assert!(subscription_alive.has_seen(SubscriptionChangeId::from_bits(7)));
        assert!(!subscription_alive.has_seen(SubscriptionChangeId::from_bits(8)));
        let price = |text| PriceId::parse(text).expect("a price");
        assert_eq!(subscription_alive.item_of(&price("price_plus")), Some("si_2"));
        assert_eq!(subscription_alive.item_of(&price("price_other")), None);
    }
}
