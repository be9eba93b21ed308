//! Credit notes: what an invoice that is final asks too much.
//!
//! As far as the invoice is not paid, a note lowers what is due. The rest of it, the part after payment, goes back: by a
//! refund, to the customer's balance, or outside of Stripe, whichever of these the request names.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        billing, ids, lists, older,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, choice,
            integer, list, merge_metadata, text,
        },
        store::Kind,
        world::Transaction,
    },
    Call, Given, Route, customers, refunds,
};

const LINE: Type = Type::Object(&[
    integer("amount"),
    text("description"),
    text("invoice_line_item"),
    integer("quantity"),
    choice("type", &["custom_line_item", "invoice_line_item"]).required(),
    integer("unit_amount"),
]);

const REFUND: Type =
    Type::Object(&[integer("amount_refunded"), text("refund").required(), choice("type", &["refund"])]);

const CREATE: &[Parameter] = &[
    integer("amount"),
    integer("credit_amount"),
    integer("effective_at"),
    choice("email_type", &["credit_note", "none"]),
    text("invoice").required(),
    list("lines", &LINE),
    text("memo"),
    METADATA,
    integer("out_of_band_amount"),
    choice("reason", &["duplicate", "fraudulent", "order_change", "product_unsatisfactory"]),
    integer("refund_amount"),
    list("refunds", &REFUND),
];

const LIST: &[Parameter] =
    &[CREATED, text("customer"), ENDING_BEFORE, text("invoice"), LIMIT, STARTING_AFTER];

const UPDATE: &[Parameter] = &[text("memo"), METADATA];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/credit_notes", CREATE, create),
    Route::get("/v1/credit_notes", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::CreditNote, given, "/v1/credit_notes", |note| {
            ["customer", "invoice"].iter().all(|field| given.filters(note, field))
        })
    }),
    Route::get("/v1/credit_notes/{id}", &[], |call| call.transaction.find(Kind::CreditNote, call.id)),
    Route::get("/v1/credit_notes/{id}/lines", &[ENDING_BEFORE, LIMIT, STARTING_AFTER], |call| {
        let note = call.transaction.find(Kind::CreditNote, call.id)?;
        let lines = note["lines"]["data"].as_array().map(|lines| lines.iter().collect()).unwrap_or_default();
        let url = format!("/v1/credit_notes/{}/lines", call.id);
        lists::page_of(lines, &call.given, &url, |_| false)
    }),
    Route::post("/v1/credit_notes/{id}", UPDATE, update),
    Route::post("/v1/credit_notes/{id}/void", &[], void),
];

/// How a note is divided, in the smallest part of the invoice's currency.
struct Parts {
    /// Of what is still due.
    before_payment: i64,
    /// Of what was paid.
    after_payment: i64,
    /// Of that, to be refunded now.
    refund: i64,
    /// Of that, to the customer's balance.
    credit: i64,
    /// Of that, outside of Stripe.
    outside: i64,
}

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let invoice = call.given.text("invoice").unwrap_or_default();
    let invoice = call.transaction.find_in("invoice", Kind::Invoice, invoice)?;
    if !matches!(text_of(&invoice["status"]), "open" | "paid") {
        let message = format!(
            "You can only create credit notes on open or paid invoices. Invoice {} is {}.",
            text_of(&invoice["id"]),
            text_of(&invoice["status"])
        );
        return Err(Failure::state(message).of("invoice"));
    }
    let (amount, lines) = amount_and_lines(&call.given)?;
    let noted = number(&invoice["pre_payment_credit_notes_amount"])
        + number(&invoice["post_payment_credit_notes_amount"]);
    let left = number(&invoice["total"]) - noted;
    if amount > left {
        let message = format!(
            "The sum of all credit notes cannot be more than the invoice's total: at most {left} can be credited, in the smallest part of {}.",
            text_of(&invoice["currency"])
        );
        return Err(Failure::state(message).of("amount"));
    }
    let linked = linked_refunds(call, &invoice)?;
    let parts = parts(&call.given, &invoice, amount, &linked)?;
    let mut note = note(call, &invoice, amount, &parts, lines);
    merge_metadata(&mut note, call.given.get("metadata"))?;
    let mut refunds: Vec<Value> = linked;
    if parts.refund > 0 {
        refunds.push(refund(call, &invoice, parts.refund)?);
    }
    note["refunds"] = refunds.into();
    if parts.credit > 0 {
        let entry = credit(call.transaction, &note, -parts.credit)?;
        note["customer_balance_transaction"] = entry["id"].clone();
    }
    call.transaction.put(Kind::CreditNote, &note);
    count(call.transaction, &invoice, parts.before_payment, parts.after_payment);
    call.transaction.emit("credit_note.created", &note);
    settle_if_nothing_is_due(call.transaction, &invoice);
    Ok(note)
}

/// What the note comes to, and its lines.
fn amount_and_lines(given: &Given) -> Result<(i64, Vec<Value>), Failure> {
    let lines: Vec<Value> = given.value("lines").as_array().into_iter().flatten().map(line).collect();
    let of_lines: i64 = lines.iter().map(|line| number(&line["amount"])).sum();
    let amount = match (given.integer("amount"), lines.is_empty()) {
        (None, true) => {
            let message = "One of `amount`, `lines`, or `shipping_cost` must be provided.";
            return Err(Failure::parameters(message));
        }
        (Some(amount), true) => amount,
        (None, false) => of_lines,
        (Some(amount), false) if amount == of_lines => amount,
        (Some(amount), false) => {
            let message = format!("The amount ({amount}) is not the sum of the lines ({of_lines}).");
            return Err(Failure::parameters(message).of("amount"));
        }
    };
    if amount < 1 {
        return Err(Failure::parameters("Invalid positive integer")
            .code("parameter_invalid_integer")
            .of("amount"));
    }
    let lines = if lines.is_empty() { vec![custom_line(amount)] } else { lines };
    Ok((amount, lines))
}

fn custom_line(amount: i64) -> Value {
    line(&json!({ "type": "custom_line_item", "unit_amount": amount, "quantity": 1 }))
}

fn line(given: &Value) -> Value {
    let quantity = given["quantity"].as_i64().unwrap_or(1);
    let amount = given["amount"].as_i64().unwrap_or_else(|| number(&given["unit_amount"]) * quantity);
    let unit_amount = given["unit_amount"].as_i64();
    let mut line = json!({
        "id": ids::with_prefix("cnli_1", 23),
        "object": "credit_note_line_item",
        "amount": amount,
        "description": given.get("description").cloned().unwrap_or_else(|| "Credit".into()),
        "discount_amount": 0,
        "discount_amounts": [],
        "livemode": false,
        "pretax_credit_amounts": [],
        "quantity": quantity,
        "tax_rates": [],
        "taxes": [],
        "type": given["type"],
        "unit_amount": unit_amount,
        "unit_amount_decimal": unit_amount.map(|amount| amount.to_string()),
    });
    if let Some(of) = given.get("invoice_line_item") {
        line["invoice_line_item"] = of.clone();
    }
    line
}

/// The refunds that were made before and that the note is to name.
fn linked_refunds(call: &Call<'_, '_>, invoice: &Value) -> Result<Vec<Value>, Failure> {
    let charge = charge_of(call.transaction, invoice);
    let mut linked = Vec::new();
    for (at, given) in call.given.value("refunds").as_array().into_iter().flatten().enumerate() {
        let id = text_of(&given["refund"]);
        let refund = call.transaction.find_in(&format!("refunds[{at}][refund]"), Kind::Refund, id)?;
        if refund["charge"] != charge["id"] {
            let message = format!("Refund {id} is not of a payment of this invoice.");
            return Err(Failure::state(message).of("refunds"));
        }
        let amount = given["amount_refunded"].as_i64().unwrap_or(number(&refund["amount"]));
        linked.push(part_of_refund(&refund["id"], amount));
    }
    Ok(linked)
}

fn part_of_refund(refund: &Value, amount: i64) -> Value {
    json!({ "amount_refunded": amount, "payment_record_refund": null, "refund": refund, "type": "refund" })
}

/// Divides a note, as the request says.
fn parts(given: &Given, invoice: &Value, amount: i64, linked: &[Value]) -> Result<Parts, Failure> {
    let before_payment = amount.min(number(&invoice["amount_remaining"]));
    let after_payment = amount - before_payment;
    let part = |name: &str| {
        let amount = given.integer(name).unwrap_or(0);
        if amount < 0 {
            let message = "This value must be greater than or equal to 0.";
            return Err(Failure::parameters(message).code("parameter_invalid_integer").of(name));
        }
        Ok(amount)
    };
    let (refund, credit) = (part("refund_amount")?, part("credit_amount")?);
    let outside = part("out_of_band_amount")?;
    let linked: i64 = linked.iter().map(|refund| number(&refund["amount_refunded"])).sum();
    let sum = refund + credit + outside + linked;
    if sum != after_payment {
        let message = format!(
            "The sum of credit amount, refund amount and out of band amount ({sum}) must equal the post payment amount of the credit note ({after_payment})."
        );
        return Err(Failure::parameters(message));
    }
    Ok(Parts { before_payment, after_payment, refund, credit, outside })
}

fn note(call: &Call<'_, '_>, invoice: &Value, amount: i64, parts: &Parts, lines: Vec<Value>) -> Value {
    let (transaction, given) = (&call.transaction, &call.given);
    let id = ids::new(Kind::CreditNote);
    let earlier = transaction.store.all(Kind::CreditNote).filter(|note| note["invoice"] == invoice["id"]);
    let number = format!("{}-CN-{:02}", text_of(&invoice["number"]), earlier.count() + 1);
    let kind = match (parts.before_payment, parts.after_payment) {
        (0, _) => "post_payment",
        (_, 0) => "pre_payment",
        _ => "mixed",
    };
    json!({
        "id": id,
        "object": "credit_note",
        "amount": amount,
        "amount_shipping": 0,
        "created": transaction.now(),
        "currency": invoice["currency"],
        "customer": invoice["customer"],
        "customer_account": null,
        "customer_balance_transaction": null,
        "discount_amount": 0,
        "discount_amounts": [],
        "effective_at": given.value_or("effective_at", transaction.now()),
        "invoice": invoice["id"],
        "lines": older::whole_list(lines, &format!("/v1/credit_notes/{id}/lines")),
        "livemode": false,
        "memo": given.value("memo"),
        "metadata": {},
        "number": number,
        "out_of_band_amount": if parts.outside == 0 { Value::Null } else { parts.outside.into() },
        "pdf": format!("{}/credit_notes/{id}/pdf", transaction.base_url),
        "post_payment_amount": parts.after_payment,
        "pre_payment_amount": parts.before_payment,
        "pretax_credit_amounts": [],
        "reason": given.value("reason"),
        "refunds": [],
        "shipping_cost": null,
        "status": "issued",
        "subtotal": amount,
        "subtotal_excluding_tax": amount,
        "total": amount,
        "total_excluding_tax": amount,
        "total_taxes": [],
        "type": kind,
        "voided_at": null,
    })
}

/// Refunds a part of what paid the invoice.
fn refund(call: &mut Call<'_, '_>, invoice: &Value, amount: i64) -> Result<Value, Failure> {
    let charge = charge_of(call.transaction, invoice);
    if charge.is_null() {
        let message = format!("Invoice {} has no charge to refund.", text_of(&invoice["id"]));
        return Err(Failure::state(message).of("refund_amount"));
    }
    let mut given = Given::default();
    given.set("amount", amount.into());
    let refund = refunds::make(call.transaction, &charge, &given)?;
    Ok(part_of_refund(&refund["id"], amount))
}

/// The charge that paid an invoice, or `null`.
fn charge_of(transaction: &Transaction<'_>, invoice: &Value) -> Value {
    let of_invoice = |payment: &&Value| payment["invoice"] == invoice["id"] && payment["status"] == "paid";
    let payment = transaction.store.all(Kind::InvoicePayment).find(of_invoice);
    let intent = payment.map_or(Value::Null, |payment| payment["payment"]["payment_intent"].clone());
    let intent = transaction.peek(Kind::PaymentIntent, &intent);
    transaction.peek(Kind::Charge, &intent["latest_charge"])
}

/// Changes the customer's balance, which below zero is money that the customer has.
fn credit(transaction: &mut Transaction<'_>, note: &Value, amount: i64) -> Result<Value, Failure> {
    let before = customers::living(transaction, "customer", text_of(&note["customer"]))?;
    let mut customer = before.clone();
    let balance = number(&customer["balance"]) + amount;
    customer["balance"] = balance.into();
    let entry = json!({
        "id": ids::new(Kind::CustomerBalanceTransaction),
        "object": "customer_balance_transaction",
        "amount": amount,
        "checkout_session": null,
        "created": transaction.now(),
        "credit_note": note["id"],
        "currency": note["currency"],
        "customer": note["customer"],
        "customer_account": null,
        "description": null,
        "ending_balance": balance,
        "invoice": note["invoice"],
        "livemode": false,
        "metadata": {},
        "type": "credit_note",
    });
    transaction.put(Kind::CustomerBalanceTransaction, &entry);
    transaction.put(Kind::Customer, &customer);
    transaction.emit_change("customer.updated", &before, &customer);
    Ok(entry)
}

/// Counts a note on its invoice, or, below zero, no longer.
fn count(transaction: &mut Transaction<'_>, before: &Value, before_payment: i64, after_payment: i64) {
    let mut invoice = before.clone();
    let mut add = |field: &str, amount: i64| invoice[field] = (number(&before[field]) + amount).into();
    add("pre_payment_credit_notes_amount", before_payment);
    add("post_payment_credit_notes_amount", after_payment);
    add("amount_due", -before_payment);
    add("amount_remaining", -before_payment);
    transaction.put(Kind::Invoice, &invoice);
    transaction.emit_change("invoice.updated", before, &invoice);
    if before_payment != 0 {
        ask_for(transaction, &invoice);
    }
}

/// What waits for an open invoice's money asks for what is due by now.
fn ask_for(transaction: &mut Transaction<'_>, invoice: &Value) {
    let open = |payment: &&Value| payment["invoice"] == invoice["id"] && payment["status"] == "open";
    let Some(mut payment) = transaction.store.all(Kind::InvoicePayment).find(open).cloned() else { return };
    payment["amount_requested"] = invoice["amount_due"].clone();
    transaction.put(Kind::InvoicePayment, &payment);
    let mut intent = transaction.peek(Kind::PaymentIntent, &payment["payment"]["payment_intent"]);
    intent["amount"] = invoice["amount_due"].clone();
    transaction.put(Kind::PaymentIntent, &intent);
}

fn settle_if_nothing_is_due(transaction: &mut Transaction<'_>, before: &Value) {
    let invoice = transaction.peek(Kind::Invoice, &before["id"]);
    if invoice["status"] == "open" && number(&invoice["amount_remaining"]) == 0 {
        billing::settled(transaction, &invoice, &Value::Null);
    }
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::CreditNote, call.id)?;
    let mut note = before.clone();
    if let Some(memo) = call.given.get("memo") {
        note["memo"] = memo.clone();
    }
    merge_metadata(&mut note, call.given.get("metadata"))?;
    if note != before {
        call.transaction.put(Kind::CreditNote, &note);
        call.transaction.emit_change("credit_note.updated", &before, &note);
    }
    Ok(note)
}

/// As Stripe has it: only while the invoice is open, so that nothing that was given back is taken again.
fn void(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let note = call.transaction.find(Kind::CreditNote, call.id)?;
    let invoice = call.transaction.peek(Kind::Invoice, &note["invoice"]);
    if invoice["status"] != "open" {
        let message = format!(
            "You can only void a credit note if the associated invoice is open. Invoice {} is {}.",
            text_of(&invoice["id"]),
            text_of(&invoice["status"])
        );
        return Err(Failure::state(message));
    }
    take_back(call.transaction, call.id)
}

/// A note is void, whatever has become of its invoice; what it gave to the customer's balance is taken from it again.
///
/// # Errors
/// If it is void already, or refunds were made for it.
pub(in super::super) fn take_back(transaction: &mut Transaction<'_>, id: &str) -> Result<Value, Failure> {
    let before = transaction.find(Kind::CreditNote, id)?;
    if before["status"] == "void" {
        return Err(Failure::state(format!("Credit note {id} is void already.")));
    }
    if before["refunds"].as_array().is_some_and(|refunds| !refunds.is_empty()) {
        return Err(Failure::state(format!("Credit note {id} has refunds, which cannot be taken back.")));
    }
    let (before_payment, after_payment) =
        (number(&before["pre_payment_amount"]), number(&before["post_payment_amount"]));
    let invoice = transaction.peek(Kind::Invoice, &before["invoice"]);
    if before_payment > 0 && invoice["status"] != "open" {
        let message = format!("Credit note {id} lowered what was paid since.");
        return Err(Failure::state(message));
    }
    let credited = after_payment - number(&before["out_of_band_amount"]);
    if credited > 0 {
        credit(transaction, &before, credited)?;
    }
    count(transaction, &invoice, -before_payment, -after_payment);
    let mut note = before.clone();
    note["status"] = "void".into();
    note["voided_at"] = transaction.now().into();
    transaction.put(Kind::CreditNote, &note);
    transaction.emit_change("credit_note.voided", &before, &note);
    Ok(note)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_default()
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
