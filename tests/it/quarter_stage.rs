//! The quarter as it is played: what accounts do, and what Stripe shows of it, which the model is told.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    quarter_model::{DAY, Expiry, Grants, Holdings, Paid, Rollover, SLACK, UNITS},
    quarter_plan::{Act, Bought, Day, EXTRA, Price, SMALL, TRIAL, TRIAL_CREDITS},
    stage::{Stage, count},
    support::simulator::id,
};

/// Money that came in.
#[derive(Debug)]
pub struct Payment {
    intent: String,
    what: Bought,
    /// The order of a pack.
    order: String,
    paid: i64,
    /// What it is held against: that, and what the customer's balance paid beside it.
    came_to: i64,
    /// What went back for good, and what is disputed, as the model knows it.
    back: (i64, i64),
    /// What was asked back, whether it has arrived or not.
    asked: i64,
    dispute: Option<String>,
    is_closed: bool,
}

/// What an account has done so far.
#[derive(Debug)]
pub struct Life {
    pub name: String,
    pub days: Vec<Day>,
    /// What it must have.
    pub holdings: Holdings,
    /// Its subscriptions, the one that it has now last.
    subscriptions: Vec<String>,
    customer: String,
    pub payments: Vec<Payment>,
    /// The orders that it placed.
    pub orders: Vec<String>,
    /// What Stripe showed and was taken in: sessions, invoices, and subscriptions that ended.
    known: BTreeSet<String>,
}

impl Life {
    /// One that has yet to begin.
    pub fn new(name: String, days: Vec<Day>) -> Self {
        Self {
            name,
            days,
            holdings: Holdings::default(),
            subscriptions: Vec::new(),
            customer: String::new(),
            payments: Vec::new(),
            orders: Vec::new(),
            known: BTreeSet::new(),
        }
    }

    /// The last payment of that kind of which something is left and nothing is disputed.
    fn last(&mut self, what: Bought) -> Option<&mut Payment> {
        let mut payments = self.payments.iter_mut().rev();
        payments
            .find(|payment| payment.what == what && payment.dispute.is_none() && payment.asked < payment.paid)
    }
}

impl Payment {
    fn share(&self, percent: i64) -> i64 {
        ((self.paid - self.asked) * percent / 100).max(1)
    }
}

impl Stage<'_> {
    /// Opens an account.
    pub async fn begin(&self, life: &Life) {
        let name = &life.name;
        let opened = self.ask("/v1/accounts", &format!("open {name}"), &json!({"account_id": name})).await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }

    /// What an account does on a day of business: it spends, and knows whether it can, and then one thing more.
    pub async fn live(&self, life: &mut Life, number: usize) {
        let day = life.days[number].clone();
        for (nth, (unit, share)) in day.spends.into_iter().enumerate() {
            let amount = (life.holdings.available(unit) * share / 1_000).max(1);
            let key = format!("{} spends {number}.{nth}", life.name);
            let body = json!({"unit": UNITS[unit], "amount": amount});
            let spent = self.ask(&format!("/v1/accounts/{}/spends", life.name), &key, &body).await;
            let status = if life.holdings.spend(unit, amount) { 201 } else { 402 };
            assert_eq!(spent.status, status, "{key}: {spent:?}");
            if status == 402 {
                count(&self.counts.refusals);
            }
        }
        if let Some(act) = day.act {
            let key = format!("{} {number}", life.name);
            self.act(life, &key, act).await;
        }
    }

    async fn act(&self, life: &mut Life, key: &str, act: Act) {
        match act {
            Act::Subscribe { price, quantity, has_trial } => {
                let mut body = json!({"account_id": life.name, "price_id": price, "quantity": quantity});
                if has_trial {
                    body["trial_days"] = json!(TRIAL);
                }
                self.subscribe(life, key, &body).await;
            }
            Act::SubscribeElsewhere { extras } => self.subscribe_elsewhere(life, key, extras).await,
            Act::Change { price, quantity, now } => self.change(life, price, quantity, now).await,
            Act::BreakCard => self.give_card(life, "4000000000000341").await,
            Act::MendCard => self.give_card(life, "4242424242424242").await,
            Act::PayInvoice => self.pay_invoice(life).await,
            Act::CancelNow => self.cancel_now(life).await,
            Act::CancelAtEnd => {
                let subscription = life.subscriptions.last().cloned().expect("a subscription");
                self.click(
                    "subscription",
                    &format!("/v1/subscriptions/{subscription}"),
                    "cancel_at_period_end=true",
                    |known| known["id"] == subscription.as_str() && known["cancel_at_period_end"] == true,
                )
                .await;
            }
            Act::Buy { price, quantity } => {
                let body = json!({"account_id": life.name, "price_id": price, "quantity": quantity});
                self.buy_and_pay(life, key, &body).await;
            }
            Act::AskBack { percent } => {
                let Some(payment) = life.last(Bought::Pack) else { return };
                let (cents, order) = (payment.share(percent), payment.order.clone());
                payment.asked += cents;
                let answer =
                    self.ask(&format!("/v1/orders/{order}/refunds"), key, &json!({"amount": cents})).await;
                assert_eq!(answer.status, 201, "{answer:?}");
            }
            Act::SendBack { what, percent } => {
                let Some(payment) = life.last(what) else { return };
                let (cents, intent) = (payment.share(percent), payment.intent.clone());
                payment.asked += cents;
                self.send_back(&intent, key, cents).await;
            }
            Act::Dispute { what, percent } => {
                let Some(payment) = life.last(what) else { return };
                let order = json!({"amount": payment.share(percent)});
                let dispute =
                    self.stripe.control(&format!("charges/{}/dispute", payment.intent), order).await;
                payment.dispute = Some(id(&dispute));
            }
            Act::CloseDispute { is_won } => {
                let open =
                    life.payments.iter_mut().find(|payment| payment.dispute.is_some() && !payment.is_closed);
                let Some(payment) = open else { return };
                let dispute = payment.dispute.clone().expect("a dispute");
                let outcome = if is_won { "won" } else { "lost" };
                self.stripe.control(&format!("disputes/{dispute}/close"), json!({"outcome": outcome})).await;
                payment.is_closed = true;
            }
        }
    }

    async fn buy_and_pay(&self, life: &mut Life, key: &str, body: &Value) -> Value {
        let (order, session) = self.check_out(key, body).await;
        life.orders.push(order);
        self.at_page(&session, "complete", json!({"outcome": "paid"})).await
    }

    async fn subscribe(&self, life: &mut Life, key: &str, body: &Value) {
        let session = self.buy_and_pay(life, key, body).await;
        life.subscriptions.push(session["subscription"].as_str().expect("a subscription").to_owned());
        session["customer"].as_str().expect("a customer").clone_into(&mut life.customer);
    }

    async fn subscribe_elsewhere(&self, life: &mut Life, key: &str, extras: i64) {
        let mark = key.replace(' ', "_");
        let form = format!(
            "mode=subscription&success_url=https://shop.example/&customer_email=buyer@example.com\
             &subscription_data[metadata][account_id]={}&metadata[clicked]={mark}\
             &line_items[0][price]={}&line_items[0][quantity]=1\
             &line_items[1][price]={}&line_items[1][quantity]={extras}",
            life.name, SMALL.id, EXTRA.id
        );
        let is_wanted = |session: &Value| session["metadata"]["clicked"] == mark.as_str();
        let session = self.click("checkout.session", "/v1/checkout/sessions", &form, is_wanted).await;
        let session = id(&session.expect("a session"));
        let session = self.at_page(&session, "complete", json!({"outcome": "paid"})).await;
        life.subscriptions.push(session["subscription"].as_str().expect("a subscription").to_owned());
        session["customer"].as_str().expect("a customer").clone_into(&mut life.customer);
    }

    /// The subscription of an account as it is at Stripe.
    async fn subscription_of(&self, life: &Life) -> Value {
        let subscription = life.subscriptions.last().expect("a subscription");
        let known = self.stripe.objects("subscription").await;
        known.into_iter().find(|known| known["id"] == subscription.as_str()).expect("a subscription")
    }

    async fn change(&self, life: &Life, price: &str, quantity: i64, now: bool) {
        let subscription = self.subscription_of(life).await;
        if subscription["status"] != "active" {
            return;
        }
        let (name, item) = (id(&subscription), id(&subscription["items"]["data"][0]));
        let behavior = if now { "always_invoice" } else { "create_prorations" };
        let form = format!(
            "items[0][id]={item}&items[0][price]={price}&items[0][quantity]={quantity}&proration_behavior={behavior}"
        );
        let is_wanted = |known: &Value| {
            let item = &known["items"]["data"][0];
            known["id"] == name.as_str() && item["price"]["id"] == price && item["quantity"] == quantity
        };
        let changed =
            self.click("subscription", &format!("/v1/subscriptions/{name}"), &form, is_wanted).await;
        assert!(changed.is_some(), "{} has no subscription that could change", life.name);
    }

    async fn give_card(&self, life: &Life, card: &str) {
        self.stripe.control(&format!("customers/{}/card", life.customer), json!({"card": card})).await;
    }

    /// Pays what a renewal owes, if it owes anything yet.
    async fn pay_invoice(&self, life: &Life) {
        if self.subscription_of(life).await["status"] != "past_due" {
            return;
        }
        let subscription = life.subscriptions.last().expect("a subscription");
        let invoices = self.stripe.objects("invoice").await;
        let open = invoices
            .iter()
            .find(|invoice| invoice["status"] == "open" && subscription_of(invoice) == subscription);
        let open = id(open.expect("an invoice that is not paid"));
        self.stripe.control(&format!("invoices/{open}/pay"), json!({})).await;
    }

    async fn cancel_now(&self, life: &Life) {
        while self.subscription_of(life).await["status"] != "canceled" {
            let path = format!("/v1/subscriptions/{}", life.subscriptions.last().expect("a subscription"));
            // What became of it, the next look says.
            let _ = self.stripe.try_send(Method::DELETE, &path, "", &[]).await;
        }
    }

    /// Tells the model what Stripe shows and did not show before. Everything of one account is about one thing.
    pub async fn tell(&self, lives: &mut [Life], rollover: Rollover, now: i64) {
        let sessions = self.stripe.objects("checkout.session").await;
        let mut invoices = self.stripe.objects("invoice").await;
        invoices.sort_by_key(|invoice| invoice["created"].as_i64());
        let payments = self.stripe.objects("invoice_payment").await;
        let subscriptions = self.stripe.objects("subscription").await;
        let (refunds, disputes) = (self.stripe.objects("refund").await, self.stripe.objects("dispute").await);
        for life in lives {
            life.holdings.pass_time(now);
            for session in &sessions {
                life.see_session(session, now);
            }
            for invoice in invoices.iter().filter(|invoice| invoice["status"] == "paid") {
                let is_own = life.subscriptions.iter().any(|own| own == subscription_of(invoice));
                if is_own && life.known.insert(id(invoice)) {
                    let payment = payments.iter().find(|payment| payment["invoice"] == invoice["id"]);
                    let intent = payment.and_then(|payment| payment["payment"]["payment_intent"].as_str());
                    life.see_invoice(invoice, intent, rollover, now);
                }
            }
            for subscription in subscriptions.iter().filter(|known| known["status"] == "canceled") {
                let is_own = life.subscriptions.contains(&id(subscription));
                if is_own && life.known.insert(id(subscription)) {
                    life.holdings.end(&id(subscription), now);
                }
            }
            life.see_money_back(&refunds, &disputes, now);
        }
    }
}

impl Life {
    fn see_session(&mut self, session: &Value, now: i64) {
        let marks = &session["metadata"];
        let is_sale = session["mode"] == "payment" && session["payment_status"] == "paid";
        if !is_sale || marks["account_id"] != self.name.as_str() || !self.known.insert(id(session)) {
            return;
        }
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let price = Price::find(&text(&marks["price_id"]));
        let quantity = text(&marks["quantity"]).parse().expect("a quantity");
        let intent = text(&session["payment_intent"]);
        let expiry = price.lives.map(|days| Expiry { at: now + days * DAY, slack: SLACK });
        self.holdings.buy(&intent, &price.times(quantity), expiry);
        let (paid, order) = (number(&session["amount_total"]), text(&marks["counterfoil_order"]));
        self.pay(intent, Bought::Pack, order, [paid, paid]);
    }

    fn pay(&mut self, intent: String, what: Bought, order: String, [paid, came_to]: [i64; 2]) {
        let (back, asked, dispute, is_closed) = ((0, 0), 0, None, false);
        self.payments.push(Payment { intent, what, order, paid, came_to, back, asked, dispute, is_closed });
    }

    /// A paid invoice: what it says of changes, by period, comes first, then whole periods.
    fn see_invoice(&mut self, invoice: &Value, intent: Option<&str>, rollover: Rollover, now: i64) {
        let amount_paid = number(&invoice["amount_paid"]);
        let payment = intent.filter(|_| amount_paid > 0);
        let mut changes: Vec<(Paid, Vec<&Value>)> = Vec::new();
        let mut periods: Vec<(Paid, &Value)> = Vec::new();
        for line in invoice["lines"]["data"].as_array().expect("lines") {
            let [start, end] = ["start", "end"].map(|name| number(&line["period"][name]));
            let (subscription, payment) = (subscription_of(invoice).to_owned(), payment.map(str::to_owned));
            let paid = Paid { subscription, payment, start, end };
            let is_change = line["parent"]["subscription_item_details"]["proration"] == true;
            match changes.iter_mut().find(|(paid, _)| paid.end == end) {
                Some((_, lines)) if is_change => lines.push(line),
                _ if is_change => changes.push((paid, vec![line])),
                _ => periods.push((paid, line)),
            }
        }
        changes.sort_by_key(|(paid, _)| paid.end);
        for (mut paid, lines) in changes {
            if lines.iter().map(|line| number(&line["amount"])).sum::<i64>() <= 0 {
                paid.payment = None;
            }
            self.holdings.change(&paid, &worth(&lines), now);
        }
        for (paid, line) in periods {
            if number(&line["amount"]) == 0 {
                self.holdings.try_out(&paid, &vec![(0, TRIAL_CREDITS)], now);
            } else {
                let grants = price_of(line).times(number(&line["quantity"]));
                self.holdings.renew(&paid, &grants, rollover, now);
            }
        }
        if let Some(intent) = payment {
            let came_to = number(&invoice["total"]).max(amount_paid);
            self.pay(intent.to_owned(), Bought::Period, String::new(), [amount_paid, came_to]);
        }
    }

    fn see_money_back(&mut self, refunds: &[Value], disputes: &[Value], now: i64) {
        for payment in &mut self.payments {
            let of = |object: &&Value| object["payment_intent"] == payment.intent.as_str();
            let sum = |objects: &[Value], statuses: &[&str]| -> i64 {
                let counted = objects
                    .iter()
                    .filter(of)
                    .filter(|object| statuses.iter().any(|status| object["status"] == *status));
                counted.map(|object| number(&object["amount"])).sum()
            };
            let gone = sum(refunds, &["succeeded"]) + sum(disputes, &["lost"]);
            let back = (gone, sum(disputes, &["needs_response", "under_review"]));
            if back != payment.back {
                payment.back = back;
                self.holdings.money_back(&payment.intent, payment.came_to, back.0, back.1, now);
            }
        }
    }
}

/// What lines of changes are worth: of what a price grants as much as they cost of what it costs, rounded down.
fn worth(lines: &[&Value]) -> Grants {
    let mut worth = [0; 2];
    for line in lines {
        let price = price_of(line);
        for (unit, amount) in price.times(1) {
            worth[unit] += (amount * number(&line["amount"])).div_euclid(price.cents);
        }
    }
    worth.into_iter().enumerate().filter(|(_, worth)| *worth != 0).collect()
}

fn price_of(line: &Value) -> &'static Price {
    Price::find(line["pricing"]["price_details"]["price"].as_str().expect("a price"))
}

fn subscription_of(invoice: &Value) -> &str {
    invoice["parent"]["subscription_details"]["subscription"].as_str().unwrap_or_default()
}

fn number(value: &Value) -> i64 {
    value.as_i64().expect("a number")
}
