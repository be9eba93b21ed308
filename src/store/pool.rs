//! Connections to PostgreSQL: a pool for reads and workers, single ones for the writers.
//!
//! Opening a [`Database`] makes no connection, so a process starts while its database is away and recovers by
//! itself. Every attempt to connect is bounded as a whole: the timeout of `tokio-postgres` ends with the TCP
//! handshake, and a server that accepts and then says nothing would hold the caller for ever.
//!
//! Invariant: nothing here relies on the session, because behind a pooler in transaction mode there is none.
//! Callers ask [`Database::pgbouncer`] and then send unnamed, typed queries only.

use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Pool, QueueMode, RecyclingMethod, Runtime};
use tokio_postgres::Client;
use tokio_postgres_rustls::MakeRustlsConnect;

use super::database_url::DatabaseUrl;
use super::tls::{self, TlsError};

/// How long a caller waits for a pooled connection to become free before the database counts as overloaded.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// What authentication may take beyond the TCP connection itself.
const HANDSHAKE_ALLOWANCE: Duration = Duration::from_secs(5);

/// One PostgreSQL database as one role.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    url: DatabaseUrl,
    tls: MakeRustlsConnect,
    attempt_limit: Duration,
}

/// Why a database cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The certificates to verify the server against are unusable.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The pool refuses its settings.
    #[error("the connection pool cannot be set up: {0}")]
    Pool(#[from] deadpool_postgres::BuildError),
}

/// Why one attempt to connect failed.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No host could be connected to, or none was acceptable.
    #[error(transparent)]
    Postgres(#[from] tokio_postgres::Error),
    /// No host answered in time.
    #[error("the database did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
}

impl Database {
    /// Prepares access to a database with a pool of at most `pool_size` connections. Opens none yet.
    ///
    /// # Errors
    ///
    /// When the certificates named by the address cannot be read.
    pub fn open(url: &DatabaseUrl, pool_size: usize) -> Result<Self, OpenError> {
        let tls = tls::connector(url)?;
        let attempt_limit = attempt_limit(url);
        let manager = Manager::from_config(
            url.config().clone(),
            tls.clone(),
            ManagerConfig { recycling_method: RecyclingMethod::Fast },
        );
        let pool = Pool::builder(manager)
            .max_size(pool_size)
            // The one that was used last has its plans, and what it has read of the catalogue, at hand.
            .queue_mode(QueueMode::Lifo)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(attempt_limit))
            .recycle_timeout(Some(POOL_WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Self { pool, url: url.clone(), tls, attempt_limit })
    }

    /// The pool for reads and workers.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether a pooler in transaction mode stands between: only unnamed, typed queries work, and no setting of
    /// the session outlives its transaction.
    #[must_use]
    pub fn pgbouncer(&self) -> bool {
        self.url.pgbouncer()
    }

    /// The address, which shows no secret.
    #[must_use]
    pub fn url(&self) -> &DatabaseUrl {
        &self.url
    }

    /// Opens a connection of its own, outside of the pool. It closes when the client is dropped.
    ///
    /// # Errors
    ///
    /// When no host accepts the connection in time.
    pub async fn connect(&self) -> Result<Client, ConnectError> {
        let attempt = self.url.config().connect(self.tls.clone());
        let (client, connection) = tokio::time::timeout(self.attempt_limit, attempt)
            .await
            .map_err(|_| ConnectError::TimedOut(self.attempt_limit))??;
        tokio::spawn(async move {
            // Whoever waits for an answer on this connection is told as well and decides what it means.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a database connection ended");
            }
        });
        Ok(client)
    }
}

/// Enough for every host to use up its own timeout before a later one answers.
fn attempt_limit(url: &DatabaseUrl) -> Duration {
    let hosts = u32::try_from(url.config().get_hosts().len()).unwrap_or(1);
    let per_host = url.config().get_connect_timeout().copied().unwrap_or(POOL_WAIT);
    (per_host + HANDSHAKE_ALLOWANCE) * hosts
}
