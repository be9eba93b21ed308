//! A checkout begins, gets a page where it can be paid, and ends without payment. How it ends with one is told by
//! `record_purchase`.

use crate::domain::{
    amount::{Amount, MAX_AMOUNT},
    catalogue::Price,
    command::{CloseOrder, PlaceOrder, RecordSession},
    decide::Draft,
    event::{OrderExpired, OrderFailed, OrderPlaced, OrderSessionCreated},
    ids::{OrderId, Unit},
    listing::PriceMode,
    order::{MAX_QUANTITY, Order, OrderDetails, OrderEnding, OrderStatus, SoldCredits},
    redirect,
    rejection::Rejection,
    working_set::Private,
};

/// Checks, in this order: the account exists, is not closed, is not frozen; the price is known, is active, is paid once;
/// the quantity; the sums of money and of credits; where the buyer is led back to.
pub(super) fn place(draft: &mut Draft<'_>, command: &PlaceOrder) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    let price = draft.base().catalogue.prices.get(&command.price);
    let price = price.ok_or_else(|| Rejection::UnknownPrice { price: command.price.clone() })?;
    if !price.active {
        return Err(Rejection::PriceInactive { price: price.price.clone() });
    }
    if price.mode() != PriceMode::OneTime {
        return Err(Rejection::PriceIsRecurring { price: price.price.clone() });
    }
    let quantity = command.quantity.get();
    if quantity > MAX_QUANTITY {
        let problem = "must be 1 to 10000";
        return Err(Rejection::InvalidConfiguration { field: "quantity", problem });
    }
    let subtotal = price.money.checked_mul(quantity).filter(|subtotal| *subtotal <= MAX_AMOUNT);
    let Some(subtotal) = subtotal else {
        let problem = "is so much that the money would go beyond 2^53 - 1";
        return Err(Rejection::InvalidConfiguration { field: "quantity", problem });
    };
    let sold = sold(price, command.quantity)?;
    check_addresses(draft, &command.details)?;
    // Point of no return.
    let order = OrderId::new(draft.next_position(), 0, &draft.context().seed);
    let body = OrderPlaced {
        order,
        price: price.price.clone(),
        quantity,
        subtotal,
        currency: price.currency,
        sold,
        customer: draft.account(account).stripe_customer.clone(),
    };
    draft.emit_noted(Some(account), None, body, &command.note);
    draft.keep(Private::Ordered { order, account, details: command.details.clone() });
    Ok(())
}

fn check_addresses(draft: &Draft<'_>, details: &OrderDetails) -> Result<(), Rejection> {
    let checkout = &draft.base().settings.checkout;
    if details.success_url.is_none() && checkout.success_url.is_none() {
        let problem = "is missing, and the ledger has no address of its own";
        return Err(Rejection::InvalidConfiguration { field: "success_url", problem });
    }
    for (field, address) in [("success_url", &details.success_url), ("cancel_url", &details.cancel_url)] {
        if let Some(address) = address {
            redirect::check(address, &checkout.redirect_hosts)
                .map_err(|problem| Rejection::InvalidConfiguration { field, problem })?;
        }
    }
    Ok(())
}

fn sold(price: &Price, quantity: Amount) -> Result<Vec<SoldCredits>, Rejection> {
    let too_large = |unit: &Unit| Rejection::AmountTooLarge { unit: unit.clone() };
    let grants = price.grants.iter().map(|grant| {
        Ok(SoldCredits {
            unit: grant.unit.clone(),
            amount: grant.amount.times(quantity).ok_or_else(|| too_large(&grant.unit))?,
            expires_days: grant.expires_days,
            priority: grant.priority,
            share: grant.share,
        })
    });
    grants.collect()
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
