//! What a webhook leaves open is asked of Stripe: what it answers is used, and whatever else it does loses nothing.

use std::{
    slice,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use counterfoil::{
    credentials::{StripeClients, Vault},
    domain::settings::LedgerMode,
    inbox::Batches,
    store::sealing::KeyRing,
    stripe::client::ClientSettings,
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::{
    stripe_client_support::{API_KEY, Reply, ScriptedServer},
    stripe_support::{ACCOUNT, WebhookLedger, as_another_event, body},
    support::wait,
};

/// The object of the body of that name, with other fields.
fn object(name: &str, fields: Value) -> Value {
    let mut object = body(name)["data"]["object"].take();
    for (name, value) in fields.as_object().expect("fields") {
        object[name] = value.clone();
    }
    object
}

/// A list of line items with so many of the price.
fn line_items(price: &str, quantity: i64) -> Value {
    let item = json!({
        "id": "li_1", "object": "item", "quantity": quantity, "price": {"id": price, "object": "price"},
    });
    json!({"object": "list", "has_more": false, "data": [item]})
}

/// A session in the form of one that names its account alone.
fn session(id: &str, fields: Value) -> Value {
    let mut session = object("session_completed__account_alone", fields);
    session["id"] = json!(id);
    session
}

/// A test ledger that calls a server which does as it is told.
async fn ledger_with(
    script: impl Fn(&crate::stripe_client_support::Received) -> Reply + Send + Sync + 'static,
) -> (WebhookLedger, ScriptedServer) {
    let server = ScriptedServer::start(script).await;
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    ledger.set_stripe_key(&server.url, API_KEY).await;
    (ledger, server)
}

#[tokio::test]
async fn what_a_body_leaves_open_is_taken_from_stripe() {
    for (name, path, answer, credits) in [
        (
            "thin_session_completed",
            "/v1/checkout/sessions/cs_test_thin",
            session("cs_test_thin", json!({"metadata": {"account_id": ACCOUNT, "credits": "70"}})),
            70,
        ),
        (
            "session_completed__account_alone",
            "/v1/checkout/sessions/cs_test_accountAlone",
            session("cs_test_accountAlone", json!({"line_items": line_items("price_demo_starter", 3)})),
            300,
        ),
        (
            "session_completed__reference_alone",
            "/v1/checkout/sessions/cs_test_referenceAlone",
            session("cs_test_referenceAlone", json!({"line_items": line_items("price_demo_pro", 1)})),
            500,
        ),
        (
            "session_completed__2020-03-02_before_payment_status",
            "/v1/checkout/sessions/cs_test_march2020",
            session("cs_test_march2020", json!({"metadata": {"account_id": ACCOUNT, "credits": "70"}})),
            70,
        ),
        (
            "session_completed__paid_without_payment_intent",
            "/v1/checkout/sessions/cs_test_noIntent",
            session("cs_test_noIntent", json!({"metadata": {"account_id": ACCOUNT, "credits": "70"}})),
            70,
        ),
    ] {
        let (ledger, server) = ledger_with(move |_| Reply::json(&answer)).await;
        let event_id = ledger.deliver_and_settle(&body(name)).await;
        assert_eq!(ledger.entry(&event_id).await.reason, None, "{name}");
        assert_eq!(ledger.credits(ACCOUNT).await, credits, "{name}");
        let asked: Vec<String> = server.received().iter().map(|request| request.path.clone()).collect();
        assert_eq!(asked, [path], "{name}");
        assert_eq!(server.received()[0].headers["authorization"], format!("Bearer {API_KEY}"));
    }
}

#[tokio::test]
async fn refunds_and_charges_are_asked_for_as_well_and_only_where_something_is_missing() {
    let (ledger, server) = ledger_with(|request| {
        Reply::json(&match request.path.as_str() {
            "/v1/refunds/re_no_status" => {
                object("refund_updated__without_status", json!({"status": "succeeded"}))
            }
            _ => object("charge_refunded__half", json!({})),
        })
    })
    .await;
    ledger.deliver_and_settle(&body("session_completed__credits_in_metadata")).await;
    ledger.deliver_and_settle(&body("refund_updated__without_status")).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 375);
    ledger.deliver_and_settle(&body("thin_charge_refunded")).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 250);
    assert_eq!(ledger.statuses().await, ["processed"]);
    let asked: Vec<String> = server.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(asked, ["/v1/refunds/re_no_status", "/v1/charges/ch_creditsInMetadata"]);
}

#[tokio::test]
async fn a_dispute_of_old_that_does_not_say_which_payment_is_asked_for() {
    let (ledger, server) = ledger_with(|_| {
        Reply::json(&object("charge_dispute_created", json!({"id": "du_old", "amount": 1000})))
    })
    .await;
    ledger.deliver_and_settle(&body("session_completed__credits_in_metadata")).await;
    let told = ledger.deliver_and_settle(&body("charge_dispute_funds_withdrawn__2017-12-14")).await;
    assert_eq!((ledger.fate(&told).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 250));
    let asked: Vec<String> = server.received().iter().map(|request| request.path.clone()).collect();
    assert_eq!(asked, ["/v1/disputes/du_old"]);
}

/// Stripe's answers about the note of `credit_note_created__balance` and how its invoice was paid.
fn note_at_stripe(path: &str, note: Value) -> Reply {
    Reply::json(&match path {
        "/v1/credit_notes/cn_balance" => note,
        _ => {
            json!({"object": "list", "has_more": false, "data": [{"id": "inpay_1", "object": "invoice_payment",
            "status": "paid", "payment": {"type": "payment_intent", "payment_intent": "pi_in_new"}}]})
        }
    })
}

/// The note that Stripe has, with its invoice.
fn whole_note(fields: Value) -> Value {
    let invoice = json!({"id": "in_new", "object": "invoice", "amount_paid": 2_380, "subscription": "sub_1"});
    let mut note = object("credit_note_created__balance", json!({"invoice": invoice}));
    note.as_object_mut().expect("a note").extend(fields.as_object().expect("fields").clone());
    note
}

#[tokio::test]
async fn which_payment_a_credit_note_is_of_is_asked() {
    let (ledger, server) = ledger_with(|request| {
        note_at_stripe(&request.path, whole_note(json!({"post_payment_amount": 1_190})))
    })
    .await;
    ledger.deliver_and_settle(&body("invoice_paid__new_shape")).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
    let told = ledger.deliver_and_settle(&body("credit_note_created__balance")).await;
    assert_eq!((ledger.fate(&told).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 250));
    ledger.deliver_and_settle(&as_another_event(&body("credit_note_created__balance"))).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 250);
    let asked: Vec<String> = server.received().iter().map(|request| request.path.clone()).collect();
    let expected = ["/v1/credit_notes/cn_balance", "/v1/invoice_payments"];
    assert_eq!(asked, [expected, expected].concat());
}

#[tokio::test]
async fn a_credit_note_of_an_older_shape_is_divided_by_what_stripe_says_now() {
    let (ledger, _server) = ledger_with(|request| {
        let parts = json!({"id": "cn_oldBoth", "refunds": [{"refund": "re_1", "amount_refunded": 405}]});
        match request.path.as_str() {
            "/v1/credit_notes/cn_oldBoth" => Reply::json(&whole_note(parts)),
            path => note_at_stripe(path, json!({})),
        }
    })
    .await;
    ledger.deliver_and_settle(&body("invoice_paid__new_shape")).await;
    let told = ledger.deliver_and_settle(&body("credit_note_created__2024-06-20_refund_and_balance")).await;
    assert_eq!((ledger.fate(&told).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 375));
}

#[tokio::test]
async fn a_credit_note_on_an_invoice_of_ours_that_was_paid_elsewhere_is_for_people() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    ledger.deliver_and_settle(&body("invoice_paid__outside_of_stripe")).await;
    let mut event = body("credit_note_created__invoice_paid_outside_of_stripe");
    let told = ledger.deliver_and_settle(&event).await;
    assert_eq!(ledger.fate(&told).await, "ignored no_payment_intent");
    event = as_another_event(&event);
    event["data"]["object"]["invoice"]["parent"]["subscription_details"]["subscription"] = json!("sub_1");
    let told = ledger.deliver_and_settle(&event).await;
    assert_eq!(ledger.fate(&told).await, "quarantined paid_outside_of_stripe");
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
}

#[tokio::test]
async fn a_credit_note_on_an_invoice_of_ours_that_the_balance_paid_is_for_people() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let mut paid = body("invoice_paid__half_from_balance");
    paid["data"]["object"]["amount_paid"] = json!(0);
    ledger.deliver_and_settle(&paid).await;
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
    let mut event = body("credit_note_created__paid_from_balance");
    let told = ledger.deliver_and_settle(&event).await;
    assert_eq!(ledger.fate(&told).await, "ignored nothing_paid", "another product's");
    event = as_another_event(&event);
    event["data"]["object"]["invoice"]["parent"]["subscription_details"]["subscription"] = json!("sub_1");
    let told = ledger.deliver_and_settle(&event).await;
    assert_eq!(ledger.fate(&told).await, "quarantined paid_from_balance");
    assert_eq!(ledger.credits(ACCOUNT).await, 500);
}

#[tokio::test]
async fn what_stripe_does_not_tell_either_is_put_aside_and_says_what_is_missing() {
    let (ledger, server) = ledger_with(|request| {
        let id = request.path.rsplit('/').next().expect("an id").to_owned();
        Reply::json(&session(
            &id,
            json!({"payment_intent": null, "line_items": line_items("price_demo_pro", 1)}),
        ))
    })
    .await;
    let event_id = ledger.deliver_and_settle(&body("session_completed__paid_without_payment_intent")).await;
    let expected = "needs_stripe: needs `payment_intent` of checkout.session cs_test_noIntent from Stripe";
    assert_eq!(ledger.entry(&event_id).await.reason.as_deref(), Some(expected));
    assert_eq!((ledger.credits(ACCOUNT).await, server.received().len()), (0, 1));
}

#[tokio::test]
async fn a_ledger_without_a_key_puts_aside_and_a_replay_asks_once_it_has_one() {
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let event_id = ledger.deliver_and_settle(&body("session_completed__account_alone")).await;
    let reason = ledger.entry(&event_id).await.reason.unwrap_or_default();
    assert!(reason.starts_with("needs_stripe: needs `line_items`"), "{reason}");
    assert!(reason.contains("no_stripe_key"), "{reason}");
    let answer = session("cs_test_accountAlone", json!({"line_items": line_items("price_demo_pro", 2)}));
    let server = ScriptedServer::start(move |_| Reply::json(&answer)).await;
    ledger.set_stripe_key(&server.url, API_KEY).await;
    ledger.replay(slice::from_ref(&event_id)).await;
    assert_eq!((ledger.fate(&event_id).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 1_000));
}

#[tokio::test]
async fn a_key_that_cannot_be_opened_puts_aside_and_says_so() {
    let mut ledger = WebhookLedger::without_worker(LedgerMode::Test).await;
    ledger.set_stripe_key("http://127.0.0.1:9", API_KEY).await;
    let other = KeyRing::parse(Some(&KeyRing::generate()), None).expect("keys");
    for (keys, expected) in
        [(other, "key_encryption_key_wrong"), (KeyRing::default(), "key_encryption_key_missing")]
    {
        let vault = Vault::new(ledger.service.clone(), keys);
        let clients = StripeClients::new(vault, ClientSettings::default());
        let batches = Batches::new(ledger.service.clone(), Arc::clone(&ledger.writers), clients);
        ledger.start_worker_with(batches, mpsc::channel(1).1);
        let event = as_another_event(&body("session_completed__account_alone"));
        let event_id = ledger.deliver_and_settle(&event).await;
        assert_eq!(ledger.fate(&event_id).await, "quarantined needs_stripe");
        let reason = ledger.entry(&event_id).await.reason.unwrap_or_default();
        assert!(reason.contains(expected), "{reason}");
        ledger.stop_workers().await;
    }
}

#[tokio::test]
async fn what_stripe_refuses_is_put_aside_with_the_reason() {
    let error =
        |kind: &str, code: &str| json!({"type": kind, "code": code, "message": "for buyer@example.com"});
    for (status, error, expected) in [
        (401, error("invalid_request_error", "api_key_expired"), "quarantined stripe_key_refused"),
        (403, error("invalid_request_error", "more_permissions_required"), "quarantined stripe_key_refused"),
        (404, error("invalid_request_error", "resource_missing"), "quarantined not_at_stripe"),
        (400, error("invalid_request_error", "parameter_unknown"), "quarantined stripe_refuses"),
    ] {
        let (ledger, _server) = ledger_with(move |_| Reply::error(status, &[], &error)).await;
        let event_id = ledger.deliver_and_settle(&body("thin_session_completed")).await;
        assert_eq!(ledger.fate(&event_id).await, expected);
        let reason = ledger.entry(&event_id).await.reason.unwrap_or_default();
        assert!(!reason.contains("example.com"), "{reason}");
    }
}

#[tokio::test]
async fn a_stripe_in_trouble_is_asked_again_as_late_as_it_likes_until_it_answers() {
    let answer = session("cs_test_accountAlone", json!({"line_items": line_items("price_demo_pro", 1)}));
    let asked = AtomicUsize::new(0);
    let (ledger, server) = ledger_with(move |_| match asked.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::BreakOff,
        1 => Reply::error(429, &[("Retry-After", "4")], &json!({"type": "rate_limit_error"})),
        _ => Reply::json(&answer),
    })
    .await;
    let event_id = ledger.deliver(body("session_completed__account_alone").to_string().as_bytes()).await;
    let event_id = event_id.expect("taken");
    wait::until("the first attempt to fail", async || {
        ledger.fate(&event_id).await.starts_with("failed stripe_unavailable").then_some(())
    })
    .await;
    ledger.settle().await;
    assert_eq!((ledger.fate(&event_id).await.as_str(), ledger.credits(ACCOUNT).await), ("processed", 500));
    let received = server.received();
    assert_eq!(received.len(), 3);
    let waited = received[2].at - received[1].at;
    assert!(waited >= Duration::from_secs(4), "{waited:?}");
}

#[tokio::test]
async fn a_silent_stripe_keeps_nothing_else_waiting() {
    let (ledger, server) = ledger_with(|_| Reply::Silence).await;
    let mut open = Vec::new();
    for number in 0..20 {
        let mut event = as_another_event(&body("session_completed__account_alone"));
        event["data"]["object"]["id"] = json!(format!("cs_{number}"));
        open.push(ledger.deliver(event.to_string().as_bytes()).await.expect("taken"));
    }
    wait::until("Stripe to be asked", async || (!server.received().is_empty()).then_some(())).await;
    let done = ledger.deliver(body("session_completed__credits_in_metadata").to_string().as_bytes()).await;
    let done = done.expect("taken");
    wait::until("the other webhook to be done", async || {
        (ledger.fate(&done).await == "processed").then_some(())
    })
    .await;
    for event_id in open {
        let fate = ledger.fate(&event_id).await;
        assert!(["received", "failed stripe_busy"].contains(&fate.as_str()), "{fate}");
    }
}
