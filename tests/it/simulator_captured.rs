//! Requests that Stripe really answered, from `../shared/stripe/api-captures`, put to the simulator: what Stripe's answer
//! has, ours has as well. Without that folder the test says so and passes.

use std::fs;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::simulator::{TestSimulator, id};
use crate::support::stripe_spec::shared;

/// What is not simulated: captures of these are passed over.
const NOT_SIMULATED: &[(&str, &str)] = &[
    ("/v1/checkout/sessions", "mode=setup"),
    ("/v1/checkout/sessions", "mode=subscription"),
    ("/v1/invoiceitems", ""),
    ("/v1/invoices", ""),
    ("/v1/invoices/{id}/pay", ""),
    ("/v1/payment_intents", "payment_method="),
    ("/v1/payment_intents/{id}/capture", ""),
    ("/v1/payment_methods", ""),
    ("/v1/payment_methods/{id}/attach", ""),
    ("/v1/setup_intents", ""),
    ("/v1/subscriptions", ""),
    ("/v1/subscriptions/{id}", ""),
];

/// Where the inside differs with what was bought and how; only that there is something is compared.
const VARIED: &[&str] = &["payment_method_options", "next_action", "last_payment_error", "metadata"];

/// What the simulator has in place of the objects of the recording.
struct Known {
    customer: String,
    price: String,
    session: Value,
    charge: String,
}

#[tokio::test]
async fn what_stripe_answered_is_answered_with_the_same_keys() {
    let Some(folder) = shared("api-captures") else { return };
    let text = fs::read(folder.join("stripe-api-captures.json")).expect("the recordings");
    let recorded: Value = serde_json::from_slice(&text).expect("JSON");
    let stripe = TestSimulator::start().await;
    let mut compared = 0;
    for interaction in recorded["interactions"].as_array().expect("a list") {
        let path = interaction["path"].as_str().expect("a path");
        let request = interaction["req"].as_str().unwrap_or_default();
        if NOT_SIMULATED.iter().any(|(known, part)| *known == path && request.contains(part)) {
            continue;
        }
        let known = sell(&stripe).await;
        compare(&stripe, &known, interaction).await;
        compared += 1;
    }
    assert!(compared >= 15, "only {compared} were compared");
}

async fn sell(stripe: &TestSimulator) -> Known {
    let customer = id(&stripe.post("/v1/customers", "email=alice@example.com&name=Alice").await.ok());
    let price = stripe.price("unit_amount=2000").await;
    let session =
        stripe.session(&price, &format!("customer={customer}&invoice_creation[enabled]=true")).await;
    let order = json!({ "outcome": "paid" });
    let session = stripe.control(&format!("checkout_sessions/{}/complete", id(&session)), order).await;
    let intent = session["payment_intent"].as_str().expect("an intent");
    let intent = stripe.get(&format!("/v1/payment_intents/{intent}")).await.ok();
    let charge = intent["latest_charge"].as_str().expect("a charge").to_owned();
    Known { customer, price, session, charge }
}

async fn compare(stripe: &TestSimulator, known: &Known, interaction: &Value) {
    let text = |name: &str| interaction[name].as_str().unwrap_or_default();
    let (path, query, form) = (text("path"), text("query"), text("req"));
    let is_missing = interaction["status"] == 404;
    let is_unauthorized = interaction["status"] == 401;
    let intent = known.session["payment_intent"].as_str().expect("an intent");
    let own = match path.split('/').nth(2) {
        _ if is_missing => "cus_nobody",
        Some("customers") => &known.customer,
        Some("charges") => &known.charge,
        Some("payment_intents") => intent,
        Some("invoices") => known.session["invoice"].as_str().expect("an invoice"),
        _ => "",
    };
    let ours = |text: &str| {
        let parts = text.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = match value.split('_').next() {
                Some("cus") => &known.customer,
                Some("price") => &known.price,
                Some("ch") => &known.charge,
                Some("pi") => intent,
                Some("in") => known.session["invoice"].as_str().expect("an invoice"),
                _ => value,
            };
            format!("{name}={value}")
        });
        parts.collect::<Vec<_>>().join("&")
    };
    // The recording's customers have cards on file.
    if form.contains("default_payment_method") {
        return;
    }
    let path = format!("{}?{}", path.replace("{id}", own), ours(query));
    let version = interaction["api_version"].as_str().expect("a version");
    let mut headers = vec![("Stripe-Version", version)];
    if is_unauthorized {
        headers.push(("Authorization", "Bearer sk_test_wrong"));
    }
    let method: Method = text("method").parse().expect("a method");
    let answer = if is_unauthorized {
        let request =
            stripe.client.request(method, format!("{}{path}", stripe.url)).bearer_auth("sk_test_wrong");
        let response = request.send().await.expect("an answer");
        assert_eq!(response.status().as_u16(), 401);
        response.json().await.expect("JSON")
    } else {
        let answer = stripe.send(method, &path, &ours(form), &headers).await;
        assert_eq!(json!(answer.status), interaction["status"], "{path}: {}", answer.body);
        for name in interaction["hdr"].as_object().expect("headers").keys() {
            let is_conditional =
                name == "Stripe-Should-Retry" || name.contains("dempotency") || name == "Original-Request";
            assert!(is_conditional || !answer.header(name).is_empty(), "{path} has no {name}");
        }
        answer.body
    };
    let mut lacking = Vec::new();
    lacks(&interaction["body"], &answer, "", &mut lacking);
    let place = format!("{} {path} of {version}", text("method"));
    assert!(lacking.is_empty(), "{place} lacks {lacking:?}");
}

/// The keys of Stripe's answer that ours has not.
fn lacks(theirs: &Value, ours: &Value, path: &str, lacking: &mut Vec<String>) {
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            for (name, value) in theirs {
                let inner = format!("{path}.{name}");
                match ours.get(name) {
                    // The recording has some names blotted out.
                    None if name.contains('<') => {}
                    // Only payments of invoices have it.
                    None if name == "payment_details" => {}
                    None => lacking.push(inner),
                    Some(_) if VARIED.contains(&name.as_str()) => {}
                    Some(ours) => lacks(value, ours, &inner, lacking),
                }
            }
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            if let (Some(theirs), Some(ours)) = (theirs.first(), ours.first()) {
                lacks(theirs, ours, &format!("{path}[0]"), lacking);
            }
        }
        _ => {}
    }
}
