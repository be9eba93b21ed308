//! The common design: a transaction for each spend.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, ensure};
use tokio::sync::{Mutex, Semaphore};
use tokio_postgres::{Client, Statement, types::ToSql};
use uuid::Uuid;

use super::{
    CONNECTIONS,
    ground::Ground,
    load::{self, Measured, Plan},
};

const TABLES: &str = "
    CREATE TABLE accounts (
        account  bigint  PRIMARY KEY,
        balance  bigint  NOT NULL CHECK (balance >= 0)
    ) WITH (fillfactor = 60);
    CREATE TABLE spends (
        spend            bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        idempotency_key  text        NOT NULL UNIQUE,
        account          bigint      NOT NULL,
        amount           bigint      NOT NULL,
        feature          text        NOT NULL,
        balance_after    bigint      NOT NULL,
        created_at       timestamptz NOT NULL DEFAULT now()
    );";

/// A connection with the statements of a spend prepared.
struct Session {
    client: Client,
    lock: Statement,
    update: Statement,
    insert: Statement,
}

impl Session {
    async fn open(ground: &Ground) -> anyhow::Result<Self> {
        let client = ground.theirs().await?;
        Ok(Self {
            lock: client.prepare("SELECT balance FROM accounts WHERE account = $1 FOR UPDATE").await?,
            update: client.prepare("UPDATE accounts SET balance = $2 WHERE account = $1").await?,
            insert: client
                .prepare(
                    "INSERT INTO spends (idempotency_key, account, amount, feature, balance_after)
                     VALUES ($1, $2, $3, 'resume_analysis', $4)",
                )
                .await?,
            client,
        })
    }

    /// Two round trips, fewer than most implementations take: begin and lock, then write and commit.
    async fn spend(&self, account: i64, amount: i64) -> anyhow::Result<()> {
        let key = Uuid::new_v4().to_string();
        let of_account: [&(dyn ToSql + Sync); 1] = [&account];
        let locked = self.client.query_one(&self.lock, &of_account);
        let (begun, row) = tokio::join!(self.client.batch_execute("BEGIN"), locked);
        begun?;
        let balance: i64 = row?.try_get(0)?;
        ensure!(balance >= amount, "the account ran dry");
        let left = balance - amount;
        let balance_left: [&(dyn ToSql + Sync); 2] = [&account, &left];
        let spend: [&(dyn ToSql + Sync); 4] = [&key, &account, &amount, &left];
        let (updated, inserted, committed) = tokio::join!(
            self.client.execute(&self.update, &balance_left),
            self.client.execute(&self.insert, &spend),
            self.client.batch_execute("COMMIT")
        );
        ensure!(updated? == 1 && inserted? == 1, "the spend was not written");
        Ok(committed?)
    }
}

/// The other design with its accounts and connections.
pub struct Rival {
    sessions: Arc<Vec<Mutex<Session>>>,
    acknowledged: AtomicU64,
}

impl Rival {
    /// Makes tables and accounts, and opens as many connections as any round may use.
    pub async fn prepare(ground: &Ground) -> anyhow::Result<Self> {
        let client = ground.theirs().await?;
        client.batch_execute(TABLES).await?;
        let accounts = i64::try_from(ground.accounts)?;
        let statement = "INSERT INTO accounts SELECT account, 1000000000000 FROM generate_series(0, $1::bigint - 1) account";
        client.execute(statement, &[&accounts]).await?;
        client.batch_execute("VACUUM ANALYZE").await?;
        let mut sessions = Vec::new();
        for _ in 0..CONNECTIONS.into_iter().max().unwrap_or(1) {
            sessions.push(Mutex::new(Session::open(ground).await?));
        }
        Ok(Self { sessions: Arc::new(sessions), acknowledged: AtomicU64::new(0) })
    }

    /// One round with that many connections, which callers wait for in turn.
    pub async fn round(&self, plan: Plan, connections: usize) -> anyhow::Result<Measured> {
        let sessions = Arc::clone(&self.sessions);
        let free = Arc::new(Semaphore::new(connections));
        let spend = move |account: usize| {
            let (sessions, free) = (Arc::clone(&sessions), Arc::clone(&free));
            async move {
                let _permit = free.acquire().await?;
                let mut unused =
                    sessions.iter().take(connections).filter_map(|session| session.try_lock().ok());
                let session = unused.next().context("as many sessions as permits")?;
                session.spend(i64::try_from(account)?, 10).await
            }
        };
        let (measured, acknowledged) = load::round(plan, spend).await?;
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        Ok(measured)
    }

    /// How many spends were acknowledged in all rounds.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many spends are stored, by the spends and by what left the balances, which must agree.
    pub async fn stored(&self) -> anyhow::Result<u64> {
        let session = self.sessions.first().context("a session")?.lock().await;
        let row = session
            .client
            .query_one(
                "SELECT (SELECT count(*) FROM spends),
                        (SELECT (sum(1000000000000 - balance) / 10)::bigint FROM accounts)",
                &[],
            )
            .await?;
        let (spends, left): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(spends == left, "{spends} spends are stored, {left} left the balances");
        Ok(u64::try_from(spends)?)
    }
}
