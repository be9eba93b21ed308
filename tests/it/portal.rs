//! The customer portal: a way in for accounts that have a customer, and clear words for all others.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    support::{shop::Shop, simulator::API_KEY},
};

async fn opened(shop: &Shop, body: Value) -> Answer {
    shop.app.send(Method::POST, "/v1/portal-sessions", Some(&body)).await
}

#[tokio::test]
async fn a_customer_is_let_into_the_portal_and_led_back_to_the_shop() {
    let shop = Shop::open().await;
    shop.sold_to("alice").await;
    let body =
        json!({"account_id": "alice", "return_url": "https://shop.example/account", "locale": "de-AT"});
    let answer = opened(&shop, body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let url = answer.json()["url"].as_str().expect("an address").to_owned();
    assert!(url.starts_with(&format!("{}/portal/", shop.stripe.url)), "{url}");
    let page = shop.app.client.get(&url).send().await.expect("an answer");
    assert_eq!(page.status().as_u16(), 200);
    let session = shop.stripe.objects("billing_portal.session").await[0].clone();
    assert_eq!(
        (&session["customer"], &session["return_url"], &session["locale"]),
        (
            &shop.stripe.objects("customer").await[0]["id"],
            &json!("https://shop.example/account"),
            &json!("de")
        )
    );
    // Nothing is kept of it, and a second one is another.
    assert_ne!(opened(&shop, json!({"account_id": "alice"})).await.json()["url"], url.as_str());
    assert_eq!(shop.outbox().await, [] as [Value; 0]);
}

#[tokio::test]
async fn whoever_cannot_be_let_in_is_told_why() {
    let shop = Shop::open().await;
    shop.sold_to("alice").await;
    shop.app.account_with("bob", 0).await;
    let foreign = json!({"account_id": "alice", "return_url": "https://evil.example/"});
    for (body, status, code, field) in [
        (json!({"account_id": "nobody"}), 404, "account_not_found", ""),
        (json!({"account_id": "bob"}), 409, "account_has_no_customer", ""),
        (foreign, 400, "invalid_request", "return_url"),
        (json!({"account_id": "alice", "return": "x"}), 400, "invalid_request", "return"),
    ] {
        let refused = opened(&shop, body.clone()).await;
        let found = (refused.status, refused.code(), refused.field());
        assert_eq!(found, (status, code.to_owned(), field.to_owned()), "{body}");
    }
    let customer = shop.stripe.objects("customer").await[0]["id"].as_str().expect("an id").to_owned();
    shop.fault(json!({"webhooks": "drop"})).await;
    shop.stripe.send(Method::DELETE, &format!("/v1/customers/{customer}"), "", &[]).await.ok();
    let gone = opened(&shop, json!({"account_id": "alice"})).await;
    assert_eq!((gone.status, gone.code().as_str()), (409, "account_has_no_customer"));
    let closed = shop.app.keyed("/v1/accounts/bob/close", "close", &json!({"reason": "asked for"})).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    let refused = opened(&shop, json!({"account_id": "bob"})).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "account_closed"));
}

#[tokio::test]
async fn a_stripe_that_refuses_or_is_away_is_named() {
    let shop = Shop::open().await;
    shop.sold_to("alice").await;
    let body = || json!({"account_id": "alice"});
    for (fault, status, code) in [
        (json!({"api": "down", "next": 1}), 503, "stripe_unavailable"),
        (json!({"api": "bad_gateway", "next": 1}), 503, "stripe_unavailable"),
        (json!({"api": "garbage", "next": 1}), 503, "stripe_unavailable"),
        (json!({"api": "rate_limit", "next": 1, "seconds": 1}), 503, "stripe_unavailable"),
    ] {
        shop.fault(fault.clone()).await;
        let refused = opened(&shop, body()).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{fault}");
    }
    assert_eq!(opened(&shop, body()).await.status, 201);
    shop.set_stripe_key("sk_test_another").await;
    let refused = crate::support::wait::until("the other key to be used", async || {
        Some(opened(&shop, body()).await).filter(|answer| answer.status != 201)
    })
    .await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "stripe_refused"));
    assert!(!format!("{refused:?}").contains("sk_test_another"));
    shop.set_stripe_key(API_KEY).await;
}
