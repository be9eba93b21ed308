//! The month as it is played: callers who ask until they know, buyers, banks, and whoever kills the service.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
    future::Future,
    ops::Range,
    time::{Duration, Instant},
};

use rand::{RngExt, rngs::StdRng};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{
    api_support::Answer,
    month_plan::{Act, How, LASTING, Price, Script},
    support::{
        app::TestApp,
        simulator::{TestSimulator, id},
        wait,
    },
};

/// A pause between a request that came to nothing and its repeat.
const PAUSE: Duration = Duration::from_millis(25);
/// How often somebody who knows asks once more.
const DOUBLE_CLICKS: f64 = 0.1;
/// The service lives so long, in milliseconds; at first, and later.
const FIRST_LIFE: Range<u64> = 100..600;
const LATER_LIVES: Range<u64> = 1_000..4_000;
/// How long everything may take to come to rest before the service is killed once more.
const TO_REST: Duration = Duration::from_secs(4);

/// What happened how often.
#[derive(Default, Debug)]
pub struct Counts {
    pub kills: Cell<usize>,
    /// Requests that were made again because nobody knew what had become of them.
    pub retries: Cell<usize>,
    /// Requests that had been carried out before.
    pub replays: Cell<usize>,
    /// Checkouts that had to be waited for.
    pub polls: Cell<usize>,
    /// Spends for want of credits, and refunds for want of money.
    pub refusals: Cell<usize>,
    /// Webhooks that were lost, by delivery, and sent again.
    pub redelivered: RefCell<BTreeSet<String>>,
}

fn count(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

/// A checkout that was begun.
#[derive(Debug)]
pub struct Sale {
    pub order: String,
    pub session: String,
    pub how: How,
    /// What it was paid by, once it was completed.
    payment: Option<String>,
    is_settled: bool,
    /// Refunds of it that the ledger took on.
    pub requests: Vec<String>,
}

/// What an account has done so far, as far as it was told.
#[derive(Debug)]
pub struct Life {
    pub script: Script,
    pub sales: Vec<Sale>,
    /// Credits spent, by day of business.
    pub spent: Vec<(usize, i64)>,
}

impl Sale {
    /// How its order ends.
    pub fn ends(&self) -> &'static str {
        match self.how {
            How::Debit { arrives: false } => "failed",
            How::Never => "expired",
            _ => "paid",
        }
    }
}

impl Life {
    /// One that has yet to begin.
    pub fn new(script: Script) -> Self {
        Self { script, sales: Vec::new(), spent: Vec::new() }
    }

    fn name(&self) -> &str {
        &self.script.account
    }
}

/// Everybody but the service.
pub struct Stage<'s> {
    client: Client,
    url: String,
    api_key: String,
    stripe: &'s TestSimulator,
    pub counts: &'s Counts,
    chance: RefCell<StdRng>,
}

impl<'s> Stage<'s> {
    /// Set up before a service and its Stripe.
    pub fn new(app: &TestApp, stripe: &'s TestSimulator, counts: &'s Counts, chance: StdRng) -> Self {
        let (client, url, api_key) = (Client::new(), app.url.clone(), app.ledger.api_key.clone());
        Self { client, url, api_key, stripe, counts, chance: RefCell::new(chance) }
    }

    /// Asks, with the same key, until there is an answer that says what became of it.
    pub async fn ask(&self, path: &str, key: &str, body: &Value) -> Answer {
        let answer = self.ask_until_known(path, key, body).await;
        if answer.status == 201 && self.chance.borrow_mut().random_bool(DOUBLE_CLICKS) {
            let again = self.ask_until_known(path, key, body).await;
            assert_eq!((again.status, &again.text), (201, &answer.text), "{path} {key}");
            assert_eq!(again.header("Idempotent-Replayed"), Some("true"), "{path} {key}");
        }
        answer
    }

    async fn ask_until_known(&self, path: &str, key: &str, body: &Value) -> Answer {
        let deadline = Instant::now() + wait::LIMIT;
        loop {
            let request = self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.api_key);
            if let Ok(response) = request.header("Idempotency-Key", key).json(body).send().await {
                let (status, headers) = (response.status().as_u16(), response.headers().clone());
                if let Ok(text) = response.text().await
                    && status != 503
                {
                    let answer = Answer { status, headers, text };
                    if answer.header("Idempotent-Replayed") == Some("true") {
                        count(&self.counts.replays);
                    }
                    return answer;
                }
            }
            assert!(Instant::now() < deadline, "nobody knows what became of {path} {key}");
            count(&self.counts.retries);
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Opens an account, with a customer if the script says so.
    pub async fn open(&self, life: &Life) {
        let mut body = json!({"account_id": life.name()});
        if life.script.has_customer {
            let form = format!("metadata[adopted_by]={}", life.name());
            body["stripe_customer_id"] = self.stripe.post("/v1/customers", &form).await.ok()["id"].clone();
        }
        let opened = self.ask("/v1/accounts", &format!("open {}", life.name()), &body).await;
        assert_eq!(opened.status, 201, "{opened:?}");
    }

    /// What an account does on a day of business, after its banks have done what they had to.
    /// `refunds` are those that there were in the morning.
    pub async fn play(&self, life: &mut Life, day: usize, refunds: &[Value]) {
        self.settle(life, refunds).await;
        for (number, act) in life.script.days[day].clone().into_iter().enumerate() {
            let key = format!("{} {day}.{number}", life.name());
            match act {
                Act::Buy { price, quantity, how } => self.buy(life, &key, price, quantity, how).await,
                Act::Spend { reports } => self.spend(life, &key, day, reports).await,
                Act::AskBack { nth, cents } => self.ask_back(life, &key, nth, cents).await,
                Act::SendBack { nth, cents } => self.send_back(life, &key, nth, cents).await,
                Act::TurnDown => self.turn_down(life, refunds).await,
            }
        }
    }

    /// Begins a checkout at night, and leaves it.
    pub async fn sit_up(&self, life: &mut Life, night: usize) {
        let key = format!("{} at night {night}", life.name());
        self.buy(life, &key, &LASTING[0], 1, How::Never).await;
    }

    async fn buy(&self, life: &mut Life, key: &str, price: &Price, quantity: i64, how: How) {
        let body = json!({"account_id": life.name(), "price_id": price.id, "quantity": quantity});
        let deadline = Instant::now() + wait::LIMIT;
        let (order, session) = loop {
            let answer = self.ask("/v1/checkout-sessions", key, &body).await;
            let told = answer.json();
            let text = |name: &str| told[name].as_str().expect("an id").to_owned();
            match answer.status {
                201 => break (text("order_id"), text("checkout_session_id")),
                // Its page came and went before anybody knew of it.
                202 if told["status"] == "expired" => break (text("order_id"), String::new()),
                202 => count(&self.counts.polls),
                _ => panic!("{answer:?}"),
            }
            assert!(Instant::now() < deadline, "no page for {key}");
        };
        let payment = self.pay(&session, how).await;
        let is_settled = !matches!(how, How::Debit { .. });
        life.sales.push(Sale { order, session, how, payment, is_settled, requests: Vec::new() });
    }

    /// The buyer at the page; what it was paid by.
    async fn pay(&self, session: &str, how: How) -> Option<String> {
        let complete = async |order: Value| self.at_page(session, "complete", order).await;
        let paid = match how {
            How::Card => complete(json!({"outcome": "paid"})).await,
            How::DeclinedFirst => {
                complete(json!({"outcome": "declined"})).await;
                complete(json!({"outcome": "paid"})).await
            }
            How::Challenged => {
                complete(json!({"outcome": "paid", "card": "4000000000003220"})).await;
                self.at_page(session, "challenge", json!({"outcome": "passed"})).await
            }
            How::WithCode => complete(json!({"outcome": "paid", "promotion_code": "SPRING"})).await,
            How::Free => complete(json!({"outcome": "paid", "promotion_code": "FREE"})).await,
            How::Debit { .. } => complete(json!({"outcome": "unpaid"})).await,
            How::SlowCard { .. } => complete(json!({"outcome": "paid", "card": "4000000000007726"})).await,
            How::Never => return None,
        };
        assert_eq!(paid["status"], "complete", "{paid}");
        paid["payment_intent"].as_str().map(str::to_owned)
    }

    async fn at_page(&self, session: &str, what: &str, order: Value) -> Value {
        self.stripe.control(&format!("checkout_sessions/{session}/{what}"), order).await
    }

    async fn spend(&self, life: &mut Life, key: &str, day: usize, reports: i64) {
        let body = json!({"feature": "report", "quantity": reports});
        let answer = self.ask(&format!("/v1/accounts/{}/spends", life.name()), key, &body).await;
        match answer.status {
            201 => life.spent.push((day, answer.json()["amount"].as_i64().expect("an amount"))),
            402 => count(&self.counts.refusals),
            _ => panic!("{answer:?}"),
        }
    }

    async fn ask_back(&self, life: &mut Life, key: &str, nth: usize, cents: Option<i64>) {
        let nth = nth % life.sales.len().max(1);
        let Some(sale) = life.sales.get_mut(nth) else { return };
        let body = cents.map_or_else(|| json!({}), |cents| json!({"amount": cents}));
        let answer = self.ask(&format!("/v1/orders/{}/refunds", sale.order), key, &body).await;
        match (answer.status, answer.json()["error"]["code"].as_str()) {
            (201, _) => sale.requests.push(answer.json()["refund_id"].as_str().expect("an id").to_owned()),
            (409, Some("refund_exceeds_payment" | "order_not_paid")) => count(&self.counts.refusals),
            _ => panic!("{answer:?}"),
        }
    }

    /// A refund in the dashboard, which shows what there is before anybody clicks again.
    async fn send_back(&self, life: &Life, key: &str, nth: usize, cents: i64) {
        let Some(sale) = life.sales.get(nth % life.sales.len().max(1)) else { return };
        let (Some(payment), true) = (&sale.payment, sale.is_settled) else { return };
        let mark = key.replace(' ', "_");
        let form = format!("payment_intent={payment}&amount={cents}&metadata[clicked]={mark}");
        for _ in 0..100 {
            let refunds = self.stripe.objects("refund").await;
            if refunds.iter().any(|refund| refund["metadata"]["clicked"] == mark.as_str()) {
                return;
            }
            let clicked = self.stripe.try_send(Method::POST, "/v1/refunds", &form, &[]).await;
            if clicked.is_ok_and(|answer| answer.status() == 400) {
                // There is not that much left.
                count(&self.counts.refusals);
                return;
            }
        }
        panic!("the dashboard does not work: {key}");
    }

    /// The bank turns down a refund that had arrived.
    async fn turn_down(&self, life: &Life, refunds: &[Value]) {
        let payments: BTreeSet<&str> = life.sales.iter().filter_map(|sale| sale.payment.as_deref()).collect();
        let arrived = refunds.iter().rev().find(|refund| {
            let payment = refund["payment_intent"].as_str().unwrap_or_default();
            refund["status"] == "succeeded" && payments.contains(payment)
        });
        if let Some(refund) = arrived {
            // It may have been turned down a moment ago.
            self.stripe.try_control(Method::POST, &format!("refunds/{}/fail", id(refund)), json!({})).await;
        }
    }

    /// What banks had to do since the day before: direct debits and slow refunds arrive, or do not.
    pub async fn settle(&self, life: &mut Life, refunds: &[Value]) {
        for sale in &mut life.sales {
            match sale.how {
                How::Debit { arrives } if !sale.is_settled => {
                    let outcome = if arrives { "succeeded" } else { "failed" };
                    self.at_page(&sale.session, "async_result", json!({"outcome": outcome})).await;
                    sale.is_settled = true;
                }
                How::Debit { .. } | How::SlowCard { .. } => {
                    // Refunds to an account at a bank take their time as well.
                    let arrive = !matches!(sale.how, How::SlowCard { refunds_arrive: false });
                    let (Some(payment), word) = (&sale.payment, if arrive { "succeed" } else { "fail" })
                    else {
                        continue;
                    };
                    for refund in refunds {
                        if refund["payment_intent"] == payment.as_str() && refund["status"] == "pending" {
                            self.stripe.control(&format!("refunds/{}/{word}", id(refund)), json!({})).await;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    /// Has both clocks go on, the ledger's and Stripe's.
    pub async fn time_goes_on(&self, key: &str, seconds: i64) {
        let advanced = self.ask("/v1/test/clock/advance", key, &json!({"seconds": seconds})).await;
        assert_eq!(advanced.status, 201, "{advanced:?}");
        let advanced = advanced.json();
        let goal = advanced["now"].as_str().expect("a moment");
        let goal = counterfoil::domain::time::Timestamp::parse(goal).expect("a moment").unix_seconds();
        wait::until("Stripe's clock", async || {
            let clock = self.stripe.try_control(Method::GET, "clock", json!({})).await.body;
            (clock["now"].as_i64()? >= goal - 1).then_some(())
        })
        .await;
    }
}

/// Kills the service and has it started again.
pub async fn kill(app: &mut TestApp, counts: &Counts) {
    app.kill();
    // Whatever the process had begun is free for others after a minute, and what was put off is due.
    app.time_passes(900).await;
    app.restart().await;
    count(&counts.kills);
}

/// Does something while the service is killed again and again.
pub async fn under_fire<T>(
    app: &mut TestApp,
    counts: &Counts,
    chance: &mut StdRng,
    work: impl Future<Output = T>,
) -> T {
    let is_done = tokio::sync::Notify::new();
    let killing = async {
        let mut lives = FIRST_LIFE;
        loop {
            let life = Duration::from_millis(chance.random_range(lives));
            lives = LATER_LIVES;
            tokio::select! {
                biased;
                () = is_done.notified() => break,
                () = tokio::time::sleep(life) => {}
            }
            kill(app, counts).await;
        }
    };
    let working = async {
        let outcome = work.await;
        is_done.notify_one();
        outcome
    };
    futures_util::future::join(working, killing).await.0
}

/// Has everything come to rest: what is to be done at Stripe, webhooks on their way, lost ones included, and those that have
/// arrived. Nothing goes wrong any more meanwhile.
pub async fn come_to_rest(app: &mut TestApp, stripe: &TestSimulator, counts: &Counts) {
    for lost in stripe.objects("delivered").await {
        if lost["status"] == "dropped" && counts.redelivered.borrow_mut().insert(id(&lost)) {
            let event = lost["event"].as_str().expect("an event");
            stripe.control(&format!("events/{event}/resend"), json!({})).await;
        }
    }
    let deadline = Instant::now() + wait::LIMIT;
    loop {
        kill(app, counts).await;
        // Stripe's pauses are over as well.
        stripe.control("clock/advance", json!({"seconds": 400})).await;
        let until = Instant::now() + TO_REST;
        while Instant::now() < until {
            if rests(app, stripe).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        assert!(Instant::now() < deadline, "it does not come to rest: {}", app.get("/v1/outbox").await);
    }
}

async fn rests(app: &TestApp, stripe: &TestSimulator) -> bool {
    let is_empty = async |path: &str| app.get(path).await["items"] == json!([]);
    is_empty("/v1/outbox?limit=1").await
        && stripe.objects("delivery").await.is_empty()
        && is_empty("/v1/inbox?status=received&limit=1").await
        && is_empty("/v1/inbox?status=failed&limit=1").await
}
