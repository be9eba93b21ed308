//! Payment methods that customers have. The names of Stripe's documentation, such as `pm_card_visa`, make one.

use serde_json::Value;

use super::{
    super::{
        answer::Failure,
        billing,
        cards::{Bank, Card, Method},
        lists,
        parameters::{
            ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, choice, merge_metadata, object, text,
        },
        payments::{self, Payer},
        store::Kind,
        subscriptions,
        world::Transaction,
    },
    Call, Route, customers,
};

const LIST: &[Parameter] = &[text("customer"), ENDING_BEFORE, LIMIT, STARTING_AFTER, text("type")];

const CREATE: &[Parameter] = &[
    object("card", &[text("cvc"), text("exp_month"), text("exp_year"), text("number").required()]).required(),
    METADATA,
    choice("type", &["card"]).required(),
];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/payment_methods", CREATE, |call| {
        let number = call.given.value("card")["number"].as_str().unwrap_or_default().to_owned();
        let card = Card::find(&number).ok_or_else(|| {
            Failure::state("Your card number is incorrect.").code("incorrect_number").of("card[number]")
        })?;
        let mut made = payments::make_method(call.transaction, Method::Card(card), &Payer::default(), false);
        merge_metadata(&mut made, call.given.get("metadata"))?;
        call.transaction.put(Kind::PaymentMethod, &made);
        Ok(made)
    }),
    Route::post("/v1/payment_methods/{id}/attach", &[text("customer").required()], attach),
    Route::post("/v1/payment_methods/{id}/detach", &[], detach),
    Route::get("/v1/payment_methods", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::PaymentMethod, given, "/v1/payment_methods", |method| {
            !method["customer"].is_null()
                && ["customer", "type"].iter().all(|field| given.filters(method, field))
        })
    }),
    Route::get("/v1/payment_methods/{id}", &[], |call| call.transaction.find(Kind::PaymentMethod, call.id)),
    Route::get(
        "/v1/customers/{id}/payment_methods",
        &[ENDING_BEFORE, LIMIT, STARTING_AFTER, text("type")],
        |call| {
            customers::living(call.transaction, "customer", call.id)?;
            let (given, id) = (&call.given, call.id);
            let url = format!("/v1/customers/{id}/payment_methods");
            lists::page(call.transaction, Kind::PaymentMethod, given, &url, |method| {
                method["customer"] == id && given.filters(method, "type")
            })
        },
    ),
];

/// The payment method with this id, or a new one if it is a name of Stripe's documentation.
///
/// # Errors
/// If there is none.
pub(in super::super) fn named(
    transaction: &mut Transaction<'_>,
    param: &str,
    id: &str,
) -> Result<Value, Failure> {
    match Card::find(id) {
        Some(card) => Ok(payments::make_method(transaction, Method::Card(card), &Payer::default(), false)),
        None => transaction.find_in(param, Kind::PaymentMethod, id),
    }
}

fn attach(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let customer = call.given.text("customer").unwrap_or_default().to_owned();
    customers::living(call.transaction, "customer", &customer)?;
    let mut method = match Card::find(call.id) {
        Some(_) => named(call.transaction, "payment_method", call.id)?,
        None => call
            .transaction
            .find(Kind::PaymentMethod, call.id)
            .map_err(|failure| failure.of("payment_method"))?,
    };
    if let Some(Method::Card(card)) = method_of(call.transaction, &method)
        && let Bank::Declines(why) = card.bank
    {
        return Err(Failure::declined(why));
    }
    method["customer"] = customer.into();
    call.transaction.put(Kind::PaymentMethod, &method);
    call.transaction.emit("payment_method.attached", &method);
    Ok(method)
}

fn detach(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::PaymentMethod, call.id)?;
    if before["customer"].is_null() {
        return Err(Failure::state(
            "The payment method you provided is not attached to a customer so detachment is impossible.",
        ));
    }
    let mut method = before.clone();
    method["customer"] = Value::Null;
    call.transaction.put(Kind::PaymentMethod, &method);
    call.transaction.emit_change("payment_method.detached", &before, &method);
    Ok(method)
}

/// What a payment method is.
pub(in super::super) fn method_of(transaction: &Transaction<'_>, method: &Value) -> Option<Method> {
    let hidden = transaction.hidden(method["id"].as_str()?);
    Method::numbered(hidden["number"].as_str()?)
}

/// Gives a customer another card, for all that is collected from now on.
///
/// # Errors
/// If there is no such customer.
pub(in super::super) fn replace(
    transaction: &mut Transaction<'_>,
    id: &str,
    method: Method,
) -> Result<Value, Failure> {
    let before = customers::living(transaction, "customer", id)?;
    let payer = billing::payer_of(transaction, &serde_json::json!({ "customer": id }));
    let made = payments::make_method(transaction, method, &payer, true);
    let mut customer = before.clone();
    customer["invoice_settings"]["default_payment_method"] = made["id"].clone();
    transaction.put(Kind::Customer, &customer);
    transaction.emit_change("customer.updated", &before, &customer);
    let alive: Vec<Value> = transaction
        .store
        .all(Kind::Subscription)
        .filter(|subscription| subscription["customer"] == id && subscriptions::is_alive(subscription))
        .cloned()
        .collect();
    for mut subscription in alive {
        let before = subscription.clone();
        subscription["default_payment_method"] = made["id"].clone();
        transaction.put(Kind::Subscription, &subscription);
        transaction.emit_change("customer.subscription.updated", &before, &subscription);
    }
    Ok(made)
}
