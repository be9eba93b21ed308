//! Invoices, and what was paid on them.

use serde_json::Value;

use super::{
    super::{
        answer::Failure,
        billing,
        cards::{Bank, GENERIC, Method},
        lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, Parameter, STARTING_AFTER, boolean, choice, object, range, text,
        },
        store::Kind,
    },
    Call, Route, payment_methods,
};

const LIST: &[Parameter] = &[
    choice("collection_method", &["charge_automatically", "send_invoice"]),
    CREATED,
    text("customer"),
    range("due_date"),
    ENDING_BEFORE,
    LIMIT,
    STARTING_AFTER,
    choice("status", &["draft", "open", "paid", "uncollectible", "void"]),
    text("subscription"),
];

const LIST_PAYMENTS: &[Parameter] = &[
    CREATED,
    ENDING_BEFORE,
    text("invoice"),
    LIMIT,
    object("payment", &[text("payment_intent"), choice("type", &["charge", "payment_intent"]).required()]),
    STARTING_AFTER,
    choice("status", &["canceled", "open", "paid"]),
];

const PAY: &[Parameter] = &[boolean("off_session"), boolean("paid_out_of_band"), text("payment_method")];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/invoices", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Invoice, given, "/v1/invoices", |invoice| {
            let subscription = &invoice["parent"]["subscription_details"]["subscription"];
            given.text("subscription").is_none_or(|wanted| subscription == wanted)
                && ["collection_method", "customer", "status"]
                    .iter()
                    .all(|field| given.filters(invoice, field))
        })
    }),
    Route::get("/v1/invoices/{id}", &[], |call| call.transaction.find(Kind::Invoice, call.id)),
    Route::post("/v1/invoices/{id}/pay", PAY, pay),
    Route::post("/v1/invoices/{id}/void", &[], void),
    Route::get("/v1/invoice_payments", LIST_PAYMENTS, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::InvoicePayment, given, "/v1/invoice_payments", |payment| {
            let wanted = given.get("payment").and_then(Value::as_object);
            wanted.is_none_or(|wanted| {
                wanted.iter().all(|(name, value)| payment["payment"].get(name) == Some(value))
            }) && ["invoice", "status"].iter().all(|field| given.filters(payment, field))
        })
    }),
    Route::get("/v1/invoice_payments/{id}", &[], |call| call.transaction.find(Kind::InvoicePayment, call.id)),
];

fn pay(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let invoice = billing::open(call.transaction, call.id)?;
    if call.given.boolean("paid_out_of_band") == Some(true) {
        return Ok(billing::settled(call.transaction, &invoice, &Value::Null));
    }
    if let Some(named) = call.given.text("payment_method").map(str::to_owned) {
        let made = payment_methods::named(call.transaction, "payment_method", &named)?;
        let method = payment_methods::method_of(call.transaction, &made);
        let method = method.ok_or_else(|| Failure::state("The payment method can no longer be charged."))?;
        if let Method::Card(card) = method
            && let Bank::Declines(why) = card.bank
        {
            return Err(Failure::declined(why));
        }
        return billing::pay_with(call.transaction, call.id, method);
    }
    let invoice = billing::collect(call.transaction, &invoice);
    if invoice["status"] == "paid" { Ok(invoice) } else { Err(Failure::declined(&GENERIC)) }
}

fn void(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let mut invoice = billing::open(call.transaction, call.id)?;
    invoice["next_payment_attempt"] = Value::Null;
    invoice["status"] = "void".into();
    invoice["status_transitions"]["voided_at"] = call.transaction.now().into();
    call.transaction.put(Kind::Invoice, &invoice);
    call.transaction.emit("invoice.voided", &invoice);
    Ok(invoice)
}
