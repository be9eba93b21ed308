//! Bad days to order: what the simulated Stripe does to requests and webhooks when told to.

use std::time::Duration;

use counterfoil::stripe::signature::{self, SigningSecret};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::simulator::{Received, Receiver, TestSimulator, WEBHOOK_SECRET, id};
use crate::support::stripe_spec;

#[tokio::test]
async fn an_overloaded_or_locked_stripe_does_nothing_and_keeps_no_answer() {
    let stripe = TestSimulator::start().await;
    let order =
        json!({ "api": "rate_limit", "method": "POST", "path": "/v1/customers", "next": 1, "seconds": 3 });
    stripe.control("faults", order).await;
    stripe.control("faults", json!({ "api": "conflict", "method": "POST", "next": 1 })).await;
    let limited = stripe.post_with_key("/v1/customers", "key", "name=a").await;
    assert_eq!((limited.status, limited.code(), limited.header("retry-after")), (429, "rate_limit", "3"));
    let locked = stripe.post_with_key("/v1/customers", "key", "name=a").await;
    assert_eq!(
        (locked.status, locked.code(), locked.header("stripe-should-retry")),
        (409, "lock_timeout", "true")
    );
    assert_eq!(stripe.objects("customer").await.len(), 0);
    stripe.post_with_key("/v1/customers", "key", "name=a").await.ok();
    assert_eq!(stripe.objects("customer").await.len(), 1);
}

#[tokio::test]
async fn a_500_is_kept_and_replayed_whether_it_did_something_or_not() {
    let stripe = TestSimulator::start().await;
    for (committed, customers) in [(false, 0), (true, 1)] {
        stripe.control("faults", json!({ "api": "server_error", "next": 1, "committed": committed })).await;
        let key = format!("key-{committed}");
        let broken = stripe.post_with_key("/v1/customers", &key, "name=a").await;
        assert_eq!((broken.status, broken.header("stripe-should-retry")), (500, "false"));
        let again = stripe.post_with_key("/v1/customers", &key, "name=a").await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (500, "true"));
        assert_eq!(again.body, broken.body);
        assert_eq!(stripe.objects("customer").await.len(), customers);
    }
}

#[tokio::test]
async fn an_answer_that_is_lost_was_carried_out_and_its_key_tells_it_again() {
    let stripe = TestSimulator::start().await;
    for (number, order) in [
        json!({ "api": "cut", "next": 1 }),
        json!({ "api": "hang", "next": 1, "seconds": 0.05 }),
        json!({ "api": "garbage", "next": 1 }),
        json!({ "api": "bad_gateway", "next": 1, "committed": true }),
    ]
    .into_iter()
    .enumerate()
    {
        stripe.control("faults", order.clone()).await;
        let key = format!("key-{number}");
        let headers = [("Idempotency-Key", key.as_str())];
        let lost = stripe.try_send(Method::POST, "/v1/customers", "name=a", &headers).await;
        let is_json = match lost {
            Err(_) => false,
            Ok(response) => response.json::<Value>().await.is_ok(),
        };
        assert!(!is_json, "{order}");
        assert_eq!(stripe.objects("customer").await.len(), number + 1);
        let again = stripe.post_with_key("/v1/customers", &key, "name=a").await;
        assert_eq!((again.status, again.header("idempotent-replayed")), (200, "true"));
        assert_eq!(stripe.objects("customer").await.len(), number + 1);
    }
}

#[tokio::test]
async fn a_stripe_that_is_down_or_behind_a_broken_proxy_does_nothing() {
    let stripe = TestSimulator::start().await;
    stripe.control("faults", json!({ "api": "down" })).await;
    assert!(stripe.try_send(Method::POST, "/v1/customers", "name=a", &[]).await.is_err());
    assert!(stripe.try_send(Method::GET, "/v1/customers", "", &[]).await.is_err());
    let none = stripe.try_control(Method::DELETE, "faults", json!({})).await.body;
    assert_eq!(none, json!({ "faults": [] }));
    stripe.control("faults", json!({ "api": "bad_gateway", "next": 1 })).await;
    let response = stripe.try_send(Method::POST, "/v1/customers", "name=a", &[]).await.expect("an answer");
    assert_eq!(
        (response.status().as_u16(), response.headers()["content-type"].as_bytes()),
        (502, &b"text/html"[..])
    );
    assert_eq!(stripe.objects("customer").await.len(), 0);
    assert_eq!(stripe.try_control(Method::POST, "faults", json!({ "api": "explode" })).await.status, 400);
}

#[tokio::test]
async fn a_second_request_with_a_key_whose_first_is_under_way_is_turned_away() {
    let stripe = TestSimulator::start().await;
    stripe.control("faults", json!({ "api": "slow", "next": 1, "seconds": 0.5 })).await;
    let first = stripe.post_with_key("/v1/customers", "key", "name=a");
    let second = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        stripe.post_with_key("/v1/customers", "key", "name=a").await
    };
    let (first, second) = tokio::join!(first, second);
    assert_eq!((second.status, second.code()), (409, "idempotency_key_in_use"));
    let again = stripe.post_with_key("/v1/customers", "key", "name=a").await;
    assert_eq!(again.body, first.ok());
}

fn is_signed(received: &Received, secret: &str) -> bool {
    let secret = SigningSecret::parse(secret).expect("a secret");
    let signed_at =
        received.signature.trim_start_matches("t=").split(',').next().and_then(|time| time.parse().ok());
    signature::verify(&received.signature, &received.body, &[secret], signed_at.expect("a time")).is_ok()
}

#[tokio::test]
async fn webhooks_are_signed_as_specified_and_sent_again_until_they_are_taken() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    receiver.answer_next(&[500, 302]);
    let customer = stripe.post("/v1/customers", "name=a").await.ok();
    receiver.wait_for_count(1).await;
    for seconds in [2, 10] {
        stripe.control("clock/advance", json!({ "seconds": seconds })).await;
        let count = if seconds == 2 { 2 } else { 3 };
        receiver.wait_for_count(count).await;
    }
    let all = receiver.received();
    for received in &all {
        assert!(is_signed(received, WEBHOOK_SECRET), "{received:?}");
        assert_eq!(received.event["id"], all[0].event["id"]);
        assert_eq!(received.event["data"]["object"], customer);
        stripe_spec::check_event(&received.event);
    }
    crate::support::wait::until("the delivery to be recorded", async || {
        let delivered = stripe.objects("delivered").await;
        let statuses: Vec<Value> = delivered.first()?["attempts"]
            .as_array()?
            .iter()
            .map(|attempt| attempt["status"].clone())
            .collect();
        (statuses == [json!(500), json!(302), json!(200)]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn every_event_of_a_purchase_and_its_end_is_as_stripe_specifies() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let paid = stripe.paid_session(1000).await;
    let intent = paid["payment_intent"].as_str().expect("an intent");
    let refund = stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=300")).await.ok();
    stripe.control(&format!("refunds/{}/fail", id(&refund)), json!({})).await;
    let dispute = stripe.control(&format!("charges/{intent}/dispute"), json!({})).await;
    stripe.control(&format!("disputes/{}/close", id(&dispute)), json!({ "outcome": "won" })).await;
    let price = stripe.price("unit_amount=500").await;
    for outcome in ["declined", "unpaid"] {
        let session =
            id(&stripe.session(&price, "customer_creation=always&invoice_creation[enabled]=true").await);
        stripe.control(&format!("checkout_sessions/{session}/complete"), json!({ "outcome": outcome })).await;
        if outcome == "unpaid" {
            stripe
                .control(
                    &format!("checkout_sessions/{session}/async_result"),
                    json!({ "outcome": "succeeded" }),
                )
                .await;
        }
    }
    let events = stripe.objects("event").await;
    assert!(events.len() > 30, "{}", events.len());
    for event in &events {
        stripe_spec::check_event(event);
        stripe.get(&format!("/v1/events/{}", id(event))).await.ok();
    }
    let all = receiver.wait_for_count(events.len()).await;
    assert_eq!(all.len(), events.len());
    let refunded = receiver.wait_for("charge.refunded").await.event;
    assert_eq!(refunded["data"]["previous_attributes"], json!({ "amount_refunded": 0 }));
    for path in [
        "/v1/charges",
        "/v1/payment_intents",
        "/v1/balance_transactions",
        "/v1/invoices",
        "/v1/payment_methods",
    ] {
        stripe.get(&format!("{path}?limit=100")).await.ok();
    }
}

#[tokio::test]
async fn webhooks_are_dropped_doubled_and_delayed_as_ordered() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    stripe.control("faults", json!({ "webhooks": "drop", "next": 1 })).await;
    stripe.control("faults", json!({ "webhooks": "duplicate", "next": 1 })).await;
    stripe.control("faults", json!({ "webhooks": "delay", "next": 1, "seconds": 600 })).await;
    let mut made = Vec::new();
    for name in ["dropped", "doubled", "delayed", "usual"] {
        made.push(stripe.post("/v1/customers", &format!("name={name}")).await.ok()["name"].clone());
    }
    let names = |all: &[Received]| {
        let mut names: Vec<String> = all
            .iter()
            .filter_map(|received| received.event["data"]["object"]["name"].as_str().map(str::to_owned))
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&receiver.wait_for_count(3).await), ["doubled", "doubled", "usual"]);
    stripe.control("clock/advance", json!({ "seconds": 600 })).await;
    assert_eq!(names(&receiver.wait_for_count(4).await), ["delayed", "doubled", "doubled", "usual"]);
    let events = stripe.get("/v1/events").await.ok();
    assert_eq!(events["data"].as_array().map(Vec::len), Some(4), "the list of events lacks none");
    let lost = events["data"][3]["id"].as_str().expect("an id").to_owned();
    stripe.control(&format!("events/{lost}/resend"), json!({})).await;
    assert_eq!(names(&receiver.wait_for_count(5).await)[1], "doubled");
}

#[tokio::test]
async fn while_a_secret_is_replaced_both_sign() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let order = json!({ "webhooks": "rotate_secret", "secret": "whsec_new", "overlap_seconds": 3600 });
    stripe.control("faults", order).await;
    stripe.post("/v1/customers", "name=a").await.ok();
    let both = receiver.wait_for_count(1).await[0].clone();
    assert!(is_signed(&both, WEBHOOK_SECRET) && is_signed(&both, "whsec_new"), "{}", both.signature);
    stripe.control("clock/advance", json!({ "seconds": 3600 })).await;
    stripe.post("/v1/customers", "name=b").await.ok();
    let one = receiver.wait_for_count(2).await[1].clone();
    assert!(!is_signed(&one, WEBHOOK_SECRET) && is_signed(&one, "whsec_new"), "{}", one.signature);
}

#[tokio::test]
async fn an_endpoint_of_an_older_version_gets_older_shapes() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let version = json!({ "webhooks": "api_version", "version": "2020-08-27" });
    stripe.control("faults", version).await;
    let paid = stripe.paid_session(1000).await;
    let intent = paid["payment_intent"].as_str().expect("an intent");
    stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=300")).await.ok();
    let refunded = receiver.wait_for("charge.refunded").await.event;
    assert_eq!(refunded["api_version"], "2020-08-27");
    assert_eq!(refunded["data"]["object"]["refunds"]["data"][0]["amount"], 300);
    let completed = receiver.wait_for("checkout.session.completed").await.event;
    assert_eq!(completed["data"]["object"]["ui_mode"], "hosted");
    receiver.wait_for("charge.refund.updated").await;
    assert!(receiver.received().iter().all(|received| !received.event_type().starts_with("refund.")));
}

#[tokio::test]
async fn endpoints_are_made_by_the_api_and_hear_what_they_ask_for() {
    let (receiver, other) = (Receiver::start().await, Receiver::start().await);
    let stripe = TestSimulator::start().await;
    let form =
        format!("url={}&enabled_events[]=customer.deleted&api_version=2026-09-30.endive", receiver.url);
    let endpoint = stripe.post("/v1/webhook_endpoints", &form).await.ok();
    let secret = endpoint["secret"].as_str().expect("a secret").to_owned();
    let path = format!("/v1/webhook_endpoints/{}", id(&endpoint));
    assert_eq!(stripe.get(&path).await.ok()["secret"], Value::Null);
    let form = format!("url={}&enabled_events[]=*", other.url);
    let second = stripe.post("/v1/webhook_endpoints", &form).await.ok();
    let customer = stripe.post("/v1/customers", "name=a").await.ok();
    stripe.send(Method::DELETE, &format!("/v1/customers/{}", id(&customer)), "", &[]).await.ok();
    let received = receiver.wait_for_count(1).await;
    assert_eq!(received[0].event_type(), "customer.deleted");
    assert!(is_signed(&received[0], &secret));
    other.wait_for_count(2).await;
    stripe.send(Method::DELETE, &format!("/v1/webhook_endpoints/{}", id(&second)), "", &[]).await.ok();
    assert_eq!(stripe.get("/v1/webhook_endpoints").await.ok()["data"].as_array().map(Vec::len), Some(1));
}
