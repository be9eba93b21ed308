//! Charges, and the balance's entries that they lead to.

use serde_json::Value;

use super::{
    super::{
        answer::Failure,
        lists, older,
        parameters::{
            CREATED, ENDING_BEFORE, LIMIT, METADATA, Parameter, STARTING_AFTER, merge_metadata, text,
        },
        store::Kind,
    },
    Call, Route,
};

const LIST: &[Parameter] = &[
    CREATED,
    text("customer"),
    ENDING_BEFORE,
    LIMIT,
    text("payment_intent"),
    STARTING_AFTER,
    text("transfer_group"),
];

const UPDATE: &[Parameter] = &[text("description"), METADATA, text("receipt_email")];

const LIST_ENTRIES: &[Parameter] =
    &[CREATED, text("currency"), ENDING_BEFORE, LIMIT, text("source"), STARTING_AFTER, text("type")];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/charges", LIST, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::Charge, given, "/v1/charges", |charge| {
            ["customer", "payment_intent", "transfer_group"].iter().all(|field| given.filters(charge, field))
        })
    }),
    Route::get("/v1/charges/{id}", &[], |call| call.transaction.find(Kind::Charge, call.id)),
    Route::get("/v1/charges/{id}/refunds", &[ENDING_BEFORE, LIMIT, STARTING_AFTER], |call| {
        let charge = call.transaction.find(Kind::Charge, call.id)?;
        let whole = older::refunds_of(&charge, call.transaction.store);
        let refunds = whole["data"].as_array().map(|refunds| refunds.iter().collect()).unwrap_or_default();
        let url = format!("/v1/charges/{}/refunds", call.id);
        lists::page_of(refunds, &call.given, &url, |_| false)
    }),
    Route::post("/v1/charges/{id}", UPDATE, update),
    Route::get("/v1/balance_transactions", LIST_ENTRIES, |call| {
        let given = &call.given;
        lists::page(call.transaction, Kind::BalanceTransaction, given, "/v1/balance_transactions", |entry| {
            ["currency", "source", "type"].iter().all(|field| given.filters(entry, field))
        })
    }),
    Route::get("/v1/balance_transactions/{id}", &[], |call| {
        call.transaction.find(Kind::BalanceTransaction, call.id)
    }),
];

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let before = call.transaction.find(Kind::Charge, call.id)?;
    let mut charge = before.clone();
    for field in ["description", "receipt_email"] {
        if let Some(value) = call.given.get(field) {
            charge[field] = value.clone();
        }
    }
    merge_metadata(&mut charge, call.given.get("metadata"))?;
    call.transaction.put(Kind::Charge, &charge);
    call.transaction.emit_change("charge.updated", &before, &charge);
    Ok(charge)
}
