//! What people decide of effects that are dead, with everything that hangs on it: one by one, and all of one cause.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{
        shop::{Shop, order_of},
        simulator::API_KEY,
        wait,
    },
};

/// Dead effects, once there are so many.
async fn dead(shop: &Shop, count: usize) -> Vec<Value> {
    wait::until("effects to die", async || {
        let dead = shop.app.get("/v1/outbox?state=dead").await["items"].as_array().expect("items").clone();
        (dead.len() == count).then_some(dead)
    })
    .await
}

/// Has the service call Stripe with a key that it does not take.
async fn lock_out(shop: &Shop) {
    shop.set_stripe_key("sk_test_another").await;
    // A process believes the key that it knows for some seconds.
    wait::until("the other key to be used", async || {
        let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
        (synced.status == 502).then_some(())
    })
    .await;
}

async fn let_in(shop: &Shop) {
    shop.set_stripe_key(API_KEY).await;
    wait::until("the right key to be used", async || {
        let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
        (synced.status == 200).then_some(())
    })
    .await;
}

async fn decide(shop: &Shop, verb: &str, of: &Value, more: Value) -> Value {
    let mut body = json!({"cause": of["cause"], "reason": "the key is put right"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let answer = shop.app.send(Method::POST, &format!("/v1/outbox/dead/{verb}"), Some(&body)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[tokio::test]
async fn a_refund_that_is_discarded_gives_back_what_was_set_aside() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    lock_out(&shop).await;
    assert_eq!(shop.refund(&checkout, "refund", json!({"amount": 200})).await.status, 201);
    let dead = dead(&shop, 1).await;
    assert_eq!(dead[0]["kind"], "create_refund");
    shop.settles_at("alice", (60, 40, 0)).await;
    let path = format!("/v1/outbox/{}/discard", dead[0]["effect_id"].as_str().expect("an effect"));
    let discarded = shop.app.send(Method::POST, &path, Some(&json!({"reason": "settled in cash"}))).await;
    assert_eq!(discarded.status, 200, "{discarded:?}");
    shop.refund_becomes(&checkout, "refused").await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let refused = shop.events("refund.refused").await;
    assert_eq!((refused.len(), &refused[0]["body"]["reason"]), (1, &json!("given_up")));
    let_in(&shop).await;
    assert_eq!(shop.at_stripe("refund").await, 0);
    // What is left can be asked for again.
    assert_eq!(shop.refund(&checkout, "all of it", json!({})).await.status, 201);
    shop.settles_at("alice", (0, 0, 0)).await;
}

#[tokio::test]
async fn all_that_died_of_one_cause_is_tried_again_when_that_is_put_right() {
    let shop = Shop::open().await;
    lock_out(&shop).await;
    for account in ["alice", "bob", "carol"] {
        shop.app.account_with(account, 0).await;
        let refused = shop.try_check_out(account, account).await;
        assert_eq!((refused.status, refused.code().as_str()), (502, "stripe_refused"), "{refused:?}");
    }
    let first = dead(&shop, 3).await[0].clone();
    assert_eq!((&first["kind"], &first["blocks_key"]), (&json!("create_customer"), &json!(true)));
    // Another checkout of an account whose customer cannot be made is told so as well, instead of waiting for ever.
    let behind = shop.try_check_out("alice", "second").await;
    assert_eq!((behind.status, behind.code().as_str()), (502, "stripe_refused"), "{behind:?}");
    assert_eq!(behind.json()["error"]["detail"]["effect_id"], first["effect_id"]);

    let none = decide(&shop, "retry", &first, json!({"kind": "create_refund"})).await;
    assert_eq!(none, json!({"decided": 0, "left": 0}));
    let_in(&shop).await;
    let all = decide(&shop, "retry", &first, json!({"kind": "create_customer"})).await;
    assert_eq!(all, json!({"decided": 3, "left": 0}));
    shop.outbox_empties().await;
    assert_eq!((shop.at_stripe("customer").await, shop.at_stripe("checkout.session").await), (3, 4));
    assert_eq!(decide(&shop, "retry", &first, json!({})).await, json!({"decided": 0, "left": 0}));
    let path = format!("/v1/outbox/{}", first["effect_id"].as_str().expect("an effect"));
    let decisions = shop.app.get(&path).await["decisions"].clone();
    assert_eq!(
        (&decisions[0]["decision"], &decisions[0]["reason"]),
        (&json!("retry"), &json!("the key is put right"))
    );
    let checkout = shop.check_out("alice", "alice").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
}

#[tokio::test]
async fn all_that_died_of_one_cause_is_discarded_and_no_order_waits_for_it() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    lock_out(&shop).await;
    for key in ["one", "two"] {
        assert_eq!(shop.try_check_out("alice", key).await.status, 502);
    }
    assert_eq!(shop.refund(&checkout, "refund", json!({})).await.status, 201);
    let first = dead(&shop, 3).await[0].clone();
    assert_eq!(decide(&shop, "discard", &first, json!({})).await, json!({"decided": 3, "left": 0}));
    let failed = shop.app.get("/v1/orders?account_id=alice&status=failed").await;
    assert_eq!(failed["items"].as_array().map(Vec::len), Some(2));
    assert!(failed["items"].as_array().expect("orders").iter().all(|order| order["failure"] == "given_up"));
    assert!(order_of(&checkout).starts_with("ord_"));
    shop.refund_becomes(&checkout, "refused").await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.outbox().await, [] as [Value; 0]);
}
