//! `counterfoil migrate`: brings the schema up to date, as the owner of the tables.

use secrecy::SecretString;

use crate::config::MigrateSettings;
use crate::store::database_url::DatabaseUrl;
use crate::store::migrate;
use crate::store::pool::Database;
use crate::store::projections::{definition, install};
use crate::store::roles::{Login, RUNTIME_ROLE};

/// Bring the database's schema up to date.
///
/// Runs as the role that owns the tables, and may be repeated. Run it before starting a newer `counterfoil serve`;
/// an older one goes on working meanwhile.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: MigrateSettings,
}

pub(super) async fn run(Arguments { settings }: Arguments) -> anyhow::Result<()> {
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
    let owner = Database::open(&owner, 1)?;
    let mut migrated = migrate::run(&owner, login.as_ref()).await?;
    if let Some(directory) = &settings.projections_dir {
        let definitions = definition::in_directory(directory)?;
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
