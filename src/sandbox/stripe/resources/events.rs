//! Events, as far back as they are kept, and the account itself.

use serde_json::{Value, json};

use super::{
    super::{
        ids, lists,
        parameters::{
            CREATED, ENDING_BEFORE, Kind as Type, LIMIT, Parameter, STARTING_AFTER, boolean, list, text,
        },
        store::Kind,
    },
    Route,
};

const LIST: &[Parameter] = &[
    CREATED,
    boolean("delivery_success"),
    ENDING_BEFORE,
    LIMIT,
    STARTING_AFTER,
    text("type"),
    list("types", &Type::Text(200)),
];

pub(super) const ROUTES: &[Route] = &[
    Route::get("/v1/events", LIST, |call| {
        let given = &call.given;
        let transaction = &call.transaction;
        lists::page(transaction, Kind::Event, given, "/v1/events", |event| {
            let types = given.get("types").and_then(Value::as_array);
            types.is_none_or(|types| types.contains(&event["type"]))
                && given.text("type").is_none_or(|pattern| fits(pattern, &event["type"]))
                && given.boolean("delivery_success").is_none_or(|wanted| {
                    let is_open = transaction
                        .store
                        .all(Kind::Delivery)
                        .any(|delivery| delivery["event"] == event["id"]);
                    wanted != is_open
                })
        })
    }),
    Route::get("/v1/events/{id}", &[], |call| call.transaction.find(Kind::Event, call.id)),
    Route::get("/v1/balance", &[], |call| {
        let mut sums: Vec<(Value, i64)> = Vec::new();
        for entry in call.transaction.store.all(Kind::BalanceTransaction) {
            let net = entry["net"].as_i64().unwrap_or_default();
            match sums.iter_mut().find(|(currency, _)| *currency == entry["currency"]) {
                Some((_, sum)) => *sum += net,
                None => sums.push((entry["currency"].clone(), net)),
            }
        }
        let sums: Vec<Value> = sums
            .into_iter()
            .map(|(currency, amount)| json!({ "amount": amount, "currency": currency, "source_types": { "card": amount } }))
            .collect();
        Ok(json!({ "object": "balance", "available": sums, "livemode": false, "pending": [] }))
    }),
    Route::get("/v1/account", &[], |call| {
        let account = match call.transaction.store.get(Kind::Setting, "account") {
            Some(account) => account.clone(),
            None => {
                let account =
                    json!({ "id": ids::with_prefix("acct_1", 15), "created": call.transaction.now() });
                call.transaction.store.put(Kind::Setting, "account", account.clone());
                account
            }
        };
        Ok(json!({
            "id": account["id"],
            "object": "account",
            "business_profile": { "name": "Counterfoil's simulator", "url": null },
            "business_type": "company",
            "charges_enabled": true,
            "country": "DE",
            "created": account["created"],
            "default_currency": "eur",
            "details_submitted": true,
            "email": "shop@example.com",
            "metadata": {},
            "payouts_enabled": true,
            "type": "standard",
        }))
    }),
];

/// `invoice.*` fits all types that begin with `invoice.`.
fn fits(pattern: &str, event_type: &Value) -> bool {
    let event_type = event_type.as_str().unwrap_or_default();
    match pattern.strip_suffix('*') {
        Some(beginning) => event_type.starts_with(beginning),
        None => event_type == pattern,
    }
}
