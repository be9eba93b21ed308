//! Bad days of a shop: what the caller is told, what an operator sees, how it is put right, and that nothing is lost or made
//! twice meanwhile.

use counterfoil::{
    store::sealing::KeyRing,
    stripe::signature::{SigningSecret, sign},
    writer::system_clock,
};
use futures_util::future::join_all;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{
        shop::{SEALING, Shop, order_of},
        simulator::{API_KEY, id},
        wait,
    },
};

/// Calls that do not wait for a Stripe that hangs.
const IMPATIENT: (&str, &str) = ("COUNTERFOIL_STRIPE_TIMEOUT_SECONDS", "1");
/// Where Stripe makes things.
const MAKING: [&str; 3] = ["/v1/customers", "/v1/checkout/sessions", "/v1/refunds"];

impl Shop {
    /// The only group of dead effects: what they failed at, of which kind they are, how many there are.
    async fn dead(&self) -> (String, String, Value, Value) {
        let dead = wait::until("an effect to die", async || {
            let groups = self.app.get("/v1/outbox/dead").await["items"].clone();
            Some(groups.as_array().cloned().expect("groups")).filter(|groups| !groups.is_empty())
        });
        let dead = dead.await;
        assert_eq!(dead.len(), 1, "{dead:?}");
        let cause = |name: &str| dead[0]["cause"][name].as_str().expect("a word").to_owned();
        (cause("class"), cause("code"), dead[0]["kind"].clone(), dead[0]["effects"].clone())
    }

    /// Posts a body as Stripe does; the status of the answer.
    async fn tell(&self, body: &Value) -> u16 {
        let body = body.to_string();
        let secret = SigningSecret::parse(&self.app.ledger.webhook_secret).expect("a secret");
        let signature = sign(body.as_bytes(), &secret, system_clock().unix_seconds());
        let request =
            self.app.client.post(format!("{}/webhooks/stripe/{}", self.app.url, self.app.ledger.slug));
        let answer = request.header("Stripe-Signature", signature).body(body).send().await;
        answer.expect("an answer").status().as_u16()
    }

    /// Everything that was sold goes wrong once at each of the three calls that make something; the sale goes on by itself.
    async fn survives(&self, fault: Value) {
        for path in MAKING {
            let mut order = fault.clone();
            (order["method"], order["path"], order["next"]) = (json!("POST"), json!(path), json!(1));
            self.fault(order).await;
        }
        self.app.account_with("alice", 0).await;
        let checkout = self.check_out_patiently("alice", "order").await;
        self.pay(&checkout).await;
        self.settles_at("alice", (100, 0, 0)).await;
        assert_eq!(self.refund(&checkout, "all", json!({})).await.status, 201);
        self.settles_at("alice", (0, 0, 0)).await;
        self.refund_becomes(&checkout, "succeeded").await;
        self.outbox_empties().await;
        let faults = self.stripe.try_control(Method::GET, "faults", json!({})).await.body;
        for met in faults["faults"].as_array().expect("faults") {
            assert_eq!(met["hits"], 1, "{met}");
        }
        for kind in ["customer", "checkout.session", "refund"] {
            assert_eq!(self.at_stripe(kind).await, 1, "{kind}: {fault}");
        }
    }
}

#[tokio::test]
async fn an_hour_without_stripe_delays_what_it_has_to_do_and_nothing_else() {
    let mut shop = Shop::open().await;
    let (sold, _) = shop.sold_to("bob").await;
    shop.fault(json!({"api": "down"})).await;
    let accounts: Vec<String> = (0..6).map(|number| format!("buyer-{number}")).collect();
    for account in &accounts {
        shop.app.account_with(account, 0).await;
    }
    let asked = join_all(accounts.iter().map(|account| shop.try_check_out(account, account))).await;
    for answer in &asked {
        assert_eq!((answer.status, answer.json()["status"].clone()), (202, json!("placed")), "{answer:?}");
    }
    assert_eq!(shop.refund(&sold, "all", json!({})).await.status, 201);
    assert_eq!(shop.balance("bob").await, (0, 100, 0), "set aside at once");

    // The operator: the service is well, Stripe is not, and nobody has to do anything.
    assert!(shop.app.is_ready().await);
    let cause = shop.backs_off("connection_lost").await["cause"].clone();
    assert_eq!(cause["destination"], "stripe");
    // Whether the first attempt did anything is unclear; the next ones only look, and know that they did nothing.
    assert!(["unclear", "unavailable"].map(Value::from).contains(&cause["class"]), "{cause}");
    wait::until("Stripe to be left alone", async || {
        let open = shop.metric("counterfoil_outbox_breakers_open{destination=\"stripe\"}").await;
        (open >= 1.0).then_some(())
    })
    .await;
    assert_eq!(shop.app.get("/v1/outbox/dead").await["items"], json!([]));

    shop.app.kill();
    shop.stripe.control("clock/advance", json!({"seconds": 3_600})).await;
    shop.app.time_passes(3_600).await;
    shop.no_more_faults().await;
    shop.app.restart().await;
    for account in &accounts {
        let checkout = shop.check_out_patiently(account, account).await;
        shop.pay(&checkout).await;
        shop.settles_at(account, (100, 0, 0)).await;
    }
    shop.settles_at("bob", (0, 0, 0)).await;
    shop.outbox_empties().await;
    let expected = [("customer", 7), ("checkout.session", 7), ("refund", 1)];
    for (kind, count) in expected {
        assert_eq!(shop.at_stripe(kind).await, count, "{kind}");
    }
    shop.verify().await;
}

#[tokio::test]
async fn answers_of_500_that_did_nothing_are_survived() {
    // Stripe keeps such an answer under the key for a day.
    Shop::open().await.survives(json!({"api": "server_error", "committed": false})).await;
}

#[tokio::test]
async fn answers_of_500_that_did_it_all_the_same_are_survived() {
    Shop::open().await.survives(json!({"api": "server_error", "committed": true})).await;
}

#[tokio::test]
async fn too_many_requests_are_made_again_when_stripe_wants_them() {
    Shop::open().await.survives(json!({"api": "rate_limit", "seconds": 1})).await;
}

#[tokio::test]
async fn requests_that_are_in_each_others_way_are_made_again() {
    Shop::open().await.survives(json!({"api": "conflict"})).await;
}

#[tokio::test]
async fn pages_of_html_are_survived() {
    Shop::open().await.survives(json!({"api": "bad_gateway", "committed": false})).await;
    Shop::open().await.survives(json!({"api": "bad_gateway", "committed": true})).await;
}

#[tokio::test]
async fn garbage_is_survived() {
    Shop::open().await.survives(json!({"api": "garbage"})).await;
}

#[tokio::test]
async fn a_stripe_that_does_it_and_says_nothing_is_survived() {
    Shop::open().await.survives(json!({"api": "cut"})).await;
    Shop::open_with(&[IMPATIENT]).await.survives(json!({"api": "hang", "seconds": 600})).await;
}

#[tokio::test]
async fn a_failure_that_stripe_keeps_for_good_ends_with_another_key_of_the_same_effect() {
    let shop = Shop::open().await;
    shop.fault(json!({"api": "server_error", "method": "POST", "path": "/v1/customers", "next": 3})).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out_patiently("alice", "order").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.at_stripe("customer").await, 1);
}

#[tokio::test]
async fn the_same_webhook_a_hundred_times_at_once_credits_once() {
    let shop = Shop::open().await;
    shop.fault(json!({"webhooks": "drop"})).await;
    shop.app.account_with("alice", 0).await;
    let checkout = shop.check_out("alice", "order").await;
    shop.pay(&checkout).await;
    let events = shop.stripe.objects("event").await;
    let completed = events.iter().find(|event| event["type"] == "checkout.session.completed");
    let completed = completed.expect("an event");
    let statuses = join_all((0..100).map(|_| shop.tell(completed))).await;
    assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.inbox_rests().await;
    let processed = shop.inbox("processed").await;
    let told = processed.iter().filter(|webhook| webhook["type"] == "checkout.session.completed").count();
    assert_eq!((told, shop.balance("alice").await), (1, (100, 0, 0)));
    assert_eq!(shop.events("credits.purchased").await.len(), 1);
}

#[tokio::test]
async fn a_session_with_other_money_than_its_order_is_put_aside() {
    for (currency, amount, differs) in [("eur", 700, "subtotal"), ("usd", 500, "currency")] {
        let shop = Shop::open().await;
        shop.fault(json!({"webhooks": "drop", "types": ["price.*", "product.*"]})).await;
        let at_stripe = json!({"id": "price_odd", "currency": currency, "unit_amount": amount,
            "product_data": {"name": "Pack"}});
        shop.stripe.control("prices", at_stripe).await;
        shop.know("price_odd", 500, json!([{"unit": "credits", "amount": 100}])).await;
        shop.app.account_with("alice", 0).await;
        let checkout = shop.check_out_of("alice", "order", json!({"price_id": "price_odd"})).await;
        let session = shop.pay(&checkout).await;
        let webhook = shop.quarantined().await;
        let reason = webhook["reason"].as_str().expect("a reason");
        assert!(reason.starts_with("contradiction: ") && reason.contains(differs), "{reason}");
        assert_eq!(shop.balance("alice").await, (0, 0, 0));
        assert_eq!(shop.order(&checkout).await["status"], "placed");
        wait::until("the operator's dashboard to show it", async || {
            let count = shop.metric("counterfoil_inbox_events{status=\"quarantined\"}").await;
            (count >= 1.0).then_some(())
        })
        .await;

        // A replay finds the same. The money goes back in the dashboard, which leaves nothing to be credited.
        shop.replay(&webhook).await;
        shop.inbox_rests().await;
        assert_eq!(shop.quarantined().await["event_id"], webhook["event_id"]);
        let payment = session["payment_intent"].as_str().expect("a payment intent");
        shop.stripe.post("/v1/refunds", &format!("payment_intent={payment}")).await.ok();
        wait::until("the refund to be noted", async || {
            (!shop.events("payment.noted").await.is_empty()).then_some(())
        })
        .await;
        assert_eq!(shop.balance("alice").await, (0, 0, 0));
    }
}

#[tokio::test]
async fn an_order_that_is_paid_in_two_sessions_is_credited_twice_and_refunded_one_by_one() {
    let shop = Shop::open().await;
    let (checkout, _) = shop.sold_to("alice").await;
    // Somebody has made another session for the order, with the same marks.
    let sessions = shop.stripe.objects("checkout.session").await;
    let marks = sessions[0]["metadata"].as_object().expect("marks").iter();
    let marks: Vec<String> =
        marks.map(|(name, value)| format!("metadata[{name}]={}", value.as_str().expect("text"))).collect();
    let more =
        format!("customer={}&{}", sessions[0]["customer"].as_str().expect("a customer"), marks.join("&"));
    let second = shop.stripe.session("price_pack", &more).await;
    shop.stripe
        .control(&format!("checkout_sessions/{}/complete", id(&second)), json!({"outcome": "paid"}))
        .await;
    shop.settles_at("alice", (200, 0, 0)).await;
    let order = shop.order(&checkout).await;
    assert_eq!((&order["status"], &order["paid_twice"]), (&json!("paid"), &json!(true)));
    assert_eq!(order["purchase_ids"].as_array().map(Vec::len), Some(2));
    assert!((shop.metric("counterfoil_orders_paid_again_total").await - 1.0).abs() < f64::EPSILON);
    for (key, left) in [("one", 100), ("the other", 0)] {
        assert_eq!(shop.refund(&checkout, key, json!({})).await.status, 201);
        shop.settles_at("alice", (left, 0, 0)).await;
    }
    let nothing_left = shop.refund(&checkout, "a third", json!({})).await;
    assert_eq!((nothing_left.status, nothing_left.code().as_str()), (409, "refund_exceeds_payment"));
    let refunds = shop.stripe.objects("refund").await;
    assert_ne!(refunds[0]["payment_intent"], refunds[1]["payment_intent"]);
}

#[tokio::test]
async fn a_customer_that_was_deleted_at_stripe_is_replaced_whether_or_not_anybody_said_so() {
    for is_told in [true, false] {
        let shop = Shop::open().await;
        shop.sold_to("alice").await;
        if !is_told {
            shop.fault(json!({"webhooks": "drop", "types": ["customer.*"]})).await;
        }
        let customer = id(&shop.stripe.objects("customer").await[0]);
        shop.stripe.send(Method::DELETE, &format!("/v1/customers/{customer}"), "", &[]).await.ok();
        if is_told {
            wait::until("the customer to be let go", async || {
                let linked = shop.events("customer.linked").await;
                linked.iter().any(|event| event["body"]["cause"] == "deleted").then_some(())
            })
            .await;
        }
        let checkout = shop.check_out("alice", "another order").await;
        shop.pay(&checkout).await;
        shop.settles_at("alice", (200, 0, 0)).await;
        shop.outbox_empties().await;
        let customers = shop.stripe.objects("customer").await;
        let alive: Vec<&Value> = customers.iter().filter(|customer| customer["deleted"] != true).collect();
        assert_eq!(alive.len(), 1, "{customers:?}");
        let sessions = shop.stripe.objects("checkout.session").await;
        assert_eq!((sessions.len(), &sessions[1]["customer"]), (2, &alive[0]["id"]));
    }
}

#[tokio::test]
async fn a_price_that_lost_its_metadata_cannot_be_bought_until_it_is_back_and_what_was_sold_is_credited() {
    let shop = Shop::open().await;
    let at_stripe = json!({"id": "price_told", "currency": "eur", "unit_amount": 900,
        "product_data": {"name": "Told"}, "metadata": {"credits": "250", "credit_unit": "credits"}});
    shop.stripe.control("prices", at_stripe).await;
    let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
    assert_eq!(synced.status, 200, "{synced:?}");
    shop.app.account_with("alice", 0).await;
    let order = json!({"price_id": "price_told"});
    let change = async |metadata: &str| {
        shop.stripe.post("/v1/prices/price_told", metadata).await.ok();
    };
    let before = shop.check_out_of("alice", "before", order.clone()).await;
    change("metadata[credits]=").await;
    let findings = async |expected: Value| {
        wait::until("the price to follow", async || {
            let price = shop.app.get("/v1/prices/price_told").await;
            (price["findings"] == expected).then_some(price)
        })
        .await
    };
    assert_eq!(findings(json!(["credits_unstated"])).await["active"], false);
    let body = json!({"account_id": "alice", "price_id": "price_told"});
    let refused = shop.app.keyed("/v1/checkout-sessions", "meanwhile", &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (400, "price_inactive"));
    shop.pay(&before).await;
    shop.settles_at("alice", (250, 0, 0)).await;
    change("metadata[credits]=300").await;
    assert_eq!(findings(json!([])).await["active"], true);
    let after = shop.check_out_of("alice", "meanwhile", order).await;
    shop.pay(&after).await;
    shop.settles_at("alice", (550, 0, 0)).await;
}

#[tokio::test]
async fn without_the_right_key_encryption_key_effects_and_webhooks_wait_for_it() {
    let other = KeyRing::generate();
    for (wrong, code) in
        [(None, "key_encryption_key_missing"), (Some(other.expose_secret()), "key_encryption_key_wrong")]
    {
        let mut shop = Shop::open().await;
        shop.reseal().await;
        shop.app.account_with("alice", 0).await;
        let earlier = shop.check_out("alice", "earlier").await;
        shop.app.set(SEALING, wrong);
        shop.app.restart().await;
        shop.pay(&earlier).await;
        let begun = shop.try_check_out("alice", "order").await;
        assert_eq!(begun.status, 202, "{begun:?}");
        let waits = shop.backs_off(code).await;
        assert_eq!(waits["cause"]["class"], "configuration");
        let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
        assert_eq!((synced.status, synced.code().as_str()), (409, "stripe_not_configured"));
        // Stripe is asked to come again.
        wait::until("webhooks to be turned away", async || {
            let waiting = shop.stripe.objects("delivery").await;
            let is_turned_away = |delivery: &Value| delivery["attempts"][0]["status"] == 503;
            waiting.iter().any(is_turned_away).then_some(())
        })
        .await;
        assert_eq!(shop.balance("alice").await, (0, 0, 0));

        let right = shop.key.expose_secret().to_owned();
        shop.app.set(SEALING, Some(&right));
        shop.app.kill();
        shop.app.time_passes(60).await;
        shop.app.restart().await;
        shop.stripe.control("clock/advance", json!({"seconds": 60})).await;
        shop.settles_at("alice", (100, 0, 0)).await;
        let checkout = shop.check_out_patiently("alice", "order").await;
        assert_eq!(order_of(&checkout), order_of(&begun.json()));
        shop.pay(&checkout).await;
        shop.settles_at("alice", (200, 0, 0)).await;
        assert_eq!((shop.at_stripe("customer").await, shop.at_stripe("checkout.session").await), (1, 2));
    }
}

#[tokio::test]
async fn with_a_wrong_stripe_key_the_caller_is_told_and_the_operator_has_it_tried_again() {
    let shop = Shop::open().await;
    shop.set_stripe_key("sk_test_wrong").await;
    shop.app.account_with("alice", 0).await;
    let refused = shop.try_check_out("alice", "order").await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "stripe_refused"), "{refused:?}");
    let (class, code, kind, count) = shop.dead().await;
    assert_eq!((class.as_str(), kind, count), ("configuration", json!("create_customer"), json!(1)));
    let detail = refused.json()["error"]["detail"].clone();
    assert_eq!(detail["stripe_code"], code);
    let effects = shop.outbox().await;
    let states: Vec<&Value> = effects.iter().map(|effect| &effect["state"]).collect();
    assert_eq!(states, ["dead", "held"], "the session waits for the customer");
    assert_eq!(effects[0]["effect_id"], detail["effect_id"]);
    let behind = shop.try_check_out("alice", "another order").await;
    assert_eq!(behind.json()["error"]["detail"]["effect_id"], detail["effect_id"], "it waits for the same");
    wait::until("the operator's dashboard to show it", async || {
        let series = "counterfoil_outbox_effects{state=\"dead\",kind=\"create_customer\"}";
        (shop.metric(series).await >= 1.0).then_some(())
    })
    .await;
    let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
    assert_eq!((synced.status, synced.code().as_str()), (502, "stripe_refused"));

    shop.set_stripe_key(API_KEY).await;
    wait::until("the key to be taken", async || {
        let synced = shop.app.send(Method::POST, "/v1/prices/sync", None).await;
        (synced.status == 200).then_some(())
    })
    .await;
    shop.retry(&effects[0]).await;
    let checkout = shop.check_out_patiently("alice", "order").await;
    shop.pay(&checkout).await;
    shop.settles_at("alice", (100, 0, 0)).await;
    shop.check_out_patiently("alice", "another order").await;
    let shown = shop.app.get(&format!("/v1/outbox/{}", detail["effect_id"].as_str().expect("an id"))).await;
    assert_eq!((&shown["effect"], &shown["decisions"][0]["decision"]), (&Value::Null, &json!("retry")));
    assert_eq!((shop.at_stripe("customer").await, shop.at_stripe("checkout.session").await), (1, 2));
}

#[tokio::test]
async fn a_clock_that_is_moved_on_while_nobody_knows_what_stripe_did_makes_nothing_twice() {
    let mut shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    // Stripe makes the page and does not say so, and then the process dies that had asked.
    shop.fault(json!({"api": "hang", "path": "/v1/checkout/sessions", "seconds": 600})).await;
    let body = json!({"account_id": "alice", "price_id": "price_pack"});
    let asking = shop.app.keyed("/v1/checkout-sessions", "order", &body);
    let made =
        wait::until("the page", async || (shop.at_stripe("checkout.session").await == 1).then_some(()));
    tokio::select! {
        answer = asking => panic!("{answer:?}"),
        () = made => {}
    }
    shop.app.restart().await;
    // Before anybody takes over what it had begun, Stripe forgets under which key that was.
    let advanced = shop.app.keyed("/v1/test/clock/advance", "night", &json!({"seconds": 2 * 86_400})).await;
    assert_eq!(advanced.status, 201, "{advanced:?}");
    wait::until("the page to expire", async || {
        let sessions = shop.stripe.objects("checkout.session").await;
        (sessions[0]["status"] == "expired").then_some(())
    })
    .await;
    shop.no_more_faults().await;
    shop.app.kill();
    shop.app.time_passes(60).await;
    shop.app.restart().await;
    shop.outbox_empties().await;
    let orders = async || shop.app.get("/v1/orders?account_id=alice").await["items"].clone();
    wait::until("the order to end", async || (orders().await[0]["status"] == "expired").then_some(())).await;
    assert_eq!(
        (orders().await.as_array().map(Vec::len), shop.at_stripe("checkout.session").await),
        (Some(1), 1)
    );
}

#[tokio::test]
async fn what_an_operator_gives_up_ends_the_order() {
    let shop = Shop::open().await;
    shop.know("price_nowhere", 500, json!([{"unit": "credits", "amount": 100}])).await;
    shop.app.account_with("alice", 0).await;
    let body = json!({"account_id": "alice", "price_id": "price_nowhere"});
    let refused = shop.app.keyed("/v1/checkout-sessions", "order", &body).await;
    assert_eq!((refused.status, refused.code().as_str()), (502, "stripe_refused"), "{refused:?}");
    let (class, code, kind, _) = shop.dead().await;
    assert_eq!(
        (class.as_str(), code.as_str(), kind),
        ("refused", "resource_missing", json!("create_checkout_session"))
    );
    let effect = refused.json()["error"]["detail"]["effect_id"].clone();
    let path = format!("/v1/outbox/{}/discard", effect.as_str().expect("an effect"));
    let discarded = shop.app.send(Method::POST, &path, Some(&json!({"reason": "no such price"}))).await;
    assert_eq!(discarded.status, 200, "{discarded:?}");
    let orders = shop.app.get("/v1/orders?account_id=alice").await["items"].clone();
    assert_eq!((&orders[0]["status"], &orders[0]["failure"]), (&json!("failed"), &json!("given_up")));
    let other = shop.check_out("alice", "another order").await;
    shop.pay(&other).await;
    shop.settles_at("alice", (100, 0, 0)).await;
}
