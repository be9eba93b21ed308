//! Subscriptions from outside: changes within a period, and money that goes back.

use serde_json::{Value, json};

use crate::{
    subscriptions_support::Subscribed,
    support::{shop::Shop, simulator::id, wait},
};

/// A shop that sells `price_big` as well: 500 credits for EUR 40.00. Alice has the small plan since half of its period.
async fn in_the_middle() -> (Shop, Subscribed) {
    let shop = Shop::with_plan().await;
    shop.offer_plan("price_big", 4_000, json!([{"unit": "credits", "amount": 500}])).await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(15).await;
    (shop, subscribed)
}

/// The invoices of changes: what each came to, and what was paid of it.
async fn changes(shop: &Shop, subscribed: &Subscribed) -> Vec<(i64, i64)> {
    let invoices = shop.invoices(subscribed).await;
    let changes = invoices.iter().filter(|invoice| invoice["billing_reason"] == "subscription_update");
    let number = |value: &Value| value.as_i64().expect("a number");
    changes.map(|invoice| (number(&invoice["total"]), number(&invoice["amount_paid"]))).collect()
}

#[tokio::test]
async fn up_and_down_and_up_again_grants_no_more_than_going_up_once() {
    let (shop, subscribed) = in_the_middle().await;
    // Half a period of the big plan is worth 250, of the small one 50.
    for (price, after) in [("price_big", 300), ("price_plan", 300), ("price_big", 300), ("price_plan", 300)] {
        shop.change_at_dashboard(&subscribed, price, 1).await;
        shop.inbox_rests().await;
        shop.settles_at("alice", (after, 0, 0)).await;
    }
    assert_eq!(
        changes(&shop, &subscribed).await,
        [(1_500, 1_500), (-1_500, 0), (1_500, 0), (-1_500, 0)],
        "what goes back is set off against what comes next"
    );
    shop.change_at_dashboard(&subscribed, "price_big", 1).await;
    shop.days_pass(16).await;
    shop.settles_at("alice", (500, 0, 0)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn going_down_takes_nothing_and_the_next_period_is_the_smaller_one() {
    let (shop, subscribed) = in_the_middle().await;
    shop.change_at_dashboard(&subscribed, "price_big", 1).await;
    shop.settles_at("alice", (300, 0, 0)).await;
    shop.spend("alice", 290).await;
    shop.change_at_dashboard(&subscribed, "price_plan", 1).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (10, 0, 0));
    shop.days_pass(16).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.subscription_has(&subscribed, "items", json!([{"price_id": "price_plan", "quantity": 1}])).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn more_of_a_price_is_worth_the_rest_of_the_period_and_then_all_of_it() {
    let (shop, subscribed) = in_the_middle().await;
    shop.change_at_dashboard(&subscribed, "price_plan", 3).await;
    shop.settles_at("alice", (200, 0, 0)).await;
    assert_eq!(changes(&shop, &subscribed).await, [(1_000, 1_000)]);
    shop.days_pass(16).await;
    shop.settles_at("alice", (300, 0, 0)).await;
    shop.subscription_has(&subscribed, "items", json!([{"price_id": "price_plan", "quantity": 3}])).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_change_that_is_invoiced_with_the_renewal_is_granted_with_it() {
    let (shop, subscribed) = in_the_middle().await;
    let item = id(&shop.at_dashboard(&subscribed, "").await["items"]["data"][0]);
    shop.at_dashboard(&subscribed, &format!("items[0][id]={item}&items[0][price]=price_big")).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "not paid yet");
    shop.days_pass(16).await;
    // 200 for the half that is over, which count from their payment, and the whole of the new period.
    shop.settles_at("alice", (700, 0, 0)).await;
    let purchased: Vec<Value> =
        shop.events("credits.purchased").await.iter().map(|event| event["body"]["granted"].clone()).collect();
    assert_eq!(purchased, [100, 200, 500]);
    shop.is_in_order().await;
}

#[tokio::test]
async fn from_monthly_to_yearly_the_rest_of_the_month_is_set_off() {
    let (shop, subscribed) = in_the_middle().await;
    let grants = json!([{"unit": "credits", "amount": 1_200}]);
    shop.offer_every("price_year", 10_000, grants, json!({"interval": "year"})).await;
    shop.change_at_dashboard(&subscribed, "price_year", 1).await;
    shop.settles_at("alice", (100 + 1_200 - 50, 0, 0)).await;
    assert_eq!(changes(&shop, &subscribed).await, [(9_500, 9_500)]);
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_plan_of_two_units_renews_both() {
    let shop = Shop::with_plan().await;
    let grants = json!([{"unit": "credits", "amount": 100, "share": 7}, {"unit": "licence_30d", "amount": 2, "share": 3}]);
    shop.offer_plan("price_both", 1_000, grants).await;
    shop.subscribe("alice", json!({"price_id": "price_both", "quantity": 2})).await;
    let has = async |expected: [i64; 2]| {
        wait::until("both units", async || {
            let balance = shop.app.get("/v1/accounts/alice/balance").await;
            let available = [0, 1].map(|unit: usize| balance["balances"][unit]["available"].clone());
            (available == expected.map(Value::from)).then_some(())
        })
        .await;
    };
    has([200, 4]).await;
    shop.spend("alice", 150).await;
    shop.days_pass(31).await;
    shop.has_been_paid(4).await;
    has([200, 4]).await;
    let costs: Vec<Value> =
        shop.events("credits.purchased").await.iter().map(|event| event["body"]["cost"].clone()).collect();
    assert_eq!(costs, [1_400, 600, 1_400, 600]);
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_refund_of_a_renewal_takes_what_the_renewal_granted() {
    for rollover in ["none", "all"] {
        let shop = Shop::with_plan().await;
        shop.rule(json!({"rollover": {"kind": rollover}})).await;
        let subscribed = shop.subscribe("alice", json!({})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        shop.days_pass(31).await;
        shop.has_been_paid(2).await;
        let kept = if rollover == "all" { 100 } else { 0 };
        shop.settles_at("alice", (kept + 100, 0, 0)).await;
        let payment = shop.last_payment(&subscribed).await;
        let refund = async |cents: i64| {
            shop.stripe.post("/v1/refunds", &format!("payment_intent={payment}&amount={cents}")).await.ok();
        };
        refund(300).await;
        shop.settles_at("alice", (kept + 70, 0, 0)).await;
        refund(700).await;
        shop.settles_at("alice", (kept, 0, 0)).await;
        shop.is_in_order().await;
    }
}

#[tokio::test]
async fn what_was_rolled_over_goes_back_with_the_payment_that_bought_it() {
    let shop = Shop::with_plan().await;
    shop.rule(json!({"rollover": {"kind": "all"}})).await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let first = shop.last_payment(&subscribed).await;
    shop.spend("alice", 30).await;
    shop.days_pass(31).await;
    shop.settles_at("alice", (170, 0, 0)).await;
    shop.stripe.post("/v1/refunds", &format!("payment_intent={first}")).await.ok();
    // 70 of it are there, and 30 were spent: those are taken from the others.
    shop.settles_at("alice", (70, 0, 0)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_dispute_of_a_renewal_sets_its_credits_aside_and_a_loss_takes_them() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(31).await;
    shop.has_been_paid(2).await;
    shop.spend("alice", 25).await;
    let payment = shop.last_payment(&subscribed).await;
    let dispute = shop.stripe.control(&format!("charges/{payment}/dispute"), json!({})).await;
    shop.settles_at("alice", (0, 75, 0)).await;
    shop.stripe.control(&format!("disputes/{}/close", id(&dispute)), json!({"outcome": "lost"})).await;
    shop.settles_at("alice", (0, 0, 25)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_checkout_that_is_paid_once_and_has_an_invoice_grants_once() {
    let shop = Shop::with_plan().await;
    shop.set_checkout(json!({"invoices": true})).await;
    let checkout = shop.check_out("alice", "one pack").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.is_in_order().await;
    assert_eq!(shop.stripe.objects("invoice").await.len(), 1);
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    let ignored = shop.inbox("ignored").await;
    let why = |event: &&Value| event["reason"].as_str().is_some_and(|why| why.starts_with("no_subscription"));
    assert!(ignored.iter().any(|event| why(&event)), "{ignored:?}");
}

#[tokio::test]
async fn an_invoice_with_more_lines_than_a_webhook_shows_is_granted_in_full() {
    let shop = Shop::with_plan().await;
    let mut form = "mode=subscription&success_url=https://shop.example/&customer_email=alice@example.com\
                    &subscription_data[metadata][account_id]=alice"
        .to_owned();
    for number in 0..12 {
        let price = format!("price_{number}");
        shop.offer_plan(&price, 100, json!([{"unit": "credits", "amount": 10}])).await;
        form.push_str(&format!("&line_items[{number}][price]={price}&line_items[{number}][quantity]=1"));
    }
    let session = shop.stripe.post("/v1/checkout/sessions", &form).await.ok();
    let complete = format!("checkout_sessions/{}/complete", id(&session));
    shop.stripe.control(&complete, json!({"outcome": "paid"})).await;
    shop.settles_at("alice", (120, 0, 0)).await;
    assert_eq!(shop.stripe.objects("invoice").await[0]["lines"]["has_more"], true);
    shop.is_in_order().await;
}

#[tokio::test]
async fn webhooks_of_an_older_version_grant_the_same_and_their_renewals_can_be_refunded() {
    let shop = Shop::with_plan().await;
    shop.fault(json!({"webhooks": "api_version", "version": "2024-06-20"})).await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(31).await;
    shop.has_been_paid(2).await;
    let payment = shop.last_payment(&subscribed).await;
    shop.stripe.post("/v1/refunds", &format!("payment_intent={payment}&amount=500")).await.ok();
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.is_in_order().await;
}
