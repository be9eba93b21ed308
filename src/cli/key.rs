//! `counterfoil key`: makes API keys.

use anyhow::Context;
use clap::{Args, Subcommand};
use secrecy::ExposeSecret;

use super::administration::Administration;
use super::parse;
use crate::config::DatabaseSettings;
use crate::domain::ids::LedgerSlug;
use crate::domain::settings::Scope;
use crate::domain::time::Timestamp;

/// Make API keys.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(CreateArguments),
}

/// Make an API key and print it. It is shown this once: only its hash is kept.
///
/// Scopes: `read` accounts, balances, history, catalogue; `spend` open accounts and spend; `grant` grant credits;
/// `billing` purchases; `operate` adjust, refund, freeze, inbox; `audit` the event stream; `admin` catalogue, keys and
/// everything else.
#[derive(Args)]
struct CreateArguments {
    /// The ledger that it is for.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    ledger: LedgerSlug,
    /// What people call it.
    #[arg(long, value_name = "TEXT")]
    name: String,
    /// What it may do. May be repeated, or given as a list.
    #[arg(long = "scope", value_name = "SCOPE", required = true, value_delimiter = ',', value_parser = parse::scope)]
    scopes: Vec<Scope>,
    /// When it stops working; never if absent.
    #[arg(long, value_name = "TIME", value_parser = parse::timestamp)]
    expires_at: Option<Timestamp>,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let Command::Create(CreateArguments { ledger: slug, name, scopes, expires_at, database }) =
        arguments.command;
    let administration = Administration::connect(&database).await?;
    let ledger = administration.find_ledger(&slug).await?;
    let ledger = ledger.with_context(|| format!("there is no ledger `{slug}`"))?;
    let key = administration.create_key(&ledger, &name, scopes, expires_at).await?;
    administration.finish().await;
    println!("{}", key.expose_secret());
    Ok(())
}
