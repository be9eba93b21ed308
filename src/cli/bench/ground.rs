//! The private PostgreSQL that both designs are measured on.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use tokio_postgres::Client;

use crate::{
    domain::ids::LedgerId,
    sandbox::postgres::{Cluster, SUPERUSER, Settings},
    store::{
        database_url::DatabaseUrl,
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

    /// A connection to the other design's database.
    pub async fn theirs(&self) -> anyhow::Result<Client> {
        self.connect(OWNER, THEIRS).await
    }

    /// Vacuums and analyses the service's database, as autovacuum does in time.
    pub async fn vacuum_ours(&self) -> anyhow::Result<()> {
        Ok(self.connect(OWNER, OURS).await?.batch_execute("VACUUM ANALYZE").await?)
    }

    /// Puts effects into the outbox of a ledger, as its writer does when many are ordered at once.
    pub async fn fill_outbox(&self, ledger: LedgerId, effects: i64, keys: i64) -> anyhow::Result<()> {
        let client = self.connect(SUPERUSER, OURS).await?;
        let names = (0..keys).map(|number| format!("refund:{number}"));
        let (names, shards): (Vec<String>, Vec<i16>) =
            names.map(|name| (name.clone(), shard_of(&name))).unzip();
        let statement = "
            INSERT INTO outbox (ledger_id, shard, position, ordinal, effect_id, key, kind, effect, created_at)
            SELECT $1, ($3::int2[])[n % $4 + 1], n + 1, 0, gen_random_uuid(), ($2::text[])[n % $4 + 1], 'create_customer',
                   jsonb_build_object('kind', 'create_customer', 'account', n % $4), now()
              FROM generate_series(0, $5::int8 - 1) n";
        client.execute(statement, &[&ledger.0, &names, &shards, &keys, &effects]).await?;
        client.batch_execute("VACUUM ANALYZE outbox").await?;
        Ok(client.batch_execute("CHECKPOINT").await?)
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
