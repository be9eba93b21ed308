//! What the tests of the outbox share: effects straight into the table, a performer that does as it is told and remembers
//! what it was asked, and a look at what is left.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use counterfoil::{
    domain::{
        effects::Effect,
        ids::{AccountNumber, EffectId, OrderId, Position, RefundRequestId, Seed},
    },
    outbox::{
        Backoff, BreakerSettings, Cause, Class, Looked, Ordered, Outbox, OutboxSettings, Perform, Performed,
        Report,
    },
    store::{
        database_url::DatabaseUrl,
        outbox::{
            entries::{self, OutboxEntry, OutboxFilter},
            shard_of,
        },
        pool::Database,
    },
    writer::{WriterSettings, Writers},
};
use secrecy::SecretString;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_postgres::{Client, types::Type};
use uuid::Uuid;

use crate::{
    support::wait,
    writer_support::{Book, grant, writers},
};

/// A refund of an account: effects of one account share a key, and a dead one does not stand in the way.
pub fn refund(account: i64, number: i64) -> Effect {
    let refund = RefundRequestId::new(Position(number), 0, &Seed([0; 16]));
    Effect::CreateRefund { account: AccountNumber(account), refund }
}

/// A customer of an account, whose death blocks its key.
pub fn customer(account: i64) -> Effect {
    Effect::CreateCustomer { account: AccountNumber(account), order: None }
}

/// A session of an account, behind its customer.
pub fn session(account: i64, number: i64) -> Effect {
    let order = OrderId::new(Position(number), 0, &Seed([0; 16]));
    Effect::CreateCheckoutSession { account: AccountNumber(account), order }
}

/// Puts effects into the outbox, at the positions from `from` on, as if they were ordered `age` ago.
pub async fn order_at(book: &Book, from: i64, age: Duration, effects: &[Effect]) -> Vec<EffectId> {
    let superuser = book.database.superuser().await;
    let statement =
        "INSERT INTO outbox (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at)
                     VALUES ($1, $2, $3, 0, $4, $5, $6, $7, now() - make_interval(secs => $8))";
    let statement = superuser.prepare(statement).await.expect("prepared");
    let mut ids = Vec::new();
    for (position, effect) in (from..).zip(effects) {
        let (id, key) = (Uuid::new_v4(), effect.key());
        let json = serde_json::to_value(effect).expect("serialises");
        superuser
            .execute(
                &statement,
                &[
                    &book.ledger.0,
                    &shard_of(&key),
                    &position,
                    &id,
                    &key,
                    &effect.kind(),
                    &json,
                    &age.as_secs_f64(),
                ],
            )
            .await
            .expect("an effect");
        ids.push(EffectId::from_bits(id.as_u128()));
    }
    ids
}

/// Puts effects that were ordered just now into the outbox.
pub async fn order(book: &Book, from: i64, effects: &[Effect]) -> Vec<EffectId> {
    order_at(book, from, Duration::ZERO, effects).await
}

/// Everything that is in the outbox.
pub async fn entries(book: &Book) -> Vec<OutboxEntry> {
    let client = book.database.runtime().await;
    entries::list(&client, book.ledger, &OutboxFilter::default(), None, 10_000)
        .await
        .expect("entries")
        .entries
}

/// What is in the outbox: state and position.
pub async fn states(book: &Book) -> Vec<(&'static str, i64)> {
    let entries = entries(book).await;
    entries.iter().map(|entry| (entry.state.as_str(), entry.place.position.0)).collect()
}

/// Waits until the outbox holds nothing but what is given.
pub async fn until_only(book: &Book, expected: &[(&'static str, i64)]) {
    wait::until(&format!("the outbox to hold {expected:?}"), async || {
        (states(book).await == expected).then_some(())
    })
    .await;
}

/// How many rows a table of the ledger has.
pub async fn rows_of(book: &Book, table: &str) -> i64 {
    let statement = format!("SELECT count(*) FROM {table} WHERE ledger_id = $1");
    let superuser = book.database.superuser().await;
    let rows = superuser.query_typed(&statement, &[(&book.ledger.0, Type::INT8)]).await.expect("a count");
    rows[0].get(0)
}

/// Keeps every worker away from a ledger's effects, for a test that looks at them at rest.
pub async fn keep_workers_away(superuser: &Client, ledger: i64) {
    let statement = "INSERT INTO outbox_leases (ledger_id, shard, leased_until)
                     SELECT $1, n, now() + interval '1 hour' FROM generate_series(0, 63) n";
    superuser.execute(statement, &[&ledger]).await.expect("leases");
}

/// Settings with which tests need not wait.
pub fn quick() -> OutboxSettings {
    OutboxSettings {
        lease: Duration::from_secs(2),
        look_every: Duration::from_millis(50),
        idle: Duration::from_millis(500),
        backoff: Backoff { first: Duration::from_millis(40), longest: Duration::from_millis(80) },
        breaker: BreakerSettings {
            failures: 1_000,
            first_pause: Duration::from_millis(50),
            longest_pause: Duration::from_millis(50),
        },
        ..OutboxSettings::default()
    }
}

/// What a performer was asked.
#[derive(Clone, PartialEq, Debug)]
pub struct Call {
    pub is_look: bool,
    pub ordered: Ordered,
    pub at: Instant,
}

type Script<T> = Box<dyn Fn(&Ordered, usize) -> T + Send + Sync>;

/// A performer that does as it is told.
pub struct Recorder {
    calls: Mutex<Vec<Call>>,
    active: Mutex<HashMap<String, u32>>,
    perform: Script<Performed>,
    look: Script<Looked>,
}

impl Recorder {
    /// One whose answers depend on the effect and on how often it was performed, or looked for, before.
    pub fn new(
        perform: impl Fn(&Ordered, usize) -> Performed + Send + Sync + 'static,
        look: impl Fn(&Ordered, usize) -> Looked + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            calls: Mutex::default(),
            active: Mutex::default(),
            perform: Box::new(perform),
            look: Box::new(look),
        })
    }

    /// One that is never to look.
    pub fn performing(perform: impl Fn(&Ordered, usize) -> Performed + Send + Sync + 'static) -> Arc<Self> {
        Self::new(perform, |ordered, _| panic!("looked for {ordered:?}"))
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("calls").clone()
    }

    /// The positions of the effects that were performed, in order.
    pub fn performed(&self) -> Vec<i64> {
        let calls = self.calls();
        calls.iter().filter(|call| !call.is_look).map(|call| call.ordered.position.0).collect()
    }

    fn record(&self, ordered: &Ordered, is_look: bool) -> usize {
        let mut calls = self.calls.lock().expect("calls");
        let before =
            calls.iter().filter(|call| call.is_look == is_look && call.ordered.id == ordered.id).count();
        calls.push(Call { is_look, ordered: ordered.clone(), at: Instant::now() });
        before
    }
}

/// A performer that several workers share.
pub struct Shared(pub Arc<Recorder>);

impl Perform for Shared {
    fn destination(&self, _: &Ordered) -> &'static str {
        "recorder"
    }

    async fn perform(&self, ordered: &Ordered) -> Performed {
        let key = ordered.effect.key();
        let active = {
            let mut active = self.0.active.lock().expect("active");
            let active = active.entry(key.clone()).or_default();
            *active += 1;
            *active
        };
        assert_eq!(active, 1, "two effects of {key} at once");
        let before = self.0.record(ordered, false);
        tokio::task::yield_now().await;
        let performed =
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| (self.0.perform)(ordered, before)));
        *self.0.active.lock().expect("active").get_mut(&key).expect("there") -= 1;
        performed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    async fn look(&self, ordered: &Ordered) -> Looked {
        let before = self.0.record(ordered, true);
        (self.0.look)(ordered, before)
    }
}

pub fn done() -> Performed {
    Performed::Done(Vec::new())
}

pub fn away() -> Cause {
    Cause::new(Class::Unavailable, "away")
}

pub fn retry() -> Performed {
    Performed::Retry { cause: away(), after: None }
}

pub fn dead() -> Performed {
    Performed::Dead { cause: Cause::new(Class::Refused, "declined") }
}

/// Tells the ledger that the effect has happened: a credit for `alice`.
pub fn told() -> Vec<Report> {
    vec![Report::of(grant("alice", 1))]
}

/// A running outbox, like that of a process.
pub struct Running {
    stop: Arc<Notify>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(book: &Book, performer: impl Perform, settings: OutboxSettings) -> Self {
        Self::start_on(book.database.runtime_url(), performer, settings)
    }

    pub fn start_on(url: SecretString, performer: impl Perform, settings: OutboxSettings) -> Self {
        let writers = writers(url.clone(), WriterSettings::default());
        Self::start_with(url, writers, performer, settings)
    }

    /// One in the process of the book's own writers.
    pub fn start_beside(book: &Book, performer: impl Perform, settings: OutboxSettings) -> Self {
        Self::start_with(book.database.runtime_url(), Arc::clone(&book.writers), performer, settings)
    }

    fn start_with(
        url: SecretString,
        writers: Arc<Writers>,
        performer: impl Perform,
        settings: OutboxSettings,
    ) -> Self {
        let database = Database::open(&DatabaseUrl::parse(&url).expect("an address"), 4).expect("usable");
        let outbox = Outbox::new(database, writers, performer, settings);
        let stop = Arc::new(Notify::new());
        let stopped = Arc::clone(&stop);
        let task = tokio::spawn(outbox.run(async move { stopped.notified().await }));
        Self { stop, task }
    }

    /// Ends it, as a process does that is told to.
    pub async fn stop(self) {
        self.stop.notify_one();
        tokio::time::timeout(wait::LIMIT, self.task).await.expect("an end").expect("no panic");
    }
}
