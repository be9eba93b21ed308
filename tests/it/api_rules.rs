//! The rules of a ledger are set over HTTP, and followed.

use reqwest::Method;
use serde_json::json;

use crate::{api_support::Requests, support::app::TestApp};

const RULES: &str = "/v1/settings/rules";

#[tokio::test]
async fn the_rules_of_a_new_ledger_can_be_read_and_every_one_of_them_set() {
    let app = TestApp::start().await;
    let of_new = json!({
        "clawback_policy": "debt", "claw_on_pending": false, "freeze_on_dispute": false,
        "renewal_grace_days": 3, "rollover": {"kind": "none", "amount": null}, "trial_credits": [], "signup_grants": [],
    });
    assert_eq!(app.get(RULES).await, of_new);
    let checkout = app.get("/v1/settings/checkout").await;
    let rules = json!({
        "clawback_policy": "lot_only", "claw_on_pending": true, "freeze_on_dispute": true,
        "renewal_grace_days": 0, "rollover": {"kind": "capped", "amount": 500},
        "trial_credits": [{"unit": "credits", "amount": 20}],
        "signup_grants": [{"unit": "credits", "amount": 25, "expires_days": 14, "priority": 10}],
    });
    let set = app.send(Method::PUT, RULES, Some(&rules)).await;
    let mut answer = rules.clone();
    answer["rollover"] = json!({"kind": "capped", "amount": 500});
    assert_eq!((set.status, set.written()), (200, answer.clone()), "{set:?}");
    assert_eq!(app.get(RULES).await, answer);
    assert_eq!(app.get("/v1/settings/checkout").await, checkout);

    let reset = app.send(Method::PUT, RULES, Some(&json!({}))).await;
    assert_eq!((reset.status, reset.written()), (200, of_new.clone()));
    let again = app.send(Method::PUT, RULES, Some(&json!({"rollover": {"kind": "none"}}))).await;
    assert_eq!((again.status, again.json()), (200, of_new));
    let events = app.get("/v1/events?after=0&limit=500").await["events"].clone();
    let events = events.as_array().expect("a list");
    let set: Vec<_> = events.iter().filter(|event| event["type"] == "ledger.configured").collect();
    assert_eq!(set.len(), 3, "the ledger was made, its rules were set, and set back");
    assert_eq!(set[1]["body"]["signup_grants"][0]["amount"], 25);
}

#[tokio::test]
async fn rules_that_cannot_be_followed_are_refused_by_the_name_of_the_field() {
    let app = TestApp::start().await;
    for (field, rules) in [
        ("renewal_grace_days", json!({"renewal_grace_days": 91})),
        ("rollover.kind", json!({"rollover": {"kind": "some"}})),
        ("rollover.amount", json!({"rollover": {"kind": "capped"}})),
        ("rollover.amount", json!({"rollover": {"kind": "all", "amount": 5}})),
        (
            "trial_credits",
            json!({"trial_credits": [{"unit": "credits", "amount": 1}, {"unit": "credits", "amount": 2}]}),
        ),
        (
            "signup_grants",
            json!({"signup_grants": [{"unit": "credits", "amount": 1}, {"unit": "credits", "amount": 2}]}),
        ),
        ("grace", json!({"grace": 1})),
    ] {
        let refused = app.send(Method::PUT, RULES, Some(&rules)).await;
        assert_eq!((refused.status, refused.field()), (400, field.to_owned()), "{rules}: {refused:?}");
    }
    let gold = json!({"signup_grants": [{"unit": "gold", "amount": 1}]});
    let refused = app.send(Method::PUT, RULES, Some(&gold)).await;
    assert_eq!((refused.status, refused.code()), (400, "unknown_unit".to_owned()));
}

#[tokio::test]
async fn whoever_signs_up_is_welcomed_once() {
    let app = TestApp::start().await;
    let rules = json!({"signup_grants": [{"unit": "credits", "amount": 25, "expires_days": 14}]});
    assert_eq!(app.send(Method::PUT, RULES, Some(&rules)).await.status, 200);
    for status in [201, 200] {
        let opened = app.send(Method::POST, "/v1/accounts", Some(&json!({"account_id": "alice"}))).await;
        assert_eq!(opened.status, status, "{opened:?}");
        assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 25);
    }
    let spent = app.keyed("/v1/accounts/alice/spends", "s", &json!({"unit": "credits", "amount": 10})).await;
    assert_eq!((spent.status, spent.json()["balance"]["available"].clone()), (201, json!(15)));
}
