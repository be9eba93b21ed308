//! Invoices, and what was paid on them.

use serde_json::Value;

use super::{
    super::{
        lists,
        parameters::{CREATED, ENDING_BEFORE, LIMIT, Parameter, STARTING_AFTER, choice, object, range, text},
        store::Kind,
    },
    Route,
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
