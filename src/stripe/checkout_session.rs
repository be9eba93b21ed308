//! Checkout sessions: `checkout.session.completed`, `.async_payment_succeeded`, `.async_payment_failed` and
//! `.expired`.
//!
//! Invariants:
//! - a session is paid only if it says so itself, whatever event it comes with;
//! - what was sold is read from what the seller wrote, never derived from an amount of money;
//! - a session that carries no marker of ours is left alone, however odd it looks otherwise.

use std::collections::BTreeMap;

use super::{
    fact::{
        AccountMarker, BegunSubscription, ClosedSession, Fact, PaidSession, SessionEnding, SoldPrice,
        StatedCredits,
    },
    fields::Fields,
    metadata,
    no_fact::{Ignored, NeedsStripe, NoFact, Nonsense, Problem},
};
use crate::domain::{
    amount::{Amount, PaidMoney},
    command::PaidOrder,
    ids::{OrderId, PriceId},
};

/// What Stripe calls the object.
pub(super) const KIND: &str = "checkout.session";

/// What a session says about itself before any money is looked at.
struct Markers {
    account: Option<AccountMarker>,
    order: Option<OrderId>,
    credits: Option<StatedCredits>,
    prices: Vec<SoldPrice>,
}

/// Reads `checkout.session.completed`.
pub(super) fn completed(session: &Fields<'_>) -> Result<Fact, NoFact> {
    sale(session, Ignored::NotPaidYet.into())
}

/// Reads `checkout.session.async_payment_succeeded`, which promises the money.
pub(super) fn payment_succeeded(session: &Fields<'_>) -> Result<Fact, NoFact> {
    sale(session, session.nonsense("payment_status", Problem::Contradicts("type")).into())
}

/// Reads `checkout.session.expired` and `checkout.session.async_payment_failed`.
pub(super) fn closed(session: &Fields<'_>, ending: SessionEnding) -> Result<Fact, NoFact> {
    let Some(order) = ours(session)?.0.order else { return Err(Ignored::ClosedWithoutOrder.into()) };
    if session.text("payment_status")? == Some("paid") {
        return Err(session.nonsense("payment_status", Problem::Contradicts("type")).into());
    }
    Ok(Fact::SessionClosed(ClosedSession { session: session.own_id()?, order, ending }))
}

/// A completed session; `unpaid` is the answer if its money is not there.
fn sale(session: &Fields<'_>, unpaid: NoFact) -> Result<Fact, NoFact> {
    let (markers, mode) = ours(session)?;
    if let Mode::Subscription = mode {
        return match session.text("payment_status")? {
            Some("unpaid") => Err(unpaid),
            _ => begun(session, markers),
        };
    }
    let paid = match session.text("payment_status")? {
        Some("paid") => true,
        Some("no_payment_required") => false,
        Some("unpaid") => return Err(unpaid),
        Some(_) => return Err(session.nonsense("payment_status", Problem::Unknown).into()),
        // Sessions of the first half of 2020 do not say it.
        None => return Err(needs_stripe(session, "payment_status")),
    };
    if markers.order.is_none() && markers.credits.is_none() && markers.prices.is_empty() {
        return Err(needs_stripe(session, "line_items"));
    }
    if markers.order.is_none() && markers.credits.is_some() && markers.account.is_none() {
        return Err(session.nonsense("metadata.account_id", Problem::Missing).into());
    }
    let money = money(session)?;
    if !paid && money.gross > 0 {
        return Err(session.nonsense("payment_status", Problem::Contradicts("amount_total")).into());
    }
    let payment_intent = session.id("payment_intent")?;
    if payment_intent.is_none() && money.gross > 0 {
        // Without it a later refund could not find what it takes back.
        return Err(needs_stripe(session, "payment_intent"));
    }
    Ok(Fact::SessionPaid(PaidSession {
        session: session.own_id()?,
        account: markers.account,
        order: markers.order.map(|order| paid_order(session, order)).transpose()?,
        credits: markers.credits,
        prices: markers.prices,
        money,
        payment_intent,
    }))
}

/// What was sold comes with the subscription's invoices; the session tells whose it is.
fn begun(session: &Fields<'_>, markers: Markers) -> Result<Fact, NoFact> {
    let subscription = session.id("subscription")?.ok_or_else(|| needs_stripe(session, "subscription"))?;
    let Markers { account, order, .. } = markers;
    Ok(Fact::SubscriptionBegun(BegunSubscription {
        session: session.own_id()?,
        subscription,
        account,
        order,
    }))
}

fn paid_order(session: &Fields<'_>, order: OrderId) -> Result<PaidOrder, NoFact> {
    match session.count("amount_subtotal")? {
        Some(subtotal) => Ok(PaidOrder { order, subtotal }),
        None => Err(needs_stripe(session, "amount_subtotal")),
    }
}

/// The markers of a session that sells something of ours, and how.
fn ours(session: &Fields<'_>) -> Result<(Markers, Mode), NoFact> {
    session.expect_kind(KIND)?;
    session.own_id()?;
    let mode = mode(session)?;
    match mode {
        Mode::Subscription => {
            let (account, order) = (metadata::account(session)?, metadata::order(session)?);
            if account.is_none() && order.is_none() {
                return Err(Ignored::Subscription.into());
            }
            return Ok((Markers { account, order, credits: None, prices: Vec::new() }, mode));
        }
        Mode::Setup => return Err(Ignored::Setup.into()),
        Mode::Payment | Mode::Unknown => {}
    }
    let markers = markers(session)?;
    match mode {
        Mode::Unknown => Err(session.nonsense("mode", Problem::Unknown).into()),
        _ => Ok((markers, mode)),
    }
}

fn markers(session: &Fields<'_>) -> Result<Markers, NoFact> {
    let account = metadata::account(session)?;
    let order = metadata::order(session)?;
    let credits = metadata::credits(session)?;
    let named = metadata::price(session)?;
    let items = line_items(session)?;
    if account.is_none() && order.is_none() && credits.is_none() && named.is_none() && items.is_none() {
        return Err(Ignored::NoMarker.into());
    }
    Ok(Markers { account, order, credits, prices: prices(session, named, items)? })
}

enum Mode {
    Payment,
    Subscription,
    Setup,
    Unknown,
}

/// The mode; sessions from before there was one show it by the object that they made.
fn mode(session: &Fields<'_>) -> Result<Mode, Nonsense> {
    Ok(match session.text("mode")? {
        Some("payment") => Mode::Payment,
        Some("subscription") => Mode::Subscription,
        Some("setup") => Mode::Setup,
        Some(_) => Mode::Unknown,
        None if session.value("subscription").is_some() => Mode::Subscription,
        None if session.value("setup_intent").is_some() => Mode::Setup,
        None => Mode::Payment,
    })
}

/// What was sold by price. Where the metadata names the price, a line item of the same price has to agree:
/// a buyer may have been allowed to change the quantity.
fn prices(
    session: &Fields<'_>,
    named: Option<SoldPrice>,
    items: Option<Vec<SoldPrice>>,
) -> Result<Vec<SoldPrice>, Nonsense> {
    let Some(named) = named else { return Ok(items.unwrap_or_default()) };
    let disagrees = |item: &SoldPrice| item.price == named.price && item.quantity != named.quantity;
    if items.is_some_and(|items| items.iter().any(disagrees)) {
        return Err(session.nonsense("metadata.quantity", Problem::Contradicts("line_items")));
    }
    Ok(vec![named])
}

/// The line items, one entry for each price, if the session was fetched with all of them.
fn line_items(session: &Fields<'_>) -> Result<Option<Vec<SoldPrice>>, Nonsense> {
    let Some(list) = session.object("line_items")? else { return Ok(None) };
    if list.flag("has_more")? == Some(true) {
        return Ok(None);
    }
    let Some(items) = list.objects("data")? else { return Ok(None) };
    let mut quantities: BTreeMap<PriceId, Amount> = BTreeMap::new();
    for item in &items {
        let price = item.id("price")?.ok_or_else(|| item.nonsense("price", Problem::Missing))?;
        let price = PriceId::parse(price.as_str()).map_err(|_| item.nonsense("price", Problem::NotAnId))?;
        let more = item.amount("quantity")?.ok_or_else(|| item.nonsense("quantity", Problem::Missing))?;
        let so_far = quantities.get(&price).map_or(0, |quantity| quantity.get());
        let sum = Amount::new(so_far + more.get());
        quantities.insert(price, sum.ok_or_else(|| item.nonsense("quantity", Problem::OutOfRange))?);
    }
    Ok(Some(quantities.into_iter().map(|(price, quantity)| SoldPrice { price, quantity }).collect()))
}

/// The money. With adaptive pricing the buyer may have seen another currency (`presentment_details`, or in
/// older sessions `currency_conversion`); refunds come in the currency that is read here.
fn money(session: &Fields<'_>) -> Result<PaidMoney, NoFact> {
    let Some(gross) = session.count("amount_total")? else {
        return Err(needs_stripe(session, "amount_total"));
    };
    let Some(currency) = session.currency()? else { return Err(needs_stripe(session, "currency")) };
    let tax = match session.object("total_details")? {
        Some(details) => details.count("amount_tax")?.unwrap_or(0),
        None => 0,
    };
    PaidMoney::new(gross, tax, currency).ok_or_else(|| {
        session.nonsense("total_details.amount_tax", Problem::Contradicts("amount_total")).into()
    })
}

fn needs_stripe(session: &Fields<'_>, missing: &'static str) -> NoFact {
    match session.own_id() {
        Ok(id) => NeedsStripe { kind: KIND, id, missing }.into(),
        Err(nonsense) => nonsense.into(),
    }
}
