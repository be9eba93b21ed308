//! What a price costs and grants, put together from what the operator says and what Stripe says.
//!
//! | of a price | the operator's word | else Stripe's |
//! | --- | --- | --- |
//! | name | `display_name` | the product's name, else the price's nickname, else its id |
//! | order | `display_order` | 0 |
//! | active | `active` | price and product are active; never if deleted, or if nothing says what it grants |
//! | money | only where Stripe says none | `unit_amount` and currency |
//! | grants | `grants` | metadata of the price, else of its product; else what it granted last |
//! | rollover | `rollover` | metadata of the price, else of its product; else the ledger's rules |
//!
//! What leads to the same again changes nothing, and states at Stripe that are older than what is known change nothing.

use std::collections::BTreeSet;

use super::grant_credits::LAST_PRIORITY;
use crate::domain::{
    amount::MAX_AMOUNT,
    catalogue::{MoneyOfPrice, Price, PriceFinding, PriceGrant, PriceSettings},
    command::{Heard, SetPrice, SyncPrice, SyncProduct},
    decide::Draft,
    event::PriceSet,
    ids::{PriceId, StripeId, Unit},
    listing::{Listing, ProductListing, UnitUnstated},
    rejection::Rejection,
};

/// Checks, in this order: that somebody says something of the price, that the money is not another than Stripe's, and
/// those of [`assemble`].
pub(super) fn set(draft: &mut Draft<'_>, command: &SetPrice) -> Result<(), Rejection> {
    let known = draft.base().catalogue.prices.get(&command.price);
    let listing = known.and_then(|price| price.stripe.clone());
    if listing.is_none() && command.settings == PriceSettings::default() {
        return invalid("price", "Stripe has told nothing of this price that could be followed");
    }
    let of_stripe = listing.as_ref().and_then(|listing| listing.money);
    if of_stripe.zip(command.settings.money).is_some_and(|(of_stripe, stated)| of_stripe != stated) {
        return invalid("money", "is another than at Stripe, which says what a price costs");
    }
    let price = assemble(draft, &command.price, command.settings.clone(), listing)?;
    // Point of no return.
    emit_if_new(draft, price);
    Ok(())
}

/// Checks: those of [`assemble`].
pub(super) fn sync(draft: &mut Draft<'_>, command: &SyncPrice) -> Result<(), Rejection> {
    let prices = &draft.base().catalogue.prices;
    let known = prices.get(&command.price);
    let before = known.and_then(|price| price.stripe.clone());
    let mut listing = command.listing.clone();
    if let (Heard::Looked { before: Some(moments) }, Some(before)) = (command.heard, &before)
        && before.moments() == moments
    {
        listing.overtake(moments);
    }
    listing.product_listing = listing.product_listing.max(newest_of_product(draft, &listing.product));
    if let Some(before) = before {
        if command.heard != Heard::Told && before.says_the_same(&listing) {
            return Ok(());
        }
        listing = before.merged(listing);
    }
    let settings = known.map(Price::operator_side).unwrap_or_default();
    let price = assemble(draft, &command.price, settings, Some(listing))?;
    // Point of no return.
    emit_if_new(draft, price);
    Ok(())
}

/// Checks: those of [`assemble`], for each price of the product.
pub(super) fn sync_product(draft: &mut Draft<'_>, command: &SyncProduct) -> Result<(), Rejection> {
    let of_product = |price: &&Price| price.product() == Some(&command.product);
    let mut changed = Vec::new();
    for price in draft.base().catalogue.prices.values().filter(of_product) {
        let Some(before) = &price.stripe else { continue };
        let told = Listing { product_listing: Some(command.listing.clone()), ..before.clone() };
        let listing = before.clone().merged(told);
        changed.push(assemble(draft, &price.price, price.operator_side(), Some(listing))?);
    }
    // Point of no return.
    for price in changed {
        emit_if_new(draft, price);
    }
    Ok(())
}

/// The newest state of a product that any of its prices knows.
fn newest_of_product(draft: &Draft<'_>, product: &StripeId) -> Option<ProductListing> {
    let listings = draft.base().catalogue.prices.values().filter_map(|price| price.stripe.as_ref());
    let of_product = listings.filter(|listing| listing.product == *product);
    of_product.filter_map(|listing| listing.product_listing.clone()).max()
}

/// Puts a price together.
///
/// Checks, in this order: that there is a name; that something is granted; for each grant the unit, that it comes once,
/// and the priority; the money.
fn assemble(
    draft: &Draft<'_>,
    price: &PriceId,
    settings: PriceSettings,
    listing: Option<Listing>,
) -> Result<Price, Rejection> {
    let known = draft.base().catalogue.prices.get(price);
    let display_name = match (&settings.display_name, &listing) {
        (Some(stated), _) => stated.clone(),
        (None, Some(listing)) => listing.name().unwrap_or(price.as_str()).to_owned(),
        (None, None) => return invalid("display_name", "must be given where Stripe has told no name"),
    };
    let grants = grants(draft, price, known, &settings, listing.as_ref())?;
    check_grants(draft, &grants)?;
    let money = money(known, &settings, listing.as_ref())?;
    let mut price = Price {
        price: price.clone(),
        display_name,
        display_order: settings.display_order.unwrap_or_default(),
        active: settings.active.unwrap_or_else(|| listing.as_ref().is_none_or(Listing::is_sold)),
        money: money.amount,
        currency: money.currency,
        grants,
        rollover: settings.rollover.or_else(|| listing.as_ref()?.rollover()),
        operator: (settings != PriceSettings::default()).then_some(settings),
        stripe: listing,
    };
    price.active &= !price.findings().into_iter().any(PriceFinding::forbids_sale);
    Ok(price)
}

fn money(
    known: Option<&Price>,
    settings: &PriceSettings,
    listing: Option<&Listing>,
) -> Result<MoneyOfPrice, Rejection> {
    let of_stripe = listing.and_then(|listing| listing.money);
    let before = || known.map(|price| MoneyOfPrice { amount: price.money, currency: price.currency });
    match of_stripe.or(settings.money).or_else(before) {
        Some(money) if (0..=MAX_AMOUNT).contains(&money.amount) => Ok(money),
        Some(_) => invalid("money", "must be 0 to 2^53 - 1"),
        None => invalid("money", "must be given where Stripe has told no amount"),
    }
}

fn grants(
    draft: &Draft<'_>,
    price: &PriceId,
    known: Option<&Price>,
    settings: &PriceSettings,
    listing: Option<&Listing>,
) -> Result<Vec<PriceGrant>, Rejection> {
    if let Some(stated) = &settings.grants {
        return Ok(stated.clone());
    }
    let Some(listing) = listing else {
        return invalid("grants", "must be given where Stripe has told none");
    };
    let stated = listing
        .grants(only_unit(draft))
        .map_err(|UnitUnstated| Rejection::PriceWithoutUnit { price: price.clone() })?;
    let before = || known.map(|price| price.grants.clone());
    stated.or_else(before).ok_or_else(|| Rejection::PriceGrantsNothing { price: price.clone() })
}

fn only_unit<'a>(draft: &Draft<'a>) -> Option<&'a Unit> {
    let mut units = draft.base().settings.units.keys();
    match (units.next(), units.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

fn check_grants(draft: &Draft<'_>, grants: &[PriceGrant]) -> Result<(), Rejection> {
    if grants.is_empty() {
        return invalid("grants", "a price grants at least one unit");
    }
    let mut units = BTreeSet::new();
    for grant in grants {
        draft.check_unit(&grant.unit)?;
        if !units.insert(&grant.unit) {
            return invalid("grants", "a price grants each unit once");
        }
        if grant.priority > LAST_PRIORITY {
            return invalid("priority", "must be 0 to 100");
        }
    }
    Ok(())
}

fn emit_if_new(draft: &mut Draft<'_>, price: Price) {
    if draft.base().catalogue.prices.get(&price.price) != Some(&price) {
        draft.emit(None, None, PriceSet(Box::new(price)));
    }
}

fn invalid<T>(field: &'static str, problem: &'static str) -> Result<T, Rejection> {
    Err(Rejection::InvalidConfiguration { field, problem })
}
