//! Webhook endpoints. A secret is shown when it is made and never again; replaced ones go on signing for a while.

use serde_json::{Value, json};

use super::{
    super::{
        answer::Failure,
        ids, lists,
        parameters::{
            ENDING_BEFORE, Kind as Type, LIMIT, METADATA, Parameter, STARTING_AFTER, address, boolean, list,
            merge_metadata, text,
        },
        store::Kind,
        world::Transaction,
    },
    Call, Route,
};

const CREATE: &[Parameter] = &[
    text("api_version"),
    boolean("connect"),
    text("description"),
    list("enabled_events", &Type::Text(100)).required(),
    METADATA,
    address("url").required(),
];

const UPDATE: &[Parameter] = &[
    text("description"),
    boolean("disabled"),
    list("enabled_events", &Type::Text(100)),
    METADATA,
    address("url"),
];

pub(super) const ROUTES: &[Route] = &[
    Route::post("/v1/webhook_endpoints", CREATE, |call| {
        let secret = ids::with_prefix("whsec_", 32);
        let given = &call.given;
        let mut endpoint = make(
            call.transaction,
            given.text("url").unwrap_or_default(),
            &secret,
            given.value("enabled_events"),
            given.value("api_version"),
        );
        endpoint["description"] = given.value("description");
        merge_metadata(&mut endpoint, given.get("metadata"))?;
        call.transaction.put(Kind::WebhookEndpoint, &endpoint);
        endpoint["secret"] = secret.into();
        Ok(endpoint)
    }),
    Route::get("/v1/webhook_endpoints", &[ENDING_BEFORE, LIMIT, STARTING_AFTER], |call| {
        lists::page(call.transaction, Kind::WebhookEndpoint, &call.given, "/v1/webhook_endpoints", |_| true)
    }),
    Route::get("/v1/webhook_endpoints/{id}", &[], |call| {
        call.transaction.find(Kind::WebhookEndpoint, call.id)
    }),
    Route::post("/v1/webhook_endpoints/{id}", UPDATE, update),
    Route::delete("/v1/webhook_endpoints/{id}", |call| {
        call.transaction.find(Kind::WebhookEndpoint, call.id)?;
        call.transaction.store.remove(Kind::WebhookEndpoint, call.id);
        call.transaction.store.remove(Kind::Hidden, call.id);
        Ok(json!({ "id": call.id, "object": "webhook_endpoint", "deleted": true }))
    }),
];

/// Makes an endpoint whose secret is known.
pub(in super::super) fn make(
    transaction: &mut Transaction<'_>,
    url: &str,
    secret: &str,
    enabled_events: Value,
    api_version: Value,
) -> Value {
    let endpoint = json!({
        "id": ids::new(Kind::WebhookEndpoint),
        "object": "webhook_endpoint",
        "api_version": api_version,
        "application": null,
        "created": transaction.now(),
        "description": null,
        "enabled_events": enabled_events,
        "livemode": false,
        "metadata": {},
        "status": "enabled",
        "url": url,
    });
    transaction.put(Kind::WebhookEndpoint, &endpoint);
    let id = endpoint["id"].as_str().unwrap_or_default();
    transaction.set_hidden(id, "secrets", json!([{ "secret": secret, "until": null }]));
    endpoint
}

/// Gives an endpoint a new secret; the old ones sign as well for some seconds.
pub(in super::super) fn rotate(
    transaction: &mut Transaction<'_>,
    id: &str,
    secret: &str,
    overlap_seconds: i64,
) {
    let until = transaction.now() + overlap_seconds;
    let mut secrets = vec![json!({ "secret": secret, "until": null })];
    for former in transaction.hidden(id)["secrets"].as_array().into_iter().flatten() {
        let ends = former["until"].as_i64().unwrap_or(until).min(until);
        secrets.push(json!({ "secret": former["secret"], "until": ends }));
    }
    transaction.set_hidden(id, "secrets", secrets.into());
}

/// The secrets that sign for an endpoint now, newest first.
pub(in super::super) fn secrets(transaction: &Transaction<'_>, id: &str) -> Vec<String> {
    let now = transaction.now();
    transaction.hidden(id)["secrets"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|secret| secret["until"].as_i64().is_none_or(|until| until > now))
        .filter_map(|secret| secret["secret"].as_str().map(str::to_owned))
        .collect()
}

fn update(call: &mut Call<'_, '_>) -> Result<Value, Failure> {
    let mut endpoint = call.transaction.find(Kind::WebhookEndpoint, call.id)?;
    for field in ["description", "enabled_events", "url"] {
        if let Some(value) = call.given.get(field) {
            endpoint[field] = value.clone();
        }
    }
    if let Some(is_disabled) = call.given.boolean("disabled") {
        endpoint["status"] = if is_disabled { "disabled".into() } else { "enabled".into() };
    }
    merge_metadata(&mut endpoint, call.given.get("metadata"))?;
    call.transaction.put(Kind::WebhookEndpoint, &endpoint);
    Ok(endpoint)
}
