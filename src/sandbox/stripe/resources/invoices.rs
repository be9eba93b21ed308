//! Invoices, and what was paid on them.

use serde_json::Value;

use super::{
    super::{
        answer::Failure,
        billing,
        cards::{Bank, GENERIC, Method},
        invoices, lists,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, Parameter, STARTING_AFTER, boolean, choice, integer, list, object,
            range, text,
        },
        store::Kind,
        subscriptions,
    },
    Call, Given, Route, payment_methods,
    subscriptions::{ITEM, PRORATION_BEHAVIORS, wanted},
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

const LIST_LINES: &[Parameter] = &[ENDING_BEFORE, LIMIT, STARTING_AFTER];

const LIST_PAYMENTS: &[Parameter] = &[
    CREATED,
    ENDING_BEFORE,
    text("invoice"),
    LIMIT,
    object("payment", &[text("payment_intent"), choice("type", &["charge", "payment_intent"]).required()]),
    STARTING_AFTER,
    choice("status", &["canceled", "open", "paid"]),
];

const PREVIEW: &[Parameter] = &[
    text("customer"),
    text("subscription").required(),
    object(
        "subscription_details",
        &[list("items", &ITEM), choice("proration_behavior", PRORATION_BEHAVIORS), integer("proration_date")],
    ),
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
    Route::get("/v1/invoices/{id}/lines", LIST_LINES, |call| {
        let invoice = call.transaction.find(Kind::Invoice, call.id)?;
        let lines = invoices::lines(call.transaction, &invoice);
        let url = format!("/v1/invoices/{}/lines", call.id);
        lists::page_of(lines.iter().collect(), &call.given, &url, |_| false)
    }),
    Route::post("/v1/invoices/create_preview", PREVIEW, preview),
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

/// What the next invoice would be, after a change of at most one item.
fn preview(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let subscription = call.given.text("subscription").unwrap_or_default();
    let subscription = call.transaction.find_in("subscription", Kind::Subscription, subscription)?;
    let details =
        Given::from(call.given.value("subscription_details").as_object().cloned().unwrap_or_default());
    let path = "subscription_details[items]";
    let mut changes = wanted(call.transaction, &subscription, &details, path)?;
    if changes.len() > 1 {
        return Err(Failure::state("The simulator previews the change of one item.").of(path));
    }
    if subscriptions::is_alive(&subscription) {
        Ok(subscriptions::preview(call.transaction, &subscription, changes.pop().as_ref()))
    } else {
        let message = "You cannot preview the upcoming invoice for a canceled subscription.";
        Err(Failure::state(message).code("invoice_upcoming_none"))
    }
}

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
    let invoice = billing::open(call.transaction, call.id)?;
    invoices::give_up(call.transaction, &invoice, "void");
    Ok(call.transaction.peek(Kind::Invoice, &invoice["id"]))
}
