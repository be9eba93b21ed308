//! Every answer to a write tells the position of what it has written, and a repeat tells the same. The header of each has a
//! token that a read waits by.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{app::TestApp, shop::Shop},
};

async fn head(app: &TestApp) -> Value {
    app.get("/v1/events?limit=1").await["head"].clone()
}

async fn write(
    app: &TestApp,
    method: &Method,
    path: &str,
    key: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = app.request(method.clone(), path);
    if let Some(key) = key {
        request = request.header("Idempotency-Key", key);
    }
    if let Some(body) = body {
        request = request.json(body);
    }
    let answer = Answer::of(request.send().await.expect("an answer")).await;
    assert!((200..300).contains(&answer.status), "{path}: {answer:?}");
    assert_eq!(json!(answer.written_up_to()), head(app).await, "{path}: {answer:?}");
    answer
}

#[tokio::test]
async fn a_write_tells_the_position_of_its_last_event_and_so_does_its_repeat_whatever_came_in_between() {
    let app = TestApp::start().await;
    let rules = json!({"signup_grants": [{"unit": "credits", "amount": 3}]});
    let price = json!({"display_name": "Pack", "money": {"amount": 500, "currency": "eur"},
        "grants": [{"unit": "credits", "amount": 100}]});
    let writes = [
        (Method::PUT, "/v1/settings/rules", rules),
        (Method::PUT, "/v1/settings/checkout", json!({"invoices": true})),
        (Method::PUT, "/v1/features/analysis", json!({"unit": "credits", "cost": 2})),
        (Method::PUT, "/v1/prices/price_pack", price),
        // Two events: the account, and what it is given to begin with.
        (Method::POST, "/v1/accounts", json!({"account_id": "alice", "name": "Alice"})),
        (Method::PUT, "/v1/accounts/alice/overdraft-limit", json!({"unit": "credits", "limit": 5})),
    ];
    let mut answers = Vec::new();
    for (number, (method, path, body)) in writes.iter().enumerate() {
        let before = head(&app).await;
        let answer = write(&app, method, path, Some(&number.to_string()), Some(body)).await;
        assert_eq!(answer.json()["position"], head(&app).await, "{path}: {answer:?}");
        assert_ne!(answer.json()["position"], before, "{path}");
        answers.push(answer);
    }
    for (number, (method, path, body)) in writes.iter().enumerate() {
        let again = write(&app, method, path, Some(&number.to_string()), Some(body)).await;
        assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{path}");
        assert_eq!(again.text, answers[number].text, "{path}");
    }

    // What was so already is written by nobody, and has no position.
    for (method, path, body) in &writes {
        let before = head(&app).await;
        let key = format!("once more {path}");
        let idle = write(&app, method, path, Some(&key), Some(body)).await;
        assert_eq!((idle.json().get("position"), head(&app).await), (None, before), "{path}: {idle:?}");
        assert_eq!(write(&app, method, path, Some(&key), Some(body)).await.text, idle.text, "{path}");
    }

    let change = json!({"name": "Alice B."});
    let changed = write(&app, &Method::PATCH, "/v1/accounts/alice", None, Some(&change)).await;
    assert_eq!(
        (&changed.json()["position"], &changed.json()["name"]),
        (&head(&app).await, &json!("Alice B."))
    );
    let nothing = write(&app, &Method::PATCH, "/v1/accounts/alice", None, Some(&json!({}))).await;
    assert_eq!(nothing.json().get("position"), None);
    let overrides = "/v1/prices/price_pack/overrides";
    let refused = app.send(Method::DELETE, overrides, None).await;
    assert_eq!(
        (refused.status, refused.written_up_to()),
        (400, None),
        "Stripe has told nothing of it: {refused:?}"
    );
    for path in ["/v1/accounts/alice", "/v1/features/analysis", "/v1/prices/price_pack", "/v1/settings/rules"]
    {
        assert_eq!(app.get(path).await.get("position"), None, "{path} is read, not written");
    }
}

#[tokio::test]
async fn a_checkout_tells_the_position_of_its_order_whenever_its_page_is_there() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order-1").await;
    let placed = shop.events("order.placed").await;
    assert_eq!(checkout["position"], placed[0]["position"]);
    shop.app.account_with("bob", 1).await;
    assert_eq!(shop.check_out("alice", "order-1").await, checkout);
    assert_eq!(shop.order(&checkout).await.get("position"), None);
}
