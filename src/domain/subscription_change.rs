//! A change of a subscription that is asked of us: what it comes to, and how far it has come.
//!
//! Stripe is asked to carry it out; how the subscription is afterwards, and what its invoices grant, Stripe tells as it
//! tells of changes that were made elsewhere.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amount::Amount,
    catalogue::{Catalogue, Price},
    ids::{PriceId, SubscriptionChangeId},
    listing::PriceMode,
    rejection::Rejection,
    sale::Sale,
    subscription::{SubscribedPrice, Subscription},
    time::Timestamp,
};

/// When a subscription is to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CancelAt {
    /// At once.
    Now,
    /// With the period that is paid.
    PeriodEnd,
}

/// When the rest of a period is charged at its new price, and its old price is given back for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Proration {
    /// At once; if that cannot be paid nothing changes.
    Now,
    /// With the next invoice.
    NextInvoice,
    /// Never: the new price counts from the next period on.
    Never,
}

/// A change, as it is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AskedChange {
    /// It is to end.
    Cancel {
        /// When.
        at: CancelAt,
    },
    /// It is not to end with its period after all.
    Resume,
    /// Another price, another quantity, or both.
    Switch {
        /// The price in whose place the new one comes; may be left out if there is just one.
        replaces: Option<PriceId>,
        /// The new price; the old one stays if absent.
        price: Option<PriceId>,
        /// How many of it; as many as there are if absent.
        quantity: Option<Amount>,
        /// When that is charged.
        proration: Proration,
    },
}

/// A change, as Stripe is to make it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum WantedChange {
    /// It is to end.
    Cancel {
        /// When.
        at: CancelAt,
    },
    /// It is not to end with its period after all.
    Resume {},
    /// Another price, another quantity, or both.
    Switch {
        /// The price in whose place the new one comes.
        replaces: PriceId,
        /// The new price.
        price: PriceId,
        /// How many of it.
        quantity: i64,
        /// When that is charged.
        proration: Proration,
    },
}

/// Why a change will not be made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeRefusal {
    /// It had ended before.
    SubscriptionEnded,
    /// What it costs could not be paid.
    PaymentFailed,
    /// The subscription has no such item any more.
    ItemGone,
    /// Stripe does not make it.
    Refused,
    /// An operator gave it up.
    GivenUp,
}

impl ChangeRefusal {
    /// The name as stored and in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SubscriptionEnded => "subscription_ended",
            Self::PaymentFailed => "payment_failed",
            Self::ItemGone => "item_gone",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

/// How far a change has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChangeOutcome {
    /// Stripe has made it.
    Made,
    /// It will not be made.
    Refused(ChangeRefusal),
}

/// A change that was asked of us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestedChange {
    /// Which one.
    pub id: SubscriptionChangeId,
    /// What is to change.
    pub change: WantedChange,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// What became of it; absent as long as Stripe has not answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<ChangeOutcome>,
}

impl AskedChange {
    /// What it comes to, for a subscription as it is.
    ///
    /// # Errors
    /// In this order: the subscription has ended; it has no such price, or several and none is named; the new price is not
    /// known, is not active, is paid once, or in another currency; the quantity; nothing would change.
    pub fn resolve(
        &self,
        subscription: &Subscription,
        catalogue: &Catalogue,
    ) -> Result<WantedChange, Rejection> {
        if subscription.terms.status.has_ended() {
            return Err(Rejection::SubscriptionEnded { subscription: subscription.id.clone() });
        }
        let Self::Switch { replaces, price, quantity, proration } = self else {
            return Ok(match self {
                Self::Cancel { at } => WantedChange::Cancel { at: *at },
                _ => WantedChange::Resume {},
            });
        };
        let item = find_item(&subscription.terms.items, replaces.as_ref())?;
        let price = price.as_ref().unwrap_or(&item.price);
        let known = catalogue.prices.get(price);
        let known = known.ok_or_else(|| Rejection::UnknownPrice { price: price.clone() })?;
        let quantity = quantity.or_else(|| Amount::new(item.quantity)).unwrap_or(Amount::ONE);
        check_sale(known, catalogue.prices.get(&item.price), quantity)?;
        if *price == item.price && quantity.get() == item.quantity {
            return Err(invalid("price_id", "it is what is subscribed to, and so is the quantity"));
        }
        Ok(WantedChange::Switch {
            replaces: item.price.clone(),
            price: price.clone(),
            quantity: quantity.get(),
            proration: *proration,
        })
    }
}

fn find_item<'a>(
    items: &'a [SubscribedPrice],
    replaces: Option<&PriceId>,
) -> Result<&'a SubscribedPrice, Rejection> {
    match (replaces, items) {
        (None, [item]) => Ok(item),
        (None, _) => {
            Err(invalid("replaces", "must name one of the subscription's prices: it has not just one"))
        }
        (Some(replaces), items) => items
            .iter()
            .find(|item| item.price == *replaces)
            .ok_or_else(|| invalid("replaces", "must be a price that is subscribed to")),
    }
}

fn check_sale(price: &Price, before: Option<&Price>, quantity: Amount) -> Result<(), Rejection> {
    Sale::of(price, quantity, None)?;
    // Of a price that Stripe has not told of yet it is Stripe that says so.
    if price.stripe.as_ref().is_some_and(|listing| listing.mode == PriceMode::OneTime) {
        return Err(invalid("price_id", "must be a price that is paid again and again"));
    }
    if before.is_some_and(|before| before.currency != price.currency) {
        return Err(invalid("price_id", "must be in the currency of the subscription"));
    }
    Ok(())
}

fn invalid(field: &'static str, problem: &'static str) -> Rejection {
    Rejection::InvalidConfiguration { field, problem }
}
