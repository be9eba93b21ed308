//! The customer portal: a short-lived address where a customer looks after their subscriptions.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids,
        parameters::{Parameter, address, free, text},
        store::Kind,
    },
    Call, Route, customers,
};

const CREATE: &[Parameter] = &[
    text("configuration"),
    text("customer").required(),
    free("flow_data"),
    text("locale"),
    address("return_url"),
];

pub(super) const ROUTES: &[Route] = &[Route::post("/v1/billing_portal/sessions", CREATE, create)];

fn create(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let customer = call.given.text("customer").unwrap_or_default();
    let customer = customers::living(call.transaction, "customer", customer)?;
    let id = ids::new(Kind::PortalSession);
    let session = json!({
        "id": id,
        "object": "billing_portal.session",
        "configuration": call.given.value_or("configuration", "bpc_1CounterfoilSimulator"),
        "created": call.transaction.now(),
        "customer": customer["id"],
        "customer_account": null,
        "flow": null,
        "livemode": false,
        "locale": call.given.value("locale"),
        "on_behalf_of": null,
        "return_url": call.given.value("return_url"),
        "url": format!("{}/portal/{id}", call.transaction.base_url),
    });
    call.transaction.put(Kind::PortalSession, &session);
    Ok(session)
}
