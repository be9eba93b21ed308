//! Repeats: answered as the first time, byte for byte, whatever has happened since; nothing happens twice.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{api_support::Requests, support::app::TestApp};

#[tokio::test]
async fn a_repeat_is_answered_byte_for_byte_as_the_first_time_even_after_a_restart() {
    let mut app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let purchase = json!({"unit": "credits", "amount": 50, "money": {"amount": 500, "currency": "eur"}});
    let requests: [(&str, &str, Value); 7] = [
        (
            "/v1/accounts",
            "k1",
            json!({"account_id": "bob", "email": "bob@example.com", "metadata": {"a": "b"}}),
        ),
        ("/v1/accounts/alice/spends", "k2", json!({"unit": "credits", "amount": 10})),
        ("/v1/accounts/alice/grants", "k3", json!({"unit": "credits", "amount": 10, "reason": "bonus"})),
        (
            "/v1/accounts/alice/adjustments",
            "k4",
            json!({"unit": "credits", "amount": -10, "reason": "bonus"}),
        ),
        ("/v1/accounts/alice/purchases", "k5", purchase),
        ("/v1/accounts/alice/freeze", "k6", json!({"reason": "for now"})),
        ("/v1/accounts/alice/unfreeze", "k7", json!({})),
    ];
    let mut answers = Vec::new();
    for (path, key, body) in &requests {
        let answer = app.keyed(path, key, body).await;
        assert!(answer.status < 300 && answer.header("Idempotent-Replayed").is_none(), "{path}: {answer:?}");
        answers.push(answer);
    }
    app.restart().await;
    for ((path, key, body), first) in requests.iter().zip(&answers) {
        let repeat = app.keyed(path, key, body).await;
        assert_eq!((repeat.status, &repeat.text), (first.status, &first.text), "{path}");
        assert_eq!(repeat.header("Idempotent-Replayed"), Some("true"), "{path}");
    }
    let balance = app.get("/v1/accounts/alice/balance").await;
    assert_eq!(balance["balances"][0]["available"], 140);
}

#[tokio::test]
async fn a_key_belongs_to_one_request_whatever_the_path() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    app.account_with("bob", 100).await;
    let spend = json!({"unit": "credits", "amount": 10});
    let first = app.keyed("/v1/accounts/alice/spends", "key", &spend).await;
    assert_eq!(first.status, 201);
    let reordered = r#"{ "amount": 10, "unit": "credits" }"#;
    let repeat = app.request(Method::POST, "/v1/accounts/alice/spends").header("Idempotency-Key", "key");
    let repeat =
        repeat.header("Content-Type", "application/json").body(reordered).send().await.expect("an answer");
    assert_eq!(repeat.status().as_u16(), 201);
    for (path, body) in [
        ("/v1/accounts/alice/spends", json!({"unit": "credits", "amount": 11})),
        ("/v1/accounts/alice/spends", json!({"unit": "credits", "amount": 10, "reason": "another"})),
        ("/v1/accounts/bob/spends", spend.clone()),
        ("/v1/accounts/alice/adjustments", json!({"unit": "credits", "amount": 10, "reason": "another"})),
    ] {
        let reused = app.keyed(path, "key", &body).await;
        assert_eq!((reused.status, reused.code().as_str()), (409, "idempotency_key_reused"), "{path} {body}");
        assert_eq!(reused.field(), "Idempotency-Key");
    }
}

#[tokio::test]
async fn a_refused_request_is_not_remembered() {
    let app = TestApp::start().await;
    app.account_with("alice", 5).await;
    let spend = json!({"unit": "credits", "amount": 10});
    assert_eq!(app.keyed("/v1/accounts/alice/spends", "later", &spend).await.status, 402);
    let grant = json!({"unit": "credits", "amount": 5, "reason": "enough now"});
    assert_eq!(app.keyed("/v1/accounts/alice/grants", "grant", &grant).await.status, 201);
    let spent = app.keyed("/v1/accounts/alice/spends", "later", &spend).await;
    assert_eq!((spent.status, spent.header("Idempotent-Replayed")), (201, None));
}

#[tokio::test]
async fn a_request_that_had_nothing_to_change_is_remembered_and_does_nothing_later() {
    let app = TestApp::start().await;
    app.account_with("alice", 5).await;
    let (freeze, unfreeze) = ("/v1/accounts/alice/freeze", "/v1/accounts/alice/unfreeze");
    assert_eq!(app.keyed(freeze, "k1", &json!({})).await.status, 200);
    let idle = app.keyed(freeze, "k2", &json!({})).await;
    assert_eq!((idle.status, idle.header("Idempotent-Replayed")), (200, None));
    assert_eq!(app.keyed(unfreeze, "k3", &json!({})).await.status, 200);
    let late = app.keyed(freeze, "k2", &json!({})).await;
    assert_eq!((late.status, &late.text), (200, &idle.text));
    assert_eq!(late.header("Idempotent-Replayed"), Some("true"));
    assert_eq!(app.get("/v1/accounts/alice").await["status"], "open");

    assert_eq!(app.keyed(unfreeze, "k5", &json!({})).await.status, 200);
    let grant = json!({"unit": "credits", "amount": 5, "reason": "another request"});
    let reused = app.keyed("/v1/accounts/alice/grants", "k5", &grant).await;
    assert_eq!((reused.status, reused.code().as_str()), (409, "idempotency_key_reused"));
}

#[tokio::test]
async fn repeats_that_arrive_together_are_one_request() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    let spend = json!({"unit": "credits", "amount": 10});
    let repeats = (0..20).map(|_| app.keyed("/v1/accounts/alice/spends", "together", &spend));
    let answers = futures_util::future::join_all(repeats).await;
    assert!(
        answers.iter().all(|answer| (answer.status, &answer.text) == (201, &answers[0].text)),
        "{answers:?}"
    );
    assert_eq!(answers.iter().filter(|answer| answer.header("Idempotent-Replayed").is_none()).count(), 1);
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 90);
}

#[tokio::test]
async fn the_secret_of_an_api_key_is_shown_once_also_to_repeats_that_arrive_together() {
    let app = TestApp::start().await;
    let body = json!({"name": "backend", "scopes": ["read"]});
    let repeats = (0..10).map(|_| app.keyed("/v1/api-keys", "make", &body));
    let answers = futures_util::future::join_all(repeats).await;
    let mut secrets =
        answers.iter().filter_map(|answer| answer.json()["api_key"].as_str().map(str::to_owned));
    let (secret, None) = (secrets.next().expect("shown once"), secrets.next()) else { panic!("{answers:?}") };
    let mut without = answers[0].json();
    without.as_object_mut().expect("an object").shift_remove("api_key");
    let repeat = app.keyed("/v1/api-keys", "make", &body).await;
    assert_eq!((repeat.status, repeat.json()), (201, without));
    let works = app.client.get(format!("{}/v1/accounts", app.url)).bearer_auth(secret).send().await;
    assert_eq!(works.expect("an answer").status().as_u16(), 200);
}
