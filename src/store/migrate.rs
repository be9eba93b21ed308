//! Brings the schema of a database up to date.
//!
//! Migrations are the files `migrations/V<number>__<name>.sql`, compiled in. They run as the *owner*, a login
//! role that owns every table and that the service never uses. Conventions that they rely on and keep:
//!
//! - The group role [`RUNTIME_ROLE`] exists before the first migration runs (roles belong to the whole cluster,
//!   so it is not made by a file, which would run once per database). Migrations grant it what the service
//!   needs, table by table, and never ownership: `GRANT SELECT, INSERT ON events TO counterfoil_runtime`.
//! - The service logs in as a member of that group. A role's settings (`ALTER ROLE … SET`) are not inherited by
//!   members; settings for hot statements travel with their transaction, or belong to the database
//!   (`ALTER DATABASE … SET`, which the owner of the database may).
//! - Each file is one transaction, so it cannot contain `CREATE INDEX CONCURRENTLY`. It states the locks that it
//!   takes; any lock that is not granted within [`LOCK_TIMEOUT`] fails the run, which can simply be repeated.
//!
//! After the files come the tables of the projections: see [`super::projections::install`].
//!
//! Two runs on one database wait for each other on an advisory lock. That needs a session of its own, hence a
//! direct connection, never a pooler in transaction mode.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tokio_postgres::Client;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::Type;

use super::pool::{ConnectError, Database};
use super::projections::definition::{self, DefinitionError};
use super::projections::{Build, install};
use super::roles::{self, Login, RUNTIME_ROLE};

mod embedded {
    refinery::embed_migrations!("migrations");
}

/// How long a migration waits for a lock before it gives way to the traffic that holds it.
pub const LOCK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a run waits for another one on the same database.
const OTHER_RUN_TIMEOUT: Duration = Duration::from_secs(120);
/// The advisory lock of migrations: `cntrfoil` in ASCII.
const ADVISORY_LOCK: i64 = 0x636e_7472_666f_696c;
/// Where refinery notes what has run.
const HISTORY_TABLE: &str = "refinery_schema_history";

/// What a run did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The migrations that were missing, in the order in which they ran, as `V1__name`.
    pub applied: Vec<String>,
    /// The builds that were made of projections that are new or have other SQL.
    pub projections: Vec<Build>,
    /// The version of the schema afterwards.
    pub version: i32,
}

/// Why a run failed. Migrations before the failing one stay applied; the run can be repeated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A pooler in transaction mode stands between.
    #[error("migrations need a direct connection, not one through PgBouncer: set DATABASE_DIRECT_URL")]
    Pooled,
    /// The database cannot be reached.
    #[error("the database cannot be reached")]
    Connect(#[from] ConnectError),
    /// Another run holds the lock.
    #[error("another migration of this database has been running for {} s", OTHER_RUN_TIMEOUT.as_secs())]
    Busy,
    /// The owner may not create the group.
    #[error(
        "the role {RUNTIME_ROLE} does not exist and this role may not create it; as a superuser run: \
         CREATE ROLE {RUNTIME_ROLE} NOLOGIN"
    )]
    MissingRuntimeRole,
    /// The owner may not let the service's login role in.
    #[error(
        "this role may not create the login role `{0}` or let it into {RUNTIME_ROLE}; as a superuser run: \
         CREATE ROLE \"{0}\" LOGIN PASSWORD '…' IN ROLE {RUNTIME_ROLE}"
    )]
    MayNotGrant(String),
    /// A migration failed.
    #[error("a migration failed")]
    Migration(#[from] refinery::Error),
    /// A projection compiled in is no projection.
    #[error("a projection cannot be read")]
    Definition(#[from] DefinitionError),
    /// The tables of a projection could not be made.
    #[error("a projection could not be set up")]
    Projection(#[from] install::InstallError),
    /// Anything else that the database refused.
    #[error("the database refused a step of the migration")]
    Database(#[from] tokio_postgres::Error),
}

/// Why the schema is not one that this program can work with.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// No migration has ever run, or this role may not see it.
    #[error("the database has not been prepared; run `counterfoil migrate`")]
    Missing,
    /// It is older than this program.
    #[error(
        "the database has schema version {found}, this program needs {needed}; run `counterfoil migrate`"
    )]
    Older {
        /// The newest migration applied.
        found: i32,
        /// The newest migration compiled in.
        needed: i32,
    },
    /// The question could not be asked.
    #[error("the schema version cannot be read")]
    Unknown(#[from] tokio_postgres::Error),
}

/// Applies what is missing, as the owner, and lets `login` into [`RUNTIME_ROLE`] if one is given.
///
/// # Errors
///
/// See [`MigrateError`].
pub async fn run(owner: &Database, login: Option<&Login>) -> Result<Migrated, MigrateError> {
    if owner.pgbouncer() {
        return Err(MigrateError::Pooled);
    }
    let mut client = owner.connect().await?;
    lock(&client).await?;
    roles::ensure_runtime_role(&client).await.map_err(|error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => MigrateError::MissingRuntimeRole,
        _ => error.into(),
    })?;
    let report = embedded::migrations::runner().run_async(&mut client).await?;
    client.batch_execute(&format!("GRANT SELECT ON {HISTORY_TABLE} TO {RUNTIME_ROLE}")).await?;
    let projections = install::install(&mut client, &definition::compiled_in()?).await?;
    install::drop_unused(&mut client).await?;
    if let Some(login) = login {
        roles::ensure_runtime_login(&client, login).await.map_err(|error| match error.code() {
            Some(&SqlState::INSUFFICIENT_PRIVILEGE) => MigrateError::MayNotGrant(login.name.clone()),
            _ => error.into(),
        })?;
    }
    Ok(Migrated {
        applied: report.applied_migrations().iter().map(ToString::to_string).collect(),
        projections,
        version: needed_version(),
    })
}

/// Checks that every migration compiled in has been applied. A newer schema is fine: releases read what the next
/// one writes.
///
/// # Errors
///
/// When the schema is missing or older.
pub async fn check_schema(client: &Client) -> Result<(), SchemaError> {
    let exists = client
        .query_typed("SELECT to_regclass($1) IS NOT NULL", &[(&HISTORY_TABLE, Type::TEXT)])
        .await?
        .first()
        .map_or(Ok(false), |row| row.try_get(0))?;
    if !exists {
        return Err(SchemaError::Missing);
    }
    let statement = format!("SELECT max(version) FROM {HISTORY_TABLE}");
    let rows = client.query_typed(&statement, &[]).await.map_err(|error| match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => SchemaError::Missing,
        _ => error.into(),
    })?;
    let found: Option<i32> = rows.first().map_or(Ok(None), |row| row.try_get(0))?;
    let (found, needed) = (found.unwrap_or(0), needed_version());
    if found < needed { Err(SchemaError::Older { found, needed }) } else { Ok(()) }
}

/// The newest version compiled in; 0 without migrations.
#[must_use]
pub fn needed_version() -> i32 {
    let runner = embedded::migrations::runner();
    runner.get_migrations().iter().map(refinery::Migration::version).max().unwrap_or(0)
}

/// A number that changes with any change to any migration or projection, for caches of migrated databases.
#[must_use]
pub fn fingerprint() -> u64 {
    let mut hasher = DefaultHasher::new();
    for migration in embedded::migrations::runner().get_migrations() {
        migration.checksum().hash(&mut hasher);
    }
    for projection in definition::compiled_in().unwrap_or_default() {
        projection.version.hash(&mut hasher);
    }
    hasher.finish()
}

async fn lock(client: &Client) -> Result<(), MigrateError> {
    set_lock_timeout(client, OTHER_RUN_TIMEOUT).await?;
    match client.execute("SELECT pg_advisory_lock($1)", &[&ADVISORY_LOCK]).await {
        Ok(_) => Ok(set_lock_timeout(client, LOCK_TIMEOUT).await?),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(MigrateError::Busy),
        Err(error) => Err(error.into()),
    }
}

async fn set_lock_timeout(client: &Client, timeout: Duration) -> Result<(), tokio_postgres::Error> {
    client.batch_execute(&format!("SET lock_timeout = '{}ms'", timeout.as_millis())).await
}
