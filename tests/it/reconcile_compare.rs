//! Stripe and the ledger are compared: each kind of difference is found once, repaired under the key of its fact, or
//! dismissed, and gone when there is none any more.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    reconcile_support::said,
    support::{shop::Shop, simulator::id},
};

impl Shop {
    /// A session without an order that alice has paid; it sells seven credits.
    async fn sells_seven(&self) -> Value {
        let marks = "metadata[account_id]=alice&metadata[credits]=7&metadata[unit]=credits";
        let price = self.stripe.price("unit_amount=500").await;
        let session = id(&self.stripe.session(&price, marks).await);
        let paid = json!({"outcome": "paid"});
        self.stripe.control(&format!("checkout_sessions/{session}/complete"), paid).await
    }
}

#[tokio::test]
async fn what_was_paid_and_not_credited_is_credited_once_however_it_comes() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    shop.events_are_forgotten().await;
    let session = id(&shop.pay(&checkout).await);
    let found = shop.compares(&[("paid_not_credited", &session)]).await;
    assert_eq!(found[0]["at_stripe"], json!({"amount": 500, "currency": "eur", "status": "paid"}));
    assert_eq!(found[0]["order_id"], checkout["order_id"]);
    shop.compares(&[("paid_not_credited", &session)]).await;
    assert_eq!(shop.balance("alice").await, (0, 0, 0), "nothing is repaired unasked");
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    assert_eq!(shop.order(&checkout).await["status"], "paid");
    shop.compares(&[]).await;
    shop.every_webhook_arrives().await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    assert_eq!(shop.findings("repaired").await.len(), 1);
    shop.verify().await;
}

#[tokio::test]
async fn a_run_that_may_repair_makes_good_whatever_stripe_tells() {
    let shop = Shop::open().await;
    shop.events_are_forgotten().await;
    shop.has_a_busy_day().await;
    let output = shop.reconcile(&[]).await;
    assert!(!output.status.success(), "{}", said(&output));
    shop.reconciles(&["--repair"]).await;
    shop.is_as_after_a_busy_day().await;
    shop.compares(&[]).await;
    let run = shop.runs().await[1].clone();
    assert!(run["counts"]["repaired"].as_i64().expect("a count") >= 9, "{run}");
    shop.every_webhook_arrives().await;
    shop.is_as_after_a_busy_day().await;
    shop.verify().await;
}

#[tokio::test]
async fn refunds_and_disputes_that_the_ledger_lacks_are_recorded() {
    let shop = Shop::open().await;
    let (_, alices) = shop.sold_to("alice").await;
    let (_, bobs) = shop.sold_to("bob").await;
    shop.inbox_rests().await;
    shop.compares(&[]).await;
    shop.events_are_forgotten().await;
    let refund = shop.gives_back(&alices, 250).await;
    let dispute = shop.disputes(&bobs, json!({})).await;
    let found = shop.compares(&[("dispute_not_recorded", &dispute), ("refund_not_recorded", &refund)]).await;
    for finding in &found {
        shop.repairs(finding).await;
    }
    assert_eq!((shop.balance("alice").await, shop.balance("bob").await), ((50, 0, 0), (0, 100, 0)));
    shop.stripe.control(&format!("disputes/{dispute}/close"), json!({"outcome": "won"})).await;
    let found = shop.compares(&[("dispute_not_recorded", &dispute)]).await;
    assert_eq!(
        (&found[0]["at_stripe"]["status"], &found[0]["in_ledger"]["status"]),
        (&json!("won"), &json!("open"))
    );
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("bob").await, (100, 0, 0));
    shop.compares(&[]).await;
}

#[tokio::test]
async fn what_the_ledger_has_and_stripe_has_not_is_put_right_by_another_fact() {
    let shop = Shop::open().await;
    let (_, payment) = shop.sold_to("alice").await;
    shop.inbox_rests().await;
    let session = json!({"id": "cs_forged", "object": "checkout.session", "mode": "payment",
        "payment_status": "paid", "payment_intent": "pi_forged", "amount_total": 900, "currency": "eur",
        "metadata": {"account_id": "alice", "credits": "70", "unit": "credits"}});
    shop.is_told("checkout.session.completed", session).await;
    let refund = json!({"id": "re_forged", "object": "refund", "payment_intent": payment, "amount": 100,
        "currency": "eur", "status": "succeeded"});
    shop.is_told("refund.created", refund).await;
    let dispute = json!({"id": "dp_forged", "object": "dispute", "payment_intent": payment, "amount": 150,
        "currency": "eur", "status": "under_review"});
    shop.is_told("charge.dispute.created", dispute).await;
    assert_eq!(shop.balance("alice").await, (120, 30, 0));
    let found = shop
        .compares(&[
            ("dispute_unknown_at_stripe", "dp_forged"),
            ("refund_unknown_at_stripe", "re_forged"),
            ("credited_not_paid", "cs_forged"),
        ])
        .await;
    assert_eq!(found[2]["in_ledger"], json!({"amount": 900, "currency": "eur"}));
    for finding in &found {
        shop.repairs(finding).await;
    }
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.compares(&[]).await;
    shop.verify().await;
}

#[tokio::test]
async fn money_that_differs_is_told_once_and_dismissed_for_good() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    shop.webhooks_are_lost().await;
    let mut session = shop.sells_seven().await;
    let name = id(&session);
    session["amount_total"] = json!(700);
    session["amount_subtotal"] = json!(700);
    shop.is_told("checkout.session.completed", session).await;
    assert_eq!(shop.balance("alice").await, (7, 0, 0));
    let found = shop.compares(&[("amount_differs", &name)]).await;
    assert_eq!(
        (&found[0]["at_stripe"]["amount"], &found[0]["in_ledger"]["amount"]),
        (&json!(500), &json!(700))
    );
    // Stripe's own event was read meanwhile; it meets the same key, with other money.
    assert_eq!(
        shop.quarantined().await["reason"].as_str().map(|reason| &reason[..14]),
        Some("money_differs:")
    );
    let (status, refused) = shop.decide(&found[0], "repair", "let it be").await;
    assert_eq!((status, &refused["error"]["code"]), (409, &json!("finding_not_repairable")));
    let (status, _) = shop.decide(&found[0], "dismiss", "two euros were given back by hand").await;
    assert_eq!(status, 200);
    shop.compares(&[]).await;
    assert_eq!(shop.findings("dismissed").await.len(), 1);
}

#[tokio::test]
async fn an_order_that_was_paid_twice_is_a_finding_until_one_payment_went_back() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    let sessions = shop.stripe.objects("checkout.session").await;
    let marks = sessions[0]["metadata"].as_object().expect("marks").iter();
    let marks: Vec<String> =
        marks.map(|(name, value)| format!("metadata[{name}]={}", value.as_str().expect("text"))).collect();
    let customer = sessions[0]["customer"].as_str().expect("a customer");
    let second = shop.stripe.session("price_pack", &format!("customer={customer}&{}", marks.join("&"))).await;
    let paid = json!({"outcome": "paid"});
    shop.stripe.control(&format!("checkout_sessions/{}/complete", id(&second)), paid).await;
    shop.settles_at("alice", (200, 0, 0)).await;
    let order = checkout["order_id"].as_str().expect("an order");
    shop.compares(&[("order_paid_twice", order)]).await;
    assert_eq!(shop.refund(&checkout, "one of them", json!({})).await.status, 201);
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.outbox_empties().await;
    shop.refund_becomes(&checkout, "succeeded").await;
    shop.compares(&[]).await;
    assert_eq!(shop.findings("vanished").await.len(), 1);
}

#[tokio::test]
async fn a_difference_that_somebody_else_settles_vanishes_and_comes_back_if_it_does() {
    let shop = Shop::open().await;
    let (_, payment) = shop.sold_to("alice").await;
    shop.inbox_rests().await;
    shop.events_are_forgotten().await;
    let refund = shop.gives_back(&payment, 100).await;
    shop.compares(&[("refund_not_recorded", &refund)]).await;
    shop.every_webhook_arrives().await;
    shop.compares(&[]).await;
    assert_eq!(shop.findings("vanished").await.len(), 1);
    shop.webhooks_are_lost().await;
    shop.stripe.control(&format!("refunds/{refund}/fail"), json!({})).await;
    let found = shop.compares(&[("refund_not_recorded", &refund)]).await;
    assert_eq!(found[0]["at_stripe"]["status"], "failed");
    assert!(shop.findings("vanished").await.is_empty(), "it is the same finding");
}

#[tokio::test]
async fn what_others_sell_and_give_back_in_the_same_account_is_no_difference() {
    let shop = Shop::open().await;
    shop.events_are_forgotten().await;
    let price = shop.stripe.price("unit_amount=700").await;
    let session = id(&shop.stripe.session(&price, "client_reference_id=somebody").await);
    let paid = json!({"outcome": "paid"});
    let paid = shop.stripe.control(&format!("checkout_sessions/{session}/complete"), paid).await;
    let payment = paid["payment_intent"].as_str().expect("a payment");
    shop.gives_back(payment, 100).await;
    shop.disputes(payment, json!({"amount": 300})).await;
    shop.compares(&[]).await;
    let counts = shop.runs().await[0]["counts"].clone();
    let compared = ["sessions", "refunds", "disputes"].map(|name| counts[name].as_i64().expect("a count"));
    assert_eq!(compared, [1, 1, 1]);
}

#[tokio::test]
async fn a_comparison_goes_through_pages_and_keeps_to_its_time() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    shop.events_are_forgotten().await;
    for _ in 0..105 {
        shop.sells_seven().await;
    }
    let before = "2001-01-01T00:00:00Z";
    shop.reconciles(&["--from", "2000-12-30T00:00:00Z", "--to", before]).await;
    let output = shop.reconcile(&["--from", before]).await;
    assert!(said(&output).contains("105 findings are open"), "{}", said(&output));
    let mut path = "/v1/reconciliation/findings?kind=paid_not_credited&state=open&limit=50".to_owned();
    let mut sizes = Vec::new();
    loop {
        let page = shop.app.get(&path).await;
        sizes.push(page["items"].as_array().expect("findings").len());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path =
            format!("/v1/reconciliation/findings?kind=paid_not_credited&state=open&limit=50&cursor={cursor}");
    }
    assert_eq!(sizes, [50, 50, 5]);
    shop.reconciles(&["--repair"]).await;
    assert_eq!(shop.balance("alice").await, (735, 0, 0));
}

#[tokio::test]
async fn a_comparison_is_asked_for_through_the_interface_and_refused_if_it_makes_no_sense() {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    shop.events_are_forgotten().await;
    shop.sells_seven().await;
    let runs = "/v1/reconciliation/runs";
    let ask = async |body: Value| shop.app.send(Method::POST, runs, Some(&body)).await;
    let asked = ask(json!({"repair": true})).await;
    assert_eq!((asked.status, &asked.json()["kind"]), (200, &json!("comparison")), "{asked:?}");
    shop.settles_at("alice", (7, 0, 0)).await;
    for (body, field) in [
        (json!({"kind": "events", "repair": true}), "repair"),
        (json!({"from": "2030-01-02T00:00:00Z", "to": "2030-01-01T00:00:00Z"}), "to"),
        (json!({"kind": "recovery"}), "kind"),
    ] {
        let refused = ask(body).await;
        let error = refused.json()["error"].clone();
        assert_eq!((refused.status, &error["detail"]["field"]), (400, &json!(field)), "{error}");
    }
}

#[tokio::test]
async fn a_paid_session_of_an_account_that_is_not_there_waits_for_the_account() {
    let shop = Shop::open().await;
    shop.events_are_forgotten().await;
    let session = id(&shop.sells_seven().await);
    let found = shop.compares(&[("paid_not_credited", &session)]).await;
    let (_, tried) = shop.decide(&found[0], "repair", "try").await;
    assert_eq!(tried["state"], "open", "{tried}");
    assert!(
        tried["reason"].as_str().is_some_and(|reason| reason.starts_with("unknown_account: ")),
        "{tried}"
    );
    shop.app.account_with("alice", 0).await;
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (7, 0, 0));
}
