//! Invoices of subscriptions are compared: what was paid and not credited, credited and not paid, or told with other money,
//! and what is no difference although it granted nothing.

use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    reconcile_support::said,
    subscriptions_support::Subscribed,
    support::{shop::Shop, simulator::id},
};

impl Shop {
    /// The newest invoice of a subscription.
    async fn last_invoice(&self, subscribed: &Subscribed) -> Value {
        self.invoices(subscribed).await.pop().expect("an invoice")
    }

    /// What the newest run has compared: invoices of Stripe's, and things of the ledger's that those did not tell.
    async fn compared(&self) -> (i64, i64) {
        let counts = self.runs().await[0]["counts"].clone();
        let count = |name: &str| counts[name].as_i64().expect("a count");
        (count("invoices"), count("found"))
    }

    /// Somebody subscribes to what another product sells in the same Stripe account.
    async fn another_product_renews(&self) {
        let price = self.stripe.price("unit_amount=700&recurring[interval]=month").await;
        let customer = id(&self.stripe.post("/v1/customers", "email=bob@example.com").await.ok());
        let form = format!(
            "mode=subscription&customer={customer}&success_url=https://shop.example/&line_items[0][price]={price}\
             &line_items[0][quantity]=1"
        );
        let session = id(&self.stripe.post("/v1/checkout/sessions", &form).await.ok());
        let paid = json!({"outcome": "paid"});
        self.stripe.control(&format!("checkout_sessions/{session}/complete"), paid).await;
    }
}

/// The invoice as another one, in the shape that invoices have now.
fn forged(invoice: &Value, name: &str, paid: i64) -> Value {
    let mut forged = invoice.clone();
    forged["id"] = json!(format!("in_{name}"));
    forged["lines"]["data"][0]["id"] = json!(format!("il_{name}"));
    let payment = json!({"type": "payment_intent", "payment_intent": format!("pi_{name}")});
    forged["payments"] = json!({"object": "list", "has_more": false,
        "data": [{"id": "inpay_1", "object": "invoice_payment", "status": "paid", "payment": payment}]});
    for field in ["amount_paid", "amount_due", "total", "subtotal"] {
        forged[field] = json!(paid);
    }
    forged
}

/// The same in the shape that they had before 2025-03-31.
fn forged_before(invoice: &Value, name: &str, paid: i64) -> Value {
    let mut forged = forged(invoice, name, paid);
    let subscription = forged["parent"]["subscription_details"]["subscription"].clone();
    let line = &forged["lines"]["data"][0];
    let line = json!({"id": line["id"], "object": "line_item", "amount": line["amount"],
        "currency": line["currency"], "period": line["period"], "quantity": line["quantity"],
        "price": {"id": line["pricing"]["price_details"]["price"], "object": "price"},
        "proration": false, "subscription": subscription, "metadata": {}});
    forged["lines"] = json!({"object": "list", "has_more": false, "data": [line]});
    forged["subscription"] = subscription;
    forged["payment_intent"] = json!(format!("pi_{name}"));
    forged["paid"] = json!(true);
    for field in ["parent", "payments"] {
        forged.as_object_mut().expect("an invoice").remove(field);
    }
    forged
}

#[tokio::test]
async fn a_renewal_of_which_nothing_was_told_is_credited_once_however_it_comes() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.inbox_rests().await;
    shop.compares(&[]).await;
    assert_eq!(shop.compared().await, (1, 0));
    shop.events_are_forgotten().await;
    shop.spend("alice", 40).await;
    shop.days_pass(30).await;
    let renewal = shop.last_invoice(&subscribed).await;
    let found = shop.compares(&[("paid_not_credited", &id(&renewal))]).await;
    assert_eq!(found[0]["at_stripe"], json!({"amount": 1_000, "currency": "eur", "status": "paid"}));
    assert_eq!(found[0]["invoice_line"], renewal["lines"]["data"][0]["id"]);
    assert_eq!(found[0]["payment"], shop.last_payment(&subscribed).await);
    assert_eq!(shop.balance("alice").await, (60, 0, 0), "nothing is repaired unasked");
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.compares(&[]).await;
    assert_eq!(shop.compared().await, (2, 0));
    shop.every_webhook_arrives().await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    assert_eq!(shop.events("credits.purchased").await.len(), 2);
    shop.verify().await;
}

#[tokio::test]
async fn a_run_that_may_repair_credits_subscriptions_that_the_ledger_never_heard_of() {
    let shop = Shop::with_plan().await;
    shop.events_are_forgotten().await;
    let subscribed = shop.subscribe("alice", json!({"quantity": 3})).await;
    shop.days_pass(30).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0));
    shop.reconciles(&["--repair"]).await;
    shop.has_been_paid(2).await;
    // The first period is over, so that it counts from when it is told.
    assert_eq!(shop.balance("alice").await, (600, 0, 0));
    assert_eq!(shop.subscription(&subscribed).await["account_id"], "alice");
    shop.compares(&[]).await;
    shop.every_webhook_arrives().await;
    assert_eq!(shop.balance("alice").await, (600, 0, 0));
    shop.is_in_order().await;
}

#[tokio::test]
async fn credits_of_an_invoice_that_stripe_does_not_have_are_taken_back() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let invoice = shop.last_invoice(&subscribed).await;
    for forged in [forged(&invoice, "forged", 900), forged_before(&invoice, "before", 800)] {
        shop.is_told("invoice.paid", forged).await;
    }
    shop.is_told("invoice.paid", forged(&invoice, "free", 0)).await;
    assert_eq!(shop.balance("alice").await, (400, 0, 0));
    let found = shop
        .compares(&[
            ("credited_not_paid", "in_free"),
            ("credited_not_paid", "in_before"),
            ("credited_not_paid", "in_forged"),
        ])
        .await;
    assert_eq!(found[1]["in_ledger"], json!({"amount": 800, "currency": "eur"}));
    assert_eq!(found[2]["payment"], "pi_forged");
    for finding in &found[1..] {
        shop.repairs(finding).await;
    }
    assert_eq!(shop.balance("alice").await, (200, 0, 0));
    // No payment is there to be taken back.
    let (_, tried) = shop.decide(&found[0], "repair", "try").await;
    assert!(tried["reason"].as_str().is_some_and(|reason| reason.starts_with("no_payment: ")), "{tried}");
    let (status, _) = shop.decide(&found[0], "dismiss", "a month as a present").await;
    assert_eq!(status, 200);
    shop.compares(&[]).await;
    shop.verify().await;
}

#[tokio::test]
async fn an_invoice_that_was_told_as_paid_and_is_not_is_found_until_it_is() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let card = format!("customers/{}/card", subscribed.customer);
    shop.stripe.control(&card, json!({"card": "4000000000000341"})).await;
    shop.days_pass(31).await;
    shop.subscription_has(&subscribed, "status", json!("past_due")).await;
    let open = shop.last_invoice(&subscribed).await;
    let mut told = forged(&open, "unused", 1_000);
    (told["id"], told["lines"]) = (open["id"].clone(), open["lines"].clone());
    told["status"] = json!("paid");
    shop.is_told("invoice.paid", told).await;
    let found = shop.compares(&[("credited_not_paid", &id(&open))]).await;
    assert_eq!(found[0]["at_stripe"]["status"], "open");
    shop.events_are_forgotten().await;
    shop.stripe.control(&format!("invoices/{}/pay", id(&open)), json!({})).await;
    shop.compares(&[]).await;
    assert_eq!(shop.findings("vanished").await.len(), 1);
}

#[tokio::test]
async fn an_invoice_that_was_told_with_other_money_is_found_and_dismissed_for_good() {
    let shop = Shop::with_plan().await;
    shop.events_are_forgotten().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    let invoice = shop.last_invoice(&subscribed).await;
    let mut told = forged(&invoice, "unused", 1_300);
    (told["id"], told["lines"]) = (invoice["id"].clone(), invoice["lines"].clone());
    shop.is_told("invoice.paid", told).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    let found = shop.compares(&[("amount_differs", &id(&invoice))]).await;
    assert_eq!(
        (&found[0]["at_stripe"]["amount"], &found[0]["in_ledger"]["amount"]),
        (&json!(1_000), &json!(1_300))
    );
    let (status, refused) = shop.decide(&found[0], "repair", "let it be").await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("finding_not_repairable")));
    let (status, _) = shop.decide(&found[0], "dismiss", "three euros were given back by hand").await;
    assert_eq!(status, 200);
    shop.compares(&[]).await;
}

#[tokio::test]
async fn an_invoice_that_was_paid_and_was_told_as_free_is_found() {
    let shop = Shop::with_plan().await;
    shop.events_are_forgotten().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    let invoice = shop.last_invoice(&subscribed).await;
    let mut told = forged(&invoice, "unused", 0);
    (told["id"], told["lines"]) = (invoice["id"].clone(), invoice["lines"].clone());
    shop.is_told("invoice.paid", told).await;
    let found = shop.compares(&[("amount_differs", &id(&invoice))]).await;
    assert_eq!(found[0]["in_ledger"], json!({"amount": 0}));
}

#[tokio::test]
async fn invoices_of_another_product_are_no_difference() {
    let shop = Shop::with_plan().await;
    shop.events_are_forgotten().await;
    shop.another_product_renews().await;
    shop.days_pass(70).await;
    shop.compares(&[]).await;
    assert_eq!(shop.compared().await, (3, 0));
}

#[tokio::test]
async fn lines_that_rightly_grant_nothing_are_no_difference() {
    let shop = Shop::with_plan().await;
    shop.offer_plan("price_big", 4_000, json!([{"unit": "credits", "amount": 500}])).await;
    shop.app.account_with("bob", 0).await;
    shop.subscribe("bob", json!({"trial_days": 20})).await;
    let subscribed = shop.subscribe("alice", json!({"price_id": "price_big"})).await;
    shop.settles_at("alice", (500, 0, 0)).await;
    shop.days_pass(15).await;
    shop.change_at_dashboard(&subscribed, "price_plan", 1).await;
    shop.inbox_rests().await;
    shop.compares(&[]).await;
    assert_eq!(shop.compared().await, (3, 0));
    assert_eq!(shop.balance("bob").await, (0, 0, 0));
    shop.events_are_forgotten().await;
    shop.change_at_dashboard(&subscribed, "price_big", 1).await;
    shop.change_at_dashboard(&subscribed, "price_plan", 1).await;
    let lost = shop.invoices(&subscribed).await;
    let (up, down) = (id(&lost[2]), id(&lost[3]));
    // Both are of one second, so that Stripe may list either first.
    let output = shop.reconcile(&[]).await;
    let mut found: Vec<String> = shop.findings("open").await.into_iter().map(|(_, of, _)| of).collect();
    found.sort();
    let mut lost = [up, down];
    lost.sort();
    assert_eq!(found, lost, "a downgrade counts for what later changes are worth: {}", said(&output));
    shop.reconciles(&["--repair"]).await;
    assert_eq!(shop.balance("alice").await, (500, 0, 0));
    shop.compares(&[]).await;
    shop.verify().await;
}

#[tokio::test]
async fn a_trial_is_missing_if_the_ledger_grants_something_for_it_and_the_account_had_none() {
    let shop = Shop::with_plan().await;
    shop.rule(json!({"trial_credits": [{"unit": "credits", "amount": 25}]})).await;
    shop.events_are_forgotten().await;
    let first = shop.subscribe("alice", json!({"trial_days": 20})).await;
    let trial = id(&shop.last_invoice(&first).await);
    let found = shop.compares(&[("paid_not_credited", &trial)]).await;
    assert_eq!(found[0]["at_stripe"]["amount"], 0);
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (25, 0, 0));
    let second = shop.subscribe("alice", json!({"trial_days": 20})).await;
    assert_eq!(shop.invoices(&second).await.len(), 1);
    shop.compares(&[]).await;
    shop.verify().await;
}
