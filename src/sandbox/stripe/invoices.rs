//! Invoices: how they are drawn up, and what makes them paid.

mod shape;

use serde_json::{Value, json};

use super::{ids, payments::Payer, store::Kind, world::Transaction};
pub(super) use shape::{Line, Part};

/// How many lines an invoice shows; the others are behind its list of lines.
const SHOWN_LINES: usize = 10;

/// What is to be invoiced.
pub(super) struct Draft<'a> {
    pub payer: &'a Payer,
    pub billing_reason: &'static str,
    pub currency: Value,
    pub lines: Vec<Line>,
    /// `null` for one-time purchases.
    pub subscription: &'a Value,
    /// First and last moment that it is about.
    pub period: (i64, i64),
    pub automatic_tax: Value,
    /// `invoice_data` of a checkout session; `null` for subscriptions.
    pub data: &'a Value,
}

/// The invoice of a checkout that was paid once and for all. Returns its id.
pub(super) fn of_checkout(
    transaction: &mut Transaction<'_>,
    session: &Value,
    items: &Value,
    payer: &Payer,
) -> Value {
    let now = transaction.now();
    let lines = items.as_array().into_iter().flatten().map(|item| Line::once(item.clone(), now)).collect();
    let draft = Draft {
        payer,
        billing_reason: "manual",
        currency: session["currency"].clone(),
        lines,
        subscription: &Value::Null,
        period: (now, now),
        automatic_tax: session["automatic_tax"].clone(),
        data: &session["invoice_creation"]["invoice_data"],
    };
    let invoice = issue(transaction, &draft);
    mark_paid(transaction, &invoice, &session["payment_intent"])["id"].clone()
}

/// Draws an invoice up and makes it final: it is open then.
pub(super) fn issue(transaction: &mut Transaction<'_>, draft: &Draft<'_>) -> Value {
    let mut invoice = shape::draft(transaction, draft);
    show_first_lines(transaction, &mut invoice);
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit("invoice.created", &invoice);
    let count = transaction.store.count(Kind::Invoice);
    let id = text(&invoice["id"]).to_owned();
    invoice["effective_at"] = transaction.now().into();
    use_balance(transaction, &mut invoice);
    invoice["hosted_invoice_url"] = format!("{}/invoices/{id}", transaction.base_url).into();
    invoice["invoice_pdf"] = format!("{}/invoices/{id}/pdf", transaction.base_url).into();
    invoice["number"] = format!("CFSIM-{count:04}").into();
    invoice["status"] = "open".into();
    invoice["status_transitions"]["finalized_at"] = transaction.now().into();
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit("invoice.finalized", &invoice);
    invoice
}

/// An invoice that is not drawn up.
pub(super) fn preview(transaction: &Transaction<'_>, draft: &Draft<'_>) -> Value {
    let mut invoice = shape::draft(transaction, draft);
    invoice["id"] = format!("upcoming_{}", text(&invoice["id"])).into();
    invoice
}

fn show_first_lines(transaction: &mut Transaction<'_>, invoice: &mut Value) {
    let list = &mut invoice["lines"];
    let lines = list["data"].as_array().cloned().unwrap_or_default();
    if lines.len() > SHOWN_LINES {
        list["data"] = lines[..SHOWN_LINES].into();
        list["has_more"] = true.into();
        transaction.set_hidden(text(&invoice["id"]), "lines", lines.into());
    }
}

/// All lines of an invoice.
pub(super) fn lines(transaction: &Transaction<'_>, invoice: &Value) -> Vec<Value> {
    let hidden = transaction.hidden(text(&invoice["id"]));
    let all = hidden["lines"].as_array().or_else(|| invoice["lines"]["data"].as_array());
    all.cloned().unwrap_or_default()
}

/// The customer's balance pays what it can, and takes what the invoice gives back.
fn use_balance(transaction: &mut Transaction<'_>, invoice: &mut Value) {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let ending =
        number(&invoice["starting_balance"]) + number(&invoice["total"]) - number(&invoice["amount_due"]);
    invoice["ending_balance"] = ending.into();
    if ending == number(&invoice["starting_balance"]) {
        return;
    }
    let before = transaction.peek(Kind::Customer, &invoice["customer"]);
    let mut customer = before.clone();
    customer["balance"] = ending.into();
    transaction.put(Kind::Customer, &customer);
    transaction.emit_change("customer.updated", &before, &customer);
}

/// The payment that an open invoice waits for; made at the first try.
pub(super) fn payment(transaction: &mut Transaction<'_>, invoice: &Value, intent: &Value) -> Value {
    let known =
        transaction.store.all(Kind::InvoicePayment).find(|payment| payment["invoice"] == invoice["id"]);
    if let Some(known) = known {
        return known.clone();
    }
    let payment = json!({
        "id": ids::new(Kind::InvoicePayment),
        "object": "invoice_payment",
        "amount_paid": null,
        "amount_requested": invoice["amount_due"],
        "created": transaction.now(),
        "currency": invoice["currency"],
        "invoice": invoice["id"],
        "is_default": true,
        "livemode": false,
        "payment": { "payment_intent": intent, "type": "payment_intent" },
        "status": "open",
        "status_transitions": { "canceled_at": null, "paid_at": null },
    });
    transaction.put(Kind::InvoicePayment, &payment);
    payment
}

/// Nobody will ask for the invoice's money: `void`, or `mark_uncollectible`.
pub(super) fn give_up(transaction: &mut Transaction<'_>, open: &Value, behavior: &str) {
    let mut invoice = open.clone();
    let (status, moment, event) = match behavior {
        "void" => ("void", "voided_at", "invoice.voided"),
        _ => ("uncollectible", "marked_uncollectible_at", "invoice.marked_uncollectible"),
    };
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status"] = status.into();
    invoice["status_transitions"][moment] = transaction.now().into();
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit(event, &invoice);
}

/// The invoice is paid, by a payment intent unless nothing was due or it was paid elsewhere.
pub(super) fn mark_paid(transaction: &mut Transaction<'_>, open: &Value, intent: &Value) -> Value {
    let mut invoice = open.clone();
    let due = invoice["amount_due"].clone();
    invoice["amount_paid"] = due.clone();
    invoice["amount_remaining"] = 0.into();
    invoice["attempted"] = true.into();
    let tries = invoice["attempt_count"].as_i64().unwrap_or_default();
    invoice["attempt_count"] = (tries + i64::from(!intent.is_null())).into();
    invoice["next_payment_attempt"] = Value::Null;
    invoice["auto_advance"] = false.into();
    invoice["status"] = "paid".into();
    invoice["status_transitions"]["paid_at"] = transaction.now().into();
    transaction.put(Kind::Invoice, &invoice);
    if !intent.is_null() {
        let mut payment = payment(transaction, &invoice, intent);
        payment["amount_paid"] = due;
        payment["status"] = "paid".into();
        payment["status_transitions"]["paid_at"] = transaction.now().into();
        transaction.put(Kind::InvoicePayment, &payment);
        transaction.emit("invoice_payment.paid", &payment);
    }
    transaction.emit("invoice.paid", &invoice);
    transaction.emit("invoice.payment_succeeded", &invoice);
    invoice
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
