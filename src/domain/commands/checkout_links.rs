//! A link by which a price can be bought for an account is made, followed, and revoked.

use super::orders;
use crate::domain::{
    checkout_link::CheckoutLink,
    command::{CreateCheckoutLink, FollowCheckoutLink, Note, RevokeCheckoutLink},
    decide::Draft,
    event::{CheckoutLinkCreated, CheckoutLinkRevoked},
    ids::CheckoutLinkId,
    rejection::Rejection,
    working_set::Private,
};

/// Checks, in this order: the account exists, is not closed, is not frozen; the price is known, is active; the quantity;
/// the sums of money and of credits; where buyers are led back to; the expiry.
pub(super) fn create(draft: &mut Draft<'_>, command: &CreateCheckoutLink) -> Result<(), Rejection> {
    let account = draft.touch_if_open(&command.account)?;
    orders::sale(draft, &command.price, command.quantity, None)?;
    orders::check_addresses(draft, &command.details, None)?;
    if command.expires_at.is_some_and(|expires_at| expires_at <= draft.context().now) {
        return Err(Rejection::ExpiryNotInFuture);
    }
    // Point of no return.
    let link = CheckoutLinkId::new(draft.next_position(), 0, &draft.context().seed);
    let (price, quantity) = (command.price.clone(), command.quantity);
    let body = CheckoutLinkCreated { link, price, quantity, expires_at: command.expires_at };
    draft.emit_noted(Some(account), None, body, &command.note);
    draft.keep(Private::Linked { link, account, details: command.details.clone() });
    Ok(())
}

/// Checks: the link exists and was not revoked.
pub(super) fn revoke(draft: &mut Draft<'_>, command: &RevokeCheckoutLink) -> Result<(), Rejection> {
    let link = touch_link(draft, command.link)?;
    // Point of no return.
    draft.emit(Some(link.account), None, CheckoutLinkRevoked { link: link.id });
    Ok(())
}

/// Checks, in this order: the link exists, was not revoked, has not expired; its account is not closed, is not frozen; its
/// price is known, is active; the quantity; the sums of money and of credits; where the buyer is led back
/// to.
pub(super) fn follow(draft: &mut Draft<'_>, command: &FollowCheckoutLink) -> Result<(), Rejection> {
    let link = touch_link(draft, command.link)?;
    if link.has_expired(draft.context().now) {
        return Err(Rejection::CheckoutLinkNotFound);
    }
    draft.account(link.account).status.check_open()?;
    let sale = orders::sale(draft, &link.price, link.quantity, None)?;
    orders::check_addresses(draft, &command.details, Some(&command.own_pages))?;
    // Point of no return.
    orders::write(draft, link.account, &link.price, sale, &command.details, &Note::new());
    Ok(())
}

/// The link, its account being part of the draft.
fn touch_link<'a>(draft: &mut Draft<'a>, link: CheckoutLinkId) -> Result<&'a CheckoutLink, Rejection> {
    let link = draft.base().links.get(&link).ok_or(Rejection::CheckoutLinkNotFound)?;
    draft.touch(link.account)?;
    Ok(link)
}
