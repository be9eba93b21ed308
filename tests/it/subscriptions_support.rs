//! Plans and subscriptions of a shop. A period of its plans is 30 days, whatever month it is, so that half of it is known.

use std::sync::atomic::{AtomicU64, Ordering};

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{shop::Shop, simulator::id, wait},
};

/// A day, in seconds.
pub const DAY: i64 = 24 * 60 * 60;
/// A card that can be stored, and is declined when it is charged.
pub const DECLINED_LATER: &str = "4000000000000341";

/// So that no request has the key of another.
static REQUESTS: AtomicU64 = AtomicU64::new(0);

/// A subscription that an account has checked out.
pub struct Subscribed {
    /// Stripe's id of it.
    pub id: String,
    /// The checkout that it began with.
    pub checkout: Value,
    /// Who pays for it.
    pub customer: String,
}

impl Shop {
    /// A shop that sells `price_plan`: 100 credits for EUR 10.00 every 30 days. Alice has an account.
    pub async fn with_plan() -> Self {
        let shop = Self::open().await;
        shop.offer_plan("price_plan", 1_000, json!([{"unit": "credits", "amount": 100}])).await;
        shop.app.account_with("alice", 0).await;
        shop
    }

    /// Sells something every 30 days.
    pub async fn offer_plan(&self, price: &str, cents: i64, grants: Value) {
        self.offer_every(price, cents, grants, json!({"interval": "day", "interval_count": 30})).await;
    }

    /// Sells something again and again, and waits until the ledger has heard of it.
    pub async fn offer_every(&self, price: &str, cents: i64, grants: Value, period: Value) {
        let order = json!({"id": price, "currency": "eur", "unit_amount": cents, "recurring": period,
            "product_data": {"name": "Plan"}, "metadata": {"counterfoil_grants": grants.to_string()}});
        self.stripe.control("prices", order).await;
        wait::until("a plan to be known", async || {
            let known = self.app.send(Method::GET, &format!("/v1/prices/{price}"), None).await;
            (known.status == 200 && known.json()["mode"] == "recurring").then_some(())
        })
        .await;
    }

    /// Sets the ledger's rules.
    pub async fn rule(&self, rules: Value) {
        let set = self.app.send(Method::PUT, "/v1/settings/rules", Some(&rules)).await;
        assert_eq!(set.status, 200, "{set:?}");
    }

    /// Has an account subscribe to the plan, or to what `more` says.
    pub async fn subscribe(&self, account: &str, more: Value) -> Subscribed {
        let mut order = json!({"price_id": "price_plan"});
        order.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let checkout = self.check_out_of(account, &unique("checkout"), order).await;
        let session = self.pay(&checkout).await;
        let text = |name: &str| session[name].as_str().expect("an id").to_owned();
        Subscribed { id: text("subscription"), customer: text("customer"), checkout }
    }

    /// Both clocks go on, the ledger's and Stripe's.
    pub async fn days_pass(&self, days: i64) {
        let body = json!({"seconds": days * DAY});
        let advanced = self.app.keyed("/v1/test/clock/advance", &unique("days"), &body).await;
        assert_eq!(advanced.status, 201, "{advanced:?}");
        self.outbox_empties().await;
    }

    /// A subscription as the ledger knows it.
    pub async fn subscription(&self, subscribed: &Subscribed) -> Value {
        self.app.get(&format!("/v1/subscriptions/{}", subscribed.id)).await
    }

    /// Waits until the ledger knows that of a subscription.
    pub async fn subscription_has(&self, subscribed: &Subscribed, field: &str, value: Value) -> Value {
        let what = format!("a subscription's {field} to be {value}");
        self.subscription_becomes(&what, subscribed, |known| known[field] == value).await
    }

    /// Waits until the subscription itself was told of, not only what was paid for it.
    pub async fn period_is_known(&self, subscribed: &Subscribed) -> Value {
        let is_known = |known: &Value| known["current_period_end"].is_string();
        self.subscription_becomes("a subscription's period to be known", subscribed, is_known).await
    }

    async fn subscription_becomes(
        &self,
        what: &str,
        subscribed: &Subscribed,
        is_so: impl Fn(&Value) -> bool,
    ) -> Value {
        wait::until(what, async || {
            let path = format!("/v1/subscriptions/{}", subscribed.id);
            let known = self.app.send(Method::GET, &path, None).await;
            (known.status == 200).then(|| known.json()).filter(|known| is_so(known))
        })
        .await
    }

    /// Changes a subscription at Stripe, as its dashboard does.
    pub async fn at_dashboard(&self, subscribed: &Subscribed, form: &str) -> Value {
        self.stripe.post(&format!("/v1/subscriptions/{}", subscribed.id), form).await.ok()
    }

    /// Gives a subscription's only item another price and quantity there, charged at once.
    pub async fn change_at_dashboard(&self, subscribed: &Subscribed, price: &str, quantity: i64) {
        let known = self.stripe.get(&format!("/v1/subscriptions/{}", subscribed.id)).await.ok();
        let item = id(&known["items"]["data"][0]);
        let form = format!(
            "items[0][id]={item}&items[0][price]={price}&items[0][quantity]={quantity}\
             &proration_behavior=always_invoice"
        );
        self.at_dashboard(subscribed, &form).await;
    }

    /// The invoices of a subscription at Stripe, oldest first.
    pub async fn invoices(&self, subscribed: &Subscribed) -> Vec<Value> {
        let invoices = self.stripe.objects("invoice").await.into_iter();
        let of = |invoice: &Value| invoice["parent"]["subscription_details"]["subscription"].clone();
        let mut invoices: Vec<Value> =
            invoices.filter(|invoice| of(invoice) == subscribed.id.as_str()).collect();
        // Several may be of the same second, when much time passes at once.
        invoices.sort_by_key(|invoice| {
            (invoice["created"].as_i64(), invoice["lines"]["data"][0]["period"]["end"].as_i64())
        });
        invoices
    }

    /// What paid the newest invoice of a subscription.
    pub async fn last_payment(&self, subscribed: &Subscribed) -> String {
        let invoice = self.invoices(subscribed).await.pop().expect("an invoice");
        let payments = self.stripe.objects("invoice_payment").await;
        let payment = payments.iter().find(|payment| payment["invoice"] == invoice["id"]);
        let intent = &payment.expect("a payment")["payment"]["payment_intent"];
        intent.as_str().expect("a payment intent").to_owned()
    }

    /// Has Stripe tell once more that an invoice was paid.
    pub async fn tell_again(&self, invoice: &Value) {
        let events = self.stripe.objects("event").await;
        let is_meant = |event: &&Value| {
            event["type"] == "invoice.paid" && event["data"]["object"]["id"] == invoice["id"]
        };
        let event = events.iter().find(is_meant).expect("an event");
        self.stripe.control(&format!("events/{}/resend", id(event)), json!({})).await;
    }

    /// Waits until so many paid lots have entered the ledger.
    pub async fn has_been_paid(&self, times: usize) {
        wait::until(&format!("{times} payments"), async || {
            (self.events("credits.purchased").await.len() == times).then_some(())
        })
        .await;
    }

    /// Waits until everything that Stripe has told is worked off, and checks what is stored by the events.
    pub async fn is_in_order(&self) {
        self.inbox_rests().await;
        assert_eq!(self.inbox("quarantined").await, [] as [Value; 0]);
        self.verify().await;
    }
}

/// A key that no other request of this process has.
pub fn unique(what: &str) -> String {
    format!("{what} {}", REQUESTS.fetch_add(1, Ordering::Relaxed))
}
