//! The service as one process: its parts put together, started, and ended in order.
//!
//! ```text
//! HTTP ──▶ service ──▶ writers ──▶ PostgreSQL ◀── projector, sealer, inbox worker, outbox, sweeper, reconciliation
//! ```
//!
//! Invariants:
//! - a database that is away is no reason to end, at the start or later: requests get 503 until it is back;
//! - a database that must not be worked with (a role that could undo what is promised, an older schema) is: the
//!   process ends and says why;
//! - the end has an order: no new connections; requests under way; workers; what writers have accepted.

mod parts;
pub mod stop;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use poem::Server;
use poem::listener::TcpAcceptor;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use self::parts::Parts;
use self::stop::Stop;
use crate::api;
use crate::config::{PublicUrl, SealingSettings, ServiceSettings};
use crate::credentials::{StripeClients, Vault};
use crate::domain::ids::LedgerId;
use crate::inbox::{Batches, InboxWorker};
use crate::outbox::{Outbox, OutboxSettings, stripe::StripeEffects};
use crate::projector::Projector;
use crate::reconcile::{ReconcileWorker, Reconciler};
use crate::sealer::{Sealer, outside::Outside};
use crate::service::{Service, webhooks::Webhooks};
use crate::store::database_url::DatabaseUrl;
use crate::store::migrate::{self, SchemaError};
use crate::store::pool::{ConnectError, Database};
use crate::store::roles::{self, UnfitRole};
use crate::store::sealing::{KeyRing, NotAKey};
use crate::stripe::client::ClientSettings;
use crate::sweeper::Sweeper;
use crate::telemetry::metrics::Metrics;
use crate::web;
use crate::writer::{WriterSettings, Writers, system_clock};

/// How long a start waits for the database before it goes on without.
const FIRST_CHECK_LIMIT: Duration = Duration::from_secs(5);
/// How often a database that is away is looked for.
const LOOK_FOR_DATABASE: Duration = Duration::from_secs(1);
/// How many webhooks may be told to the inbox before it has looked; more are found anyway.
const INBOX_BELL: usize = 256;

/// Why a database cannot be worked with.
#[derive(Debug, thiserror::Error)]
pub enum UnusableDatabase {
    /// It cannot be reached. It may come back.
    #[error("the database cannot be reached")]
    Away(#[source] anyhow::Error),
    /// The role is too strong or too weak.
    #[error(transparent)]
    Role(UnfitRole),
    /// The schema is not there or too old.
    #[error(transparent)]
    Schema(SchemaError),
}

impl From<ConnectError> for UnusableDatabase {
    fn from(error: ConnectError) -> Self {
        Self::Away(error.into())
    }
}

impl From<UnfitRole> for UnusableDatabase {
    fn from(error: UnfitRole) -> Self {
        match error {
            UnfitRole::Unknown(error) => Self::Away(error.into()),
            unfit => Self::Role(unfit),
        }
    }
}

impl From<SchemaError> for UnusableDatabase {
    fn from(error: SchemaError) -> Self {
        match error {
            SchemaError::Unknown(error) => Self::Away(error.into()),
            unfit => Self::Schema(unfit),
        }
    }
}

/// Prepares access to the database; connects to nothing yet.
///
/// # Errors
///
/// When the address, or a file that it names, cannot be used.
pub fn open_database(url: &SecretString, pool_size: usize) -> anyhow::Result<Database> {
    Ok(Database::open(&DatabaseUrl::parse(url)?, pool_size)?)
}

/// Checks that this process may work with the database: role and schema.
///
/// # Errors
///
/// See [`UnusableDatabase`].
pub async fn check_database(database: &Database) -> Result<(), UnusableDatabase> {
    let client = database.connect().await?;
    roles::check_runtime_role(&client).await?;
    migrate::check_schema(&client).await?;
    Ok(())
}

/// Reads the keys that secrets are sealed with.
///
/// # Errors
///
/// When one is given that is none.
pub fn read_keys(settings: &SealingSettings) -> Result<KeyRing, NotAKey> {
    KeyRing::parse(settings.key_encryption_key.as_ref(), settings.key_encryption_key_previous.as_ref())
}

/// Serves until it is asked to stop, or cannot go on.
///
/// # Errors
///
/// When the database must not be worked with, or a part of the service ends before its time.
pub async fn serve(
    database: Database,
    settings: &ServiceSettings,
    listener: TcpListener,
    stop: Stop,
) -> anyhow::Result<()> {
    let vault = Vault::new(database.clone(), read_keys(&settings.sealing)?);
    let outside = Outside::new(&settings.checkpoints)?;
    let is_checked = first_check(&database).await?;
    let metrics = Arc::new(Metrics::install()?);
    let connections = usize::from(settings.writer_connections);
    let writers = Writers::new(database.clone(), WriterSettings { connections, ..WriterSettings::default() });
    let clients = StripeClients::new(vault.clone(), ClientSettings::from(&settings.stripe));
    let address = listener.local_addr().context("the address that is listened to")?;
    let public_url = settings.public_url.clone().or_else(|| PublicUrl::of_this_machine(address));
    let service = Service::new(database.clone(), Arc::clone(&writers), Arc::clone(&clients), public_url);
    let (ringer, bell) = mpsc::channel(INBOX_BELL);

    let mut parts = Parts::new(stop.clone());
    let http = Http {
        listener,
        grace: settings.shutdown_seconds,
        service: Arc::clone(&service),
        webhooks: Arc::new(Webhooks::new(vault.clone(), ringer.clone(), system_clock)),
        metrics: Arc::clone(&metrics),
    };
    parts.spawn_front("HTTP", http.run(stop));
    let stop = parts.last_call();
    if settings.workers {
        let every = settings.reconcile_seconds;
        let reconciler =
            Reconciler::new(database.clone(), Arc::clone(&writers), Arc::clone(&clients), ringer, every);
        let (reconciliation, stopped) = (ReconcileWorker::new(Arc::new(reconciler)), parts.last_call());
        parts.spawn_worker("reconciliation", async move {
            reconciliation.run(stopped.requested()).await;
            Ok(())
        });
        start_workers(&mut parts, &database, &writers, bell, clients);
        let (sealer, heads, stopped) = (Sealer::new(vault, outside), writers.commits(), parts.last_call());
        parts.spawn_worker("sealer", async move {
            sealer.run(heads, stopped.requested()).await;
            Ok(())
        });
    }
    parts.spawn_worker("upkeep", upkeep(metrics, service, stop.clone()));
    if !is_checked {
        parts.spawn_worker("database check", check_when_back(database.clone(), stop));
    }
    tracing::info!(%address, database = %database.url(), "listening");

    let outcome = parts.run_to_end().await;
    writers.drain().await;
    tracing::info!("stopped");
    outcome
}

/// What answers requests.
struct Http {
    listener: TcpListener,
    grace: Duration,
    service: Arc<Service>,
    webhooks: Arc<Webhooks>,
    metrics: Arc<Metrics>,
}

impl Http {
    /// Serves until `stop`, then finishes what is under way.
    async fn run(self, stop: Stop) -> anyhow::Result<()> {
        let pages = web::pages(Arc::clone(&self.service));
        let endpoint = api::endpoint(Arc::clone(&self.service), self.webhooks, self.metrics, pages);
        let server = Server::new_with_acceptor(TcpAcceptor::from_tokio(self.listener)?);
        let stopped = async move {
            stop.requested().await;
            self.service.begin_to_go_down();
        };
        Ok(server.run_with_graceful_shutdown(endpoint, stopped, Some(self.grace)).await?)
    }
}

/// What happens without being asked for.
fn start_workers(
    parts: &mut Parts,
    database: &Database,
    writers: &Arc<Writers>,
    bell: mpsc::Receiver<LedgerId>,
    clients: Arc<StripeClients>,
) {
    let (projector, heads, stop) = (Projector::new(database.clone()), writers.commits(), parts.last_call());
    parts.spawn_worker("projector", async move {
        projector.run(heads, stop.requested()).await;
        Ok(())
    });
    let batches = Batches::new(database.clone(), Arc::clone(writers), Arc::clone(&clients));
    let (inbox, stop) = (InboxWorker::new(batches, bell), parts.last_call());
    parts.spawn_worker("inbox", async move {
        inbox.run(stop.requested()).await;
        Ok(())
    });
    let effects = StripeEffects::new(database.clone(), clients);
    let outbox = Outbox::new(database.clone(), Arc::clone(writers), effects, OutboxSettings::default());
    let stop = parts.last_call();
    parts.spawn_worker("outbox", async move {
        outbox.run(stop.requested()).await;
        Ok(())
    });
    let (sweeper, stop) = (Sweeper::new(database.clone(), Arc::clone(writers)), parts.last_call());
    parts.spawn_worker("sweeper", async move {
        sweeper.run(stop.requested()).await;
        Ok(())
    });
}

async fn upkeep(metrics: Arc<Metrics>, service: Arc<Service>, stop: Stop) -> anyhow::Result<()> {
    tokio::select! {
        () = stop.requested() => {}
        () = metrics.upkeep() => {}
        () = service.record_uses_of_keys() => {}
    }
    Ok(())
}

/// `false` if the database is away.
async fn first_check(database: &Database) -> anyhow::Result<bool> {
    let checked = tokio::time::timeout(FIRST_CHECK_LIMIT, check_database(database)).await;
    match checked {
        Ok(Ok(())) => return Ok(true),
        Ok(Err(UnusableDatabase::Away(error))) => {
            tracing::warn!(error = format!("{error:#}"), "the database is away; waiting for it");
        }
        Ok(Err(unusable)) => return Err(unusable.into()),
        Err(_) => tracing::warn!("the database does not answer; waiting for it"),
    }
    Ok(false)
}

/// Makes up for the first check when the database that was away is there.
async fn check_when_back(database: Database, stop: Stop) -> anyhow::Result<()> {
    loop {
        match check_database(&database).await {
            Ok(()) => break,
            Err(UnusableDatabase::Away(_)) => {}
            Err(unusable) => return Err(unusable.into()),
        }
        tokio::select! {
            () = stop.requested() => return Ok(()),
            () = tokio::time::sleep(LOOK_FOR_DATABASE) => {}
        }
    }
    tracing::info!("the database is there");
    stop.requested().await;
    Ok(())
}
