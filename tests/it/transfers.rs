//! Credits go from account to account over HTTP: both ways at once, once for each key, and back with the buyer's money.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{app::TestApp, shop::Shop},
};

const TRANSFERS: &str = "/v1/transfers";

fn transfer(from: &str, to: &str, amount: i64) -> Value {
    json!({"from_account_id": from, "to_account_id": to, "unit": "credits", "amount": amount})
}

async fn available(app: &TestApp, account: &str) -> i64 {
    let balance = app.get(&format!("/v1/accounts/{account}/balance")).await;
    balance["balances"][0]["available"].as_i64().expect("an amount")
}

#[tokio::test]
async fn a_transfer_is_answered_with_both_balances_and_a_repeat_with_the_same() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    app.account_with("bob", 5).await;
    let mut body = transfer("alice", "bob", 30);
    body["reason"] = json!("for the team");
    body["metadata"] = json!({"team": "7"});
    let first = app.keyed(TRANSFERS, "t1", &body).await;
    assert_eq!(first.status, 201, "{first:?}");
    let answer = first.json();
    let balance =
        |available| json!({"unit": "credits", "available": available, "held": 0, "disputed": 0, "debt": 0});
    assert_eq!((&answer["from_balance"], &answer["to_balance"]), (&balance(70), &balance(35)));
    assert_eq!((&answer["from_account_id"], &answer["to_account_id"]), (&json!("alice"), &json!("bob")));
    assert_eq!((&answer["amount"], &answer["unit"]), (&json!(30), &json!("credits")));

    assert_eq!(app.keyed(TRANSFERS, "t2", &transfer("bob", "alice", 35)).await.status, 201);
    let again = app.keyed(TRANSFERS, "t1", &body).await;
    assert_eq!(
        (again.status, &again.text, again.header("Idempotent-Replayed")),
        (201, &first.text, Some("true"))
    );
    let other = app.keyed(TRANSFERS, "t1", &transfer("alice", "bob", 31)).await;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_key_reused"));
    assert_eq!((available(&app, "alice").await, available(&app, "bob").await), (105, 0));

    let token = again.header("X-Position-Token").expect("a token");
    let history = app.get(&format!("/v1/accounts/bob/history?min_position={token}")).await;
    let received = &history["items"].as_array().expect("items")[1];
    assert_eq!(received["description"], "Received credits from another account");
    assert_eq!((&received["amount"], &received["balance_after"]), (&json!(30), &json!(35)));
    assert_eq!(received["reference"], answer["transfer_id"]);
    let lots = app.get("/v1/accounts/alice/lots").await;
    let sources = lots["items"].as_array().expect("items").iter().map(|lot| lot["source"].clone());
    assert!(sources.collect::<Vec<_>>().contains(&json!("transfer")), "{lots}");
}

#[tokio::test]
async fn what_cannot_be_transferred_is_refused_by_name_and_changes_nothing() {
    let app = TestApp::start().await;
    app.account_with("alice", 10).await;
    app.account_with("bob", 0).await;
    app.account_with("carol", 0).await;
    assert_eq!(app.keyed("/v1/accounts/carol/freeze", "freeze", &json!({})).await.status, 200);
    let hold = json!({"unit": "credits", "limit": 50});
    assert_eq!(
        app.send(reqwest::Method::PUT, "/v1/accounts/alice/overdraft-limit", Some(&hold)).await.status,
        200
    );
    let mut in_gold = transfer("alice", "bob", 1);
    in_gold["unit"] = json!("gold");
    for (body, status, code, field) in [
        (transfer("alice", "bob", 11), 402, "insufficient_credits", ""),
        (transfer("alice", "alice", 1), 400, "invalid_request", "to_account_id"),
        (transfer("alice", "nobody", 1), 404, "account_not_found", "to_account_id"),
        (transfer("nobody", "alice", 1), 404, "account_not_found", ""),
        (transfer("alice", "carol", 1), 403, "account_frozen", "to_account_id"),
        (transfer("carol", "alice", 1), 403, "account_frozen", ""),
        (transfer("alice", "bob", 0), 400, "invalid_request", "amount"),
        (in_gold, 400, "unknown_unit", "unit"),
        (
            json!({"from_account_id": "alice", "unit": "credits", "amount": 1}),
            400,
            "invalid_request",
            "to_account_id",
        ),
    ] {
        let refused = app.keyed(TRANSFERS, "refused", &body).await;
        let found = (refused.status, refused.code(), refused.field());
        assert_eq!(found, (status, code.to_owned(), field.to_owned()), "{body}");
    }
    assert_eq!((available(&app, "alice").await, available(&app, "bob").await), (10, 0));
}

#[tokio::test]
async fn transfers_that_race_both_ways_through_two_processes_lose_nothing() {
    let app = TestApp::start().await;
    app.account_with("alice", 100).await;
    app.account_with("bob", 100).await;
    let (_other, url) = app.start_another().await;
    let send = async |number: i64| {
        let (from, to) = if number % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") };
        let base = if number % 3 == 0 { &url } else { &app.url };
        let request = app.client.post(format!("{base}{TRANSFERS}")).bearer_auth(&app.ledger.api_key);
        let request = request.header("Idempotency-Key", format!("t{number}"));
        let answer = request.json(&transfer(from, to, 1 + number % 40)).send().await.expect("an answer");
        answer.status().as_u16()
    };
    let statuses = join_all((0..60).map(send)).await;
    assert!(statuses.iter().all(|status| [201, 402].contains(status)), "{statuses:?}");
    assert!(statuses.iter().filter(|status| **status == 201).count() > 10, "{statuses:?}");
    assert_eq!(available(&app, "alice").await + available(&app, "bob").await, 200);
}

#[tokio::test]
async fn a_refund_at_stripe_finds_the_credits_wherever_they_went() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    shop.app.account_with("bob", 0).await;
    shop.app.account_with("carol", 0).await;
    for (key, body) in [
        ("t1", transfer("alice", "bob", 80)),
        ("t2", transfer("bob", "carol", 50)),
        ("t3", transfer("carol", "alice", 5)),
    ] {
        assert_eq!(shop.app.keyed(TRANSFERS, key, &body).await.status, 201);
    }
    shop.spend("bob", 20).await;
    // Of 100 credits alice has 25, bob 10, carol 45; bob has used 20. Nine tenths of the money go back.
    let refund = shop.refund(&checkout, "refund", json!({"amount": 450})).await;
    assert_eq!(refund.status, 201, "{refund:?}");
    shop.refund_becomes(&checkout, "succeeded").await;
    shop.settles_at("alice", (0, 0, 10)).await;
    shop.settles_at("bob", (0, 0, 0)).await;
    shop.settles_at("carol", (0, 0, 0)).await;
    shop.verify().await;
}
