//! `counterfoil dev`: everything on one machine with one command.
//!
//! A private PostgreSQL, a simulated Stripe, the schema, a ledger with a small catalogue, an API key, and the service in
//! this very process.
//! All of it lives in the data directory, where the next start finds it again. One instance per directory: a file lock
//! says so, which dies with its process.

mod demo;
mod greeting;
mod secrets;
mod stripe;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use secrecy::ExposeSecret;
use tokio::net::TcpListener;

use self::greeting::Greeting;
use self::secrets::Secrets;
use super::administration::Administration;
use super::environment_file;
use super::keys;
use crate::app::{self, stop::Stop};
use crate::config::{
    CheckpointSettings, DevSettings, LogFormat, LogSettings, SealingSettings, ServiceSettings, StripeSettings,
};
use crate::sandbox::lock::{InstanceLock, LockError};
use crate::sandbox::postgres::{Cluster, SUPERUSER, Settings};
use crate::sandbox::stripe::Simulator;
use crate::store::pool::Database;
use crate::store::roles::Login;
use crate::store::{migrate, provision};
use crate::telemetry;

const DATABASE: &str = "counterfoil";
const OWNER: &str = "counterfoil_owner";
const APP: &str = "counterfoil_app";
const POOL_SIZE: u16 = 16;
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(5);
const RECONCILE_EVERY: Duration = Duration::from_secs(60);

/// Run everything on this machine: a private PostgreSQL, a simulated Stripe, a demo ledger, the service.
///
/// PostgreSQL's programs are looked for in COUNTERFOIL_PG_BIN, where `pg_config` says, in /usr/lib/postgresql, Homebrew
/// and PATH. Ctrl-C stops everything; the next start finds the data again.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: DevSettings,
}

pub(super) async fn run(Arguments { settings }: Arguments) -> anyhow::Result<()> {
    telemetry::start_logging(&LogSettings { log_level: settings.log_level, log_format: LogFormat::Text })?;
    let stop = Stop::on_signals().context("signals cannot be listened to")?;
    let data_directory = prepare_directory(&settings.data_dir)?;
    let mut lock = acquire_lock(&data_directory)?;
    let listener = listen(settings.port).await?;
    let address = listener.local_addr()?;
    lock.describe(&format!("process {}, http://{address}", std::process::id()))?;

    let cluster = start_cluster(&data_directory).await?;
    let outcome = run_on(&cluster, &data_directory, listener, stop).await;
    let stopped = tokio::task::spawn_blocking(|| cluster.stop()).await?;
    outcome?;
    stopped.context("the private PostgreSQL")?;
    println!("Stopped. The data are in {}.", data_directory.display());
    Ok(())
}

async fn run_on(
    cluster: &Cluster,
    data_directory: &Path,
    listener: TcpListener,
    stop: Stop,
) -> anyhow::Result<()> {
    let address = listener.local_addr()?;
    let database = app::open_database(&cluster.url(APP, DATABASE), usize::from(POOL_SIZE))?;
    let key = secrets::key_encryption_key(&environment_file::path(data_directory))?;
    let sealing = SealingSettings { key_encryption_key: Some(key), key_encryption_key_previous: None };
    let stripe = stripe::listen(data_directory).await?;
    let place = Place { data_directory, address, stripe: stripe.local_addr()? };
    let (greeting, simulator) = tokio::select! {
        prepared = prepare(cluster, &database, &place, &sealing, stripe) => prepared?,
        () = stop.requested() => return Ok(()),
    };
    println!("{greeting}");
    let settings = ServiceSettings {
        listen: address,
        public_url: None,
        database_pool_size: POOL_SIZE,
        writer_connections: POOL_SIZE,
        shutdown_seconds: SHUTDOWN_LIMIT,
        workers: true,
        sealing,
        stripe: StripeSettings::default(),
        reconcile_seconds: RECONCILE_EVERY,
        checkpoints: CheckpointSettings {
            checkpoint_dir: Some(data_directory.join("checkpoints")),
            checkpoint_url: None,
        },
    };
    tokio::select! {
        served = app::serve(database, &settings, listener, stop) => served,
        ended = simulator.run() => ended.context("the simulated Stripe"),
    }
}

/// Where everything is.
struct Place<'a> {
    data_directory: &'a Path,
    address: SocketAddr,
    stripe: SocketAddr,
}

/// Brings database, ledger and secrets to where they should be, wherever the last run was cut short.
async fn prepare(
    cluster: &Cluster,
    database: &Database,
    place: &Place<'_>,
    sealing: &SealingSettings,
    stripe: TcpListener,
) -> anyhow::Result<(Greeting, Simulator)> {
    let &Place { data_directory, address, stripe: stripe_address } = place;
    prepare_database(cluster).await.context("the database cannot be prepared")?;
    let administration = Administration::new(database.clone()).with_keys(app::read_keys(sealing)?);
    let (ledger, is_new) = demo::ensure_ledger(&administration).await?;
    let file = environment_file::path(data_directory);
    // The keys of a ledger that was just made cannot be in a file that was there before.
    let known = if is_new { None } else { Secrets::read(&file)? };
    let secrets = match known {
        Some(secrets) => secrets,
        None => Secrets::make(&administration, &ledger).await?,
    };
    keys::ensure_log(&administration, &ledger, keys::DEFAULT_NAME).await?;
    let simulator = stripe::start(stripe, data_directory, address, &secrets.webhook_secret)?;
    stripe::connect(&administration, &ledger, stripe_address, address).await?;
    let link = demo::ensure_link(&administration, &ledger).await?;
    administration.finish().await;

    let url = format!("http://{address}");
    let key_encryption_key = sealing.key_encryption_key.as_ref().map_or("", ExposeSecret::expose_secret);
    let (app, owner) = (cluster.url(APP, DATABASE), cluster.url(OWNER, DATABASE));
    environment_file::write(
        &file,
        &[
            ("COUNTERFOIL_URL", &url),
            (secrets::API_KEY, secrets.api_key.expose_secret()),
            (secrets::WEBHOOK_SECRET, secrets.webhook_secret.expose_secret()),
            (secrets::KEY_ENCRYPTION_KEY, key_encryption_key),
            (stripe::STRIPE_URL, &format!("http://{stripe_address}")),
            (stripe::STRIPE_API_KEY, stripe::API_KEY),
            ("DATABASE_URL", app.expose_secret()),
            ("DATABASE_DIRECT_URL", owner.expose_secret()),
        ],
    )?;
    let greeting = Greeting {
        buy_url: link.map(|link| format!("{url}/buy/{}/{link}", demo::SLUG)),
        url,
        stripe_url: format!("http://{stripe_address}"),
        api_key: secrets.api_key,
        data_directory: data_directory.to_owned(),
        environment_file: file,
        program: std::env::current_exe().unwrap_or_else(|_| "counterfoil".into()),
        moved_cluster: cluster.moved().then(|| cluster.directory().to_owned()),
    };
    Ok((greeting, simulator))
}

async fn prepare_database(cluster: &Cluster) -> anyhow::Result<()> {
    let login = |name: &str| Login { name: name.to_owned(), password: Some(cluster.password().clone()) };
    let superuser = app::open_database(&cluster.url(SUPERUSER, SUPERUSER), 1)?.connect().await?;
    provision::ensure_owner(&superuser, &login(OWNER)).await?;
    provision::ensure_database(&superuser, DATABASE, &login(OWNER)).await?;
    let owner = app::open_database(&cluster.url(OWNER, DATABASE), 1)?;
    migrate::run(&owner, Some(&login(APP))).await?;
    Ok(())
}

fn prepare_directory(directory: &Path) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
    fs::canonicalize(directory).with_context(|| format!("cannot use {}", directory.display()))
}

fn acquire_lock(data_directory: &Path) -> anyhow::Result<InstanceLock> {
    match InstanceLock::acquire(&data_directory.join("lock")) {
        Ok(lock) => Ok(lock),
        Err(LockError::Held(holder)) => bail!(
            "another instance is running on {} ({holder}); stop it, or use another --data-dir and --port",
            data_directory.display()
        ),
        Err(LockError::Io(error)) => {
            Err(error).with_context(|| format!("cannot lock {}", data_directory.display()))
        }
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    match TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bail!("port {port} of 127.0.0.1 is taken; stop whoever listens there, or use another --port")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on port {port} of 127.0.0.1")),
    }
}

async fn start_cluster(data_directory: &Path) -> anyhow::Result<Cluster> {
    let settings = Settings {
        directory: data_directory.join("postgres"),
        durable: true,
        max_connections: 100,
        parameters: vec![],
    };
    let started = tokio::task::spawn_blocking(move || Cluster::start(&settings)).await?;
    started.context("the private PostgreSQL")
}
