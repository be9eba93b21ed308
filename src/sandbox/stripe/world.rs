//! State, time and chance behind one lock, and the transactions on them.
//!
//! Invariants:
//! - a request is one transaction: decided and changed under the lock, written down, then answered outside of it;
//! - nothing waits, sends or receives while it holds the lock;
//! - what time has made due is done before anything else looks at the state, at the moment at which it was due.

use std::{
    collections::HashSet,
    io,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::{
    Settings,
    answer::{Class, Failure},
    due,
    faults::Faults,
    journal::Journal,
    store::{Kind, Store},
};

/// What all requests and the sender of webhooks share.
pub(super) struct Shared {
    world: Mutex<World>,
    pub settings: Settings,
    /// Rung after each transaction: there may be webhooks to send.
    pub bell: Notify,
}

pub(super) struct World {
    store: Store,
    journal: Option<Journal>,
    pub faults: Faults,
    /// Idempotency keys whose first request is still being answered.
    pub in_flight: HashSet<String>,
    base_url: String,
    tax_percent: i64,
}

/// Who or what makes a change: it stands in the events.
#[derive(Clone, Debug, Default)]
pub(super) struct Cause {
    pub request_id: Option<String>,
    pub idempotency_key: Option<String>,
}

impl Shared {
    /// Finds what was there before, if a folder is given.
    pub(super) fn open(settings: Settings, base_url: String, folder: Option<&Path>) -> io::Result<Self> {
        let (journal, store) = match folder {
            Some(folder) => {
                let (journal, store) = Journal::open(folder)?;
                (Some(journal), store)
            }
            None => (None, Store::default()),
        };
        let world = World {
            store,
            journal,
            faults: Faults::default(),
            in_flight: HashSet::new(),
            base_url,
            tax_percent: settings.tax_percent,
        };
        Ok(Self { world: Mutex::new(world), settings, bell: Notify::new() })
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, World> {
        // A panic left at most an open transaction, which the next one undoes.
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one transaction, and has its webhooks sent.
    pub(super) fn transact<T>(
        &self,
        cause: Cause,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let result = self.lock().transact(cause, work);
        self.bell.notify_one();
        result
    }
}

impl World {
    /// Now, in milliseconds since 1970, by the simulator's clock.
    pub(super) fn now_ms(&self) -> i64 {
        real_now_ms() + self.offset_ms()
    }

    /// All objects of a kind, in the order in which they were made.
    pub(super) fn all(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Value> {
        self.store.all(kind)
    }

    fn offset_ms(&self) -> i64 {
        self.store.get(Kind::Setting, "clock").and_then(|clock| clock["offset_ms"].as_i64()).unwrap_or(0)
    }

    /// Does what is due, then `work`; undoes `work` if it fails, except for what a declined payment leaves behind.
    pub(super) fn transact<T>(
        &mut self,
        cause: Cause,
        work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        self.store.undo();
        let now_ms = self.now_ms();
        self.catch_up(now_ms)?;
        let result = work(&mut self.transaction(now_ms, cause));
        if let Err(failure) = &result
            && failure.class != Class::Declined
        {
            self.store.undo();
        }
        self.write_down()?;
        result
    }

    /// Moves the clock forward and does everything that becomes due on the way, each at its own moment.
    pub(super) fn advance(&mut self, seconds: i64) -> Result<i64, Failure> {
        self.store.undo();
        let offset_ms = self.offset_ms() + seconds * 1000;
        let now_ms = real_now_ms() + offset_ms;
        self.catch_up(now_ms)?;
        self.store.put(Kind::Setting, "clock", json!({ "offset_ms": offset_ms }));
        self.write_down()?;
        Ok(now_ms / 1000)
    }

    fn catch_up(&mut self, now_ms: i64) -> Result<(), Failure> {
        while let Some(moment) = due::next(&self.store, now_ms / 1000) {
            due::apply(&mut self.transaction(moment * 1000, Cause::default()));
            self.write_down()?;
        }
        Ok(())
    }

    fn transaction(&mut self, now_ms: i64, cause: Cause) -> Transaction<'_> {
        Transaction {
            store: &mut self.store,
            faults: &mut self.faults,
            base_url: &self.base_url,
            tax_percent: self.tax_percent,
            now_ms,
            cause,
        }
    }

    fn write_down(&mut self) -> Result<(), Failure> {
        let changes = self.store.commit();
        let Some(journal) = &mut self.journal else { return Ok(()) };
        journal.append(&changes).map_err(|error| {
            tracing::error!(%error, "the simulator's state cannot be written down");
            Failure::new(Class::Broken, "The simulator cannot write its state down.")
        })
    }
}

/// One change of the world, at one moment.
pub(super) struct Transaction<'w> {
    pub store: &'w mut Store,
    pub faults: &'w mut Faults,
    pub base_url: &'w str,
    /// What automatic tax takes, of an amount without tax.
    pub tax_percent: i64,
    pub now_ms: i64,
    pub cause: Cause,
}

impl Transaction<'_> {
    /// Now, in seconds since 1970.
    pub(super) const fn now(&self) -> i64 {
        self.now_ms / 1000
    }

    /// The object that a path names.
    pub(super) fn find(&self, kind: Kind, id: &str) -> Result<Value, Failure> {
        self.store.get(kind, id).cloned().ok_or_else(|| Failure::no_such(noun(kind), id))
    }

    /// The object that a parameter names.
    pub(super) fn find_in(&self, param: &str, kind: Kind, id: &str) -> Result<Value, Failure> {
        self.store.get(kind, id).cloned().ok_or_else(|| Failure::no_such_in(param, noun(kind), id))
    }

    /// The object with this id, or `null`.
    pub(super) fn peek(&self, kind: Kind, id: &Value) -> Value {
        id.as_str().and_then(|id| self.store.get(kind, id)).cloned().unwrap_or(Value::Null)
    }

    /// Keeps a new or changed object under its own id.
    pub(super) fn put(&mut self, kind: Kind, object: &Value) {
        let id = object["id"].as_str().unwrap_or_default().to_owned();
        self.store.put(kind, &id, object.clone());
    }

    /// What the simulator knows of an object and the API does not show.
    pub(super) fn hidden(&self, id: &str) -> Value {
        self.store.get(Kind::Hidden, id).cloned().unwrap_or_else(|| json!({}))
    }

    pub(super) fn set_hidden(&mut self, id: &str, name: &str, value: Value) {
        let mut hidden = self.hidden(id);
        hidden[name] = value;
        self.store.put(Kind::Hidden, id, hidden);
    }
}

/// How messages name a kind.
pub(super) const fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::CheckoutSession => "checkout.session",
        Kind::PaymentMethod => "PaymentMethod",
        Kind::PromotionCode => "promotion code",
        other => other.name(),
    }
}

/// The real time, in milliseconds since 1970.
#[expect(clippy::disallowed_methods, reason = "Stripe's clock is its own, and this process plays Stripe")]
pub(super) fn real_now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}
