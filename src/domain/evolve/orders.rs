//! What events do to orders, to refunds that are asked for, and to links by which orders are placed.

use super::is_news;
use crate::domain::{
    checkout_link::CheckoutLink,
    event::{
        CheckoutLinkCreated, Event, OrderExpired, OrderFailed, OrderPaid, OrderPlaced, OrderSessionCreated,
        RefundRefused, RefundRequested,
    },
    ids::{OrderId, PaymentReference},
    order::{Order, OrderStatus},
    payment::{Payment, RefundRequest},
    working_set::WorkingSet,
};

pub(super) fn place(working_set: &mut WorkingSet, event: &Event, body: &OrderPlaced) {
    let Some(account) = event.account else { return };
    working_set.orders.entry(body.order).or_insert_with(|| Order {
        id: body.order,
        account,
        price: body.price.clone(),
        quantity: body.quantity,
        subtotal: body.subtotal,
        currency: body.currency,
        sold: body.sold.clone(),
        subscription: body.subscription,
        status: OrderStatus::Placed,
        session: None,
        session_expires_at: None,
        failure: None,
        purchases: Vec::new(),
        paid_sessions: Vec::new(),
        placed_at: event.recorded_at,
        version: event.position,
    });
}

/// The order, if it has not seen the event; it has now.
fn unseen<'a>(working_set: &'a mut WorkingSet, order: OrderId, event: &Event) -> Option<&'a mut Order> {
    let order = working_set.orders.get_mut(&order)?;
    is_news(&mut order.version, event).then_some(order)
}

pub(super) fn give_session(working_set: &mut WorkingSet, event: &Event, body: &OrderSessionCreated) {
    let Some(order) = unseen(working_set, body.order, event) else { return };
    order.session = Some(body.session.clone());
    order.session_expires_at = Some(body.expires_at);
    if order.status != OrderStatus::Paid {
        order.status = OrderStatus::Placed;
        order.failure = None;
    }
}

pub(super) fn pay(working_set: &mut WorkingSet, event: &Event, body: &OrderPaid) {
    let Some(order) = unseen(working_set, body.order, event) else { return };
    order.status = OrderStatus::Paid;
    order.failure = None;
    order.session.get_or_insert_with(|| body.session.clone());
    order.paid_sessions.push(body.session.clone());
    order.purchases.extend(body.purchase);
}

pub(super) fn expire(working_set: &mut WorkingSet, event: &Event, body: &OrderExpired) {
    let Some(order) = unseen(working_set, body.order, event) else { return };
    order.status = OrderStatus::Expired;
    order.session = body.session.clone().or(order.session.take());
}

pub(super) fn fail(working_set: &mut WorkingSet, event: &Event, body: &OrderFailed) {
    let Some(order) = unseen(working_set, body.order, event) else { return };
    order.status = OrderStatus::Failed;
    order.failure = Some(body.reason);
    order.session = body.session.clone().or(order.session.take());
}

fn unseen_payment<'a>(
    working_set: &'a mut WorkingSet,
    payment: &PaymentReference,
    event: &Event,
) -> Option<&'a mut Payment> {
    let payment = working_set.payments.get_mut(payment)?;
    is_news(&mut payment.version, event).then_some(payment)
}

pub(super) fn request_refund(working_set: &mut WorkingSet, event: &Event, body: &RefundRequested) {
    let Some(payment) = unseen_payment(working_set, &body.payment, event) else { return };
    let request = RefundRequest {
        order: body.order,
        purchase: body.purchase,
        amount: body.amount,
        refund: None,
        refusal: None,
    };
    payment.requested.insert(body.refund, request);
}

pub(super) fn refuse_refund(working_set: &mut WorkingSet, event: &Event, body: &RefundRefused) {
    let Some(payment) = unseen_payment(working_set, &body.payment, event) else { return };
    if let Some(request) = payment.requested.get_mut(&body.refund) {
        request.refusal = Some(body.reason);
    }
}

pub(super) fn make_link(working_set: &mut WorkingSet, event: &Event, body: &CheckoutLinkCreated) {
    let Some(account) = event.account else { return };
    working_set.links.entry(body.link).or_insert_with(|| CheckoutLink {
        id: body.link,
        account,
        price: body.price.clone(),
        quantity: body.quantity,
        expires_at: body.expires_at,
    });
}
