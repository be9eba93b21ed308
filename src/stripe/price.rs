//! Prices: `price.created`, `price.updated` and `price.deleted`; also prices that were fetched.
//!
//! Invariants:
//! - an amount is only read where one of the price costs just that: neither tiers, nor an amount that the buyer chooses,
//!   nor one for several at once;
//! - a price that nothing in its metadata makes ours is left alone, however odd it looks otherwise.

use super::{
    fact::PriceReport,
    fields::Fields,
    no_fact::{Ignored, NoFact, Nonsense, Problem},
    product, terms,
};
use crate::domain::{
    catalogue::MoneyOfPrice,
    ids::PriceId,
    listing::{Interval, Listing, Period, PriceMode},
    time::Timestamp,
};

/// What Stripe calls the object.
pub(super) const KIND: &str = "price";

/// Reads a price as it was at `as_of`.
pub(super) fn report(price: &Fields<'_>, as_of: Timestamp) -> Result<PriceReport, NoFact> {
    price.expect_kind(KIND)?;
    let terms = terms::read(price)?;
    let id = match price.text("id")?.map(PriceId::parse) {
        Some(Ok(id)) => id,
        // Ids of plans may be anything.
        Some(Err(_)) if !terms.states_credits() => return Err(Ignored::NoCredits.into()),
        Some(Err(_)) => return Err(price.nonsense("id", Problem::NotAnId).into()),
        None => return Err(price.nonsense("id", Problem::Missing).into()),
    };
    let product = match price.id("product") {
        // Nor can a product with such an id be any of ours.
        Err(_) if !terms.states_credits() => return Err(Ignored::NoCredits.into()),
        product => product?.ok_or_else(|| price.nonsense("product", Problem::Missing))?,
    };
    let product_listing = match price.value("product") {
        Some(expanded) if expanded.is_object() => {
            let expanded = Fields::of(price.path_of("product"), expanded)?;
            Some(product::report(&expanded, as_of)?.listing)
        }
        _ => None,
    };
    let listing = Listing {
        as_of,
        product,
        nickname: price.name("nickname")?.map(str::to_owned),
        money: money(price)?,
        active: price.flag("active")?.ok_or_else(|| price.nonsense("active", Problem::Missing))?,
        deleted: price.flag("deleted")?.unwrap_or(false),
        mode: mode(price)?,
        terms,
        product_listing,
    };
    Ok(PriceReport { price: id, listing })
}

/// What one of the price costs, if that is one amount.
fn money(price: &Fields<'_>) -> Result<Option<MoneyOfPrice>, Nonsense> {
    if price.text("billing_scheme")? == Some("tiered") || price.value("transform_quantity").is_some() {
        return Ok(None);
    }
    let Some(amount) = price.count("unit_amount")? else { return Ok(None) };
    let currency = price.currency()?.ok_or_else(|| price.nonsense("currency", Problem::Missing))?;
    Ok(Some(MoneyOfPrice { amount, currency }))
}

fn mode(price: &Fields<'_>) -> Result<PriceMode, Nonsense> {
    let recurring = price.object("recurring")?;
    match (price.text("type")?, recurring) {
        (Some("one_time") | None, None) => Ok(PriceMode::OneTime),
        (Some("recurring") | None, Some(recurring)) => Ok(PriceMode::Recurring(period(&recurring)?)),
        (Some("one_time" | "recurring"), _) => Err(price.nonsense("type", Problem::Contradicts("recurring"))),
        (Some(_), _) => Err(price.nonsense("type", Problem::Unknown)),
    }
}

fn period(recurring: &Fields<'_>) -> Result<Period, Nonsense> {
    let interval = match recurring.text("interval")? {
        Some("day") => Interval::Day,
        Some("week") => Interval::Week,
        Some("month") => Interval::Month,
        Some("year") => Interval::Year,
        Some(_) => return Err(recurring.nonsense("interval", Problem::Unknown)),
        None => return Err(recurring.nonsense("interval", Problem::Missing)),
    };
    let count = recurring.amount("interval_count")?.map_or(1, |count| count.get());
    let count =
        u32::try_from(count).map_err(|_| recurring.nonsense("interval_count", Problem::OutOfRange))?;
    Ok(Period { count, interval })
}
