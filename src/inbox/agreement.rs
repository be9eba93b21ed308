//! Whether a fact that is recorded already was recorded with the same money.
//!
//! A key that is met again is a no-op: many events tell of one fact. If they tell of different money, one of them is wrong,
//! and nobody here can know which.
//!
//! Invariant: what was recorded is read from the events themselves, whoever recorded it.

use crate::domain::{
    Command, Event, EventBody,
    amount::PaidMoney,
    command::{PaidThrough, RecordInvoiceLine, RecordPaymentFact, RecordPurchase},
    event::{TargetCause, TargetMoved},
    ids::PaymentReference,
    payment::PaymentFact,
};

/// Whether `recorded`, the events of the command that was carried out under the same key, tell of the same money as `command`.
pub(super) fn same_money(command: &Command, recorded: &[Event]) -> bool {
    match command {
        Command::RecordPurchase(command) => recorded.iter().all(|event| is_of_purchase(&event.body, command)),
        Command::RecordInvoiceLine(command) => recorded.iter().all(|event| is_of_line(&event.body, command)),
        Command::RecordPaymentFact(command) => recorded.iter().all(|event| is_of_fact(&event.body, command)),
        _ => true,
    }
}

/// False if the event records a sale, but not this one, or pays an order, but not the one that this sale was of. Events that follow from it say nothing about it.
fn is_of_purchase(body: &EventBody, command: &RecordPurchase) -> bool {
    let paid_by = match &command.paid_through {
        PaidThrough::CheckoutSession { payment_intent, .. } => {
            payment_intent.clone().map(PaymentReference::Stripe)
        }
        PaidThrough::External => None,
    };
    match body {
        EventBody::CreditsPurchased(purchased) => {
            same_paid(purchased.money, command.money) && purchased.payment == paid_by
        }
        EventBody::CreditsGranted(_) => command.money.gross == 0,
        EventBody::OrderPaid(paid) => command.order.is_some_and(|order| order.order == paid.order),
        _ => true,
    }
}

/// False if the event records a line, but with other money or another payment.
fn is_of_line(body: &EventBody, command: &RecordInvoiceLine) -> bool {
    let paid_by = command.payment_intent.clone().map(PaymentReference::Stripe);
    match body {
        EventBody::CreditsPurchased(purchased) => {
            same_paid(purchased.money, command.money) && purchased.payment == paid_by
        }
        EventBody::CreditsGranted(_) => command.money.gross == 0,
        _ => true,
    }
}

fn same_paid(recorded: PaidMoney, told: PaidMoney) -> bool {
    (recorded.gross, recorded.tax, recorded.currency) == (told.gross, told.tax, told.currency)
}

/// False if the event records a fact about a payment, but with other money or about another payment.
fn is_of_fact(body: &EventBody, command: &RecordPaymentFact) -> bool {
    match body {
        EventBody::PaymentNoted(noted) => {
            noted.payment == command.payment && same_amount(&noted.fact, &command.fact)
        }
        EventBody::PurchaseClawed(moved) => is_moved_by(&moved.0, command),
        EventBody::PurchaseRestored(moved) => is_moved_by(&moved.0, command),
        _ => true,
    }
}

fn is_moved_by(moved: &TargetMoved, command: &RecordPaymentFact) -> bool {
    match &moved.cause {
        TargetCause::Fact(fact) => {
            moved.payment.as_ref() == Some(&command.payment) && same_amount(fact, &command.fact)
        }
        TargetCause::NotedBefore
        | TargetCause::CreditsReturned
        | TargetCause::RefundRequested(_)
        | TargetCause::RefundRefused(_) => true,
    }
}

fn same_amount(recorded: &PaymentFact, told: &PaymentFact) -> bool {
    (recorded.amount(), recorded.currency()) == (told.amount(), told.currency())
}
