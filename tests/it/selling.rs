//! Selling over HTTP: checkouts at a simulated Stripe, what they refuse, and refunds, with the real processes of both.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::{api_support::Requests, support::shop::Shop};

const CHECKOUT: &str = "/v1/checkout-sessions";

#[tokio::test]
async fn what_is_paid_at_stripe_is_credited_once_and_a_repeat_leads_to_the_same_page() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let first = shop.check_out("alice", "order-1").await;
    assert_eq!(shop.check_out("alice", "order-1").await, first);
    shop.pay(&first).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let order = shop.app.get(&format!("/v1/orders/{}", first["order_id"].as_str().expect("an order"))).await;
    assert_eq!((&order["status"], &order["paid_twice"]), (&json!("paid"), &json!(false)));
    let listed = shop.app.get("/v1/orders?account_id=alice&status=paid").await;
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(shop.app.get("/v1/outbox").await["items"], json!([]));
}

#[tokio::test]
async fn checkouts_that_race_make_one_customer_and_a_session_each() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let keys: Vec<String> = (0..8).map(|number| format!("order-{number}")).collect();
    let checkouts = join_all(keys.iter().map(|key| shop.check_out("alice", key))).await;
    assert_eq!(shop.stripe.objects("customer").await.len(), 1);
    assert_eq!(shop.stripe.objects("checkout.session").await.len(), checkouts.len());
}

#[tokio::test]
async fn a_refunds_credits_are_set_aside_and_taken_when_stripe_has_sent_the_money() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order-1").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let path = format!("/v1/orders/{}/refunds", checkout["order_id"].as_str().expect("an order"));
    let part = shop.app.keyed(&path, "part", &json!({"amount": 200, "reason": "goodwill"})).await;
    assert_eq!((part.status, part.json()["status"].clone()), (201, json!("requested")), "{part:?}");
    shop.settles_at("alice", (60, 0, 0)).await;
    let too_much = shop.app.keyed(&path, "too much", &json!({"amount": 301})).await;
    assert_eq!((too_much.status, too_much.code().as_str()), (409, "refund_exceeds_payment"));
    assert_eq!(shop.app.keyed(&path, "rest", &json!({})).await.status, 201);
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.stripe.objects("refund").await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_sold_is_refused_by_name() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    for (body, status, code, field) in [
        (json!({"account_id": "nobody", "price_id": "price_pack"}), 404, "account_not_found", ""),
        (json!({"account_id": "alice", "price_id": "price_none"}), 400, "unknown_price", "price_id"),
        (
            json!({"account_id": "alice", "price_id": "price_pack", "quantity": 10_001}),
            400,
            "invalid_request",
            "quantity",
        ),
        (
            json!({"account_id": "alice", "price_id": "price_pack", "success_url": "https://evil.example"}),
            400,
            "invalid_request",
            "success_url",
        ),
    ] {
        let refused = shop.app.keyed(CHECKOUT, "refused", &body).await;
        let found = (refused.status, refused.code(), refused.field());
        assert_eq!(found, (status, code.to_owned(), field.to_owned()), "{body}");
    }
    let frozen = shop.app.keyed("/v1/accounts/alice/freeze", "freeze", &json!({"reason": "a check"})).await;
    assert_eq!(frozen.status, 200, "{frozen:?}");
    let body = json!({"account_id": "alice", "price_id": "price_pack"});
    let refused = shop.app.keyed(CHECKOUT, "frozen", &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "account_frozen"));
}

#[tokio::test]
async fn a_customer_that_the_account_brings_along_is_the_one_that_buys() {
    let shop = Shop::open().await;
    let customer = shop.stripe.post("/v1/customers", "name=Ada").await.ok()["id"].clone();
    let body = json!({"account_id": "ada", "stripe_customer_id": customer});
    assert_eq!(shop.app.send(Method::POST, "/v1/accounts", Some(&body)).await.status, 201);
    let checkout = shop.check_out("ada", "order-1").await;
    let sessions = shop.stripe.objects("checkout.session").await;
    assert_eq!((sessions.len(), &sessions[0]["customer"]), (1, &customer), "{checkout}");
    assert_eq!(shop.stripe.objects("customer").await.len(), 1);
    let taken = json!({"account_id": "bob", "stripe_customer_id": customer});
    let refused = shop.app.send(Method::POST, "/v1/accounts", Some(&taken)).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "customer_of_another_account"));
}
