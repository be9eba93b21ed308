//! Payment methods that customers have.

use super::{
    super::{
        lists,
        parameters::{ENDING_BEFORE, LIMIT, Parameter, STARTING_AFTER, text},
        store::Kind,
    },
    Route, customers,
};

const LIST: &[Parameter] = &[text("customer"), ENDING_BEFORE, LIMIT, STARTING_AFTER, text("type")];

pub(super) const ROUTES: &[Route] = &[
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
