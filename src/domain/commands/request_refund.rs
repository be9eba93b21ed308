//! A refund is asked of us: its money and its credits are set aside, until Stripe has answered.

use super::orders::touch_order;
use crate::domain::{
    account::AccountStatus,
    clawback,
    command::{RefuseRefund, RequestRefund},
    decide::Draft,
    event::{RefundRefused, RefundRequested, TargetCause},
    follow_up::follow_up,
    ids::{PaymentReference, PurchaseId, RefundRequestId, Unit},
    order::{Order, OrderStatus},
    payment::{Payment, RequestStatus},
    rejection::Rejection,
};

/// Checks, in this order: the order exists; its account is not closed; it is paid; so much is left of one of its payments.
///
/// An order that was paid twice has two payments. The refund is of the newest that has that much left; if no amount is
/// given, of the newest that has anything left, and all of it.
pub(super) fn request(draft: &mut Draft<'_>, command: &RequestRefund) -> Result<(), Rejection> {
    let order = touch_order(draft, command.order)?;
    if draft.account(order.account).status == AccountStatus::Closed {
        return Err(Rejection::AccountClosed);
    }
    if order.status != OrderStatus::Paid {
        return Err(Rejection::OrderNotPaid { order: order.id });
    }
    let asked = command.amount.map(|amount| amount.get());
    let (purchase, payment) = refundable(draft, order, asked)?;
    draft.touch_payment(&payment.reference)?;
    let money = payment.money.ok_or(Rejection::PurchaseNotFound)?;
    // Point of no return.
    let refund = RefundRequestId::new(draft.next_position(), 0, &draft.context().seed);
    let body = RefundRequested {
        refund,
        order: Some(order.id),
        purchase,
        payment: payment.reference.clone(),
        amount: asked.unwrap_or_else(|| payment.refundable()),
        currency: money.currency,
    };
    draft.emit_noted(Some(order.account), None, body, &command.note);
    retarget(draft, &payment.reference, &TargetCause::RefundRequested(refund));
    Ok(())
}

/// The purchase and the payment that a refund of so much is of.
fn refundable<'a>(
    draft: &Draft<'a>,
    order: &Order,
    asked: Option<i64>,
) -> Result<(PurchaseId, &'a Payment), Rejection> {
    let payment = |purchase: &PurchaseId| {
        let reference = draft.base().purchases.get(purchase)?.payment.as_ref()?;
        Some((*purchase, draft.base().payments.get(reference)?))
    };
    let newest_first: Vec<_> = order.purchases.iter().rev().filter_map(payment).collect();
    let enough = |payment: &Payment| payment.refundable() >= asked.unwrap_or(1);
    let found = newest_first.iter().find(|(_, payment)| enough(payment));
    found.copied().ok_or_else(|| {
        let refundable = newest_first.iter().map(|(_, payment)| payment.refundable()).max().unwrap_or(0);
        Rejection::RefundExceedsPayment { requested: asked.unwrap_or(0), refundable }
    })
}

/// Checks: the refund was asked of that payment. Once Stripe has told of it, or it has been refused, nothing changes.
pub(super) fn refuse(draft: &mut Draft<'_>, command: &RefuseRefund) -> Result<(), Rejection> {
    let not_found = || Rejection::RefundNotFound { refund: command.refund };
    let payment = draft.base().payments.get(&command.payment).ok_or_else(not_found)?;
    let request = payment.requested.get(&command.refund).ok_or_else(not_found)?;
    if payment.status_of(request) != RequestStatus::Requested {
        return Ok(());
    }
    draft.touch_payment(&command.payment)?;
    let account = draft.state.purchases.get(&request.purchase).map(|purchase| purchase.account);
    let account = account.ok_or(Rejection::PurchaseNotFound)?;
    // Point of no return.
    let (refund, payment, reason) = (command.refund, command.payment.clone(), command.reason);
    draft.emit(Some(account), None, RefundRefused { refund, payment, reason });
    retarget(draft, &command.payment, &TargetCause::RefundRefused(refund));
    Ok(())
}

/// Moves everything that the payment bought to where its money is now, and brings whoever has credits of it to rest.
fn retarget(draft: &mut Draft<'_>, reference: &PaymentReference, cause: &TargetCause) {
    let payment = &draft.state.payments[reference];
    let back = payment.money_back(draft.base().settings.claw_on_pending);
    let paid = payment.money.map_or(0, |money| money.gross);
    let purchases = payment.purchases.iter().map(|purchase| &draft.state.purchases[purchase]);
    let parts = purchases
        .flat_map(|purchase| purchase.parts.iter().map(|(unit, part)| (purchase.id, unit.clone(), part)));
    let moved: Vec<(PurchaseId, Unit, _)> = parts
        .map(|(purchase, unit, part)| {
            (purchase, unit, clawback::target(part.granted, paid, back), part.target)
        })
        .filter(|(_, _, target, before)| target != before)
        .map(|(purchase, unit, target, _)| (purchase, unit, target))
        .collect();
    for (purchase, unit, target) in moved {
        clawback::retarget(draft, purchase, &unit, target, cause.clone());
    }
    for account in draft.accounts_of_payment(reference) {
        follow_up(draft, account);
    }
}
