//! Webhooks that never came: what Stripe's own list of events tells is enough, whoever reads it and however often.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    reconcile_support::said,
    support::{process::Process, shop::Shop, simulator::id, wait},
};

/// A service that reads Stripe's events all the time.
const OFTEN: (&str, &str) = ("COUNTERFOIL_RECONCILE_SECONDS", "1");

#[tokio::test]
async fn a_day_without_any_webhook_loses_no_credit() {
    let shop = Shop::open().await;
    shop.has_a_busy_day().await;
    assert_eq!(shop.balance("paid").await, (0, 0, 0), "nobody has told the ledger");
    shop.reconciles(&["--events"]).await;
    shop.is_as_after_a_busy_day().await;
    let run = shop.runs().await[0].clone();
    assert_eq!(
        (&run["state"], &run["actor"], &run["kind"]),
        (&json!("done"), &json!("operator"), &json!("events"))
    );
    assert!(run["counts"]["events_taken_in"].as_i64().expect("a count") > 15, "{run}");
    // Doing it again, and the webhooks that come after all, change nothing.
    let before = shop.app.get("/v1/events?after=0&limit=500").await;
    shop.reconciles(&["--events"]).await;
    assert_eq!(shop.runs().await[0]["counts"]["events_taken_in"], 0);
    shop.no_more_faults().await;
    for event in shop.stripe.objects("event").await {
        shop.stripe.control(&format!("events/{}/resend", id(&event)), json!({})).await;
    }
    shop.inbox_rests().await;
    assert_eq!(shop.app.get("/v1/events?after=0&limit=500").await, before);
    assert!(shop.inbox("quarantined").await.is_empty());
    shop.verify().await;
}

#[tokio::test]
async fn a_service_takes_in_by_itself_what_no_webhook_has_brought() {
    let shop = Shop::open_with(&[OFTEN]).await;
    shop.has_a_busy_day().await;
    let superuser = shop.app.database.superuser().await;
    superuser.batch_execute("UPDATE reconciliation SET next_events_at = now()").await.expect("a row");
    wait::until("everybody to have what is theirs", async || {
        let paid = shop.balance("paid").await == (100, 0, 0);
        (paid && shop.balance("dispute-won").await == (100, 0, 0)).then_some(())
    })
    .await;
    wait::until("what is wrong to be taken back", async || {
        (shop.balance("dispute-lost").await == (0, 0, 0)).then_some(())
    })
    .await;
    wait::until("the operator's dashboard to show it", async || {
        (shop.metric("counterfoil_reconciliation_events_total").await > 15.0).then_some(())
    })
    .await;
    assert_eq!(shop.runs().await[0]["actor"], "system");
}

#[tokio::test]
async fn whoever_is_killed_in_the_middle_or_comes_at_the_same_time_spoils_nothing() {
    let shop = Shop::open().await;
    shop.has_a_busy_day().await;
    // Stripe does not answer, so that there is a middle.
    shop.fault(json!({"api": "hang", "path": "/v1/events", "seconds": 600})).await;
    let slug = shop.app.ledger.slug.clone();
    let mut killed = Process::start(shop.command_line(&["reconcile", "--ledger", &slug]));
    wait::until("a run", async || {
        let runs = shop.runs().await;
        runs.first().is_some_and(|run| run["state"] == "running").then_some(())
    })
    .await;
    killed.kill();
    shop.no_more_faults().await;
    shop.webhooks_are_lost().await;
    shop.leases_run_out().await;
    let (one, other) = tokio::join!(shop.reconcile(&[]), shop.reconcile(&[]));
    assert!(one.status.success() && other.status.success(), "{} {}", said(&one), said(&other));
    shop.is_as_after_a_busy_day().await;
    let runs = shop.runs().await;
    let states: Vec<&Value> = runs.iter().map(|run| &run["state"]).collect();
    assert_eq!(states, ["done", "done", "done"], "the one that was killed is done as well");
    shop.verify().await;
}

#[tokio::test]
async fn hundreds_of_events_of_one_second_are_all_read() {
    let shop = Shop::open().await;
    shop.webhooks_are_lost().await;
    let marks = "metadata[account_id]=alice&metadata[credits]=3&metadata[unit]=credits";
    shop.app.account_with("alice", 0).await;
    for _ in 0..120 {
        let session = id(&shop.stripe.session("price_pack", marks).await);
        shop.stripe
            .control(&format!("checkout_sessions/{session}/complete"), json!({"outcome": "paid"}))
            .await;
    }
    shop.reconciles(&[]).await;
    assert_eq!(shop.balance("alice").await, (360, 0, 0));
    assert!(shop.runs().await[0]["counts"]["events"].as_i64().expect("a count") > 300);
}

#[tokio::test]
async fn two_changes_of_a_price_in_one_second_end_as_the_price_is() {
    let shop = Shop::open().await;
    let at_stripe = json!({"id": "price_told", "currency": "eur", "unit_amount": 900,
        "product_data": {"name": "Told"}, "metadata": {"credits": "250", "credit_unit": "credits"}});
    shop.stripe.control("prices", at_stripe).await;
    shop.inbox_rests().await;
    shop.webhooks_are_lost().await;
    shop.stripe.control("clock/advance", json!({"seconds": 2})).await;
    shop.stripe.post("/v1/prices/price_told", "active=false").await.ok();
    shop.stripe.control("clock/advance", json!({"seconds": 2})).await;
    shop.stripe.post("/v1/prices/price_told", "active=true").await.ok();
    for _ in 0..2 {
        shop.reconciles(&[]).await;
        assert_eq!(shop.app.get("/v1/prices/price_told").await["active"], true);
    }
}

#[tokio::test]
async fn what_others_sell_in_the_same_stripe_account_is_ignored() {
    let shop = Shop::open().await;
    shop.webhooks_are_lost().await;
    let price = shop.stripe.price("unit_amount=700").await;
    let session = id(&shop.stripe.session(&price, "client_reference_id=somebody").await);
    let paid = json!({"outcome": "paid"});
    shop.stripe.control(&format!("checkout_sessions/{session}/complete"), paid).await;
    shop.reconciles(&[]).await;
    let ignored = shop.inbox("ignored").await;
    let theirs = ignored.iter().find(|event| event["type"] == "checkout.session.completed");
    assert!(theirs.is_some(), "{ignored:?}");
    assert!(shop.events("credits.purchased").await.is_empty());
}

#[tokio::test]
async fn a_stripe_that_cannot_be_asked_is_a_finding_until_it_can_be() {
    let shop = Shop::open().await;
    shop.set_stripe_key("sk_test_wrong").await;
    for _ in 0..2 {
        let output = shop.reconcile(&[]).await;
        assert!(
            !output.status.success() && said(&output).contains("stripe_key_refused"),
            "{}",
            said(&output)
        );
    }
    let open = shop.findings("open").await;
    assert_eq!(open.len(), 1, "the same is told once: {open:?}");
    assert_eq!((open[0].0.as_str(), open[0].1.as_str()), ("events_not_read", "events"));
    assert!(open[0].2["reason"].as_str().is_some_and(|reason| reason.starts_with("stripe_key_refused: ")));
    wait::until("the operator's dashboard to show it", async || {
        let series = "counterfoil_reconciliation_findings{kind=\"events_not_read\"}";
        (shop.metric(series).await >= 1.0).then_some(())
    })
    .await;
    shop.set_stripe_key(crate::support::simulator::API_KEY).await;
    shop.reconciles(&[]).await;
    assert!(shop.findings("open").await.is_empty());
    assert_eq!(shop.findings("vanished").await.len(), 1);
    // Away for a moment is no matter; away for long is.
    shop.fault(json!({"api": "down", "path": "/v1/events"})).await;
    let superuser = shop.app.database.superuser().await;
    let output = shop.reconcile(&[]).await;
    assert!(said(&output).contains("stripe_unavailable"), "{}", said(&output));
    assert!(shop.findings("open").await.is_empty());
    let long_ago = "UPDATE reconciliation SET events_read_at = now() - interval '1 hour'";
    superuser.batch_execute(long_ago).await.expect("a row");
    shop.reconcile(&[]).await;
    let open = shop.findings("open").await;
    assert_eq!((open.len(), open[0].0.as_str()), (1, "events_not_read"));
}

#[tokio::test]
async fn events_that_stripe_no_longer_keeps_are_a_finding_that_a_person_can_dismiss() {
    let shop = Shop::open().await;
    shop.reconciles(&[]).await;
    let superuser = shop.app.database.superuser().await;
    let long_ago = "UPDATE reconciliation SET events_until = now() - interval '40 days'";
    superuser.batch_execute(long_ago).await.expect("a row");
    let output = shop.reconcile(&["--events"]).await;
    assert!(!output.status.success() && said(&output).contains("1 findings are open"), "{}", said(&output));
    let open = shop.findings("open").await;
    assert_eq!((open.len(), open[0].0.as_str()), (1, "events_missed"));
    let finding = &open[0].2;
    assert!(finding["since"].is_string() && finding["until"].is_string(), "{finding}");
    let (status, dismissed) = shop.decide(finding, "dismiss", "the shop was closed").await;
    assert_eq!((status, &dismissed["state"]), (200, &json!("dismissed")));
    assert!(dismissed["actor"].as_str().is_some_and(|actor| actor.starts_with("api_key:")));
    let (status, again) = shop.decide(finding, "dismiss", "the shop was closed").await;
    assert_eq!((status, &again), (200, &dismissed));
    let (status, other) = shop.decide(finding, "dismiss", "for another reason").await;
    assert_eq!((status, &other["error"]["code"]), (409, &json!("finding_not_open")));
    shop.reconciles(&[]).await;
}

#[tokio::test]
async fn runs_are_asked_for_and_read_through_the_interface() {
    let shop = Shop::open().await;
    shop.has_a_busy_day().await;
    let events = json!({"kind": "events"});
    let asked = shop.app.send(Method::POST, "/v1/reconciliation/runs", Some(&events)).await;
    assert_eq!(asked.status, 200, "{asked:?}");
    let path = format!("/v1/reconciliation/runs/{}", asked.json()["run_id"].as_str().expect("an id"));
    let done = wait::until("the run to be done", async || {
        Some(shop.app.get(&path).await).filter(|run| run["state"] == "done")
    });
    assert_eq!(done.await["counts"]["permille"], 1_000);
    shop.inbox_rests().await;
    shop.is_as_after_a_busy_day().await;
    for _ in 0..3 {
        shop.app.send(Method::POST, "/v1/reconciliation/runs", Some(&events)).await;
    }
    let first = shop.app.get("/v1/reconciliation/runs?limit=3").await;
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let rest = shop.app.get(&format!("/v1/reconciliation/runs?cursor={cursor}")).await;
    assert_eq!(rest["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(rest["items"][0]["run_id"], asked.json()["run_id"]);
    let unknown = shop.app.send(Method::GET, "/v1/reconciliation/runs/rcn_1", None).await;
    assert_eq!((unknown.status, unknown.code().as_str()), (400, "invalid_request"));
}
