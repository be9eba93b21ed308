//! A checkout begins, gets a page where it can be paid, and ends without payment. How it ends with one is told by
//! `record_purchase`.

use crate::domain::{
    amount::Amount,
    command::{CloseOrder, Note, PlaceOrder, RecordSession},
    decide::Draft,
    event::{OrderExpired, OrderFailed, OrderPlaced, OrderSessionCreated},
    ids::{AccountNumber, OrderId, PriceId},
    order::{Order, OrderDetails, OrderEnding, OrderStatus},
    redirect,
    rejection::Rejection,
    sale::Sale,
    working_set::Private,
};

/// Checks, in this order: the account exists, is not closed, is not frozen; the price is known, is active; the quantity;
/// the sums of money and of credits; the trial; where the buyer is led back to.
pub(super) fn place(draft: &mut Draft<'_>, command: &PlaceOrder) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    let sale = sale(draft, &command.price, command.quantity, command.trial_days)?;
    check_addresses(draft, &command.details, None)?;
    if command.details.success_url.is_none() && draft.base().settings.checkout.success_url.is_none() {
        let problem = "is missing, and the ledger has no address of its own";
        return Err(Rejection::InvalidConfiguration { field: "success_url", problem });
    }
    // Point of no return.
    write(draft, account, &command.price, sale, &command.details, &command.note);
    Ok(())
}

/// What the price is sold for.
pub(super) fn sale(
    draft: &Draft<'_>,
    price: &PriceId,
    quantity: Amount,
    trial_days: Option<u32>,
) -> Result<Sale, Rejection> {
    let known = draft.base().catalogue.prices.get(price);
    let known = known.ok_or_else(|| Rejection::UnknownPrice { price: price.clone() })?;
    Sale::of(known, quantity, trial_days)
}

/// Checks that the addresses lead to hosts that the ledger allows, or to pages of our own.
pub(super) fn check_addresses(
    draft: &Draft<'_>,
    details: &OrderDetails,
    own_pages: Option<&str>,
) -> Result<(), Rejection> {
    let hosts = &draft.base().settings.checkout.redirect_hosts;
    let is_own = |address: &str| own_pages.is_some_and(|pages| address.starts_with(pages));
    for (field, address) in [("success_url", &details.success_url), ("cancel_url", &details.cancel_url)] {
        if let Some(address) = address.as_deref().filter(|address| !is_own(address)) {
            redirect::check(address, hosts)
                .map_err(|problem| Rejection::InvalidConfiguration { field, problem })?;
        }
    }
    Ok(())
}

/// Writes that an order was placed.
pub(super) fn write(
    draft: &mut Draft<'_>,
    account: AccountNumber,
    price: &PriceId,
    sale: Sale,
    details: &OrderDetails,
    note: &Note,
) {
    let order = OrderId::new(draft.next_position(), 0, &draft.context().seed);
    let body = OrderPlaced {
        order,
        price: price.clone(),
        quantity: sale.quantity,
        subtotal: sale.subtotal,
        currency: sale.currency,
        subscription: sale.subscription(),
        sold: sale.sold,
        customer: draft.account(account).stripe_customer.clone(),
    };
    draft.emit_noted(Some(account), None, body, note);
    draft.keep(Private::Ordered { order, account, details: details.clone() });
}

/// The order, its account being part of the draft.
pub(super) fn touch_order<'a>(draft: &mut Draft<'a>, order: OrderId) -> Result<&'a Order, Rejection> {
    let order = draft.base().orders.get(&order).ok_or(Rejection::OrderNotFound)?;
    draft.touch(order.account)?;
    Ok(order)
}

/// Checks: the order exists. One that has a session keeps it. One that had failed can be paid after all.
pub(super) fn record_session(draft: &mut Draft<'_>, command: &RecordSession) -> Result<(), Rejection> {
    let order = touch_order(draft, command.order)?;
    // Point of no return.
    if order.session.is_some() {
        draft.discard();
        return Ok(());
    }
    let (session, expires_at) = (command.session.clone(), command.expires_at);
    let body = OrderSessionCreated { order: order.id, session, expires_at };
    draft.emit(Some(order.account), None, body);
    draft.keep(Private::Session { order: order.id, account: order.account, url: command.url.clone() });
    Ok(())
}

/// Checks: the order exists. Only an order that was not paid and has not ended yet can end so, and only by its own session.
pub(super) fn close(draft: &mut Draft<'_>, command: &CloseOrder) -> Result<(), Rejection> {
    let order = touch_order(draft, command.order)?;
    // Point of no return.
    if order.status != OrderStatus::Placed || !order.may_have(command.session.as_ref()) {
        draft.discard();
        return Ok(());
    }
    let (id, session) = (order.id, command.session.clone());
    match command.ending {
        OrderEnding::Expired => {
            draft.emit(Some(order.account), None, OrderExpired { order: id, session });
        }
        OrderEnding::Failed(reason) => {
            draft.emit(Some(order.account), None, OrderFailed { order: id, session, reason });
        }
    }
    Ok(())
}
