//! A ledger that takes webhooks: the real desk, inbox and writer on a database of its own, without HTTP before them.

use std::{collections::BTreeMap, sync::Arc};

use serde_json::Value;
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_postgres::Client;
use uuid::Uuid;

use counterfoil::{
    credentials::{StripeClients, Vault},
    domain::{
        Command, Event, EventBody,
        amount::{Amount, Currency},
        catalogue::{Price, PriceGrant},
        command::{Note, OpenAccount, PlaceOrder, ProfileChange},
        ids::{AccountId, Actor, LedgerId, LedgerSlug, OrderId, PriceId, Unit},
        order::{Order, OrderDetails},
        settings::{LedgerMode, LedgerSettings, UnitSettings},
        time::Timestamp,
    },
    inbox::{Batches, InboxWorker},
    service::webhooks::{IncomingWebhook, WebhookError, Webhooks},
    store::{
        database_url::DatabaseUrl,
        inbox::{self, InboxEntry, InboxFilter, InboxStatus, Replay},
        ledgers::create_ledger,
        pool::Database,
        reads::orders::find_order,
        sealing::KeyRing,
    },
    stripe::{
        client::{ApiKey, BaseUrl, ClientSettings},
        signature::{SigningSecret, sign},
    },
    writer::{Outcome, Submission, WriterSettings, Writers},
};
use secrecy::SecretString;

use crate::support::{database::TestDatabase, wait};

/// The name of the ledger.
pub const SLUG: &str = "demo";
/// The account that most bodies of our own are about.
pub const ACCOUNT: &str = "customer-7";
/// What the ledger's webhooks are signed with.
pub const SECRET: &str = "whsec_of_the_tests";
/// The time of signatures, in seconds since 1970.
pub const NOW: i64 = 1_790_000_000;

/// The clock that signatures are held against.
pub fn clock() -> Timestamp {
    Timestamp::from_unix_seconds(NOW).expect("a moment")
}

/// A ledger in which `customer-7` buys `price_demo_starter` (100 credits), `price_demo_pro` (500) and whatever else.
pub struct WebhookLedger {
    pub database: TestDatabase,
    pub client: Client,
    pub superuser: Client,
    pub service: Database,
    pub writers: Arc<Writers>,
    pub ledger: LedgerId,
    pub vault: Vault,
    key: SecretString,
    pub clients: Arc<StripeClients>,
    webhooks: Webhooks,
    bell: Option<mpsc::Receiver<LedgerId>>,
    workers: Vec<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl WebhookLedger {
    /// The keys that its secrets are sealed with, for another process.
    pub fn keys(&self) -> KeyRing {
        KeyRing::parse(Some(&self.key), None).expect("keys")
    }

    /// One whose worker is at work.
    pub async fn new(mode: LedgerMode) -> Self {
        let mut ledger = Self::without_worker(mode).await;
        ledger.start_worker();
        ledger
    }

    /// One that only stores.
    pub async fn without_worker(mode: LedgerMode) -> Self {
        let database = TestDatabase::migrated().await;
        let url = DatabaseUrl::parse(&database.runtime_url()).expect("an address");
        let service = Database::open(&url, 8).expect("a database");
        let client = database.runtime().await;
        let superuser = database.superuser().await;
        let slug = LedgerSlug::parse(SLUG).expect("a slug");
        let ledger = create_ledger(&client, &slug, mode).await.expect("a ledger").ledger;
        let key = KeyRing::generate();
        let vault = Vault::new(service.clone(), KeyRing::parse(Some(&key), None).expect("keys"));
        let secret = SigningSecret::parse(SECRET).expect("a secret");
        vault.add_webhook_secret(&client, ledger, &secret).await.expect("added");
        let writers = Writers::new(service.clone(), WriterSettings::default());
        let (ringer, bell) = mpsc::channel(64);
        let webhooks = Webhooks::new(vault.clone(), ringer, clock);
        let clients = StripeClients::new(vault.clone(), ClientSettings::default());
        let made = Self {
            database,
            client,
            superuser,
            service,
            writers,
            ledger,
            vault,
            key,
            clients,
            webhooks,
            bell: Some(bell),
            workers: Vec::new(),
        };
        made.submit(Command::ConfigureLedger(settings())).await;
        made.submit(Command::SetPrice(price("price_demo_starter", 100, 500).into())).await;
        made.submit(Command::SetPrice(price("price_demo_pro", 500, 2_000).into())).await;
        made.open(ACCOUNT).await;
        made
    }

    /// Puts one more worker to work. Only the first hears the bell; others look by themselves.
    pub fn start_worker(&mut self) {
        let bell = self.bell.take().unwrap_or_else(|| mpsc::channel(1).1);
        let (writers, clients) = (Arc::clone(&self.writers), Arc::clone(&self.clients));
        let batches = Batches::new(self.service.clone(), writers, clients);
        self.start_worker_with(batches, bell);
    }

    /// Puts a worker to work that reaches database and writers in its own way.
    pub fn start_worker_with(&mut self, batches: Batches, bell: mpsc::Receiver<LedgerId>) {
        let (stop, stopped) = oneshot::channel::<()>();
        let worker = InboxWorker::new(batches, bell);
        let task = tokio::spawn(worker.run(async move {
            let _ = stopped.await;
        }));
        self.workers.push((stop, task));
    }

    /// Stops all workers, and returns when they have.
    pub async fn stop_workers(&mut self) {
        for (stop, task) in self.workers.drain(..) {
            drop(stop);
            task.await.expect("a worker that ends well");
        }
    }

    /// Has a command carried out as an operator.
    pub async fn submit(&self, command: Command) -> Arc<[Event]> {
        let submission =
            Submission { command, key: None, fingerprint: None, actor: Actor::Operator, request_id: None };
        match self.writers.submit(self.ledger, submission).await.expect("an outcome") {
            Outcome::Accepted(accepted) => accepted.events,
            Outcome::Rejected(rejection) => panic!("rejected: {rejection}"),
        }
    }

    /// Opens an account.
    pub async fn open(&self, account: &str) {
        let account = AccountId::parse(account).expect("an account");
        self.submit(Command::OpenAccount(OpenAccount {
            account,
            profile: ProfileChange::default(),
            stripe_customer: None,
        }))
        .await;
    }

    /// Lets the ledger call Stripe, at this address and with this key.
    pub async fn set_stripe_key(&self, url: &str, key: &str) {
        let key = ApiKey::parse(key).expect("a key");
        let url = BaseUrl::parse(url, LedgerMode::Test).expect("an address");
        self.vault.keep_stripe_key(self.ledger, &key, Some(&url), None).await.expect("kept");
    }

    /// Places an order.
    pub async fn order(&self, account: &str, price: &str, quantity: i64) -> OrderId {
        let command = PlaceOrder {
            trial_days: None,
            account: AccountId::parse(account).expect("an account"),
            price: PriceId::parse(price).expect("a price"),
            quantity: Amount::new(quantity).expect("a quantity"),
            details: OrderDetails::default(),
            note: Note::new(),
        };
        let events = self.submit(Command::PlaceOrder(command)).await;
        let placed = events.iter().find_map(|event| match &event.body {
            EventBody::OrderPlaced(placed) => Some(placed.order),
            _ => None,
        });
        placed.expect("an order")
    }

    /// An order as it is.
    pub async fn find_order(&self, order: OrderId) -> Order {
        let (_, found) = find_order(&self.service, self.ledger, order).await.expect("read");
        found.expect("an order").order
    }

    /// Posts a body as Stripe does, signed now. Gives the id that it is stored under.
    pub async fn deliver(&self, body: &[u8]) -> Result<String, WebhookError> {
        let secret = SigningSecret::parse(SECRET).expect("a secret");
        self.post(Some(&sign(body, &secret, NOW)), body).await
    }

    /// Posts a body with any signature.
    pub async fn post(&self, signature: Option<&str>, body: &[u8]) -> Result<String, WebhookError> {
        self.webhooks.take(&IncomingWebhook { ledger: SLUG, signature, body }).await
    }

    /// Posts a body and waits until nothing waits any more.
    pub async fn deliver_and_settle(&self, body: &Value) -> String {
        let event_id = self.deliver(body.to_string().as_bytes()).await.expect("taken");
        self.settle().await;
        event_id
    }

    /// Waits until every webhook is done or put aside.
    pub async fn settle(&self) {
        wait::until("the inbox to be worked off", async || {
            let counts = inbox::count_open(&self.client, self.ledger).await.expect("counted");
            let waits = |status| matches!(status, InboxStatus::Received | InboxStatus::Failed);
            (!counts.iter().any(|(status, _)| waits(*status))).then_some(())
        })
        .await;
    }

    /// An event as it is stored.
    pub async fn entry(&self, event_id: &str) -> InboxEntry {
        let found = inbox::find_webhook(&self.client, self.ledger, event_id).await.expect("read");
        found.unwrap_or_else(|| panic!("{event_id} is not stored")).0
    }

    /// What became of an event: its status, and the code of the reason.
    pub async fn fate(&self, event_id: &str) -> String {
        let entry = self.entry(event_id).await;
        let reason = entry.reason.unwrap_or_default();
        let code = reason.split(':').next().unwrap_or_default();
        format!("{} {code}", entry.status.as_str()).trim_end().to_owned()
    }

    /// Has events worked on again and waits until that is done.
    pub async fn replay(&self, event_ids: &[String]) {
        for event_id in event_ids {
            let replay = inbox::replay_webhook(&self.client, self.ledger, event_id).await.expect("asked");
            assert_eq!(replay, Replay::Accepted);
        }
        self.settle().await;
    }

    /// The statuses that any webhook has.
    pub async fn statuses(&self) -> Vec<&'static str> {
        let statement = "SELECT DISTINCT status FROM stripe_inbox WHERE ledger_id = $1 ORDER BY status";
        let rows = self.superuser.query(statement, &[&self.ledger.0]).await.expect("statuses");
        rows.iter().map(|row| InboxStatus::parse(row.get(0)).expect("a status").as_str()).collect()
    }

    /// The ids of the stored webhooks, up to 500.
    pub async fn event_ids(&self) -> Vec<String> {
        let page = inbox::list_inbox(&self.client, self.ledger, &InboxFilter::default(), None, 500)
            .await
            .expect("listed");
        page.entries.into_iter().map(|entry| entry.event_id.to_string()).collect()
    }

    /// How many webhooks are stored.
    pub async fn stored(&self) -> i64 {
        let statement = "SELECT count(*) FROM stripe_inbox WHERE ledger_id = $1";
        self.superuser.query_one(statement, &[&self.ledger.0]).await.expect("a count").get(0)
    }

    /// What each account has of `credits` after the last event that concerns it: available minus debt.
    pub async fn credits_of_all(&self) -> BTreeMap<String, i64> {
        let statement = "SELECT DISTINCT ON (e.account_number) a.external_id, e.balance_after
                           FROM events e JOIN accounts a USING (ledger_id, account_number)
                          WHERE e.unit = 'credits'
                          ORDER BY e.account_number, e.position DESC";
        let rows = self.superuser.query(statement, &[]).await.expect("balances");
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    /// What an account has of `credits`.
    pub async fn credits(&self, account: &str) -> i64 {
        self.credits_of_all().await.get(account).copied().unwrap_or(0)
    }

    /// The body of the last `credits.purchased`.
    pub async fn last_purchase(&self) -> Value {
        let statement = "SELECT body FROM events WHERE ledger_id = $1 AND type = 'credits.purchased'
                          ORDER BY position DESC LIMIT 1";
        self.superuser.query_one(statement, &[&self.ledger.0]).await.expect("a purchase").get(0)
    }

    /// How often the webhook was taken up that was taken up most often.
    pub async fn most_attempts(&self) -> i32 {
        let page = inbox::list_inbox(&self.client, self.ledger, &InboxFilter::default(), None, 500)
            .await
            .expect("listed");
        page.entries.iter().map(|entry| entry.attempts).max().unwrap_or(0)
    }

    /// How many events the ledger has.
    pub async fn count_all_events(&self) -> i64 {
        let statement = "SELECT count(*) FROM events WHERE ledger_id = $1";
        self.superuser.query_one(statement, &[&self.ledger.0]).await.expect("counted").get(0)
    }

    /// How many events of a type the ledger has.
    pub async fn count_events(&self, type_name: &str) -> i64 {
        let statement = "SELECT count(*) FROM events WHERE ledger_id = $1 AND type = $2";
        let row = self.superuser.query_one(statement, &[&self.ledger.0, &type_name]).await.expect("counted");
        row.get(0)
    }
}

fn unit(text: &str) -> Unit {
    Unit::parse(text).expect("a unit")
}

fn settings() -> LedgerSettings {
    LedgerSettings {
        units: [(unit("credits"), UnitSettings { scale: 0 })].into(),
        checkout: crate::writer_support::checkout_settings(),
        ..LedgerSettings::default()
    }
}

/// A price that grants credits, for money in euro.
pub fn price(id: &str, credits: i64, money: i64) -> Price {
    let grant = PriceGrant {
        unit: unit("credits"),
        amount: Amount::new(credits).expect("an amount"),
        expires_days: None,
        priority: 50,
        share: 1,
    };
    Price {
        price: PriceId::parse(id).expect("a price"),
        display_name: id.to_owned(),
        display_order: 1,
        active: true,
        money,
        currency: Currency::parse("eur").expect("a currency"),
        grants: vec![grant],
        rollover: None,
        operator: None,
        stripe: None,
    }
}

/// The body in `webhook_bodies/` with this name, to be changed.
pub fn body(name: &str) -> Value {
    serde_json::from_slice(&crate::stripe_bodies::body(name)).expect("JSON")
}

/// The same event under another id, as if Stripe told of the same again.
pub fn as_another_event(body: &Value) -> Value {
    let mut other = body.clone();
    other["id"] = format!("evt_{}", Uuid::new_v4().simple()).into();
    other
}
