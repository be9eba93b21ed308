//! Webhooks as Stripe posts them and as `counterfoil stripe trigger` does: over HTTP, to the real service.

use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use counterfoil::{
    store::inbox::InboxStatus,
    stripe::signature::{SigningSecret, sign},
};

use crate::{
    stripe_support::{as_another_event, body},
    support::{
        app::{Ledger, TestApp},
        process, wait,
    },
};

const ACCOUNT: &str = "customer-7";

#[expect(clippy::disallowed_methods, reason = "the service holds signatures against the same clock")]
fn now() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since_1970.as_secs()).expect("a year of few digits")
}

/// Posts a body with the signature header, if there is one; the status and the answer.
async fn post(app: &TestApp, ledger: &str, signature: Option<String>, body: Vec<u8>) -> (StatusCode, Value) {
    let mut request = app.client.post(format!("{}/webhooks/stripe/{ledger}", app.url)).body(body);
    if let Some(signature) = signature {
        request = request.header("Stripe-Signature", signature);
    }
    let answer = request.send().await.expect("an answer");
    (answer.status(), answer.json().await.expect("JSON"))
}

fn signature(ledger: &Ledger, body: &[u8], timestamp: i64) -> String {
    sign(body, &SigningSecret::parse(&ledger.webhook_secret).expect("a secret"), timestamp)
}

async fn deliver(app: &TestApp, event: &Value) -> StatusCode {
    let bytes = event.to_string().into_bytes();
    let header = signature(&app.ledger, &bytes, now());
    post(app, &app.ledger.slug, Some(header), bytes).await.0
}

async fn open(app: &TestApp) {
    let (status, _) = app.post("/v1/accounts", "open", &json!({"account_id": ACCOUNT})).await;
    assert_eq!(status, 201);
}

/// What the account has, and what it owes.
async fn balance(app: &TestApp) -> (i64, i64) {
    let answer = app.get(&format!("/v1/accounts/{ACCOUNT}/balance")).await;
    let of_credits =
        answer["balances"].as_array().expect("a list").iter().find(|book| book["unit"] == "credits");
    of_credits.map_or((0, 0), |book| {
        (book["available"].as_i64().expect("a number"), book["debt"].as_i64().expect("a number"))
    })
}

async fn wait_for_balance(app: &TestApp, expected: (i64, i64)) {
    wait::until(&format!("the balance to be {expected:?}"), async || {
        (balance(app).await == expected).then_some(())
    })
    .await;
}

async fn wait_for_status(app: &TestApp, event_id: &str, expected: &str) -> Value {
    wait::until(&format!("{event_id} to be {expected}"), async || {
        let entry = app.get(&format!("/v1/inbox/{event_id}")).await;
        (entry["status"] == expected).then_some(entry)
    })
    .await
}

fn purchase() -> Value {
    let mut event = body("session_completed__credits_in_metadata");
    event["data"]["object"]["metadata"] = json!({"account_id": ACCOUNT, "credits": "500", "unit": "credits"});
    event
}

#[tokio::test]
async fn a_signed_webhook_becomes_credits_that_can_be_spent_and_a_refund_takes_them_back() {
    let app = TestApp::start().await;
    open(&app).await;
    assert_eq!(deliver(&app, &purchase()).await, StatusCode::OK);
    wait_for_balance(&app, (500, 0)).await;
    assert_eq!(deliver(&app, &purchase()).await, StatusCode::OK, "a repeat is taken as well");
    let spend = json!({"unit": "credits", "amount": 120});
    let (status, spent) = app.post(&format!("/v1/accounts/{ACCOUNT}/spends"), "spend", &spend).await;
    assert_eq!((status, &spent["balance"]["available"]), (201, &json!(380)));
    assert_eq!(deliver(&app, &body("refund_updated__succeeded")).await, StatusCode::OK);
    wait_for_balance(&app, (130, 0)).await;
    assert_eq!(deliver(&app, &body("charge_refunded__whole")).await, StatusCode::OK);
    wait_for_balance(&app, (0, 120)).await;
    assert_eq!(deliver(&app, &body("refund_failed")).await, StatusCode::OK);
    wait_for_balance(&app, (130, 0)).await;
}

/// Grants 7 credits under the key that the inbox has for a session.
async fn grant_under_key_of(app: &TestApp, session: &str) -> Value {
    let path = format!("/v1/accounts/{ACCOUNT}/grants");
    let grant = json!({"unit": "credits", "amount": 7, "reason": "a gift"});
    let (status, granted) = app.post(&path, &format!("checkout_session:{session}"), &grant).await;
    assert_eq!(status, 201, "{granted}");
    granted
}

#[tokio::test]
async fn a_client_that_uses_the_key_of_a_session_blocks_no_webhook_and_no_webhook_blocks_it() {
    let app = TestApp::start().await;
    open(&app).await;
    let mut others = purchase();
    others["id"] = json!("evt_others");
    others["data"]["object"]["id"] = json!("cs_test_others");
    others["data"]["object"]["payment_intent"] = json!("pi_others");
    let first = purchase();
    let session = first["data"]["object"]["id"].as_str().expect("an id");

    let granted = grant_under_key_of(&app, session).await;
    assert_eq!(deliver(&app, &first).await, StatusCode::OK);
    wait_for_status(&app, first["id"].as_str().expect("an id"), "processed").await;
    assert_eq!(balance(&app).await, (507, 0));

    assert_eq!(deliver(&app, &others).await, StatusCode::OK);
    wait_for_status(&app, "evt_others", "processed").await;
    assert_eq!(balance(&app).await, (1_007, 0));
    grant_under_key_of(&app, "cs_test_others").await;
    assert_eq!(balance(&app).await, (1_014, 0));

    // Each key is still good for what it is for.
    assert_eq!(grant_under_key_of(&app, session).await, granted);
    for event in [first, others] {
        let again = as_another_event(&event);
        assert_eq!(deliver(&app, &again).await, StatusCode::OK);
        wait_for_status(&app, again["id"].as_str().expect("an id"), "processed").await;
    }
    assert_eq!(balance(&app).await, (1_014, 0));
}

#[tokio::test]
async fn what_is_not_believed_is_refused_in_the_one_shape_of_errors_and_counted() {
    let app = TestApp::start().await;
    let bytes = purchase().to_string().into_bytes();
    let good = signature(&app.ledger, &bytes, now());
    let refused = |signature: Option<String>| post(&app, &app.ledger.slug, signature, bytes.clone());
    for header in [
        None,
        Some("t=1,v1=abc".to_owned()),
        Some(signature(&app.ledger, b"{}", now())),
        Some(signature(&app.ledger, &bytes, now() - 400)),
        Some(signature(&app.ledger, &bytes, now() + 400)),
    ] {
        let (status, answer) = refused(header.clone()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{header:?}");
        assert_eq!(answer["error"]["detail"]["field"], "Stripe-Signature", "{header:?}");
        assert!(answer["request_id"].is_string());
    }
    let (status, answer) = post(&app, "nobody", Some(good.clone()), bytes.clone()).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("not_found")));
    let (status, _) = post(&app, "No-Slug!", Some(good), bytes.clone()).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    let huge = vec![b' '; 1024 * 1024 + 1];
    let header = signature(&app.ledger, &huge, now());
    let (status, answer) = post(&app, &app.ledger.slug, Some(header), huge).await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::BAD_REQUEST, &json!("body_too_large")));
    assert_eq!(app.get("/v1/inbox").await["items"], json!([]), "nothing is stored");
    let metrics =
        app.request(Method::GET, "/metrics").send().await.expect("an answer").text().await.expect("text");
    for line in [
        "counterfoil_webhooks_refused_total{reason=\"missing\"} 1",
        "counterfoil_webhooks_refused_total{reason=\"malformed\"} 1",
        "counterfoil_webhooks_refused_total{reason=\"no_match\"} 1",
        "counterfoil_webhooks_refused_total{reason=\"outside_tolerance\"} 2",
        "route=\"/webhooks/stripe/{ledger}\",status=\"400\"} 6",
    ] {
        assert!(metrics.contains(line), "{line} is missing in\n{metrics}");
    }
}

#[tokio::test]
async fn the_largest_body_that_is_taken_is_a_mebibyte() {
    let app = TestApp::start().await;
    let mut bytes = br#"{"id":"evt_large","type":"unknown.type","x":""#.to_vec();
    bytes.resize(1024 * 1024 - 2, b'x');
    bytes.extend_from_slice(b"\"}");
    let header = signature(&app.ledger, &bytes, now());
    assert_eq!(post(&app, &app.ledger.slug, Some(header), bytes).await.0, StatusCode::OK);
    wait_for_status(&app, "evt_large", "quarantined").await;
}

#[tokio::test]
async fn what_makes_no_sense_is_taken_and_put_aside_and_a_replay_brings_it_in() {
    let app = TestApp::start().await;
    let mut event = as_another_event(&purchase());
    event["id"] = json!("evt_early");
    assert_eq!(deliver(&app, &event).await, StatusCode::OK);
    let entry = wait_for_status(&app, "evt_early", "quarantined").await;
    assert!(
        entry["reason"].as_str().is_some_and(|reason| reason.starts_with("unknown_account: ")),
        "{entry}"
    );
    open(&app).await;
    let (status, _) = app.post("/v1/inbox/evt_early/replay", "replay", &json!({})).await;
    assert!((200..300).contains(&status), "{status}");
    wait_for_balance(&app, (500, 0)).await;
    wait_for_status(&app, "evt_early", "processed").await;
    let listed = app.get("/v1/inbox?status=processed").await;
    assert_eq!(listed["items"][0]["event_id"], "evt_early");
}

#[tokio::test]
async fn the_inbox_is_measured_by_status() {
    let app = TestApp::start().await;
    open(&app).await;
    assert_eq!(deliver(&app, &purchase()).await, StatusCode::OK);
    wait::until("the processed webhook to be counted", async || {
        let metrics = app.request(Method::GET, "/metrics").send().await.ok()?.text().await.ok()?;
        let is_told = |line: &str| metrics.lines().any(|told| told == line);
        let is_counted = is_told("counterfoil_inbox_done_total{status=\"processed\"} 1")
            && InboxStatus::OPEN
                .iter()
                .all(|open| is_told(&format!("counterfoil_inbox_events{{status=\"{}\"}} 0", open.as_str())));
        is_counted.then_some(())
    })
    .await;
}

/// Runs `counterfoil stripe trigger` against the service; what it printed, and whether it succeeded.
async fn trigger(app: &TestApp, arguments: &[&str]) -> (String, bool) {
    let mut command =
        process::command(&[&["stripe", "trigger", "--ledger", &app.ledger.slug], arguments].concat());
    command.env("COUNTERFOIL_URL", &app.url);
    command.env("COUNTERFOIL_WEBHOOK_SECRET", &app.ledger.webhook_secret);
    command.env("COUNTERFOIL_API_KEY", &app.ledger.api_key);
    let output = process::output(command).await;
    let text = [output.stdout, output.stderr].concat();
    (String::from_utf8(text).expect("a text"), output.status.success())
}

fn printed<'a>(output: &'a str, label: &str) -> &'a str {
    let value = output.lines().find_map(|line| line.strip_prefix(label));
    value.unwrap_or_else(|| panic!("no {label} in {output}")).trim()
}

#[tokio::test]
async fn a_checkout_and_its_refunds_can_be_triggered_without_stripe() {
    let app = TestApp::start().await;
    open(&app).await;
    let price = json!({
        "display_name": "Starter", "active": true, "money": {"amount": 500, "currency": "eur"},
        "grants": [{"unit": "credits", "amount": 100}],
    });
    let request = app.request(Method::PUT, "/v1/prices/price_starter").header("Idempotency-Key", "price");
    let answer = request.json(&price).send().await.expect("an answer");
    assert!(answer.status().is_success(), "{}", answer.text().await.expect("a text"));

    let bought =
        ["checkout.session.completed", "--account", ACCOUNT, "--price", "price_starter", "--quantity", "2"];
    let (output, is_success) = trigger(&app, &bought).await;
    assert!(is_success, "{output}");
    assert!(printed(&output, "answer").starts_with("200 "), "{output}");
    wait_for_balance(&app, (200, 0)).await;

    let payment_intent = printed(&output, "payment_intent").to_owned();
    let refund =
        |event, amount| ["--payment-intent", &payment_intent, event, "--amount", amount].map(str::to_owned);
    for (event, amount, expected) in
        [("refund.created", "250", 150), ("charge.refunded", "500", 100), ("charge.refunded", "1000", 0)]
    {
        let arguments = refund(event, amount);
        let (output, is_success) = trigger(&app, &arguments.each_ref().map(String::as_str)).await;
        assert!(is_success, "{output}");
        wait_for_balance(&app, (expected, 0)).await;
    }
}

#[tokio::test]
async fn a_refund_of_an_accounts_last_checkout_needs_no_more_than_the_account() {
    let app = TestApp::start().await;
    open(&app).await;
    for (event, more) in [
        (
            "checkout.session.completed",
            ["--credits", "70", "--unit", "credits", "--amount", "700"].as_slice(),
        ),
        ("checkout.session.completed", &["--credits", "30", "--unit", "credits", "--amount", "300"]),
    ] {
        let (output, is_success) = trigger(&app, &[&[event, "--account", ACCOUNT], more].concat()).await;
        assert!(is_success, "{output}");
        wait_for_status(&app, printed(&output, "event             checkout.session.completed"), "processed")
            .await;
    }
    wait_for_balance(&app, (100, 0)).await;
    let (output, is_success) =
        trigger(&app, &["charge.refunded", "--account", ACCOUNT, "--amount", "100"]).await;
    assert!(is_success, "{output}");
    wait_for_balance(&app, (90, 0)).await;
    let (output, is_success) = trigger(&app, &["refund.created", "--account", ACCOUNT]).await;
    assert!(is_success, "{output}");
    wait_for_balance(&app, (70, 0)).await;
    let (output, is_success) = trigger(&app, &["refund.created", "--account", "somebody-else"]).await;
    assert!(!is_success && output.contains("has paid for no checkout"), "{output}");
}

#[tokio::test]
async fn a_credit_note_on_an_accounts_last_checkout_is_issued_and_voided_by_triggers() {
    let app = TestApp::start().await;
    open(&app).await;
    let bought = ["checkout.session.completed", "--account", ACCOUNT, "--credits", "70", "--unit", "credits"];
    let (output, is_success) = trigger(&app, &[bought.as_slice(), &["--amount", "700"]].concat()).await;
    assert!(is_success, "{output}");
    wait_for_balance(&app, (70, 0)).await;
    for (event, expected) in [("credit_note.created", 35), ("credit_note.voided", 70)] {
        let note = [event, "--account", ACCOUNT, "--amount", "350", "--credit-note", "cn_1"];
        let (output, is_success) = trigger(&app, &note).await;
        assert!(is_success && printed(&output, "credit_note") == "cn_1", "{output}");
        wait_for_balance(&app, (expected, 0)).await;
    }
}

#[tokio::test]
async fn a_trigger_that_is_not_taken_says_so_and_fails() {
    let app = TestApp::start().await;
    let other_secret = [
        "checkout.session.expired",
        "--account",
        "a",
        "--credits",
        "1",
        "--unit",
        "credits",
        "--amount",
        "1",
        "--webhook-secret",
        "whsec_of_somebody_else",
    ];
    let (output, is_success) = trigger(&app, &other_secret).await;
    assert!(!is_success && printed(&output, "answer").starts_with("400 "), "{output}");
    let unknown_price = ["checkout.session.completed", "--account", "a", "--price", "price_of_nobody"];
    let (output, is_success) = trigger(&app, &unknown_price).await;
    assert!(!is_success && output.contains("price_not_found"), "{output}");
}
