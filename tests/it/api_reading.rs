//! Reading what was written: tokens that a read waits for, and a database that goes away and comes back.

use reqwest::Method;
use serde_json::json;

use crate::{
    api_support::Requests,
    support::{app::TestApp, wait},
};

#[tokio::test]
async fn a_read_waits_for_what_the_reader_has_written() {
    let app = TestApp::start().await;
    app.account_with("alice", 1_000).await;
    for number in 1..=25 {
        let key = format!("s{number}");
        let spent =
            app.keyed("/v1/accounts/alice/spends", &key, &json!({"unit": "credits", "amount": 1})).await;
        let token = spent.header("X-Position-Token").expect("a token").to_owned();
        let history = app.get(&format!("/v1/accounts/alice/history?limit=1&min_position={token}")).await;
        assert_eq!(history["items"][0]["position"], spent.json()["position"]);
        let balance = app.get(&format!("/v1/accounts/alice/balance?min_position={token}")).await;
        assert_eq!(balance["balances"][0]["available"], 1_000 - number);
        assert!(balance["position"].as_i64() >= spent.json()["position"].as_i64());
    }
}

#[tokio::test]
async fn a_read_that_waits_in_vain_is_told_so_in_time() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    let superuser = app.database.superuser().await;
    let lock = "BEGIN; SELECT FROM projection_cursors WHERE projection = 'history' FOR UPDATE";
    superuser.batch_execute(lock).await.expect("the projection held back");
    let spent = app.keyed("/v1/accounts/alice/spends", "s", &json!({"unit": "credits", "amount": 1})).await;
    let token = spent.header("X-Position-Token").expect("a token").to_owned();
    let path = format!("/v1/accounts/alice/history?min_position={token}");
    let late = app.send(Method::GET, &path, None).await;
    assert_eq!((late.status, late.code().as_str()), (504, "position_not_reached"));
    superuser.batch_execute("ROLLBACK").await.expect("the projection let go");
    wait::until("the history to be there", async || {
        (app.send(Method::GET, &path, None).await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_token_of_a_history_that_was_lost_is_refused() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    let spent = app.keyed("/v1/accounts/alice/spends", "s", &json!({"unit": "credits", "amount": 1})).await;
    let token = spent.header("X-Position-Token").expect("a token").to_owned();
    let superuser = app.database.superuser().await;
    let forget = "UPDATE ledger_heads SET incarnation = gen_random_uuid()";
    superuser.batch_execute(forget).await.expect("another history");
    for path in ["balance", "lots", "history"] {
        let path = format!("/v1/accounts/alice/{path}?min_position={token}");
        let refused = app.send(Method::GET, &path, None).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "history_lost"), "{path}");
    }
}

#[tokio::test]
async fn what_has_become_due_is_seen_before_anybody_writes_it_down() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    let now = app.get("/v1/accounts/alice/balance").await["as_of"].as_str().expect("a time").to_owned();
    let now = counterfoil::domain::time::Timestamp::parse(&now).expect("a time");
    let soon = now.plus(counterfoil::domain::time::Span::seconds(2));
    let grant = json!({"unit": "credits", "amount": 5, "reason": "short", "expires_at": soon});
    assert_eq!(app.keyed("/v1/accounts/alice/grants", "short", &grant).await.status, 201);
    assert_eq!(app.get("/v1/accounts/alice/balance").await["balances"][0]["available"], 15);
    let balance = wait::until("the credits to expire", async || {
        let balance = app.get("/v1/accounts/alice/balance").await;
        (balance["balances"][0]["available"] == 10).then_some(balance)
    })
    .await;
    assert!(balance["as_of"].as_str() >= Some(soon.to_string().as_str()), "{balance}");
    assert_eq!(balance["balances"][0]["next_expiry"], json!(null));
}
