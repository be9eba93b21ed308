//! Credit notes from outside: on a renewal of a subscription, made and voided at a simulated Stripe.

use serde_json::{Value, json};

use crate::{
    reconcile_support::said,
    subscriptions_support::Subscribed,
    support::{shop::Shop, simulator::id},
};

impl Shop {
    /// Somebody issues a credit note on the newest invoice of a subscription in Stripe's dashboard.
    async fn credits_back(&self, subscribed: &Subscribed, form: &str) -> Value {
        let invoice = id(self.invoices(subscribed).await.last().expect("an invoice"));
        self.stripe.post("/v1/credit_notes", &format!("invoice={invoice}&{form}")).await.ok()
    }

    /// Every event about a thing at Stripe arrives once more, in the other order.
    async fn is_told_backwards(&self, about: &str) {
        let mut events = self.stripe.objects("event").await;
        events.reverse();
        let is_about = |event: &&Value| event["data"]["object"]["id"] == about;
        for event in events.iter().filter(is_about) {
            self.stripe.control(&format!("events/{}/resend", id(event)), json!({})).await;
        }
        self.inbox_rests().await;
    }
}

/// A shop whose plan alice has renewed: 100 credits for EUR 10.00.
async fn renewed() -> (Shop, Subscribed) {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(30).await;
    shop.has_been_paid(2).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    (shop, subscribed)
}

#[tokio::test]
async fn a_note_to_the_balance_takes_what_a_refund_would_and_gives_it_back_when_it_is_void() {
    let (shop, subscribed) = renewed().await;
    let note = shop.credits_back(&subscribed, "amount=500&credit_amount=500").await;
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.is_told_backwards(&id(&note)).await;
    assert_eq!(shop.balance("alice").await, (50, 0, 0), "the same note again");
    shop.gives_back(&shop.last_payment(&subscribed).await, 500).await;
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.events("purchase.clawed").await.last().expect("an event")["body"]["after"]["taken"], 100);
    shop.stripe.control(&format!("credit_notes/{}/void", id(&note)), json!({})).await;
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.is_told_backwards(&id(&note)).await;
    assert_eq!(shop.balance("alice").await, (50, 0, 0), "a void note stays void");
    let keys: Vec<Value> = shop
        .events("purchase.restored")
        .await
        .iter()
        .map(|event| event["body"]["cause"]["fact"]["status"].clone())
        .collect();
    assert_eq!(keys, ["cancelled"]);
    shop.is_in_order().await;
}

#[tokio::test]
async fn what_a_note_refunds_counts_once_beside_what_it_credits() {
    let (shop, subscribed) = renewed().await;
    let form = "amount=700&refund_amount=200&credit_amount=400&out_of_band_amount=100";
    shop.credits_back(&subscribed, form).await;
    shop.settles_at("alice", (30, 0, 0)).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (30, 0, 0));
    let refund = shop.gives_back(&shop.last_payment(&subscribed).await, 100).await;
    shop.settles_at("alice", (20, 0, 0)).await;
    let linked = format!("amount=100&refunds[0][refund]={refund}");
    shop.credits_back(&subscribed, &linked).await;
    shop.inbox_rests().await;
    assert_eq!(shop.balance("alice").await, (20, 0, 0), "its refund has told of all of it");
    shop.is_in_order().await;
}

#[tokio::test]
async fn what_a_note_gave_to_the_balance_pays_the_next_renewal() {
    let (shop, subscribed) = renewed().await;
    shop.credits_back(&subscribed, "amount=500&credit_amount=500").await;
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.days_pass(30).await;
    shop.has_been_paid(3).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let invoice = shop.invoices(&subscribed).await.pop().expect("an invoice");
    assert_eq!((&invoice["total"], &invoice["amount_paid"]), (&json!(1_000), &json!(500)));
    shop.is_in_order().await;
}

/// A shop where alice's third period, again EUR 10.00, was paid from her balance in part.
async fn renewed_with(from_balance: i64) -> (Shop, Subscribed) {
    let (shop, subscribed) = renewed().await;
    shop.credits_back(&subscribed, &format!("amount={from_balance}&credit_amount={from_balance}")).await;
    shop.settles_at("alice", (100 - from_balance / 10, 0, 0)).await;
    shop.days_pass(30).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.inbox_rests().await;
    let invoice = shop.invoices(&subscribed).await.pop().expect("an invoice");
    let paid = json!(1_000 - from_balance);
    assert_eq!((&invoice["total"], &invoice["amount_paid"]), (&json!(1_000), &paid));
    (shop, subscribed)
}

#[tokio::test]
async fn what_goes_back_of_an_invoice_that_the_balance_paid_in_part_is_a_part_of_all_of_it() {
    let (shop, subscribed) = renewed_with(500).await;
    shop.compares(&[]).await;
    let bought = shop.events("credits.purchased").await.pop().expect("a purchase")["body"].clone();
    let gross = |name: &str| bought[name]["gross"].clone();
    assert_eq!(
        (gross("money"), gross("paid_with"), &bought["cost"]),
        (json!(500), json!(1_000), &json!(500))
    );
    // Cents that make no whole credits: what counts is their sum.
    for (cents, left) in [(333, 67), (333, 34), (34, 30)] {
        shop.credits_back(&subscribed, &format!("amount={cents}&credit_amount={cents}")).await;
        shop.settles_at("alice", (left, 0, 0)).await;
    }
    shop.credits_back(&subscribed, "amount=300&refund_amount=300").await;
    shop.settles_at("alice", (0, 0, 0)).await;
    assert_eq!(shop.events("purchase.clawed").await.last().expect("an event")["body"]["after"]["taken"], 100);
    shop.compares(&[]).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_refund_of_all_that_a_card_paid_leaves_what_the_balance_paid() {
    let (shop, subscribed) = renewed_with(500).await;
    shop.gives_back(&shop.last_payment(&subscribed).await, 500).await;
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.credits_back(&subscribed, "amount=500&credit_amount=500").await;
    shop.settles_at("alice", (0, 0, 0)).await;
    shop.compares(&[]).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_note_on_an_invoice_that_the_balance_paid_is_for_people() {
    let (shop, subscribed) = renewed_with(1_000).await;
    shop.credits_back(&subscribed, "amount=500&credit_amount=500").await;
    let put_aside = shop.quarantined().await;
    let reason = put_aside["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("paid_from_balance: "), "{reason}");
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "nothing is guessed");
    shop.compares(&[]).await;
    shop.verify().await;
}

#[tokio::test]
async fn notes_in_the_shape_of_before_their_refunds_were_listed_are_understood() {
    let (shop, subscribed) = renewed().await;
    shop.fault(json!({"webhooks": "api_version", "version": "2024-06-20"})).await;
    shop.credits_back(&subscribed, "amount=500&refund_amount=200&credit_amount=300").await;
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.credits_back(&subscribed, "amount=100&credit_amount=100").await;
    shop.settles_at("alice", (40, 0, 0)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_note_of_which_nothing_was_told_is_found_and_repaired() {
    let (shop, subscribed) = renewed().await;
    shop.inbox_rests().await;
    shop.events_are_forgotten().await;
    let form = "amount=600&refund_amount=100&credit_amount=500";
    let note = id(&shop.credits_back(&subscribed, form).await);
    let refund = shop.stripe.objects("refund").await.pop().expect("a refund");
    let output = shop.reconcile(&[]).await;
    assert!(!output.status.success());
    let mut found = shop.findings("open").await;
    found.sort_by(|one, other| one.1.cmp(&other.1));
    let kinds: Vec<(&str, &str)> = found.iter().map(|(kind, of, _)| (kind.as_str(), of.as_str())).collect();
    let refund = id(&refund);
    assert_eq!(kinds, [("refund_not_recorded", note.as_str()), ("refund_not_recorded", refund.as_str())]);
    let told = &found[0].2;
    assert_eq!(told["at_stripe"], json!({"amount": 500, "currency": "eur", "status": "succeeded"}));
    assert_eq!(told["payment"], shop.last_payment(&subscribed).await);
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "nothing is repaired unasked");
    shop.repairs(told).await;
    assert_eq!(shop.balance("alice").await, (50, 0, 0));
    shop.reconciles(&["--repair"]).await;
    assert_eq!(shop.balance("alice").await, (40, 0, 0));
    shop.every_webhook_arrives().await;
    assert_eq!(shop.balance("alice").await, (40, 0, 0));
    shop.verify().await;
}

#[tokio::test]
async fn a_void_of_which_nothing_was_told_is_found_and_an_invented_note_is_undone() {
    let (shop, subscribed) = renewed().await;
    let note = id(&shop.credits_back(&subscribed, "amount=500&credit_amount=500").await);
    shop.settles_at("alice", (50, 0, 0)).await;
    shop.inbox_rests().await;
    shop.compares(&[]).await;
    shop.events_are_forgotten().await;
    shop.stripe.control(&format!("credit_notes/{note}/void"), json!({})).await;
    let found = shop.compares(&[("refund_not_recorded", &note)]).await;
    assert_eq!(found[0]["at_stripe"]["status"], "cancelled");
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    let mut invented =
        shop.stripe.get(&format!("/v1/credit_notes/{note}?expand[]=invoice.payments")).await.ok();
    (invented["id"], invented["status"]) = (json!("cn_invented"), json!("issued"));
    shop.is_told("credit_note.created", invented).await;
    assert_eq!(shop.balance("alice").await, (50, 0, 0));
    let found = shop.compares(&[("refund_unknown_at_stripe", "cn_invented")]).await;
    shop.repairs(&found[0]).await;
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    shop.compares(&[]).await;
    shop.verify().await;
}

#[tokio::test]
async fn a_key_that_may_not_read_notes_keeps_nothing_else_from_being_compared() {
    let (shop, subscribed) = renewed().await;
    shop.credits_back(&subscribed, "amount=100&credit_amount=100").await;
    shop.settles_at("alice", (90, 0, 0)).await;
    let (_, payment) = shop.sold_to("bob").await;
    shop.inbox_rests().await;
    shop.compares(&[]).await;
    shop.events_are_forgotten().await;
    let note = id(&shop.credits_back(&subscribed, "amount=500&credit_amount=500").await);
    let dispute = shop.disputes(&payment, json!({})).await;
    shop.fault(json!({"api": "forbidden", "path": "/v1/credit_notes"})).await;
    for arguments in [&[][..], &[], &["--events"]] {
        let output = shop.reconcile(arguments).await;
        assert!(!output.status.success(), "{}", said(&output));
        let mut found = shop.findings("open").await;
        found.sort_by(|one, other| one.0.cmp(&other.0));
        let kinds: Vec<(&str, &str)> =
            found.iter().map(|(kind, of, _)| (kind.as_str(), of.as_str())).collect();
        assert_eq!(kinds, [("dispute_not_recorded", dispute.as_str()), ("events_not_read", "credit_notes")]);
        let reason = found[1].2["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("stripe_key_refused: may not read credit_notes: "), "{reason}");
    }
    let runs = shop.runs().await;
    assert_eq!([&runs[0]["state"], &runs[1]["state"]], ["done", "failed"], "{runs:?}");
    assert!(
        runs[1]["error"].as_str().is_some_and(|error| error.starts_with("stripe_key_refused: ")),
        "{runs:?}"
    );
    shop.no_more_faults().await;
    shop.webhooks_are_lost().await;
    shop.compares(&[("refund_not_recorded", &note), ("dispute_not_recorded", &dispute)]).await;
    shop.reconciles(&["--repair"]).await;
    assert_eq!((shop.balance("alice").await, shop.balance("bob").await), ((40, 0, 0), (0, 100, 0)));
    assert_eq!(shop.findings("vanished").await.len(), 1);
    shop.verify().await;
}
