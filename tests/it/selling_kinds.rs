//! Kinds of sales: what is credited, what the purchase says of the money, and what its refunds take back.

use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{
        shop::{Shop, order_of},
        simulator::id,
        wait,
    },
};

/// A card whose refunds stay on their way.
const SLOW_REFUNDS: &str = "4000000000007726";

impl Shop {
    /// The money of the one purchase that there is, as its first event tells it: in all, tax, and what the lot cost.
    async fn money(&self) -> (i64, i64, i64) {
        let purchased = self.events("credits.purchased").await;
        assert_eq!(purchased.len(), 1, "{purchased:?}");
        let body = &purchased[0]["body"];
        let of = |value: &Value| value.as_i64().expect("an amount");
        (of(&body["money"]["gross"]), of(&body["money"]["tax"]), of(&body["cost"]))
    }

    /// Somebody refunds in Stripe's dashboard.
    async fn refund_in_dashboard(&self, payment: &str, amount: i64) -> Value {
        let form = format!("payment_intent={payment}&amount={amount}");
        self.stripe.post("/v1/refunds", &form).await.ok()
    }

    /// What Stripe calls the only refund of a checkout's order.
    async fn stripe_refund(&self, checkout: &Value) -> String {
        self.order(checkout).await["refunds"][0]["stripe_refund_id"].as_str().expect("a refund").to_owned()
    }
}

#[tokio::test]
async fn several_of_a_price_are_sold_as_one_order() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out_of("alice", "three", json!({"quantity": 3})).await;
    let session = shop.pay(&checkout).await;
    assert_eq!(session["amount_total"], 1_500);
    shop.settles_at("alice", (300, 0, 0)).await;
    let order = shop.order(&checkout).await;
    assert_eq!((&order["quantity"], &order["subtotal"]), (&json!(3), &json!(1_500)));
    assert_eq!(order["credits"], json!([{"unit": "credits", "amount": 300}]));
    assert_eq!(shop.money().await, (1_500, 0, 1_500));
    assert_eq!(shop.refund(&checkout, "one", json!({"amount": 500})).await.status, 201);
    shop.settles_at("alice", (200, 0, 0)).await;
}

#[tokio::test]
async fn a_card_that_is_declined_leaves_the_order_open_for_another() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    let session = shop.complete(&checkout, json!({"outcome": "declined"})).await;
    assert_eq!(session["status"], "open");
    assert_eq!(shop.order(&checkout).await["status"], "placed");
    let refused = shop.refund(&checkout, "too early", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "order_not_paid"));
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.order(&checkout).await["status"], "paid");
}

#[tokio::test]
async fn a_delayed_payment_is_credited_when_the_money_is_there_and_not_before() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let paid = shop.check_out("alice", "will be paid").await;
    let unpaid = shop.check_out("alice", "will not").await;
    for checkout in [&paid, &unpaid] {
        let session = shop.complete(checkout, json!({"outcome": "unpaid"})).await;
        assert_eq!((&session["status"], &session["payment_status"]), (&json!("complete"), &json!("unpaid")));
    }
    wait::until("both sessions to be told of", async || {
        let told = shop.inbox("ignored").await;
        let waits =
            |event: &&Value| event["reason"].as_str().is_some_and(|why| why.starts_with("not_paid_yet"));
        (told.iter().filter(waits).count() == 2).then_some(())
    })
    .await;
    assert_eq!(shop.order(&paid).await["status"], "placed");
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    shop.at_page(&unpaid, "async_result", json!({"outcome": "failed"})).await;
    assert_eq!(shop.order_becomes(&unpaid, "failed").await["failure"], "payment_failed");
    shop.at_page(&paid, "async_result", json!({"outcome": "succeeded"})).await;
    shop.order_becomes(&paid, "paid").await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
}

#[tokio::test]
async fn a_checkout_that_nobody_completes_expires_by_the_clock() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    shop.days_pass(2).await;
    let order = shop.order_becomes(&checkout, "expired").await;
    assert_eq!(order["purchase_ids"], json!([]));
    let sessions = shop.stripe.objects("checkout.session").await;
    assert_eq!((sessions.len(), &sessions[0]["status"]), (1, &json!("expired")));
    let again = shop.check_out("alice", "another order").await;
    shop.pay(&again).await;
    shop.settles_at("alice", (100, 0, 0)).await;
}

#[tokio::test]
async fn what_a_promotion_code_makes_free_is_granted_and_cannot_be_refunded() {
    let shop = Shop::open().await;
    shop.promote("FREE", 100).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    let session = shop.complete(&checkout, json!({"outcome": "paid", "promotion_code": "FREE"})).await;
    assert_eq!(session["payment_status"], "no_payment_required");
    shop.settles_at("alice", (100, 0, 0)).await;
    let order = shop.order_becomes(&checkout, "paid").await;
    assert_eq!(order["purchase_ids"], json!([]));
    assert_eq!(
        (shop.events("credits.granted").await.len(), shop.events("credits.purchased").await.len()),
        (1, 0)
    );
    let refused = shop.refund(&checkout, "of what", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "refund_exceeds_payment"));
}

#[tokio::test]
async fn a_discount_lowers_the_money_and_not_the_credits() {
    let shop = Shop::open().await;
    shop.promote("SPRING", 20).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    shop.complete(&checkout, json!({"outcome": "paid", "promotion_code": "SPRING"})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.money().await, (400, 0, 400));
    assert_eq!(shop.refund(&checkout, "half", json!({"amount": 200})).await.status, 201);
    shop.settles_at("alice", (50, 0, 0)).await;
    let too_much = shop.refund(&checkout, "too much", json!({"amount": 201})).await;
    assert_eq!((too_much.status, too_much.code().as_str()), (409, "refund_exceeds_payment"));
}

#[tokio::test]
async fn tax_is_part_of_the_money_and_not_of_what_the_credits_cost() {
    for (behaviour, money) in [("exclusive", (595, 95, 500)), ("inclusive", (500, 80, 420))] {
        let shop = Shop::open().await;
        shop.set_checkout(json!({"automatic_tax": true, "collect_tax_ids": true})).await;
        let grants = json!([{"unit": "credits", "amount": 100}]);
        shop.offer_as("price_taxed", 500, grants, json!({"tax_behavior": behaviour})).await;
        shop.app.account_with("alice", 0).await;
        let checkout = shop.check_out_of("alice", "order", json!({"price_id": "price_taxed"})).await;
        shop.complete(&checkout, json!({"outcome": "paid", "country": "DE"})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        assert_eq!(shop.money().await, money, "{behaviour}");
        let lots = shop.app.get("/v1/accounts/alice/lots").await;
        assert_eq!(lots["items"][0]["cost"], json!({"amount": money.2, "currency": "eur"}), "{behaviour}");
        assert_eq!(shop.refund(&checkout, "all", json!({})).await.status, 201);
        shop.settles_at("alice", (0, 0, 0)).await;
        assert_eq!(shop.stripe.objects("refund").await[0]["amount"], money.0, "{behaviour}");
    }
}

#[tokio::test]
async fn a_price_of_two_units_gives_both_and_its_refunds_take_the_same_share_of_each() {
    let shop = Shop::open().await;
    let grants = json!([
        {"unit": "credits", "amount": 100, "share": 7},
        {"unit": "licence_30d", "amount": 2, "share": 3, "expires_days": 30},
    ]);
    shop.offer("price_both", 1_000, grants).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out_of("alice", "order", json!({"price_id": "price_both"})).await;
    shop.pay(&checkout).await;
    let has = async |expected: [i64; 2]| {
        wait::until("both units", async || {
            let balance = shop.app.get("/v1/accounts/alice/balance").await;
            let available = [0, 1].map(|unit: usize| balance["balances"][unit]["available"].clone());
            (available == expected.map(Value::from)).then_some(())
        })
        .await;
    };
    has([100, 2]).await;
    let costs: Vec<Value> =
        shop.events("credits.purchased").await.iter().map(|event| event["body"]["cost"].clone()).collect();
    assert_eq!(costs, [json!(700), json!(300)]);
    assert_eq!(shop.refund(&checkout, "a bit less than half", json!({"amount": 499})).await.status, 201);
    has([51, 2]).await;
    assert_eq!(shop.refund(&checkout, "the rest", json!({})).await.status, 201);
    has([0, 0]).await;
}

#[tokio::test]
async fn a_refund_that_stripe_refuses_gives_the_credits_back() {
    let shop = Shop::open().await;
    let (checkout, payment) = shop.sold_to("alice").await;
    // Stripe knows of a dispute, and the ledger does not yet.
    shop.fault(json!({"webhooks": "drop", "types": ["charge.dispute.*"]})).await;
    shop.stripe.control(&format!("charges/{payment}/dispute"), json!({})).await;
    assert_eq!(shop.refund(&checkout, "all", json!({})).await.status, 201);
    shop.refund_becomes(&checkout, "refused").await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    assert_eq!(shop.events("refund.refused").await[0]["body"]["reason"], "disputed");
    assert_eq!((shop.at_stripe("refund").await, shop.outbox().await.len()), (0, 0));
}

#[tokio::test]
async fn what_was_refunded_elsewhere_meanwhile_is_not_refunded_again() {
    let shop = Shop::open().await;
    let (checkout, payment) = shop.sold_to("alice").await;
    shop.fault(json!({"webhooks": "drop", "types": ["refund.*", "charge.*"]})).await;
    shop.refund_in_dashboard(&payment, 500).await;
    assert_eq!(shop.refund(&checkout, "all", json!({})).await.status, 201);
    shop.refund_becomes(&checkout, "refused").await;
    assert_eq!(shop.events("refund.refused").await[0]["body"]["reason"], "already_refunded");
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "nobody has told of the other refund yet");
    shop.no_more_faults().await;
    for event in shop.stripe.objects("event").await {
        if event["type"] == "refund.created" {
            shop.stripe.control(&format!("events/{}/resend", id(&event)), json!({})).await;
        }
    }
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.at_stripe("refund").await, 1);
}

#[tokio::test]
async fn a_refund_that_fails_later_gives_the_credits_back() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    assert_eq!(shop.refund(&checkout, "some", json!({"amount": 300})).await.status, 201);
    shop.refund_becomes(&checkout, "succeeded").await;
    assert_eq!(shop.balance("alice").await, (40, 0, 0));
    let refund = shop.stripe_refund(&checkout).await;
    shop.stripe.control(&format!("refunds/{refund}/fail"), json!({"reason": "lost_or_stolen_card"})).await;
    shop.refund_becomes(&checkout, "failed").await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    assert_eq!(shop.refund(&checkout, "to another card", json!({})).await.status, 201);
    shop.settles_at("alice", (0, 0, 0)).await;
}

#[tokio::test]
async fn refunds_in_the_dashboard_and_by_request_add_up() {
    let shop = Shop::open().await;
    let (checkout, payment) = shop.sold_to("alice").await;
    shop.refund_in_dashboard(&payment, 100).await;
    shop.settles_at("alice", (80, 0, 0)).await;
    assert_eq!(shop.refund(&checkout, "by request", json!({"amount": 150})).await.status, 201);
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.refund_in_dashboard(&payment, 50).await;
    shop.settles_at("alice", (40, 0, 0)).await;
    let too_much = shop.refund(&checkout, "too much", json!({"amount": 201})).await;
    assert_eq!(
        (too_much.status, too_much.json()["error"]["detail"]["refundable"].clone()),
        (409, json!(200))
    );
    assert_eq!(shop.refund(&checkout, "the rest", json!({})).await.status, 201);
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.at_stripe("refund").await, 4);
}

#[tokio::test]
async fn what_was_spent_before_its_refund_is_owed() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    shop.spend("alice", 80).await;
    assert_eq!(shop.refund(&checkout, "all", json!({})).await.status, 201);
    shop.settles_at("alice", (0, 0, 80)).await;
    let again = shop.check_out("alice", "another pack").await;
    shop.pay(&again).await;
    shop.settles_at("alice", (20, 0, 0)).await;
}

#[tokio::test]
async fn what_expired_before_its_refund_is_not_owed() {
    let shop = Shop::open().await;
    shop.offer("price_short", 500, json!([{"unit": "credits", "amount": 100, "expires_days": 10}])).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out_of("alice", "order", json!({"price_id": "price_short"})).await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.spend("alice", 30).await;
    shop.days_pass(11).await;
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.refund(&checkout, "most", json!({"amount": 400})).await.status, 201);
    shop.refund_becomes(&checkout, "succeeded").await;
    assert_eq!(shop.balance("alice").await, (0, 0, 10), "80 are taken back: 70 had expired, 10 were spent");
}

#[tokio::test]
async fn a_pending_refund_is_set_aside_or_taken_as_the_ledger_says() {
    for (arguments, while_pending) in [
        (&["--unit", "credits"][..], (0, 100, 0)),
        (&["--unit", "credits", "--claw-on-pending"][..], (0, 0, 0)),
    ] {
        let shop = Shop::open_ledger(arguments).await;
        shop.app.account_with("alice", 0).await;
        let checkout = shop.check_out("alice", "order").await;
        shop.complete(&checkout, json!({"outcome": "paid", "card": SLOW_REFUNDS})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        assert_eq!(shop.refund(&checkout, "all", json!({})).await.status, 201);
        shop.refund_becomes(&checkout, "pending").await;
        assert_eq!(shop.balance("alice").await, while_pending, "{arguments:?}");
        let refund = shop.stripe_refund(&checkout).await;
        shop.stripe.control(&format!("refunds/{refund}/succeed"), json!({})).await;
        shop.refund_becomes(&checkout, "succeeded").await;
        assert_eq!(shop.balance("alice").await, (0, 0, 0), "{arguments:?}");
        shop.stripe.control(&format!("refunds/{refund}/fail"), json!({})).await;
        shop.refund_becomes(&checkout, "failed").await;
        assert_eq!(shop.balance("alice").await, (100, 0, 0), "{arguments:?}");
    }
}

#[tokio::test]
async fn whoever_meets_a_slow_stripe_polls_the_order_or_asks_again() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let slow =
        json!({"api": "slow", "method": "POST", "path": "/v1/checkout/sessions", "next": 1, "seconds": 8});
    shop.fault(slow).await;
    let begun = shop.try_check_out("alice", "order").await;
    assert_eq!(begun.status, 202, "{begun:?}");
    let order = begun.json();
    assert_eq!((&order["status"], &order["url"]), (&json!("placed"), &Value::Null));
    let ready = wait::until("the page", async || {
        Some(shop.order(&order).await).filter(|order| !order["url"].is_null())
    });
    let ready = ready.await;
    let again = shop.check_out("alice", "order").await;
    assert_eq!((&again["url"], order_of(&again)), (&ready["url"], order_of(&order)));
    shop.pay(&again).await;
    shop.order_becomes(&again, "paid").await;
    assert_eq!((shop.balance("alice").await, shop.at_stripe("checkout.session").await), ((100, 0, 0), 1));
}

#[tokio::test]
async fn an_account_that_is_closed_meanwhile_is_credited_all_the_same() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    let closed = shop.app.keyed("/v1/accounts/alice/close", "close", &json!({"reason": "left"})).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.order(&checkout).await["status"], "paid");
}
