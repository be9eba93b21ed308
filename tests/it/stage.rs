//! Everybody but the service, in scenarios that play weeks of a shop: callers who ask until they know, the shopkeeper in
//! Stripe's dashboard, two clocks, and whoever kills the service.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    future::Future,
    ops::Range,
    str::FromStr,
    time::{Duration, Instant},
};

use counterfoil::domain::time::Timestamp;
use rand::{RngExt, rngs::StdRng};
use reqwest::{Client, Method};
use serde_json::{Value, json};

use crate::{
    api_support::Answer,
    support::{
        app::TestApp,
        shop::Shop,
        simulator::{TestSimulator, id},
        wait,
    },
};

/// A pause between a request that came to nothing and its repeat.
const PAUSE: Duration = Duration::from_millis(25);
/// How often somebody who knows asks once more.
const DOUBLE_CLICKS: f64 = 0.1;
/// The service lives so long, in milliseconds, after it was killed for the first time.
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
    /// Webhooks that were lost, by delivery, and looked for.
    pub recovered: RefCell<BTreeSet<String>>,
}

/// One more.
pub fn count(counter: &Cell<usize>) {
    counter.set(counter.get() + 1);
}

/// Everybody but the service.
pub struct Stage<'s> {
    client: Client,
    url: String,
    api_key: String,
    pub stripe: &'s TestSimulator,
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

    /// Begins a checkout and waits for its page: the order, and the session, which has no name if it came and went before
    /// anybody knew of it.
    pub async fn check_out(&self, key: &str, body: &Value) -> (String, String) {
        let deadline = Instant::now() + wait::LIMIT;
        loop {
            let answer = self.ask("/v1/checkout-sessions", key, body).await;
            let told = answer.json();
            let text = |name: &str| told[name].as_str().expect("an id").to_owned();
            match answer.status {
                201 => return (text("order_id"), text("checkout_session_id")),
                202 if told["status"] == "expired" => return (text("order_id"), String::new()),
                202 => count(&self.counts.polls),
                _ => panic!("{answer:?}"),
            }
            assert!(Instant::now() < deadline, "no page for {key}");
        }
    }

    /// Something happens to a checkout session; the session as it is then.
    pub async fn at_page(&self, session: &str, what: &str, order: Value) -> Value {
        self.stripe.control(&format!("checkout_sessions/{session}/{what}"), order).await
    }

    /// A refund in the dashboard, which shows what there is before anybody clicks again. Nothing if there is not that much left.
    pub async fn send_back(&self, payment: &str, key: &str, cents: i64) {
        let mark = key.replace(' ', "_");
        let form = format!("payment_intent={payment}&amount={cents}&metadata[clicked]={mark}");
        let clicked = self
            .click("refund", "/v1/refunds", &form, |refund| refund["metadata"]["clicked"] == mark.as_str());
        if clicked.await.is_none() {
            count(&self.counts.refusals);
        }
    }

    /// Clicks in the dashboard until an object is there that is as it was wanted; none if Stripe says that it cannot be.
    pub async fn click(
        &self,
        kind: &str,
        path: &str,
        form: &str,
        is_wanted: impl Fn(&Value) -> bool,
    ) -> Option<Value> {
        for _ in 0..100 {
            let objects = self.stripe.objects(kind).await;
            if let Some(object) = objects.into_iter().find(|object| is_wanted(object)) {
                return Some(object);
            }
            let clicked = self.stripe.try_send(Method::POST, path, form, &[]).await;
            if clicked.is_ok_and(|answer| answer.status() == 400) {
                return None;
            }
        }
        panic!("the dashboard does not work: {path} {form}");
    }

    /// Has both clocks go on, the ledger's and Stripe's; the moment that it is then, in seconds since 1970.
    pub async fn time_goes_on(&self, key: &str, seconds: i64) -> i64 {
        let advanced = self.ask("/v1/test/clock/advance", key, &json!({"seconds": seconds})).await;
        assert_eq!(advanced.status, 201, "{advanced:?}");
        let advanced = advanced.json();
        let goal = advanced["now"].as_str().expect("a moment");
        let goal = Timestamp::parse(goal).expect("a moment").unix_seconds();
        wait::until("Stripe's clock", async || {
            let clock = self.stripe.try_control(Method::GET, "clock", json!({})).await.body;
            (clock["now"].as_i64()? >= goal - 1).then_some(())
        })
        .await;
        goal
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

/// Does something while the service is killed again and again, for the first time after so many milliseconds.
pub async fn under_fire<T>(
    app: &mut TestApp,
    counts: &Counts,
    chance: &mut StdRng,
    first_life: Range<u64>,
    work: impl Future<Output = T>,
) -> T {
    let is_done = tokio::sync::Notify::new();
    let killing = async {
        let mut lives = first_life;
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

/// Sends once more what Stripe has told and nobody has heard.
pub async fn send_lost_again(stripe: &TestSimulator, counts: &Counts) {
    for lost in newly_lost(stripe, counts).await {
        let event = lost["event"].as_str().expect("an event");
        stripe.control(&format!("events/{event}/resend"), json!({})).await;
    }
}

/// Webhooks that were lost and not looked for yet.
pub async fn newly_lost(stripe: &TestSimulator, counts: &Counts) -> Vec<Value> {
    let mut lost = stripe.objects("delivered").await;
    let mut known = counts.recovered.borrow_mut();
    lost.retain(|delivery| delivery["status"] == "dropped" && known.insert(id(delivery)));
    lost
}

/// How long whatever waits may take to come to rest.
#[derive(Clone, Copy)]
pub struct Rest {
    /// By how many seconds Stripe's pauses between tries are shortened, each time.
    pub pauses: i64,
    /// Before the service is killed for the first time.
    pub patience: Duration,
}

/// Has everything come to rest: what is to be done at Stripe, webhooks on their way, and those that have arrived. Nothing goes
/// wrong any more meanwhile. Whoever does not come to rest in time is killed, so that others take over, and so on.
pub async fn come_to_rest(
    app: &mut TestApp,
    stripe: &TestSimulator,
    counts: &Counts,
    Rest { pauses, mut patience }: Rest,
) {
    let deadline = Instant::now() + wait::LIMIT;
    loop {
        stripe.control("clock/advance", json!({"seconds": pauses})).await;
        let until = Instant::now() + patience;
        while Instant::now() < until {
            if rests(app, stripe).await {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        assert!(Instant::now() < deadline, "it does not come to rest: {}", app.get("/v1/outbox").await);
        kill(app, counts).await;
        patience = TO_REST;
    }
}

async fn rests(app: &TestApp, stripe: &TestSimulator) -> bool {
    let is_empty = async |path: &str| app.get(path).await["items"] == json!([]);
    is_empty("/v1/outbox?limit=1").await
        && stripe.objects("delivery").await.is_empty()
        && is_empty("/v1/inbox?status=received&limit=1").await
        && is_empty("/v1/inbox?status=failed&limit=1").await
}

/// How many faults of each kind have struck since the last time, none of which strike any more.
pub async fn end_faults(stripe: &TestSimulator, met: &mut BTreeMap<String, usize>) {
    let faults = stripe.try_control(Method::GET, "faults", json!({})).await.body;
    for fault in faults["faults"].as_array().expect("faults") {
        let kind = fault["api"].as_str().or(fault["webhooks"].as_str()).expect("a kind");
        let hits = fault["hits"].as_u64().and_then(|hits| usize::try_from(hits).ok()).expect("a number");
        *met.entry(kind.to_owned()).or_default() += hits;
    }
    stripe.try_control(Method::DELETE, "faults", json!({})).await;
}

/// How many objects have each value of a mark.
pub fn by_mark(objects: &[Value], mark: &str) -> BTreeMap<String, usize> {
    let mut counted: BTreeMap<String, usize> = BTreeMap::new();
    for object in objects {
        if let Some(mark) = object["metadata"][mark].as_str() {
            *counted.entry(mark.to_owned()).or_default() += 1;
        }
    }
    counted
}

/// Nothing is left to do, nobody has to look at anything, no position is missing, and everything follows from the events.
pub async fn check_that_all_is_done(shop: &Shop) {
    assert_eq!(shop.outbox().await, [] as [Value; 0]);
    for status in ["received", "failed", "quarantined"] {
        assert_eq!(shop.inbox(status).await, [] as [Value; 0]);
    }
    let mut position = 0;
    loop {
        let page = shop.app.get(&format!("/v1/events?after={position}&limit=500")).await;
        let events = page["events"].as_array().expect("events");
        for event in events {
            position += 1;
            assert_eq!(event["position"], position);
        }
        if events.is_empty() {
            assert_eq!(page["head"], position);
            break;
        }
    }
    shop.verify().await;
}

/// A setting of a scenario.
#[expect(clippy::disallowed_methods, reason = "settings of a test, not of the program")]
pub fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// What goes wrong at Stripe for a while: some of everything, and each time another share of it.
pub fn troubles(chance: &mut StdRng) -> Vec<Value> {
    let mut troubles = vec![
        json!({"api": "rate_limit", "seconds": 0}),
        json!({"api": "conflict"}),
        json!({"api": "server_error", "committed": false}),
        json!({"api": "server_error", "committed": true}),
        json!({"api": "bad_gateway", "committed": false}),
        json!({"api": "bad_gateway", "committed": true}),
        json!({"api": "garbage"}),
        json!({"api": "cut"}),
        json!({"api": "hang", "seconds": 2}),
    ];
    for trouble in &mut troubles {
        trouble["method"] = json!("POST");
        trouble["probability"] = json!(chance.random_range(0.005..0.06));
    }
    troubles.push(json!({"api": "down", "probability": chance.random_range(0.0..0.03)}));
    for (webhooks, seconds, most) in
        [("duplicate", 0, 0.2), ("delay", 1, 0.2), ("reorder", 2, 0.3), ("drop", 0, 0.1)]
    {
        let probability = chance.random_range(0.01..most);
        troubles.push(json!({"webhooks": webhooks, "seconds": seconds, "probability": probability}));
    }
    troubles[0]["seed"] = json!(chance.random_range(0..u64::from(u32::MAX)));
    troubles
}
