//! What the tests of the write path share: a ledger with units and features, commands in a line each, and a look at what
//! is really in the database.

use std::sync::Arc;

use counterfoil::{
    domain::{
        Command, Event, EventBody, Rejection,
        amount::Amount,
        catalogue::Feature,
        command::{Charge, GrantCredits, Note, OpenAccount, ProfileChange, SpendCredits},
        ids::{AccountId, Actor, FeatureKey, Key, LedgerId, LedgerSlug, Namespace, Unit},
        settings::{CheckoutSettings, LedgerMode, LedgerSettings, UnitSettings},
    },
    store::{database_url::DatabaseUrl, ledgers::create_ledger, pool::Database},
    writer::{Accepted, Outcome, Submission, SubmitError, WriterSettings, Writers},
};
use futures_util::future::join_all;
use secrecy::SecretString;
use tokio_postgres::{Client, types::Type};

use crate::support::{database::TestDatabase, wait};

/// A ledger that counts `credits`, in a database of its own, and writers of it.
pub struct Book {
    pub database: TestDatabase,
    pub ledger: LedgerId,
    pub writers: Arc<Writers>,
}

/// Checkouts that lead back to `shop.example`.
pub fn checkout_settings() -> CheckoutSettings {
    CheckoutSettings {
        success_url: Some("https://shop.example/thanks".to_owned()),
        redirect_hosts: ["shop.example".to_owned()].into(),
        ..CheckoutSettings::default()
    }
}

impl Book {
    /// A configured ledger, written with default settings.
    pub async fn open() -> Self {
        Self::open_with(WriterSettings::default()).await
    }

    pub async fn open_with(settings: WriterSettings) -> Self {
        let database = TestDatabase::migrated().await;
        let ledger = create(&database, "book").await;
        let writers = writers(database.runtime_url(), settings);
        let book = Self { database, ledger, writers };
        let units = [(unit(), UnitSettings { scale: 0 })].into();
        let settings = LedgerSettings { units, checkout: checkout_settings(), ..LedgerSettings::default() };
        let configured = book.accept(Command::ConfigureLedger(settings)).await;
        assert_eq!(configured.events.len(), 1);
        book
    }

    /// Submits a command without a key that must be accepted.
    pub async fn accept(&self, command: Command) -> Accepted {
        accepted(self.submit(plain(command)).await)
    }

    pub async fn submit(&self, submission: Submission) -> Result<Outcome, SubmitError> {
        self.writers.submit(self.ledger, submission).await
    }

    /// Opens an account and grants it credits.
    pub async fn account_with(&self, name: &str, credits: i64) {
        self.accept(open(name)).await;
        if credits > 0 {
            self.accept(grant(name, credits)).await;
        }
    }

    /// What the account has by the state that is stored.
    pub async fn stored_balance(&self, name: &str) -> i64 {
        let statement = "SELECT COALESCE((state->'books'->'credits'->>'available')::int8, 0) AS available
                           FROM accounts WHERE ledger_id = $1 AND external_id = $2";
        let superuser = self.database.superuser().await;
        let parameters: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
            [(&self.ledger.0, Type::INT8), (&name, Type::TEXT)];
        superuser.query_typed_one(statement, &parameters).await.expect("the account").get(0)
    }

    /// Fails unless the ledger is whole: no gaps, heads and batches that agree, states that are the sum of the events.
    pub async fn check(&self) {
        check(&self.database.superuser().await, self.ledger).await;
    }

    /// How many events there are of a type.
    pub async fn count(&self, type_name: &str) -> i64 {
        let statement = "SELECT count(*) FROM events WHERE ledger_id = $1 AND type = $2";
        let superuser = self.database.superuser().await;
        superuser.query_one(statement, &[&self.ledger.0, &type_name]).await.expect("a count").get(0)
    }

    /// In how many batches the events of a type were written, if each batch ended with one.
    pub async fn batches(&self, type_name: &str) -> i64 {
        let statement = "SELECT count(batch_id) FROM events WHERE ledger_id = $1 AND type = $2";
        let superuser = self.database.superuser().await;
        superuser.query_one(statement, &[&self.ledger.0, &type_name]).await.expect("a count").get(0)
    }

    /// Submits commands that are all there when the first batch gets the head's lock.
    pub async fn submit_together(
        &self,
        submissions: impl IntoIterator<Item = Submission>,
    ) -> Vec<Result<Outcome, SubmitError>> {
        let blocker = self.database.superuser().await;
        let lock = format!("BEGIN; SELECT FROM ledger_heads WHERE ledger_id = {} FOR UPDATE", self.ledger);
        blocker.batch_execute(&lock).await.expect("the head's lock");
        let mut answers =
            std::pin::pin!(join_all(submissions.into_iter().map(|command| self.submit(command))));
        // Polled once, so that all are queued.
        assert!(futures_util::poll!(&mut answers).is_pending());
        let released = async {
            self.waiting_for_lock().await;
            blocker.batch_execute("ROLLBACK").await.expect("the lock is given up");
        };
        futures_util::future::join(answers, released).await.0
    }

    /// Waits until a statement waits for a lock.
    pub async fn waiting_for_lock(&self) {
        let superuser = self.database.superuser().await;
        wait::until("a statement that waits for a lock", async || {
            let statement = "SELECT FROM pg_stat_activity
                              WHERE datname = current_database() AND wait_event_type = 'Lock'";
            let rows = superuser.query(statement, &[]).await.expect("the activity");
            (!rows.is_empty()).then_some(())
        })
        .await;
    }

    /// Where the ledger ends.
    pub async fn head(&self) -> i64 {
        let superuser = self.database.superuser().await;
        let statement = "SELECT position FROM ledger_heads WHERE ledger_id = $1";
        superuser.query_one(statement, &[&self.ledger.0]).await.expect("a head").get(0)
    }
}

/// Makes a ledger without any events.
pub async fn create(database: &TestDatabase, slug: &str) -> LedgerId {
    let slug = LedgerSlug::parse(slug).expect("a slug");
    let client = database.runtime().await;
    create_ledger(&client, &slug, LedgerMode::Test).await.expect("a new ledger").ledger
}

/// Writers of a database.
pub fn writers(url: SecretString, settings: WriterSettings) -> Arc<Writers> {
    // What a failing test shows; another test has set it up already, mostly.
    let log = tracing_subscriber::fmt().with_max_level(tracing::Level::WARN).with_test_writer();
    drop(log.try_init());
    let url = DatabaseUrl::parse(&url).expect("a valid address");
    Writers::new(Database::open(&url, 1).expect("a usable address"), settings)
}

/// See [`Book::check`].
pub async fn check(superuser: &Client, ledger: LedgerId) {
    let statement = "
        SELECT h.position AS head,
               (SELECT count(*) FROM events e WHERE e.ledger_id = h.ledger_id) AS events,
               (SELECT COALESCE(max(e.position), 0) FROM events e WHERE e.ledger_id = h.ledger_id) AS last,
               h.position = 0 OR (SELECT e.batch_id = h.batch_id AND e.recorded_at = h.recorded_at
                                    FROM events e WHERE e.ledger_id = h.ledger_id AND e.position = h.position) AS same,
               (SELECT count(*) FROM accounts a
                 WHERE a.ledger_id = h.ledger_id
                   AND a.version <> (SELECT max(e.position) FROM events e
                                      WHERE e.ledger_id = a.ledger_id AND e.account_number = a.account_number)) AS stale,
               (SELECT count(*) FROM accounts a, json_each(a.state->'books') book
                 WHERE a.ledger_id = h.ledger_id
                   AND (book.value->>'available')::int8 - (book.value->>'debt')::int8
                       <> (SELECT COALESCE(sum(e.amount), 0) FROM events e
                            WHERE e.ledger_id = a.ledger_id AND e.account_number = a.account_number
                              AND e.unit = book.key)) AS wrong
          FROM ledger_heads h WHERE h.ledger_id = $1";
    let row = superuser.query_one(statement, &[&ledger.0]).await.expect("a head");
    let number = |column: &str| row.get::<_, i64>(column);
    assert_eq!((number("events"), number("last")), (number("head"), number("head")), "positions have gaps");
    assert!(row.get::<_, bool>("same"), "the head is not that of the last event");
    assert_eq!(number("stale"), 0, "an account has another version than its last event");
    assert_eq!(number("wrong"), 0, "an account has another balance than its events");
}

/// The unit of these tests.
pub fn unit() -> Unit {
    Unit::parse("credits").expect("a unit")
}

pub fn account(name: &str) -> AccountId {
    AccountId::parse(name).expect("an account id")
}

pub fn amount(value: i64) -> Amount {
    Amount::new(value).expect("an amount")
}

pub fn open(name: &str) -> Command {
    Command::OpenAccount(OpenAccount {
        account: account(name),
        profile: ProfileChange::default(),
        stripe_customer: None,
    })
}

pub fn grant(name: &str, credits: i64) -> Command {
    Command::GrantCredits(GrantCredits {
        account: account(name),
        unit: unit(),
        amount: amount(credits),
        expires_at: None,
        priority: 50,
        note: Note::new(),
    })
}

pub fn spend(name: &str, credits: i64) -> Command {
    Command::SpendCredits(SpendCredits {
        account: account(name),
        charge: Charge::Credits { unit: unit(), amount: amount(credits) },
        note: Note::new(),
    })
}

pub fn set_feature(name: &str, cost: i64) -> Command {
    let feature = FeatureKey::parse(name).expect("a feature");
    Command::SetFeature(Feature { feature, unit: unit(), cost: amount(cost), active: true })
}

/// A submission without a key.
pub fn plain(command: Command) -> Submission {
    Submission { command, key: None, fingerprint: None, actor: Actor::Operator, request_id: None }
}

/// A submission under a client's key, whose request has this fingerprint.
pub fn keyed(command: Command, key: &str, fingerprint: u8) -> Submission {
    let key = Key::new(Namespace::Client, key).expect("a key");
    Submission { key: Some(key), fingerprint: Some([fingerprint; 32]), ..plain(command) }
}

/// A submission under a key of Stripe's facts.
pub fn stripe_keyed(command: Command, key: &str) -> Submission {
    let key = Key::new(Namespace::Stripe, key).expect("a key");
    Submission { key: Some(key), actor: Actor::Stripe, ..plain(command) }
}

pub fn accepted(outcome: Result<Outcome, SubmitError>) -> Accepted {
    match outcome {
        Ok(Outcome::Accepted(accepted)) => accepted,
        other => panic!("not accepted: {other:?}"),
    }
}

pub fn rejected(outcome: Result<Outcome, SubmitError>) -> Rejection {
    match outcome {
        Ok(Outcome::Rejected(rejection)) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

/// The types of events, in order.
pub fn types(events: &[Event]) -> Vec<&'static str> {
    events.iter().map(|event| event.body.type_name()).collect()
}

/// How much a spend took.
pub fn spent(accepted: &Accepted) -> i64 {
    let spent = accepted.events.iter().find_map(|event| match &event.body {
        EventBody::CreditsSpent(body) => Some(body.spent),
        _ => None,
    });
    spent.expect("a spend")
}
