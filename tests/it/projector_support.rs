//! Ledgers with events written by hand, for projections: any event, also one that the domain would never write.

use std::{collections::HashMap, fs, future::pending, path::Path, process::Command, sync::Arc};

use counterfoil::{
    domain::{
        EventBody,
        event::{AccountOpened, CreditsGranted, CreditsSpent, GrantSource},
        ids::{AccountNumber, LedgerId, LedgerSlug, LotId, Position, Seed, SpendId},
        settings::LedgerMode,
    },
    projector::{Projector, rebuild},
    store::{
        database_url::DatabaseUrl,
        ledgers::create_ledger,
        pool::Database,
        projections::{
            Build,
            definition::{Definition, compiled_in},
            fold::{self, Page, fold_page},
            list_builds,
            read::{HistoryEntry, HistoryFilter, Progress, history, progress},
        },
    },
};
use secrecy::{ExposeSecret, SecretString};
use tokio::{sync::watch, task::JoinHandle};
use tokio_postgres::Client;

use crate::support::{database::TestDatabase, process, wait};

/// The account that most tests use: opened by the first event.
pub const ACCOUNT: AccountNumber = AccountNumber(1);
/// What ids of things in made-up events are made with.
pub const SEED: Seed = Seed([7; 16]);

/// All of an account's history, as far as a page goes.
pub fn whole() -> HistoryFilter {
    HistoryFilter { positions: Position(0)..Position(i64::MAX), types: Vec::new(), limit: 500 }
}

/// A database, and the service's way to it.
pub struct Place {
    pub database: TestDatabase,
    pub service: Database,
}

/// One ledger, written to by hand.
pub struct Book {
    client: Client,
    pub ledger: LedgerId,
    pub position: i64,
}

/// What a made-up event says.
#[derive(Clone, Debug)]
pub struct Fact {
    pub account: Option<AccountNumber>,
    pub type_name: String,
    pub unit: Option<&'static str>,
    pub amount: i64,
    pub balance_after: i64,
    pub body: String,
}

/// Folds the next events of a ledger into a build.
pub async fn fold_next(service: &Database, ledger: LedgerId, build: &Build, limit: i64) -> Page {
    let mut client = service.pool().get().await.expect("a connection");
    match fold_page(service, &mut client, ledger, build, limit).await {
        Ok(page) => page,
        Err(error) => panic!("{}", counterfoil::store::errors::describe_causes(&error)),
    }
}

/// The service's way to a database.
pub fn open(url: &SecretString) -> Database {
    let url = DatabaseUrl::parse(url).expect("an address");
    Database::open(&url, 8).expect("a database")
}

impl Place {
    pub async fn new() -> Self {
        Self::on(TestDatabase::migrated().await)
    }

    pub fn on(database: TestDatabase) -> Self {
        let service = open(&database.runtime_url());
        Self { database, service }
    }

    pub async fn book(&self, slug: &str) -> Book {
        let client = self.database.runtime().await;
        let slug = LedgerSlug::parse(slug).expect("a slug");
        let ledger = create_ledger(&client, &slug, LedgerMode::Test).await.expect("a ledger").ledger;
        Book { client, ledger, position: 0 }
    }

    /// The binary as whoever owns the database runs it.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", self.database.runtime_url().expose_secret());
        command.env("DATABASE_DIRECT_URL", self.database.owner_url().expose_secret());
        command
    }

    /// The newest build of a projection.
    pub async fn build(&self, projection: &str) -> Arc<Build> {
        let client = self.database.runtime().await;
        let builds = list_builds(&client).await.expect("builds");
        let build = builds.into_iter().rfind(|build| build.projection == projection);
        Arc::new(build.expect("a build of it"))
    }

    /// Folds everything that there is into the newest build.
    pub async fn fold(&self, book: &Book, projection: &str) {
        let build = self.build(projection).await;
        rebuild(&self.service, book.ledger, &build, |_| {}).await.expect("folded");
    }

    pub async fn history(&self, book: &Book, account: AccountNumber) -> Vec<HistoryEntry> {
        let mut client = self.database.runtime().await;
        history(&mut client, book.ledger, account, &whole()).await.expect("a history").entries
    }

    /// Account, unit, net, held, disputed and position of every row of the serving balances.
    pub async fn balances(&self, book: &Book) -> Vec<(i64, String, i64, i64, i64, i64)> {
        let build = self.build("balances").await;
        let client = self.database.superuser().await;
        let statement = format!(
            "SELECT account_number, unit, net, held, disputed, position FROM {}.balances
              WHERE ledger_id = $1 ORDER BY account_number, unit",
            build.schema
        );
        let rows = client.query(&statement, &[&book.ledger.0]).await.expect("balances");
        rows.iter()
            .map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4), row.get(5)))
            .collect()
    }

    pub async fn progress(&self, book: &Book) -> Vec<Progress> {
        let client = self.database.runtime().await;
        progress(&client, &[book.ledger]).await.expect("progress")
    }
}

impl Fact {
    /// An event of the usual account that moves credits.
    pub fn credits(body: impl Into<EventBody>, amount: i64, balance_after: i64) -> Self {
        let body = body.into();
        Self {
            account: Some(ACCOUNT),
            type_name: body.type_name().to_owned(),
            unit: Some("credits"),
            amount,
            balance_after,
            body: body.to_json().expect("a body"),
        }
    }

    /// An event of the usual account that moves nothing.
    pub fn about(body: impl Into<EventBody>) -> Self {
        Self { unit: None, ..Self::credits(body, 0, 0) }
    }

    pub fn of(self, account: AccountNumber) -> Self {
        Self { account: Some(account), ..self }
    }
}

impl Book {
    /// Writes events as commands of one event each, all in one batch.
    pub async fn write(&mut self, facts: &[Fact]) {
        let scope = format!("BEGIN; SET LOCAL counterfoil.ledger_id = '{}'", self.ledger);
        self.client.batch_execute(&scope).await.expect("a transaction");
        let statement = "
            INSERT INTO events (ledger_id, position, command, command_size, account_number, type, version, unit, amount,
                                balance_after, held_after, disputed_after, recorded_at, actor, body)
            VALUES ($1, $2, $2, 1, $3, $4, 1, $5, $6, $7, $8, $8, now(), 'operator', $9::text::jsonb)";
        for fact in facts {
            self.position += 1;
            let balance_after = fact.unit.map(|_| fact.balance_after);
            let nothing = fact.unit.map(|_| 0_i64);
            let account = fact.account.map(|account| account.0);
            self.client
                .execute(
                    statement,
                    &[
                        &self.ledger.0,
                        &self.position,
                        &account,
                        &fact.type_name,
                        &fact.unit,
                        &fact.amount,
                        &balance_after,
                        &nothing,
                        &fact.body,
                    ],
                )
                .await
                .expect("an event");
        }
        let head = "UPDATE ledger_heads SET position = $2, recorded_at = now() WHERE ledger_id = $1";
        self.client.execute(head, &[&self.ledger.0, &self.position]).await.expect("a head");
        self.client.batch_execute("COMMIT").await.expect("a commit");
    }

    /// The next event's position.
    pub fn next(&self) -> Position {
        Position(self.position + 1)
    }
}

pub fn granted(amount: i64, balance_after: i64) -> Fact {
    let lot = LotId::new(Position(1), 0, &SEED);
    let body = CreditsGranted {
        lot,
        source: GrantSource::Requested,
        granted: amount,
        expires_at: None,
        priority: 50,
    };
    Fact::credits(body, amount, balance_after)
}

pub fn spent(amount: i64, balance_after: i64) -> Fact {
    let body = CreditsSpent {
        spend: SpendId::new(Position(1), 0, &SEED),
        spent: amount,
        feature: None,
        quantity: None,
        draws: Vec::new(),
        overdraft: None,
    };
    Fact::credits(body, -amount, balance_after)
}

/// Grants `rounds` times 10 and spends 3, for two accounts in turn.
pub async fn write_some(book: &mut Book, rounds: i64) {
    let accounts = [ACCOUNT, AccountNumber(2)];
    book.write(&accounts.map(|account| Fact::about(AccountOpened {}).of(account))).await;
    for round in 0..rounds {
        let facts = [granted(10, round * 7 + 10), spent(3, round * 7 + 7)];
        let of = |account| facts.clone().map(|fact| fact.of(account));
        book.write(&accounts.map(of).concat()).await;
    }
}

pub fn definition_of(name: &str) -> Definition {
    let all = compiled_in().expect("projections");
    all.into_iter().find(|definition| definition.name == name).expect("a projection of that name")
}

/// A projector as a process runs it, and the way to tell it of a commit.
pub struct Running {
    heads: watch::Sender<HashMap<LedgerId, Position>>,
    task: JoinHandle<()>,
}

impl Running {
    pub fn start(database: &Database) -> Self {
        let (heads, seen) = watch::channel(HashMap::new());
        let task = tokio::spawn(Projector::new(database.clone()).run(seen, pending()));
        Self { heads, task }
    }

    pub fn tell_of(&self, book: &Book) {
        self.heads.send_modify(|heads| {
            heads.insert(book.ledger, Position(book.position));
        });
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub async fn wait_until_level(place: &Place, book: &Book) {
    wait::until("every projection to be level", async || {
        let progress = place.progress(book).await;
        let is_level = |one: &&_| {
            let one: &Progress = one;
            // The events here are made up: only these take them all.
            ["balances", "history"].contains(&one.projection.as_str())
                && one.is_serving
                && one.position == book.position
        };
        (progress.iter().filter(is_level).count() == 2).then_some(())
    })
    .await;
}

pub fn write_projection(folder: &Path, tables: &str, apply: &str) {
    fs::create_dir(folder).expect("a folder");
    fs::write(folder.join("tables.sql"), tables).expect("tables.sql");
    fs::write(folder.join("apply.sql"), apply).expect("apply.sql");
}

pub async fn follow(place: &Place, book: &Book, build: &Build) {
    let mut client = place.database.runtime().await;
    let transaction = client.transaction().await.expect("a transaction");
    let scope = format!("SET LOCAL counterfoil.ledger_id = '{}'", book.ledger);
    transaction.batch_execute(&scope).await.expect("the scope");
    fold::follow(&transaction, book.ledger, build).await.expect("followed");
    transaction.commit().await.expect("a commit");
}
