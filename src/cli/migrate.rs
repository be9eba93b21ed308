//! `counterfoil migrate`: brings the schema up to date, as the owner of the tables.

use std::path::Path;

use anyhow::Context as _;
use secrecy::SecretString;

use crate::config::MigrateSettings;
use crate::store::database_url::DatabaseUrl;
use crate::store::migrate;
use crate::store::pool::Database;
use crate::store::projections::definition::{self, Definition};
use crate::store::projections::install::{self, GRACE};
use crate::store::roles::{Login, RUNTIME_ROLE};

/// Bring the database's schema up to date.
///
/// Runs as the role that owns the tables, and may be repeated. Run it before starting a newer `counterfoil serve`;
/// an older one goes on working meanwhile.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Stop following a projection of your own, whose folder is gone, in all ledgers, and drop its tables.
    #[arg(long, value_name = "NAME")]
    drop_projection: Option<String>,
    #[command(flatten)]
    settings: MigrateSettings,
}

pub(super) async fn run(Arguments { drop_projection, settings }: Arguments) -> anyhow::Result<()> {
    let service = settings.database_url.as_ref().map(DatabaseUrl::parse).transpose()?;
    let owner = settings.database_direct_url.as_ref().map(DatabaseUrl::parse).transpose()?;
    let (owner, login) = match (owner, service) {
        (Some(owner), Some(service)) => {
            let login = service_login(&owner, &service);
            (owner, login)
        }
        (Some(owner), None) | (None, Some(owner)) => (owner, None),
        (None, None) => anyhow::bail!("DATABASE_URL or DATABASE_DIRECT_URL is needed"),
    };
    let own = settings.projections_dir.as_deref().map(definition::in_directory).transpose()?;
    if let Some(name) = &drop_projection {
        may_be_dropped(name, own.as_deref().unwrap_or_default(), settings.projections_dir.as_deref())?;
    }
    let owner = Database::open(&owner, 1)?;
    let mut migrated = migrate::run(&owner, login.as_ref()).await?;
    if let Some(definitions) = own {
        migrated.projections.extend(install::install(&mut owner.connect().await?, &definitions).await?);
    }
    for name in &migrated.applied {
        println!("applied {name}");
    }
    for build in &migrated.projections {
        println!("made the tables of projection {} version {}", build.projection, build.version);
    }
    println!("the schema is at version {}", migrated.version);
    if let Some(login) = login {
        println!("the role {} is a member of {RUNTIME_ROLE}", login.name);
    }
    match drop_projection {
        Some(name) => drop_everywhere(&owner, &name).await,
        None => Ok(()),
    }
}

/// Only what nobody would set up again.
fn may_be_dropped(name: &str, own: &[Definition], directory: Option<&Path>) -> anyhow::Result<()> {
    anyhow::ensure!(!definition::is_compiled_in(name), "{name} comes with the program and cannot be dropped");
    let stands_in = directory.filter(|_| own.iter().any(|definition| definition.name == name));
    stands_in.map_or(Ok(()), |directory| {
        Err(anyhow::anyhow!("{name} still has a folder in {}: remove it first", directory.display()))
    })
}

async fn drop_everywhere(owner: &Database, name: &str) -> anyhow::Result<()> {
    let mut owner = owner.connect().await?;
    let unfinished = || format!("{name} is not dropped; the same command goes on with it");
    let builds = install::abandon(&mut owner, name).await.with_context(unfinished)?;
    anyhow::ensure!(builds > 0, "there is no projection `{name}`");
    println!("no ledger follows {name} any more; waiting {} s for its readers", GRACE.as_secs());
    tokio::time::sleep(GRACE).await;
    install::abandon(&mut owner, name).await.with_context(unfinished)?;
    for schema in install::drop_unused(&mut owner).await.with_context(unfinished)? {
        println!("dropped {schema}");
    }
    Ok(())
}

/// The role that the service's address names, unless it is the owner's.
fn service_login(owner: &DatabaseUrl, service: &DatabaseUrl) -> Option<Login> {
    let name = service.config().get_user()?;
    if owner.config().get_user() == Some(name) {
        return None;
    }
    let password = service.config().get_password().map(String::from_utf8_lossy);
    Some(Login { name: name.to_owned(), password: password.map(|text| SecretString::from(text.as_ref())) })
}
