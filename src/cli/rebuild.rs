//! `counterfoil rebuild`: fills projections anew beside the serving ones, which serve until the new ones are level.

use anyhow::Context;

use super::progress::Rate;
use crate::config::MigrateSettings;
use crate::projector;
use crate::store::database_url::DatabaseUrl;
use crate::store::ledgers::{Ledger, list_ledgers};
use crate::store::pool::Database;
use crate::store::projections::Build;
use crate::store::projections::definition::{self, Definition};
use crate::store::projections::install::{self, GRACE};

/// Fill projections anew from the events.
///
/// New tables are filled beside those that serve and take over when they are as far; then the old ones are dropped. One
/// that was interrupted goes on where it was.
/// Running processes go on and need no restart. Makes tables, so it runs as the role that owns the database
/// (--database-direct-url), and fills them as the service's.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only this projection, e.g. `history`. All if absent.
    projection: Option<String>,
    /// Only for the ledger with this slug.
    #[arg(long, value_name = "SLUG")]
    ledger: Option<String>,
    #[command(flatten)]
    settings: MigrateSettings,
}

/// How many connections the filling shares with looking how far it is.
const CONNECTIONS: usize = 2;

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Arguments { projection, ledger, settings } = arguments;
    let (owner, service) = databases(&settings)?;
    let definitions = chosen(definitions(&settings)?, projection.as_deref())?;
    let ledgers = ledgers(&service, ledger.as_deref()).await?;
    let only = match (&ledger, ledgers.as_slice()) {
        (Some(_), [one]) => Some(one.ledger),
        _ => None,
    };
    let mut owner = owner.connect().await?;
    for definition in &definitions {
        let build = match install::begun_build(&mut owner, definition, &ledgers, only).await? {
            Some(begun) => {
                println!("{}: a rebuild that was begun goes on in {}", definition.name, begun.schema);
                begun
            }
            None => install::make_build(&mut owner, definition, only).await?,
        };
        for ledger in &ledgers {
            let mut rate = None;
            projector::rebuild(&service, ledger.ledger, &build, |progress| {
                let new = || Rate::new(format!("{} of {}", definition.name, ledger.slug), progress.position);
                rate.get_or_insert_with(new).report(progress.position, progress.head);
            })
            .await
            .with_context(|| unfinished(definition, ledger, &build))?;
            if let Some(rate) = rate {
                rate.finish();
            }
        }
    }
    drop_old(&mut owner).await
}

fn unfinished(definition: &Definition, ledger: &Ledger, build: &Build) -> String {
    format!(
        "{} of {} is not rebuilt: what served goes on serving, and what is filled stays in {}",
        definition.name, ledger.slug, build.schema
    )
}

async fn drop_old(owner: &mut tokio_postgres::Client) -> anyhow::Result<()> {
    install::drop_unused(owner).await?;
    println!("waiting {} s for readers of the old tables", GRACE.as_secs());
    tokio::time::sleep(GRACE).await;
    for schema in install::drop_unused(owner).await? {
        println!("dropped {schema}");
    }
    Ok(())
}

/// The owner's way to the database and the service's, which may be the same.
fn databases(settings: &MigrateSettings) -> anyhow::Result<(Database, Database)> {
    let service = settings.database_url.as_ref().map(DatabaseUrl::parse).transpose()?;
    let owner = settings.database_direct_url.as_ref().map(DatabaseUrl::parse).transpose()?;
    let (owner, service) = match (owner, service) {
        (Some(owner), Some(service)) => (owner, service),
        (Some(one), None) | (None, Some(one)) => (one.clone(), one),
        (None, None) => anyhow::bail!("DATABASE_URL or DATABASE_DIRECT_URL is needed"),
    };
    Ok((Database::open(&owner, 1)?, Database::open(&service, CONNECTIONS)?))
}

/// Those of the program, and those of the directory that the settings name.
pub(super) fn definitions(settings: &MigrateSettings) -> anyhow::Result<Vec<Definition>> {
    let mut definitions = definition::compiled_in()?;
    if let Some(directory) = &settings.projections_dir {
        definitions.extend(definition::in_directory(directory)?);
    }
    Ok(definitions)
}

fn chosen(definitions: Vec<Definition>, name: Option<&str>) -> anyhow::Result<Vec<Definition>> {
    let known: Vec<&str> = definitions.iter().map(|definition| definition.name.as_str()).collect();
    let known = known.join(", ");
    let is_wanted = |definition: &Definition| name.is_none_or(|name| definition.name == name);
    let chosen: Vec<Definition> = definitions.into_iter().filter(is_wanted).collect();
    let name = name.unwrap_or_default();
    anyhow::ensure!(!chosen.is_empty(), "there is no projection `{name}`; there are: {known}");
    Ok(chosen)
}

/// All ledgers, or the one of this name.
pub(super) async fn ledgers(database: &Database, slug: Option<&str>) -> anyhow::Result<Vec<Ledger>> {
    let client = database.pool().get().await.context("the database cannot be reached")?;
    let mut ledgers = list_ledgers(&client).await?;
    if let Some(slug) = slug {
        ledgers.retain(|ledger| ledger.slug.as_str() == slug);
        anyhow::ensure!(!ledgers.is_empty(), "there is no ledger `{slug}`");
    }
    Ok(ledgers)
}
