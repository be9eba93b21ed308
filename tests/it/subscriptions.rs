//! Subscriptions from outside: checked out, renewed by the clock, tried, cancelled, paid late; with the real processes of
//! the service and of the simulated Stripe.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    subscriptions_support::{DAY, DECLINED_LATER, Subscribed, unique},
    support::{shop::Shop, simulator::id, wait},
};

/// Unix seconds of a moment as the API writes it.
fn seconds(moment: &Value) -> i64 {
    let text = moment.as_str().expect("a moment");
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text, format).expect("a moment").unix_timestamp()
}

#[tokio::test]
async fn a_subscription_begins_at_checkout_and_its_invoice_grants() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.stripe.objects("checkout.session").await[0]["mode"], "subscription");
    let order = shop.order_becomes(&subscribed.checkout, "paid").await;
    assert_eq!(order["purchase_ids"], json!([]), "the invoice is what was bought");

    let known = shop.subscription_has(&subscribed, "status", json!("active")).await;
    assert_eq!(known["order_id"], subscribed.checkout["order_id"]);
    assert_eq!(known["items"], json!([{"price_id": "price_plan", "quantity": 1}]));
    shop.is_in_order().await;
    let known = shop.subscription(&subscribed).await;
    let lots = shop.app.get("/v1/accounts/alice/lots").await;
    let grace = seconds(&lots["items"][0]["expires_at"]) - seconds(&known["current_period_end"]);
    assert_eq!((lots["items"].as_array().map(Vec::len), grace), (Some(1), 3 * DAY));
    assert_eq!(lots["items"][0]["cost"], json!({"amount": 1_000, "currency": "eur"}));

    let listed = shop.app.get("/v1/accounts/alice/subscriptions").await;
    assert_eq!(listed["items"], json!([known]));
    assert_eq!(shop.app.get("/v1/accounts/alice/subscriptions?status=canceled").await["items"], json!([]));
    for (path, code) in [
        ("/v1/accounts/nobody/subscriptions", "account_not_found"),
        ("/v1/subscriptions/sub_unknown", "subscription_not_found"),
    ] {
        let refused = shop.app.send(Method::GET, path, None).await;
        assert_eq!((refused.status, refused.code().as_str()), (404, code));
    }
}

#[tokio::test]
async fn subscriptions_are_listed_newest_first_page_by_page() {
    let shop = Shop::with_plan().await;
    let mut ids = Vec::new();
    for number in 1..=3 {
        ids.push(shop.subscribe("alice", json!({})).await.id);
        shop.settles_at("alice", (number * 100, 0, 0)).await;
    }
    ids.reverse();
    let page = shop.app.get("/v1/accounts/alice/subscriptions?limit=2").await;
    let cursor = page["next_cursor"].as_str().expect("another page");
    let rest = shop.app.get(&format!("/v1/accounts/alice/subscriptions?limit=2&cursor={cursor}")).await;
    let found = [&page, &rest].into_iter().flat_map(|page| page["items"].as_array().expect("items"));
    let found: Vec<&str> = found.map(|item| item["subscription_id"].as_str().expect("an id")).collect();
    assert_eq!((found, &rest["next_cursor"]), (ids.iter().map(String::as_str).collect(), &Value::Null));
}

#[tokio::test]
async fn a_renewal_moves_on_what_the_rules_let_live() {
    for (rollover, after) in [
        (json!({"kind": "none"}), 100),
        (json!({"kind": "all"}), 160),
        (json!({"kind": "capped", "amount": 25}), 125),
    ] {
        let shop = Shop::with_plan().await;
        shop.rule(json!({"rollover": rollover})).await;
        shop.subscribe("alice", json!({})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        shop.spend("alice", 40).await;
        shop.days_pass(31).await;
        shop.has_been_paid(2).await;
        shop.settles_at("alice", (after, 0, 0)).await;
        shop.is_in_order().await;
    }
}

#[tokio::test]
async fn a_price_says_what_its_renewals_move_on_here_or_in_its_metadata() {
    let shop = Shop::with_plan().await;
    let path = "/v1/prices/price_keeps";
    let grants = json!([{"unit": "credits", "amount": 100}]);
    let at_stripe = json!({"id": "price_keeps", "currency": "eur", "unit_amount": 1_000,
        "recurring": {"interval": "day", "interval_count": 30}, "product_data": {"name": "Plan"},
        "metadata": {"counterfoil_grants": grants.to_string(), "credits_rollover": "all"}});
    shop.stripe.control("prices", at_stripe).await;
    let known = wait::until("a price to be known", async || {
        let known = shop.app.send(Method::GET, path, None).await;
        (known.status == 200).then(|| known.json())
    })
    .await;
    assert_eq!((&known["rollover"]["kind"], &known["overridden"]), (&json!("all"), &json!([])));
    shop.app.account_with("bob", 0).await;
    shop.subscribe("alice", json!({})).await;
    shop.subscribe("bob", json!({"price_id": "price_keeps"})).await;
    shop.has_been_paid(2).await;
    shop.days_pass(31).await;
    shop.has_been_paid(4).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.settles_at("bob", (200, 0, 0)).await;
    let said = json!({"rollover": {"kind": "capped", "amount": 30}});
    let said = shop.app.send(Method::PUT, path, Some(&said)).await.json();
    assert_eq!((&said["rollover"]["amount"], &said["overridden"]), (&json!(30), &json!(["rollover"])));
    shop.days_pass(30).await;
    shop.has_been_paid(6).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.settles_at("bob", (130, 0, 0)).await;
    let refused = shop.app.send(Method::PUT, path, Some(&json!({"rollover": {"kind": "capped"}}))).await;
    assert_eq!((refused.status, refused.field()), (400, "rollover.amount".to_owned()));
    shop.is_in_order().await;
}

#[tokio::test]
async fn credits_of_other_purchases_outlive_every_renewal() {
    let shop = Shop::with_plan().await;
    shop.rule(json!({"rollover": {"kind": "capped", "amount": 10}})).await;
    shop.sold_to("bob").await;
    shop.subscribe("bob", json!({})).await;
    shop.settles_at("bob", (200, 0, 0)).await;
    shop.days_pass(31).await;
    shop.settles_at("bob", (210, 0, 0)).await;
    shop.days_pass(30).await;
    shop.settles_at("bob", (210, 0, 0)).await;
}

#[tokio::test]
async fn a_trial_grants_what_the_rules_say_once_for_each_account_and_then_it_is_paid() {
    let shop = Shop::with_plan().await;
    shop.rule(json!({"trial_credits": [{"unit": "credits", "amount": 20}]})).await;
    let trial = json!({"trial_days": 14});
    let subscribed = shop.subscribe("alice", trial.clone()).await;
    shop.settles_at("alice", (20, 0, 0)).await;
    shop.subscription_has(&subscribed, "status", json!("trialing")).await;
    let again = shop.subscribe("alice", trial.clone()).await;
    shop.subscription_has(&again, "status", json!("trialing")).await;
    shop.is_in_order().await;
    assert_eq!(shop.balance("alice").await, (20, 0, 0), "a trial is granted once");
    shop.app.account_with("bob", 0).await;
    shop.subscribe("bob", trial).await;
    shop.settles_at("bob", (20, 0, 0)).await;
    shop.stripe.send(Method::DELETE, &format!("/v1/subscriptions/{}", again.id), "", &[]).await.ok();

    shop.days_pass(15).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.subscription_has(&subscribed, "status", json!("active")).await;
    // Alice's first paid period, and Bob's.
    shop.has_been_paid(2).await;
    shop.is_in_order().await;
    assert_eq!(shop.events("credits.purchased").await.len(), 2);
}

#[tokio::test]
async fn a_trial_is_for_prices_that_recur() {
    let shop = Shop::with_plan().await;
    for (price, days) in [("price_pack", 7), ("price_plan", 0), ("price_plan", 731)] {
        let body = json!({"account_id": "alice", "price_id": price, "trial_days": days});
        let refused = shop.app.keyed("/v1/checkout-sessions", &unique("trial"), &body).await;
        let found = (refused.status, refused.code(), refused.field());
        assert_eq!(found, (400, "invalid_request".to_owned(), "trial_days".to_owned()), "{price} {days}");
    }
}

#[tokio::test]
async fn a_renewal_that_is_told_late_finds_the_credits_alive() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.fault(json!({"webhooks": "drop", "types": ["invoice.*", "invoice_payment.*"]})).await;
    shop.days_pass(30).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "the days of grace");
    shop.no_more_faults().await;
    let renewal = shop.invoices(&subscribed).await.pop().expect("a renewal");
    shop.tell_again(&renewal).await;
    shop.has_been_paid(2).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.events("credits.expired").await.len(), 1, "what was left made room for the new period");
    shop.tell_again(&renewal).await;
    shop.is_in_order().await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
}

#[tokio::test]
async fn a_renewal_that_is_told_after_its_period_counts_from_then_on() {
    let shop = Shop::with_plan().await;
    shop.rule(json!({"renewal_grace_days": 0})).await;
    let grants = json!([{"unit": "credits", "amount": 10}]);
    shop.offer_every("price_short", 200, grants, json!({"interval": "day", "interval_count": 10})).await;
    let subscribed = shop.subscribe("alice", json!({"price_id": "price_short"})).await;
    shop.settles_at("alice", (10, 0, 0)).await;
    shop.fault(json!({"webhooks": "drop", "types": ["invoice.*", "invoice_payment.*"]})).await;
    shop.days_pass(21).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    shop.no_more_faults().await;
    let [_, first, _second] = &shop.invoices(&subscribed).await[..] else { panic!("two renewals") };
    shop.tell_again(first).await;
    shop.settles_at("alice", (10, 0, 0)).await;
    let lots = shop.app.get("/v1/accounts/alice/lots").await;
    let paid_at = seconds(&shop.events("credits.purchased").await[1]["recorded_at"]);
    assert_eq!(seconds(&lots["items"][0]["expires_at"]) - paid_at, 10 * DAY, "{lots}");
}

#[tokio::test]
async fn a_renewal_that_is_not_paid_grants_nothing_until_it_is() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let card = format!("customers/{}/card", subscribed.customer);
    shop.stripe.control(&card, json!({"card": DECLINED_LATER})).await;
    shop.days_pass(31).await;
    shop.subscription_has(&subscribed, "status", json!("past_due")).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "the days of grace");
    shop.days_pass(3).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    let open = shop.invoices(&subscribed).await.pop().expect("an invoice");
    shop.stripe.control(&format!("invoices/{}/pay", id(&open)), json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.subscription_has(&subscribed, "status", json!("active")).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_subscription_that_is_never_paid_ends_and_leaves_what_was_granted() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.sold_to("bob").await;
    let card = format!("customers/{}/card", subscribed.customer);
    shop.stripe.control(&card, json!({"card": DECLINED_LATER})).await;
    shop.days_pass(30 + 16).await;
    shop.subscription_has(&subscribed, "status", json!("canceled")).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    assert_eq!(shop.balance("bob").await, (100, 0, 0));
    assert_eq!(shop.events("subscription.ended").await.len(), 1);
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_pause_grants_nothing_and_the_next_paid_period_grants_again() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.at_dashboard(&subscribed, "pause_collection[behavior]=void").await;
    shop.subscription_has(&subscribed, "collection_paused", json!(true)).await;
    shop.days_pass(34).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    shop.at_dashboard(&subscribed, "pause_collection=").await;
    shop.subscription_has(&subscribed, "collection_paused", json!(false)).await;
    shop.days_pass(27).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn what_is_cancelled_with_its_period_loses_its_grace_when_that_ends() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.at_dashboard(&subscribed, "cancel_at_period_end=true").await;
    shop.subscription_has(&subscribed, "cancel_at_period_end", json!(true)).await;
    shop.days_pass(29).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.days_pass(2).await;
    shop.subscription_has(&subscribed, "status", json!("canceled")).await;
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.events("credits.purchased").await.len(), 1);
    shop.is_in_order().await;
}

#[tokio::test]
async fn what_is_cancelled_at_once_keeps_its_credits_for_the_time_that_was_paid() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(10).await;
    cancel_at_stripe(&shop, &subscribed).await;
    shop.subscription_has(&subscribed, "status", json!("canceled")).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.days_pass(19).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.days_pass(1).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0), "without a renewal to wait for there is no grace");
    shop.is_in_order().await;
}

async fn cancel_at_stripe(shop: &Shop, subscribed: &Subscribed) {
    shop.stripe.send(Method::DELETE, &format!("/v1/subscriptions/{}", subscribed.id), "", &[]).await.ok();
}
