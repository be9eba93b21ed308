//! Changes of subscriptions that are asked for here: previewed, asked for once, made at Stripe, and told by Stripe.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::{Answer, Requests},
    subscriptions_support::{DECLINED_LATER, Subscribed, unique},
    support::{shop::Shop, wait},
};

impl Shop {
    /// A shop that also sells `price_plus`: 300 credits for EUR 30.00 every 30 days.
    async fn with_plans() -> Self {
        let shop = Self::with_plan().await;
        shop.offer_plan("price_plus", 3_000, json!([{"unit": "credits", "amount": 300}])).await;
        shop
    }

    async fn ask(&self, of: &Subscribed, what: &str, body: Value) -> Answer {
        self.app.keyed(&format!("/v1/subscriptions/{}/{what}", of.id), &unique(what), &body).await
    }

    async fn preview(&self, of: &Subscribed, what: &str, body: Value) -> Value {
        let path = format!("/v1/subscriptions/{}/{what}/preview", of.id);
        let previewed = self.app.send(Method::POST, &path, Some(&body)).await;
        assert_eq!(previewed.status, 200, "{previewed:?}");
        previewed.json()
    }

    /// Asks for a change, and waits until it is known what became of it.
    async fn changed(&self, of: &Subscribed, what: &str, body: Value) -> Value {
        let asked = self.ask(of, what, body).await;
        assert_eq!((asked.status, &asked.json()["status"]), (201, &json!("requested")), "{asked:?}");
        let requested = self.events("subscription.change_requested").await;
        let position = requested.last().map(|event| &event["position"]);
        assert_eq!(asked.json().get("position"), position, "{asked:?}");
        wait::until("a change to be settled", async || {
            let last = self.subscription(of).await["changes"][0].clone();
            assert_eq!(last["change_id"], asked.json()["change_id"]);
            (last["status"] != "requested").then_some(last)
        })
        .await
    }
}

fn credits(preview: &Value) -> Vec<i64> {
    let credits = preview["invoice"]["credits"].as_array().expect("credits");
    credits.iter().map(|credits| credits["amount"].as_i64().expect("an amount")).collect()
}

#[tokio::test]
async fn a_change_costs_and_grants_what_its_preview_said() {
    let shop = Shop::with_plans().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(15).await;

    let up = json!({"price_id": "price_plus"});
    let preview = shop.preview(&subscribed, "change", up.clone()).await;
    let invoice = &preview["invoice"];
    assert_eq!(
        (&invoice["total"], &invoice["amount_due"], &invoice["currency"]),
        (&json!(1_000), &json!(1_000), &json!("eur"))
    );
    assert_eq!((credits(&preview), &preview["ends_at"]), (vec![100], &Value::Null));
    assert_eq!(shop.events("subscription.change_requested").await.len(), 0);
    assert_eq!(shop.balance("alice").await, (100, 0, 0), "a preview changes nothing");

    let made = shop.changed(&subscribed, "change", up).await;
    assert_eq!(
        (&made["status"], &made["kind"], &made["refusal"]),
        (&json!("made"), &json!("switch"), &Value::Null)
    );
    assert_eq!(
        (&made["replaces"], &made["price_id"], &made["quantity"]),
        (&json!("price_plan"), &json!("price_plus"), &json!(1))
    );
    shop.settles_at("alice", (200, 0, 0)).await;
    shop.subscription_has(&subscribed, "items", json!([{"price_id": "price_plus", "quantity": 1}])).await;
    let paid = shop.invoices(&subscribed).await.pop().expect("an invoice");
    assert_eq!((&paid["total"], &paid["status"]), (&json!(1_000), &json!("paid")));
    let lots = shop.app.get("/v1/accounts/alice/lots").await;
    let expiries = lots["items"].as_array().expect("lots").iter().map(|lot| &lot["expires_at"]);
    assert!(expiries.into_iter().any(|at| *at == preview["invoice"]["credits"][0]["expires_at"]), "{lots}");

    let down = json!({"price_id": "price_plan"});
    let preview = shop.preview(&subscribed, "change", down.clone()).await;
    assert_eq!((&preview["invoice"]["total"], credits(&preview)), (&json!(-1_000), vec![]));
    assert_eq!(shop.changed(&subscribed, "change", down).await["status"], "made");
    shop.subscription_has(&subscribed, "items", json!([{"price_id": "price_plan", "quantity": 1}])).await;
    shop.inbox_rests().await;
    let again = shop.preview(&subscribed, "change", json!({"price_id": "price_plus"})).await;
    assert_eq!(credits(&again), [] as [i64; 0], "up and down and up again grants nothing");
    assert_eq!(again["invoice"]["amount_due"], 0, "what was given back pays for it");
    assert_eq!(shop.balance("alice").await, (200, 0, 0));
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_change_can_be_charged_with_the_next_invoice_or_from_the_next_period_on() {
    for (proration, total, granted) in [("next_invoice", 4_000, vec![100, 300]), ("never", 3_000, vec![300])]
    {
        let shop = Shop::with_plans().await;
        let subscribed = shop.subscribe("alice", json!({})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        shop.days_pass(15).await;
        let period_end = shop.period_is_known(&subscribed).await["current_period_end"].clone();
        let change = json!({"price_id": "price_plus", "proration": proration});
        let preview = shop.preview(&subscribed, "change", change.clone()).await;
        let invoice = &preview["invoice"];
        assert_eq!((&invoice["total"], &invoice["due_at"]), (&json!(total), &period_end), "{proration}");
        assert_eq!(credits(&preview), granted, "{proration}");
        assert_eq!(shop.changed(&subscribed, "change", change).await["status"], "made");
        shop.inbox_rests().await;
        assert_eq!((shop.balance("alice").await, shop.invoices(&subscribed).await.len()), ((100, 0, 0), 1));
        shop.days_pass(16).await;
        shop.settles_at("alice", (granted.iter().sum(), 0, 0)).await;
        assert_eq!(shop.invoices(&subscribed).await.pop().expect("a renewal")["total"], total);
        shop.is_in_order().await;
    }
}

#[tokio::test]
async fn a_quantity_is_changed_and_a_new_period_is_begun_by_another_interval() {
    let shop = Shop::with_plan().await;
    let grants = json!([{"unit": "credits", "amount": 1_200}]);
    let year = json!({"interval": "day", "interval_count": 360});
    shop.offer_every("price_year", 10_000, grants, year).await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.days_pass(15).await;
    let preview = shop.preview(&subscribed, "change", json!({"quantity": 3})).await;
    assert_eq!((&preview["invoice"]["total"], credits(&preview)), (&json!(1_000), vec![100]));
    assert_eq!(shop.changed(&subscribed, "change", json!({"quantity": 3})).await["quantity"], 3);
    shop.settles_at("alice", (200, 0, 0)).await;

    let change = json!({"price_id": "price_year", "quantity": 1, "proration": "next_invoice"});
    let preview = shop.preview(&subscribed, "change", change.clone()).await;
    // All of the year, less what is left of the period: half of three times a hundred.
    assert_eq!((&preview["invoice"]["total"], credits(&preview)), (&json!(8_500), vec![1_050]));
    shop.changed(&subscribed, "change", change).await;
    shop.settles_at("alice", (1_250, 0, 0)).await;
    shop.is_in_order().await;
}

#[tokio::test]
async fn a_subscription_is_ended_with_its_period_resumed_and_ended_at_once() {
    let shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let known = shop.period_is_known(&subscribed).await;
    let period_end = &known["current_period_end"];
    let preview = shop.preview(&subscribed, "cancel", json!({})).await;
    assert_eq!(
        (&preview["ends_at"], &preview["credits_until"], &preview["invoice"]),
        (period_end, period_end, &Value::Null)
    );

    let body = json!({"at": "period_end", "reason": "moves on"});
    let path = format!("/v1/subscriptions/{}/cancel", subscribed.id);
    let asked = shop.app.keyed(&path, "leaves", &body).await;
    let repeated = shop.app.keyed(&path, "leaves", &body).await;
    assert_eq!((repeated.status, &repeated.text), (asked.status, &asked.text));
    assert_eq!(repeated.header("idempotent-replayed"), Some("true"));
    let other = shop.app.keyed(&path, "leaves", &json!({"at": "now"})).await;
    assert_eq!((other.status, other.code().as_str()), (409, "idempotency_key_reused"));
    shop.subscription_has(&subscribed, "cancel_at_period_end", json!(true)).await;
    assert_eq!(shop.changed(&subscribed, "resume", json!({})).await["kind"], "resume");
    shop.subscription_has(&subscribed, "cancel_at_period_end", json!(false)).await;

    let preview = shop.preview(&subscribed, "cancel", json!({"at": "now"})).await;
    assert_eq!(&preview["credits_until"], period_end, "what was paid for stays");
    let made = shop.changed(&subscribed, "cancel", json!({"at": "now"})).await;
    assert_eq!((&made["status"], &made["at"]), (&json!("made"), &json!("now")));
    let ended = shop.subscription_has(&subscribed, "status", json!("canceled")).await;
    assert_eq!(ended["changes"].as_array().map(Vec::len), Some(3));
    assert_eq!(shop.balance("alice").await, (100, 0, 0));
    for (what, body) in [("cancel", json!({})), ("resume", json!({})), ("change", json!({"quantity": 2}))] {
        let refused = shop.ask(&subscribed, what, body).await;
        assert_eq!((refused.status, refused.code().as_str()), (409, "subscription_ended"), "{what}");
    }
    shop.is_in_order().await;
    let words = shop.app.get("/v1/accounts/alice/history?limit=20").await;
    let words: Vec<&str> = words["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["description"].as_str())
        .collect();
    for expected in [
        "Asked to end the subscription with its period",
        "Asked to let the subscription go on",
        "Asked to end the subscription at once",
        "Change of subscription made",
    ] {
        assert!(words.contains(&expected), "{expected}: {words:?}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_paid_is_not_made() {
    let shop = Shop::with_plans().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let card = format!("customers/{}/card", subscribed.customer);
    shop.stripe.control(&card, json!({"card": DECLINED_LATER})).await;
    let refused = shop.changed(&subscribed, "change", json!({"price_id": "price_plus"})).await;
    assert_eq!((&refused["status"], &refused["refusal"]), (&json!("refused"), &json!("payment_failed")));
    shop.is_in_order().await;
    let known = shop.subscription(&subscribed).await;
    assert_eq!(known["items"], json!([{"price_id": "price_plan", "quantity": 1}]));
    assert_eq!((shop.balance("alice").await, shop.invoices(&subscribed).await.len()), ((100, 0, 0), 1));
}

#[tokio::test]
async fn a_change_happens_once_whatever_becomes_of_the_call() {
    let shop = Shop::with_plans().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    let path = format!("/v1/subscriptions/{}", subscribed.id);
    for (fault, price) in [
        (json!({"api": "cut"}), "price_plus"),
        (json!({"api": "server_error", "committed": true}), "price_plan"),
        (json!({"api": "server_error", "committed": false}), "price_plus"),
        (json!({"api": "bad_gateway", "committed": true}), "price_plan"),
    ] {
        let mut order = fault.clone();
        let more = json!({"method": "POST", "path": path, "next": 1});
        order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        // Stripe dates what it tells by the second.
        shop.days_pass(1).await;
        shop.fault(order).await;
        let made = shop.changed(&subscribed, "change", json!({"price_id": price})).await;
        assert_eq!(made["status"], "made", "{fault}");
        shop.subscription_has(&subscribed, "items", json!([{"price_id": price, "quantity": 1}])).await;
        shop.inbox_rests().await;
        shop.no_more_faults().await;
    }
    assert_eq!(shop.invoices(&subscribed).await.len(), 5, "one for the beginning, one for each change");
    shop.is_in_order().await;
}

#[tokio::test]
async fn eight_changes_wait_for_stripe_and_one_more_is_refused_until_they_are_made() {
    let mut shop = Shop::with_plan().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.subscription_has(&subscribed, "status", json!("active")).await;
    shop.app.set("COUNTERFOIL_WORKERS", Some("false"));
    shop.app.restart().await;
    for what in ["cancel", "resume"].into_iter().cycle().take(8) {
        let asked = shop.ask(&subscribed, what, json!({})).await;
        assert_eq!(asked.status, 201, "{asked:?}");
    }
    let refused = shop.ask(&subscribed, "cancel", json!({})).await;
    assert_eq!((refused.status, refused.code().as_str()), (409, "too_many_changes"));

    // What the process that was killed first had set aside for itself is free again.
    shop.app.time_passes(60).await;
    shop.app.set("COUNTERFOIL_WORKERS", None);
    shop.app.restart().await;
    wait::until("all changes to be made", async || {
        let known = shop.subscription(&subscribed).await;
        let changes = known["changes"].as_array().expect("changes");
        assert_eq!(changes.len(), 8);
        changes.iter().all(|change| change["status"] == "made").then_some(())
    })
    .await;
    assert_eq!(shop.changed(&subscribed, "cancel", json!({})).await["status"], "made");
    shop.is_in_order().await;
}

#[tokio::test]
async fn nonsense_is_refused_by_name_and_nothing_is_asked_of_stripe() {
    let shop = Shop::with_plans().await;
    let subscribed = shop.subscribe("alice", json!({})).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.subscription_has(&subscribed, "status", json!("active")).await;
    for (what, body, code, field) in [
        ("change", json!({}), "invalid_request", Some("price_id")),
        ("change", json!({"quantity": 0}), "invalid_request", Some("quantity")),
        ("change", json!({"quantity": 10_001}), "invalid_request", Some("quantity")),
        ("change", json!({"price_id": "price_none"}), "unknown_price", Some("price_id")),
        ("change", json!({"price_id": "price_pack"}), "invalid_request", Some("price_id")),
        (
            "change",
            json!({"price_id": "price_plus", "replaces": "price_pack"}),
            "invalid_request",
            Some("replaces"),
        ),
        (
            "change",
            json!({"price_id": "price_plus", "proration": "later"}),
            "invalid_request",
            Some("proration"),
        ),
        ("change", json!({"price": "price_plus"}), "invalid_request", Some("price")),
        ("cancel", json!({"at": "tomorrow"}), "invalid_request", Some("at")),
        ("resume", json!({"at": "now"}), "invalid_request", Some("at")),
    ] {
        let refused = shop.ask(&subscribed, what, body.clone()).await;
        assert_eq!((refused.status, refused.code().as_str()), (400, code), "{what} {body} {refused:?}");
        assert_eq!(refused.json()["error"]["detail"]["field"].as_str(), field, "{what} {body}");
        if what != "resume" {
            let path = format!("/v1/subscriptions/{}/{what}/preview", subscribed.id);
            let previewed = shop.app.send(Method::POST, &path, Some(&body)).await;
            assert_eq!((previewed.status, previewed.code().as_str()), (400, code), "{what} {body}");
        }
    }
    for path in ["cancel", "resume", "change", "cancel/preview", "change/preview"] {
        let path = format!("/v1/subscriptions/sub_unknown/{path}");
        let unknown = shop.app.keyed(&path, &unique("unknown"), &json!({})).await;
        assert_eq!((unknown.status, unknown.code().as_str()), (404, "subscription_not_found"), "{path}");
    }
    assert_eq!(shop.events("subscription.change_requested").await.len(), 0);
}
