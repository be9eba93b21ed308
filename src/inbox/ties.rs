//! Two states of one price, product or subscription from the same second, by Stripe's clock: which is the newer, no event tells.
//!
//! Stripe is asked how the object is now, and that counts as the newest state of the second. Where Stripe cannot be asked,
//! the contents decide, so that every order of arrival ends alike.

use crate::{
    domain::{
        ids::StripeId,
        listing::{Listing, ProductListing},
        subscription::SubscriptionTerms,
        time::{Span, Timestamp},
    },
    store::configuration::Configuration,
    stripe::{Fact, NeedsStripe, PriceReport, ProductReport, SubscriptionReport},
};

/// What the event does not tell.
const MISSING: &str = "order within a second";

/// What is known of what a fact is about.
pub(super) struct Known<'a> {
    /// Prices, with their products.
    pub ledger: &'a Configuration,
    /// How the subscription is that the fact is about, if it is about one that is known.
    pub terms: Option<SubscriptionTerms>,
}

/// What has to be read from Stripe before this state can be held against the one that is known. What is gone stays gone,
/// and so does what has ended.
pub(super) fn undecided(fact: &Fact, known: &Known<'_>) -> Option<NeedsStripe> {
    let ledger = known.ledger;
    let (kind, id) = match fact {
        Fact::PriceTold(PriceReport { price, listing }) if !listing.deleted => {
            let known = known_price(fact, ledger)?;
            let product_listing = listing.product_listing.clone().or_else(|| known.product_listing.clone());
            let told = Listing { product_listing, ..listing.clone() };
            if !is_of_second(known.as_of, told.as_of) || known.says_the_same(&told) {
                return None;
            }
            ("price", StripeId::parse(price.as_str()).ok()?)
        }
        Fact::ProductTold(ProductReport { product, listing }) if !listing.deleted => {
            let known = known_product(fact, ledger)?;
            let told = ProductListing { as_of: known.as_of, ..listing.clone() };
            if !is_of_second(known.as_of, listing.as_of) || *known == told {
                return None;
            }
            ("product", product.clone())
        }
        Fact::SubscriptionTold(SubscriptionReport { subscription, terms, .. }) => {
            let known = known.terms.as_ref()?;
            let has_ended = known.status.has_ended() || terms.status.has_ended();
            let told = SubscriptionTerms { as_of: known.as_of, ..terms.clone() };
            if has_ended || !is_of_second(known.as_of, terms.as_of) || *known == told {
                return None;
            }
            ("subscription", subscription.clone())
        }
        _ => return None,
    };
    Some(NeedsStripe { kind, id, missing: MISSING })
}

/// The state that Stripe told when it was asked, newer than what was known of the same second before.
pub(super) fn decided(mut fact: Fact, before: &Known<'_>) -> Fact {
    let price = known_price(&fact, before.ledger).map(|known| known.as_of);
    let product = known_product(&fact, before.ledger).map(|known| known.as_of);
    let terms = before.terms.as_ref().map(|known| known.as_of);
    match &mut fact {
        Fact::PriceTold(PriceReport { listing, .. }) => overtake(&mut listing.as_of, price),
        Fact::ProductTold(ProductReport { listing, .. }) => overtake(&mut listing.as_of, product),
        Fact::SubscriptionTold(report) => overtake(&mut report.terms.as_of, terms),
        _ => {}
    }
    fact
}

fn overtake(told: &mut Timestamp, known: Option<Timestamp>) {
    if let Some(known) = known.filter(|known| is_of_second(*known, *told)) {
        *told = (*told).max(known.plus(Span::of_microseconds(1)));
    }
}

fn is_of_second(known: Timestamp, second: Timestamp) -> bool {
    (second..second.plus(Span::seconds(1))).contains(&known)
}

fn known_price<'a>(fact: &Fact, ledger: &'a Configuration) -> Option<&'a Listing> {
    let Fact::PriceTold(report) = fact else { return None };
    ledger.catalogue.prices.get(&report.price)?.stripe.as_ref()
}

/// The newest state of the product that any of its prices knows.
fn known_product<'a>(fact: &Fact, ledger: &'a Configuration) -> Option<&'a ProductListing> {
    let Fact::ProductTold(report) = fact else { return None };
    let listings = ledger.catalogue.prices.values().filter_map(|price| price.stripe.as_ref());
    let of_product = listings.filter(|listing| listing.product == report.product);
    of_product.filter_map(|listing| listing.product_listing.as_ref()).max()
}
