//! What the client makes of every kind of answer, how often it calls, and how it looks for what was made before.

use std::time::{Duration, Instant};

use counterfoil::{
    domain::{ids::EffectId, time::Timestamp},
    stripe::{
        CheckoutStatus, StripeObject,
        client::{CallClass, CallError, ClientSettings, NewCustomer, StripeClient},
    },
};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::stripe_client_support::{
    API_KEY, Reply, ScriptedServer, client_of, effect, id, impatient, origin,
};

const RETRY: CallClass = CallClass::Retry { after: None };
const UNKNOWN: CallClass = CallClass::Unknown { after: None };

async fn create(client: &StripeClient) -> Result<StripeObject, CallError> {
    let new = NewCustomer { origin: origin(), email: None, name: None, locale: None };
    client.create_customer(&new).await.map(|customer| customer.object)
}

/// What a creation and a reading make of a reply, and how often each was sent.
async fn outcomes(reply: impl Fn() -> Reply + Send + Sync + 'static) -> (CallError, CallError) {
    outcomes_within(&ClientSettings::default(), reply).await
}

async fn outcomes_within(
    settings: &ClientSettings,
    reply: impl Fn() -> Reply + Send + Sync + 'static,
) -> (CallError, CallError) {
    let server = ScriptedServer::start(move |_| reply()).await;
    let client = server.client_with(settings, 1_000);
    let creation = create(&client).await.expect_err("no success");
    let reading = client.fetch_customer(&id("cus_1")).await.expect_err("no success");
    assert_eq!(server.received().len(), 2, "each call is sent once");
    (creation, reading)
}

fn described(error: &CallError) -> (CallClass, String) {
    (error.class, error.code().to_owned())
}

#[tokio::test]
async fn a_refusal_of_stripes_is_permanent_and_says_what_stripe_says() {
    for status in [400, 401, 402, 403, 404] {
        let reply = move || {
            let error = json!({
                "type": "invalid_request_error", "code": "resource_missing", "param": "customer",
                "message": "No such customer",
            });
            Reply::error(status, &[("Request-Id", "req_8"), ("Stripe-Should-Retry", "false")], &error)
        };
        let (creation, reading) = outcomes(reply).await;
        for error in [creation, reading] {
            assert_eq!(described(&error), (CallClass::Permanent, "resource_missing".to_owned()));
            assert_eq!((error.status(), error.message()), (Some(status), Some("No such customer")));
            assert!(error.to_string().contains("`customer`, request req_8"), "{error}");
            assert_eq!(error.is_unauthorised(), matches!(status, 401 | 403));
        }
    }
}

#[tokio::test]
async fn what_stripe_did_not_do_can_be_tried_again() {
    let error = || json!({ "type": "api_error", "message": "Later" });
    for (status, headers, after) in [
        (409, vec![], None),
        (429, vec![("Retry-After", "3")], Some(Duration::from_secs(3))),
        (500, vec![], None),
        (503, vec![("Retry-After", "99999999")], Some(Duration::from_secs(3_600))),
        (400, vec![("Stripe-Should-Retry", "true")], None),
        (500, vec![("Stripe-Should-Retry", "true"), ("Retry-After", "soon")], None),
    ] {
        let (creation, reading) = outcomes(move || Reply::error(status, &headers, &error())).await;
        for outcome in [creation, reading] {
            assert_eq!(described(&outcome), (CallClass::Retry { after }, "api_error".to_owned()), "{status}");
        }
    }
}

#[tokio::test]
async fn what_stripe_may_have_done_is_unknown_and_what_only_reads_is_not() {
    let html = |status| Reply::Answer { status, headers: vec![], body: b"<html>Bad Gateway</html>".to_vec() };
    let body = |body: &str| Reply::Answer { status: 200, headers: vec![], body: body.as_bytes().to_vec() };
    type Case = (&'static str, Box<dyn Fn() -> Reply + Send + Sync>);
    let cases: Vec<Case> = vec![
        ("timed_out", Box::new(|| Reply::Silence)),
        ("connection_lost", Box::new(|| Reply::BreakOff)),
        ("connection_lost", Box::new(|| Reply::BreakOffWithin)),
        ("not_stripe", Box::new(move || html(502))),
        ("not_stripe", Box::new(move || html(500))),
        ("not_stripe", Box::new(move || html(302))),
        ("garbled_answer", Box::new(move || html(200))),
        ("garbled_answer", Box::new(move || body(""))),
        ("garbled_answer", Box::new(move || body("[]"))),
        ("garbled_answer", Box::new(move || body(r#"{"object":"customer"}"#))),
        ("garbled_answer", Box::new(move || body(r#"{"id":"re_1","object":"refund"}"#))),
        ("answer_too_large", Box::new(move || body(&format!("\"{}\"", "a".repeat(9 << 20))))),
        (
            "api_error",
            Box::new(|| {
                Reply::error(500, &[("Stripe-Should-Retry", "false")], &json!({ "type": "api_error" }))
            }),
        ),
        (
            "idempotency_error",
            Box::new(|| Reply::error(400, &[], &json!({ "type": "idempotency_error", "message": "Keys …" }))),
        ),
    ];
    for (code, reply) in cases {
        let settings = if code == "timed_out" { impatient() } else { ClientSettings::default() };
        let (creation, reading) = outcomes_within(&settings, reply).await;
        assert_eq!(described(&creation), (UNKNOWN, code.to_owned()));
        assert_eq!(described(&reading), (RETRY, code.to_owned()));
    }
}

#[tokio::test]
async fn a_key_under_which_stripe_keeps_a_failure_is_spent_and_another_can_be_taken() {
    let server = ScriptedServer::start(|request| match request.headers["idempotency-key"].as_str() {
        "eff_000000000000000000000000000000e1:2" => Reply::json(&customer(1, Some(effect()))),
        key if key.ends_with(":1") => Reply::error(400, &[], &json!({ "type": "idempotency_error" })),
        _ => Reply::error(500, &[("Stripe-Should-Retry", "false")], &json!({ "type": "api_error" })),
    })
    .await;
    let client = server.client();
    assert!(create(&client).await.expect_err("a failure").is_key_spent());
    assert!(create(&client.with_renewed_key(1)).await.expect_err("a failure").is_key_spent());
    let made = create(&client.with_renewed_key(2)).await.expect("a customer");
    assert_eq!(made.metadata("counterfoil_effect"), Some(effect().to_string().as_str()));
    let marks: Vec<_> = server
        .received()
        .iter()
        .map(|request| request.form["metadata[counterfoil_effect]"].clone())
        .collect();
    assert_eq!(marks, vec![effect().to_string(); 3]);
    let (creation, _) = outcomes(|| Reply::error(500, &[], &json!({ "type": "api_error" }))).await;
    assert!(!creation.is_key_spent());
}

#[tokio::test]
async fn a_page_of_somebody_in_between_that_turns_us_away_reached_nobody() {
    let html = || Reply::Answer { status: 403, headers: vec![], body: b"<html>Forbidden</html>".to_vec() };
    let (creation, reading) = outcomes(html).await;
    for error in [creation, reading] {
        assert_eq!(described(&error), (RETRY, "not_stripe".to_owned()));
    }
}

#[tokio::test]
async fn a_connection_that_does_not_come_about_has_sent_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    let error = create(&client_of(&url, &ClientSettings::default(), 10)).await.expect_err("nobody is there");
    assert_eq!(described(&error), (RETRY, "not_connected".to_owned()));
}

#[tokio::test]
async fn nothing_of_the_key_is_ever_shown() {
    let reply = |_: &_| {
        let message = format!("Invalid API Key provided: {API_KEY}");
        Reply::error(401, &[], &json!({ "type": "invalid_request_error", "message": message }))
    };
    let server = ScriptedServer::start(reply).await;
    let client = server.client();
    let error = create(&client).await.expect_err("a refusal");
    let shown = format!("{client:?} {error:?} {error} {:?} {:?}", error.message(), client.api_key());
    assert!(!shown.contains("CanaryKey"), "{shown}");
    assert_eq!(error.message(), Some("Invalid API Key provided: …"));
}

#[tokio::test]
async fn calls_keep_to_the_limit_of_rate_however_many_ask_at_once() {
    let server =
        ScriptedServer::start(|_| Reply::json(&json!({ "id": "cus_1", "object": "customer" }))).await;
    let client = server.client_with(&ClientSettings::default(), 20);
    let start = Instant::now();
    let customer = id("cus_1");
    let calls = join_all((0..30).map(|_| client.fetch_customer(&customer))).await;
    assert!(calls.iter().all(Result::is_ok), "{calls:?}");
    // Four at once and 17 a second after it: the thirtieth goes out after 26/17 seconds at the earliest.
    let last = server.received().iter().map(|request| request.at).max().expect("requests");
    assert!(last - start >= Duration::from_millis(1_500), "30 calls within {:?}", last - start);
    assert_eq!(server.received().len(), 30);
}

#[tokio::test]
async fn a_call_that_would_have_to_wait_too_long_for_its_turn_is_not_sent() {
    let server = ScriptedServer::start(|_| Reply::json(&json!({ "id": "cus_1" }))).await;
    let settings = ClientSettings { turn_limit: Duration::from_millis(20), ..ClientSettings::default() };
    let client = server.client_with(&settings, 1);
    client.fetch_customer(&id("cus_1")).await.expect("the first is allowed");
    let error = client.fetch_customer(&id("cus_1")).await.expect_err("the second is a second away");
    assert_eq!(described(&error), (RETRY, "rate_limit_queue_full".to_owned()));
    assert_eq!(server.received().len(), 1);
}

/// A customer, marked as made by an effect.
fn customer(number: usize, effect: Option<EffectId>) -> Value {
    let mark = effect.map(|effect| json!({ "counterfoil_effect": effect.to_string() }));
    json!({ "id": format!("cus_{number}"), "object": "customer", "metadata": mark.unwrap_or(json!({})) })
}

/// A server that has 250 customers, the one with number `ours` marked, newest first.
async fn many_customers(ours: Option<usize>) -> ScriptedServer {
    ScriptedServer::start(move |request| {
        let after = request.query.get("starting_after").and_then(|after| after.strip_prefix("cus_"));
        let from = after.map_or(0, |number| number.parse::<usize>().expect("a number") + 1);
        let until = (from + 100).min(250);
        let of = |number| customer(number, (Some(number) == ours).then(effect));
        let data: Vec<Value> = (from..until).map(of).collect();
        Reply::json(&json!({ "object": "list", "data": data, "has_more": until < 250 }))
    })
    .await
}

#[tokio::test]
async fn what_an_effect_made_is_found_on_whichever_page_it_stands() {
    let since = Timestamp::from_unix_seconds(1_800_000_000).expect("a moment");
    for (ours, pages) in [(Some(3), 1), (Some(249), 3), (None, 3)] {
        let server = many_customers(ours).await;
        let found = server.client().find_customer(effect(), since).await.expect("a look");
        assert_eq!(found.map(|found| found.id.to_string()), ours.map(|number| format!("cus_{number}")));
        let received = server.received();
        assert_eq!(received.len(), pages);
        assert!(received.iter().all(|request| request.query["created[gte]"] == "1799999400"));
    }
}

#[tokio::test]
async fn nothing_is_said_to_be_absent_while_a_page_is_missing() {
    let server = ScriptedServer::start(|request| match request.query.get("starting_after") {
        None => Reply::json(&json!({ "object": "list", "data": [{ "id": "re_2" }], "has_more": true })),
        Some(_) => Reply::BreakOff,
    })
    .await;
    let error = server.client().find_refund(effect(), &id("pi_1")).await.expect_err("half a look");
    assert_eq!(described(&error), (RETRY, "connection_lost".to_owned()));
}

#[tokio::test]
async fn a_list_without_an_end_is_given_up() {
    let endless = json!({ "object": "list", "data": [{ "id": "cs_1" }], "has_more": true });
    let server = ScriptedServer::start(move |_| Reply::json(&endless)).await;
    let looked = server.client().find_checkout_session(effect(), &id("cus_1")).await;
    assert_eq!(described(&looked.expect_err("no end")), (UNKNOWN, "too_many_objects".to_owned()));
    assert_eq!(server.received().len(), 100);
}

#[tokio::test]
async fn a_session_comes_with_all_of_its_line_items() {
    let item = |number: usize| json!({ "id": format!("li_{number}"), "object": "item" });
    let server = ScriptedServer::start(move |request| match request.path.as_str() {
        "/v1/checkout/sessions/cs_1" => Reply::json(&json!({
            "id": "cs_1", "object": "checkout.session", "status": "complete", "payment_intent": "pi_1",
            "line_items": { "object": "list", "data": [item(1), item(2)], "has_more": true },
        })),
        "/v1/checkout/sessions/cs_1/line_items" => {
            assert_eq!(request.query["starting_after"], "li_2");
            Reply::json(&json!({ "object": "list", "data": [item(3)], "has_more": false }))
        }
        path => panic!("{path} is not asked for"),
    })
    .await;
    let session = server.client().fetch_checkout_session(&id("cs_1")).await.expect("a session");
    assert_eq!((session.status, session.payment_intent), (CheckoutStatus::Complete, Some(id("pi_1"))));
    let items = &session.object.json()["line_items"];
    assert_eq!(items["data"], json!([item(1), item(2), item(3)]));
    assert_eq!(items["has_more"], json!(false));
}
