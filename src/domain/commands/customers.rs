//! Accounts and their customers at Stripe: one each, and never one of two accounts.

use crate::domain::{
    command::{LinkCustomer, UnlinkCustomer},
    decide::Draft,
    event::{CustomerLinked, LinkCause},
    ids::{AccountNumber, OrderId, StripeId},
    order::OrderStatus,
    rejection::Rejection,
};

/// Checks, in this order: the account exists; the customer is no other account's; the account has no other customer.
///
/// Of two customers that we made for one account the first one stays, and the second is of no use to anybody. Recorded
/// whatever the state of the account.
pub(super) fn link(draft: &mut Draft<'_>, command: &LinkCustomer) -> Result<(), Rejection> {
    let LinkCustomer { account, customer, cause } = command;
    draft.touch(*account)?;
    if draft.account(*account).stripe_customer.is_some() && *cause == LinkCause::Created {
        draft.discard();
        return Ok(());
    }
    if check(draft, *account, customer)? {
        draft.discard();
        return Ok(());
    }
    // Point of no return.
    write(draft, *account, customer, *cause);
    Ok(())
}

/// Whether the account has the customer already; it must not have another one, and no other account this one.
pub(super) fn check(
    draft: &Draft<'_>,
    account: AccountNumber,
    customer: &StripeId,
) -> Result<bool, Rejection> {
    if draft.base().customers.get(customer).is_some_and(|owner| *owner != account) {
        return Err(Rejection::CustomerOfAnotherAccount { customer: customer.clone() });
    }
    let known = draft.state.accounts.get(&account).and_then(|account| account.stripe_customer.clone());
    match known {
        None => Ok(false),
        Some(known) if known == *customer => Ok(true),
        Some(known) => Err(Rejection::AccountHasCustomer { customer: known }),
    }
}

pub(super) fn write(draft: &mut Draft<'_>, account: AccountNumber, customer: &StripeId, cause: LinkCause) {
    let body = CustomerLinked { customer: Some(customer.clone()), cause, order: None };
    draft.emit(Some(account), None, body);
}

/// Checks: the account exists. A customer that is not the account's (any more) changes nothing, unless an order waits for
/// a session that could not be made for want of one: whatever the account has now, the session has to be tried again.
pub(super) fn unlink(draft: &mut Draft<'_>, command: &UnlinkCustomer) -> Result<(), Rejection> {
    draft.touch(command.account)?;
    let waits = |order: &OrderId| {
        draft.base().orders.get(order).is_some_and(|order| {
            order.account == command.account && order.status == OrderStatus::Placed && order.session.is_none()
        })
    };
    let order = command.order.filter(waits);
    let known = draft.account(command.account).stripe_customer.clone();
    let customer = known.clone().filter(|known| command.customer.as_ref() != Some(known));
    // Point of no return.
    if customer == known && order.is_none() {
        draft.discard();
        return Ok(());
    }
    draft.emit(Some(command.account), None, CustomerLinked { customer, cause: LinkCause::Deleted, order });
    Ok(())
}
