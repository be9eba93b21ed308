//! Disputes from outside: what Stripe tells sets credits aside, takes them or gives them back, in whatever order it comes.

use reqwest::Method;
use serde_json::{Value, json};

use counterfoil::domain::settings::LedgerMode;

use crate::{
    api_support::Requests,
    stripe_support::WebhookLedger,
    support::{
        shop::Shop,
        simulator::{TestSimulator, id},
        wait,
    },
};

async fn dispute(shop: &Shop, payment: &str, order: Value) -> String {
    id(&shop.stripe.control(&format!("charges/{payment}/dispute"), order).await)
}

async fn close(shop: &Shop, dispute: &str, outcome: &str) {
    shop.stripe.control(&format!("disputes/{dispute}/close"), json!({"outcome": outcome})).await;
}

#[tokio::test]
async fn an_inquiry_takes_nothing_and_what_it_becomes_is_decided_by_the_verdict() {
    let shop = Shop::open().await;
    let (checkout, payment) = shop.sold_to("alice").await;
    let inquiry = dispute(&shop, &payment, json!({"inquiry": true, "amount": 400})).await;
    let disputes = wait::until("the inquiry to be known", async || {
        let order = shop.order(&checkout).await;
        order["disputes"].as_array().filter(|disputes| !disputes.is_empty()).cloned()
    });
    let known = json!({"stripe_dispute_id": inquiry, "status": "inquiry", "amount": 400, "currency": "eur"});
    assert_eq!(disputes.await, [known]);
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.stripe.control(&format!("disputes/{inquiry}/escalate"), json!({})).await;
    shop.settles_at("alice", (20, 80, 0)).await;
    close(&shop, &inquiry, "lost").await;
    shop.settles_at("alice", (20, 0, 0)).await;
    assert_eq!(shop.order(&checkout).await["disputes"][0]["status"], "lost");
    shop.inbox_rests().await;
    shop.verify().await;
}

#[tokio::test]
async fn a_ledger_that_says_so_freezes_who_disputes_and_an_operator_has_the_last_word() {
    let shop = Shop::open().await;
    let rules = json!({"freeze_on_dispute": true});
    assert_eq!(shop.app.send(Method::PUT, "/v1/settings/rules", Some(&rules)).await.status, 200);
    let (_, payment) = shop.sold_to("alice").await;
    let disputed = dispute(&shop, &payment, json!({"amount": 250})).await;
    shop.settles_at("alice", (50, 50, 0)).await;
    assert_eq!(shop.app.get("/v1/accounts/alice").await["status"], "frozen");
    let spend = json!({"unit": "credits", "amount": 1});
    let refused = shop.app.keyed("/v1/accounts/alice/spends", "s", &spend).await;
    assert_eq!((refused.status, refused.code().as_str()), (403, "account_frozen"));
    assert_eq!(shop.app.keyed("/v1/accounts/alice/unfreeze", "u", &json!({})).await.status, 200);
    close(&shop, &disputed, "won").await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.app.get("/v1/accounts/alice").await["status"], "open");
    let frozen = shop.events("account.frozen").await;
    assert_eq!((frozen.len(), &frozen[0]["body"]["cause"]), (1, &json!("dispute")));
}

#[tokio::test]
async fn a_dispute_that_is_won_gives_everybody_back_what_was_set_aside() {
    let shop = Shop::open().await;
    let (_, intent) = shop.sold_to("alice").await;
    shop.app.account_with("bob", 0).await;
    assert_eq!(
        shop.app
            .keyed(
                "/v1/transfers",
                "t",
                &json!({"from_account_id": "alice", "to_account_id": "bob", "unit": "credits", "amount": 60})
            )
            .await
            .status,
        201
    );
    let disputed = dispute(&shop, &intent, json!({})).await;
    shop.settles_at("alice", (0, 40, 0)).await;
    shop.settles_at("bob", (0, 60, 0)).await;
    close(&shop, &disputed, "won").await;
    shop.settles_at("alice", (40, 0, 0)).await;
    shop.settles_at("bob", (60, 0, 0)).await;
    shop.verify().await;
}

/// The bodies that Stripe sends of one payment: paid, refunded in part, disputed, decided.
async fn bodies(stripe: &TestSimulator) -> (Vec<String>, Vec<String>) {
    let price = stripe.price("unit_amount=500").await;
    let marks = "metadata[account_id]=buyer-x&metadata[credits]=100&metadata[unit]=credits";
    let session = id(&stripe.session(&price, marks).await);
    let order = json!({"outcome": "paid"});
    let paid = stripe.control(&format!("checkout_sessions/{session}/complete"), order).await;
    let payment = paid["payment_intent"].as_str().expect("a payment").to_owned();
    stripe.post("/v1/refunds", &format!("payment_intent={payment}&amount=100")).await.ok();
    let opened = stripe.control(&format!("charges/{payment}/dispute"), json!({"amount": 150})).await;
    stripe.control(&format!("disputes/{}/close", id(&opened)), json!({"outcome": "lost"})).await;
    let events = stripe.get("/v1/events?limit=100").await.ok();
    let told = |kind: &str| {
        let events = events["data"].as_array().expect("events");
        events.iter().find(|event| event["type"] == kind).unwrap_or_else(|| panic!("{kind} was told")).clone()
    };
    let kinds =
        ["checkout.session.completed", "refund.created", "charge.dispute.created", "charge.dispute.closed"];
    let events: Vec<Value> = kinds.map(told).into();
    let mut ids: Vec<String> = events.iter().map(id).collect();
    ids.extend(events.iter().map(|event| id(&event["data"]["object"])));
    ids.extend([payment, "buyer-x".to_owned()]);
    ids.extend(events[1]["data"]["object"]["charge"].as_str().map(str::to_owned));
    (events.iter().map(Value::to_string).collect(), ids)
}

#[tokio::test]
async fn a_payment_ends_the_same_in_whatever_order_stripe_tells_of_it() {
    let stripe = TestSimulator::start().await;
    let (bodies, ids) = bodies(&stripe).await;
    let ledger = WebhookLedger::new(LedgerMode::Test).await;
    let mut orders: Vec<Vec<usize>> = vec![Vec::new()];
    for _ in 0..bodies.len() {
        let longer = |order: &Vec<usize>| -> Vec<Vec<usize>> {
            let left = (0..bodies.len()).filter(|next| !order.contains(next));
            left.map(|next| [order.as_slice(), &[next]].concat()).collect()
        };
        orders = orders.iter().flat_map(longer).collect();
    }
    assert_eq!(orders.len(), 24);
    for (number, order) in orders.iter().enumerate() {
        ledger.open(&format!("buyer-x{number}")).await;
        for index in order {
            let body = ids.iter().fold(bodies[*index].clone(), |body, id| {
                body.replace(&format!("\"{id}\""), &format!("\"{id}{number}\""))
            });
            ledger.deliver(body.as_bytes()).await.expect("taken");
            ledger.settle().await;
        }
    }
    let credits = ledger.credits_of_all().await;
    for (number, order) in orders.iter().enumerate() {
        assert_eq!(credits[&format!("buyer-x{number}")], 50, "{order:?}");
    }
    assert!(ledger.statuses().await.iter().all(|status| *status == "processed"));
}
