//! A shop: the service, and the simulated Stripe that it sells through, each a process of its own.

use std::process::Command;

use counterfoil::store::sealing::KeyRing;
use reqwest::Method;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::{
    app::{Ledger, TestApp},
    process,
    simulator::{API_KEY, TestSimulator, id},
    wait,
};
use crate::api_support::{Answer, Requests};

/// The service's setting with the key that secrets are sealed with.
pub const SEALING: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY";

const CHECKOUT: &str = "/v1/checkout-sessions";

/// A service and the Stripe that it sells through.
pub struct Shop {
    pub app: TestApp,
    pub stripe: TestSimulator,
    /// What the service's secrets are sealed with.
    pub key: SecretString,
}

impl Shop {
    /// Sells `price_pack`: 100 credits for EUR 5.00.
    pub async fn open() -> Self {
        Self::open_with(&[]).await
    }

    /// The same with further settings of the service.
    pub async fn open_with(settings: &[(&str, &str)]) -> Self {
        Self::furnish(settings, None).await
    }

    /// The same with a ledger made as `arguments` of `counterfoil ledger create` say.
    pub async fn open_ledger(arguments: &[&str]) -> Self {
        Self::furnish(&[], Some(arguments)).await
    }

    async fn furnish(settings: &[(&str, &str)], ledger: Option<&[&str]>) -> Self {
        let key = KeyRing::generate();
        let mut settings = settings.to_vec();
        settings.push((SEALING, key.expose_secret()));
        let mut app = TestApp::start_with(&settings).await;
        if let Some(arguments) = ledger {
            app.ledger = app.create_ledger("shop", arguments).await;
        }
        let Ledger { slug, webhook_secret, .. } = &app.ledger;
        let webhooks = format!("{}/webhooks/stripe/{slug}", app.url);
        let stripe =
            TestSimulator::start_with(&["--webhook-url", &webhooks, "--webhook-secret", webhook_secret])
                .await;
        let shop = Self { app, stripe, key };
        shop.set_stripe_key(API_KEY).await;
        shop.offer("price_pack", 500, json!([{"unit": "credits", "amount": 100}])).await;
        shop.set_checkout(json!({})).await;
        shop
    }

    /// Sets the key that the service calls Stripe with.
    pub async fn set_stripe_key(&self, api_key: &str) {
        let (slug, url) = (&self.app.ledger.slug, &self.stripe.url);
        let key = ("COUNTERFOIL_STRIPE_API_KEY", api_key);
        self.command(&["ledger", "stripe-key", slug, "--base-url", url], Some(key)).await;
    }

    /// Seals whatever lies in the database in clear.
    pub async fn reseal(&self) {
        self.command(&["ledger", "reseal"], None).await;
    }

    /// Has the command line check that everything that is stored follows from the events.
    pub async fn verify(&self) {
        self.command(&["verify"], None).await;
    }

    /// A command line with what it needs to reach this shop's database and Stripe.
    pub fn command_line(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", self.app.database.runtime_url().expose_secret());
        command.env(SEALING, self.key.expose_secret());
        command
    }

    async fn command(&self, arguments: &[&str], setting: Option<(&str, &str)>) {
        let mut command = self.command_line(arguments);
        command.envs(setting);
        let output = process::output(command).await;
        assert!(output.status.success(), "{arguments:?}: {output:?}");
    }

    /// Sells something else.
    pub async fn offer(&self, price: &str, cents: i64, grants: Value) {
        self.offer_as(price, cents, grants, json!({})).await;
    }

    /// Sells something else, with more said of the price at Stripe.
    pub async fn offer_as(&self, price: &str, cents: i64, grants: Value, more: Value) {
        let mut at_stripe = json!({"id": price, "currency": "eur", "unit_amount": cents,
            "product_data": {"name": "Pack"}, "metadata": {"counterfoil_grants": grants.to_string()}});
        at_stripe.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        self.stripe.control("prices", at_stripe).await;
        self.know(price, cents, grants).await;
    }

    /// Tells the ledger of a price.
    pub async fn know(&self, price: &str, cents: i64, grants: Value) {
        let body = json!({"display_name": "Pack", "money": {"amount": cents, "currency": "eur"},
            "grants": grants});
        let set = self.app.send(Method::PUT, &format!("/v1/prices/{price}"), Some(&body)).await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    /// Sets how checkouts look, beside where they lead back to.
    pub async fn set_checkout(&self, more: Value) {
        let mut settings =
            json!({"success_url": "https://shop.example/thanks", "redirect_hosts": ["shop.example"]});
        let more = more.as_object().expect("an object").clone();
        settings.as_object_mut().expect("an object").extend(more);
        let set = self.app.send(Method::PUT, "/v1/settings/checkout", Some(&settings)).await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    /// Has buyers take so much off the price with a code.
    pub async fn promote(&self, code: &str, percent: u8) {
        self.set_checkout(json!({"promotion_codes": true})).await;
        let coupon = self.stripe.post("/v1/coupons", &format!("percent_off={percent}&duration=once")).await;
        let form = format!("promotion[type]=coupon&promotion[coupon]={}&code={code}", id(&coupon.ok()));
        self.stripe.post("/v1/promotion_codes", &form).await.ok();
    }

    /// Begins a checkout of one pack.
    pub async fn check_out(&self, account: &str, key: &str) -> Value {
        self.check_out_of(account, key, json!({})).await
    }

    /// Begins a checkout of what `more` says.
    pub async fn check_out_of(&self, account: &str, key: &str, more: Value) -> Value {
        let answer = self.try_check_out_of(account, key, more).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.json()
    }

    /// Asks for a checkout of one pack.
    pub async fn try_check_out(&self, account: &str, key: &str) -> Answer {
        self.try_check_out_of(account, key, json!({})).await
    }

    /// Begins a checkout of one pack, asking again with the same key for as long as Stripe is slow.
    pub async fn check_out_patiently(&self, account: &str, key: &str) -> Value {
        wait::until("a checkout", async || {
            let answer = self.try_check_out(account, key).await;
            assert!(matches!(answer.status, 201 | 202), "{answer:?}");
            (answer.status == 201).then(|| answer.json())
        })
        .await
    }

    async fn try_check_out_of(&self, account: &str, key: &str, more: Value) -> Answer {
        let mut body = json!({"account_id": account, "price_id": "price_pack"});
        let more = more.as_object().expect("an object").clone();
        body.as_object_mut().expect("an object").extend(more);
        self.app.keyed(CHECKOUT, key, &body).await
    }

    /// The buyer pays.
    pub async fn pay(&self, checkout: &Value) -> Value {
        self.complete(checkout, json!({"outcome": "paid"})).await
    }

    /// The buyer comes to an end at the page; the session as it is then.
    pub async fn complete(&self, checkout: &Value, order: Value) -> Value {
        self.at_page(checkout, "complete", order).await
    }

    /// Something happens to the session of a checkout.
    pub async fn at_page(&self, checkout: &Value, what: &str, order: Value) -> Value {
        let session = checkout["checkout_session_id"].as_str().expect("a session");
        self.stripe.control(&format!("checkout_sessions/{session}/{what}"), order).await
    }

    /// An account that has bought a pack: the checkout, and the payment intent.
    pub async fn sold_to(&self, account: &str) -> (Value, String) {
        self.app.account_with(account, 0).await;
        let checkout = self.check_out(account, &format!("the pack of {account}")).await;
        let session = self.pay(&checkout).await;
        self.settles_at(account, (100, 0, 0)).await;
        (checkout, session["payment_intent"].as_str().expect("a payment intent").to_owned())
    }

    /// The order of a checkout.
    pub async fn order(&self, checkout: &Value) -> Value {
        self.app.get(&format!("/v1/orders/{}", order_of(checkout))).await
    }

    /// Waits until the order of a checkout has that status.
    pub async fn order_becomes(&self, checkout: &Value, status: &str) -> Value {
        wait::until("the order to change", async || {
            Some(self.order(checkout).await).filter(|order| order["status"] == status)
        })
        .await
    }

    /// Asks for a refund of the order of a checkout.
    pub async fn refund(&self, checkout: &Value, key: &str, body: Value) -> Answer {
        self.app.keyed(&format!("/v1/orders/{}/refunds", order_of(checkout)), key, &body).await
    }

    /// Waits until the only refund of an order has that status.
    pub async fn refund_becomes(&self, checkout: &Value, status: &str) -> Value {
        wait::until("the refund to come so far", async || {
            let refund = self.order(checkout).await["refunds"][0].clone();
            (refund["status"] == status).then_some(refund)
        })
        .await
    }

    /// Has so many credits spent.
    pub async fn spend(&self, account: &str, amount: i64) {
        let body = json!({"unit": "credits", "amount": amount});
        let path = format!("/v1/accounts/{account}/spends");
        let spent = self.app.keyed(&path, &format!("{account} spends {amount}"), &body).await;
        assert_eq!(spent.status, 201, "{spent:?}");
    }

    /// What an account has of the first unit: available, disputed, debt.
    pub async fn balance(&self, account: &str) -> (i64, i64, i64) {
        let balance = self.app.get(&format!("/v1/accounts/{account}/balance")).await;
        let of = |name: &str| balance["balances"][0][name].as_i64().expect("an amount");
        (of("available"), of("disputed"), of("debt"))
    }

    /// Waits until an account has that.
    pub async fn settles_at(&self, account: &str, expected: (i64, i64, i64)) {
        let mut last = (0, 0, 0);
        let settled = tokio::time::timeout(wait::LIMIT, async {
            loop {
                last = self.balance(account).await;
                if last == expected {
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        });
        assert!(settled.await.is_ok(), "{account} has {last:?} instead of {expected:?}");
    }

    /// Waits until the work on every webhook that has arrived is done, one way or the other.
    pub async fn inbox_rests(&self) {
        wait::until("webhooks to be worked off", async || {
            for status in ["received", "failed"] {
                if self.inbox(status).await != [] as [Value; 0] {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }

    /// The webhooks of a status.
    pub async fn inbox(&self, status: &str) -> Vec<Value> {
        self.items(&format!("/v1/inbox?status={status}")).await
    }

    /// Waits for the one webhook that somebody has to look at.
    pub async fn quarantined(&self) -> Value {
        let found = wait::until("a webhook to be put aside", async || {
            Some(self.inbox("quarantined").await).filter(|found| !found.is_empty())
        });
        let found = found.await;
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    /// What is not done yet at Stripe.
    pub async fn outbox(&self) -> Vec<Value> {
        self.items("/v1/outbox").await
    }

    /// Waits until there is nothing left to be done at Stripe.
    pub async fn outbox_empties(&self) {
        wait::until("the outbox to empty", async || (self.outbox().await == [] as [Value; 0]).then_some(()))
            .await;
    }

    /// Waits for an effect that fails, and that is tried again, with that cause.
    pub async fn backs_off(&self, code: &str) -> Value {
        wait::until("an effect to back off", async || {
            let waiting = self.items(&format!("/v1/outbox?state=backing_off&code={code}")).await;
            waiting.into_iter().next()
        })
        .await
    }

    /// Has a dead effect tried again.
    pub async fn retry(&self, effect: &Value) {
        let path = format!("/v1/outbox/{}/retry", effect["effect_id"].as_str().expect("an effect"));
        let decided = self.app.send(Method::POST, &path, Some(&json!({"reason": "it is put right"}))).await;
        assert_eq!(decided.status, 200, "{decided:?}");
    }

    /// Has a webhook taken up again.
    pub async fn replay(&self, webhook: &Value) {
        let path = format!("/v1/inbox/{}/replay", webhook["event_id"].as_str().expect("an event"));
        let replayed = self.app.send(Method::POST, &path, None).await;
        assert_eq!(replayed.status, 200, "{replayed:?}");
    }

    /// Events of the ledger of a type.
    pub async fn events(&self, event_type: &str) -> Vec<Value> {
        let (mut found, mut after) = (Vec::new(), 0);
        loop {
            let page = self.app.get(&format!("/v1/events?after={after}&limit=500")).await;
            let events = page["events"].as_array().expect("events").clone();
            let Some(last) = events.last() else { return found };
            after = last["position"].as_i64().expect("a position");
            found.extend(events.into_iter().filter(|event| event["type"] == event_type));
        }
    }

    /// The value of a series of the service's metrics, all labels of which are given.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.app.client.get(format!("{}/metrics", self.app.url)).send().await;
        let text = text.expect("an answer").text().await.expect("a body");
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Has something go wrong at Stripe.
    pub async fn fault(&self, fault: Value) {
        self.stripe.control("faults", fault).await;
    }

    /// Has everything be well at Stripe again.
    pub async fn no_more_faults(&self) {
        self.stripe.try_control(Method::DELETE, "faults", json!({})).await;
    }

    /// How many objects of a kind there are at Stripe.
    pub async fn at_stripe(&self, kind: &str) -> usize {
        self.stripe.objects(kind).await.len()
    }

    async fn items(&self, path: &str) -> Vec<Value> {
        self.app.get(path).await["items"].as_array().expect("items").clone()
    }
}

/// The order's id.
pub fn order_of(checkout: &Value) -> &str {
    checkout["order_id"].as_str().expect("an order")
}
