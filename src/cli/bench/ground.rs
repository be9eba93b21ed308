//! The private PostgreSQL that both designs are measured on.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use secrecy::SecretString;
use tokio_postgres::Client;

use crate::{
    domain::{
        ids::{LedgerId, LedgerSlug},
        settings::LedgerMode,
    },
    sandbox::postgres::{Cluster, SUPERUSER, Settings},
    store::{
        database_url::DatabaseUrl,
        ledgers::{Ledger, create_ledger},
        migrate,
        outbox::shard_of,
        pool::Database,
        provision::{ensure_database, ensure_owner},
        roles::Login,
    },
};

const OWNER: &str = "bench_owner";
const SERVICE: &str = "bench_service";
/// The database of the service.
const OURS: &str = "bench_ours";
/// The database of the other design.
const THEIRS: &str = "bench_theirs";

/// How many events are written by one statement.
const HISTORY_SLICE: i64 = 250_000;
/// The events of ledger `$1` after position `$3` up to `$4`, of `$2` accounts. What each account bought and spent by then
/// follows from the position alone: the accounts take turns, in another order each time.
const HISTORY: &str = r#"
    INSERT INTO events (ledger_id, position, command, command_size, account_number, type, version, unit, amount,
                        balance_after, held_after, disputed_after, recorded_at, actor, key_namespace, key, key_hash,
                        fingerprint, body)
    SELECT $1, e.position, e.position, 1, e.account, e.type, 1, e.unit, e.amount, e.balance, e.nothing, e.nothing,
           '2026-01-01'::timestamptz + e.position * interval '1 second', 'operator',
           'client', e.key::text, substr(sha256(e.key::text::bytea), 1, 16), sha256(e.key::text::bytea), e.body
      FROM (
           SELECT a.position, a.account, gen_random_uuid() AS key,
                  t.type, CASE WHEN t.type <> 'account.opened' THEN 'credits' END AS unit,
                  CASE t.type WHEN 'credits.purchased' THEN 1000 WHEN 'credits.spent' THEN -10 ELSE 0 END AS amount,
                  -- Of each hundred turns after the first, one buys a thousand and the others spend ten each.
                  CASE WHEN t.type <> 'account.opened' THEN ((a.turn - 1) / 100 + 1) * 1000 - (a.turn - 1
                           - (a.turn - 1) / 100) * 10 END AS balance,
                  CASE WHEN t.type <> 'account.opened' THEN 0 END AS nothing,
                  CASE t.type
                      WHEN 'account.opened' THEN '{}'::jsonb
                      WHEN 'credits.purchased' THEN jsonb_build_object(
                          'purchase', 'pur_' || t.lot, 'lot', 'lot_' || t.lot,
                          'source', jsonb_build_object('checkout_session', 'cs_' || t.lot),
                          'payment', 'pi_' || t.lot, 'price', 'price_demo_premium', 'quantity', 1,
                          'money', jsonb_build_object('gross', 3570, 'tax', 570, 'currency', 'eur'),
                          'cost', 3000, 'granted', 1000, 'expires_at', NULL, 'priority', 50)
                      ELSE jsonb_build_object(
                          'spend', 'spd_' || lpad(to_hex(a.position), 32, '0'), 'spent', 10,
                          'feature', 'resume_analysis', 'quantity', 1,
                          'draws', jsonb_build_array(jsonb_build_object('lot', 'lot_' || t.lot, 'amount', 10)))
                  END AS body
             FROM (SELECT n AS position, (n - 1) / $2 AS turn,
                          ((n - 1) % $2 * 7919 + (n - 1) / $2 * 104729) % $2 + 1 AS account
                     FROM generate_series($3::int8 + 1, $4::int8) n) a
            CROSS JOIN LATERAL (
                  SELECT CASE WHEN a.turn = 0 THEN 'account.opened'
                              WHEN a.turn % 100 = 1 THEN 'credits.purchased'
                              ELSE 'credits.spent' END AS type,
                         lpad(to_hex(a.account), 16, '0') || lpad(to_hex((a.turn - 1) / 100), 16, '0') AS lot) t
           ) e
     ORDER BY e.position"#;

/// A running cluster with one database for each design.
pub struct Ground {
    cluster: Cluster,
    directory: PathBuf,
    /// How many accounts each design has.
    pub accounts: usize,
}

/// Settings that decide what a commit is worth, as the server reports them.
pub struct Durability {
    /// Name and value, in the order in which they are printed.
    pub settings: Vec<(&'static str, String)>,
    /// What the server is.
    pub version: String,
}

impl Ground {
    /// Makes cluster, databases and tables.
    pub async fn prepare(directory: Option<PathBuf>, accounts: usize) -> anyhow::Result<Self> {
        let unique = format!("counterfoil-bench-{}", std::process::id());
        let directory = directory.unwrap_or_else(|| std::env::temp_dir().join(unique));
        let settings = Settings {
            directory: directory.clone(),
            durable: true,
            max_connections: 200,
            // What a machine with a few gigabytes would be given; the same for both sides.
            parameters: vec![
                ("shared_buffers".to_owned(), "1GB".to_owned()),
                ("max_wal_size".to_owned(), "8GB".to_owned()),
            ],
        };
        let cluster = tokio::task::spawn_blocking(move || Cluster::start(&settings)).await??;
        let ground = Self { cluster, directory, accounts };
        let superuser = ground.connect(SUPERUSER, "postgres").await?;
        let password = Some(ground.cluster.password().clone());
        let owner = Login { name: OWNER.to_owned(), password: password.clone() };
        ensure_owner(&superuser, &owner).await?;
        ensure_database(&superuser, OURS, &owner).await?;
        ensure_database(&superuser, THEIRS, &owner).await?;
        let service = Login { name: SERVICE.to_owned(), password };
        migrate::run(&ground.database(OWNER, OURS, 2)?, Some(&service)).await?;
        Ok(ground)
    }

    fn database(&self, role: &str, database: &str, pool_size: usize) -> anyhow::Result<Database> {
        let url = DatabaseUrl::parse(&self.cluster.url(role, database))?;
        Ok(Database::open(&url, pool_size)?)
    }

    async fn connect(&self, role: &str, database: &str) -> anyhow::Result<Client> {
        Ok(self.database(role, database, 1)?.connect().await?)
    }

    /// The service's own database, as the service logs in.
    pub fn ours(&self) -> anyhow::Result<Database> {
        self.database(SERVICE, OURS, 8)
    }

    /// Where the service's own database is, as the service logs in.
    pub fn our_url(&self) -> SecretString {
        self.cluster.url(SERVICE, OURS)
    }

    /// How many transactions have ended in the service's own database; the server says so with a delay of a second.
    pub async fn transactions(&self) -> anyhow::Result<i64> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let statement = "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = $1";
        Ok(self.connect(OWNER, THEIRS).await?.query_one(statement, &[&OURS]).await?.get(0))
    }

    /// A connection to the other design's database.
    pub async fn theirs(&self) -> anyhow::Result<Client> {
        self.connect(OWNER, THEIRS).await
    }

    /// Vacuums and analyses the service's database, as autovacuum does in time.
    pub async fn vacuum_ours(&self) -> anyhow::Result<()> {
        Ok(self.connect(OWNER, OURS).await?.batch_execute("VACUUM ANALYZE").await?)
    }

    /// Makes a ledger.
    pub async fn make_ledger(&self, slug: &str) -> anyhow::Result<Ledger> {
        let client = self.ours()?.connect().await?;
        Ok(create_ledger(&client, &LedgerSlug::parse(slug)?, LedgerMode::Test).await?)
    }

    /// Puts effects into the outbox of a ledger, as its writer does when many are ordered at once.
    pub async fn fill_outbox(&self, ledger: LedgerId, effects: i64, keys: i64) -> anyhow::Result<()> {
        let client = self.connect(SUPERUSER, OURS).await?;
        let names = (0..keys).map(|number| format!("refund:{number}"));
        let (names, shards): (Vec<String>, Vec<i16>) =
            names.map(|name| (name.clone(), shard_of(&name))).unzip();
        // Joined: to find an element of a long array of text is to walk through it.
        let statement = "
            INSERT INTO outbox (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at)
            SELECT $1, k.shard, n + 1, 0, gen_random_uuid(), k.key, 'create_customer',
                   jsonb_build_object('kind', 'create_customer', 'account', n % $4), now()
              FROM generate_series(0, $5::int8 - 1) n
              JOIN unnest($2::text[], $3::int2[]) WITH ORDINALITY k (key, shard, number) ON k.number = n % $4 + 1
             ORDER BY n";
        client.execute(statement, &[&ledger.0, &names, &shards, &keys, &effects]).await?;
        client.batch_execute("VACUUM ANALYZE outbox").await?;
        Ok(client.batch_execute("CHECKPOINT").await?)
    }

    /// Makes a ledger with a history: every account is opened, buys credits, and spends them with the others at random,
    /// buying more with each hundredth of its events.
    pub async fn make_filled_ledger(&self, slug: &str, events: i64) -> anyhow::Result<Ledger> {
        let made = self.make_ledger(slug).await?;
        let ledger = made.ledger;
        let client = self.connect(SUPERUSER, OURS).await?;
        let accounts = i64::try_from(self.accounts)?;
        let statement = client.prepare(HISTORY).await?;
        let mut after = 0;
        while after < events {
            let until = events.min(after + HISTORY_SLICE);
            client.execute(&statement, &[&ledger.0, &accounts, &after, &until]).await?;
            after = until;
        }
        let head = "UPDATE ledger_heads SET position = $2, recorded_at = now() WHERE ledger_id = $1";
        client.execute(head, &[&ledger.0, &events]).await?;
        client.batch_execute("VACUUM ANALYZE events").await?;
        client.batch_execute("CHECKPOINT").await?;
        Ok(made)
    }

    /// How long it takes to read all events of a ledger, bodies included, and do nothing with them.
    pub async fn read_events(&self, ledger: LedgerId) -> anyhow::Result<Duration> {
        let client = self.connect(SUPERUSER, OURS).await?;
        let begun = Instant::now();
        let statement = "SELECT sum(amount), sum(pg_column_size(body)) FROM events WHERE ledger_id = $1";
        client
            .batch_execute("SET max_parallel_workers_per_gather = 0; SET enable_seqscan = off; SET jit = off")
            .await?;
        client.query_one(statement, &[&ledger.0]).await?;
        Ok(begun.elapsed())
    }

    /// A place for files that go when this ends.
    pub fn place(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// The owner's connection to the service's database.
    pub async fn owner(&self) -> anyhow::Result<Client> {
        self.connect(OWNER, OURS).await
    }

    /// How many effects are left in the outbox of a ledger.
    pub async fn effects_left(&self, ledger: LedgerId) -> anyhow::Result<i64> {
        let client = self.connect(SUPERUSER, OURS).await?;
        let statement = "SELECT count(*) FROM outbox WHERE ledger_id = $1";
        Ok(client.query_one(statement, &[&ledger.0]).await?.try_get(0)?)
    }

    /// A transaction that sees everything as it is now for as long as the connection lasts.
    pub async fn hold_snapshot(&self) -> anyhow::Result<Client> {
        let client = self.connect(SUPERUSER, OURS).await?;
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM outbox").await?;
        Ok(client)
    }

    /// Reads the settings that make commits durable.
    ///
    /// # Errors
    /// When one of them is off: nothing that is measured then would count.
    pub async fn settings(&self) -> anyhow::Result<Durability> {
        let client = self.connect(SERVICE, OURS).await?;
        let show = async |name: &str| -> anyhow::Result<String> {
            Ok(client.query_one(&format!("SHOW {name}"), &[]).await?.try_get(0)?)
        };
        let mut settings = Vec::new();
        for name in ["fsync", "synchronous_commit", "full_page_writes"] {
            let value = show(name).await?;
            ensure!(value == "on", "{name} is {value}");
            settings.push((name, value));
        }
        settings.push(("shared_buffers", show("shared_buffers").await?));
        Ok(Durability { settings, version: show("server_version").await? })
    }

    /// Stops the server and removes everything.
    pub async fn remove(self) -> anyhow::Result<()> {
        let Self { cluster, directory, .. } = self;
        let lives_in = cluster.directory().to_owned();
        tokio::task::spawn_blocking(move || cluster.stop()).await??;
        for directory in [lives_in, directory] {
            if directory.exists() {
                std::fs::remove_dir_all(&directory)
                    .with_context(|| format!("{} stays", directory.display()))?;
            }
        }
        Ok(())
    }
}
