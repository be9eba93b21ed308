//! `counterfoil keys`: what the checkpoints of a ledger's log are signed with.

use std::time::Duration;

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};

use super::administration::Administration;
use super::parse;
use crate::app;
use crate::audit::note::is_key_name;
use crate::config::{DatabaseSettings, SealingSettings};
use crate::domain::ids::LedgerSlug;
use crate::store::ledgers::Ledger;
use crate::store::logs::keys::{new_log_name, open_log};
use crate::store::logs::read::read_log;

/// What a log's name begins with if nobody says otherwise.
pub(super) const DEFAULT_NAME: &str = "counterfoil";

/// Make, replace and show the keys that prove a ledger's events.
///
/// A ledger with a key is sealed: its events go into a Merkle tree, whose signed head anyone can hold the events against
/// (`counterfoil audit`). Give the verifier keys that these commands print to whoever is to check, by a way that does not
/// lead through this service.
#[derive(Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(CreateArguments),
    Rotate(RotateArguments),
    List(ListArguments),
}

/// Make the first key of a ledger, and open its log. Prints the verifier key.
#[derive(Args)]
struct CreateArguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    /// What the log's name begins with: best a domain of yours. Ledger and a random part are added.
    #[arg(long, default_value = DEFAULT_NAME, value_name = "NAME", value_parser = log_name)]
    name: String,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Put a new key in place of the present one; for a while both sign. Prints the verifier keys.
///
/// Whoever verifies takes the new key into his list meanwhile: a checkpoint is good if any key of the list has signed it.
#[derive(Args)]
struct RotateArguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    /// For how many days the present key goes on signing. 0 if it has leaked.
    #[arg(long, default_value_t = 30, value_name = "DAYS", value_parser = clap::value_parser!(u32).range(0..=3650))]
    overlap_days: u32,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

/// Show the keys of a ledger's log: the verifier key, since when, until when it signs.
#[derive(Args)]
struct ListArguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(super) async fn run(Arguments { command }: Arguments) -> anyhow::Result<()> {
    match command {
        Command::Create(arguments) => create(arguments).await,
        Command::Rotate(arguments) => rotate(arguments).await,
        Command::List(arguments) => list(arguments).await,
    }
}

/// A name that a log's may begin with: it becomes part of a path as well.
fn log_name(text: &str) -> Result<String, String> {
    let is_part = |part: &str| {
        let is_fit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-.".contains(&byte);
        !part.is_empty() && !part.starts_with('.') && part.bytes().all(is_fit)
    };
    if text.len() <= 100 && is_key_name(text) && text.split('/').all(is_part) {
        Ok(text.to_owned())
    } else {
        Err("small letters, digits, `-`, `.` and, between parts, `/`; at most 100".to_owned())
    }
}

/// The name of a new log.
pub(super) fn origin(name: &str, slug: &LedgerSlug) -> String {
    format!("{name}/{slug}/{}", new_log_name())
}

/// Makes the first key of a ledger and opens its log, unless that has been done.
pub(super) async fn ensure_log(
    administration: &Administration,
    ledger: &Ledger,
    name: &str,
) -> anyhow::Result<bool> {
    let database = administration.vault().database();
    if read_log(database, ledger.ledger).await?.is_some() {
        return Ok(false);
    }
    let origin = origin(name, &ledger.slug);
    let has_key = {
        // Given back at once: the command line has one connection.
        let client = database.pool().get().await?;
        !administration.vault().log_keys(&client, ledger.ledger, &origin).await?.kept.is_empty()
    };
    // A log comes after its key; a key without a log is found by whoever tries again.
    if !has_key {
        administration.vault().add_log_key(ledger.ledger, Duration::ZERO).await?;
    }
    let client = database.pool().get().await?;
    Ok(open_log(&client, ledger.ledger, 1, &origin, None).await?)
}

async fn create(arguments: CreateArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = existing(&administration, &arguments.slug).await?;
    let is_new = ensure_log(&administration, &ledger, &arguments.name).await?;
    ensure!(is_new, "the ledger `{}` has a log already: see `counterfoil keys list`", ledger.slug);
    print_keys(&administration, &ledger).await?;
    administration.finish().await;
    Ok(())
}

async fn rotate(arguments: RotateArguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = existing(&administration, &arguments.slug).await?;
    let log = read_log(administration.vault().database(), ledger.ledger).await?;
    ensure!(log.is_some(), "the ledger `{}` has no key yet: see `counterfoil keys create`", ledger.slug);
    let overlap = Duration::from_secs(u64::from(arguments.overlap_days) * 24 * 60 * 60);
    let is_added = administration.vault().add_log_key(ledger.ledger, overlap).await?;
    ensure!(is_added, "somebody else has put a key in its place at this moment");
    print_keys(&administration, &ledger).await?;
    administration.finish().await;
    Ok(())
}

async fn list(arguments: ListArguments) -> anyhow::Result<()> {
    let administration = Administration::connect(&arguments.database).await?;
    let ledger = existing(&administration, &arguments.slug).await?;
    print_keys(&administration, &ledger).await?;
    administration.finish().await;
    Ok(())
}

/// One line for each key, the oldest first.
pub(super) async fn print_keys(administration: &Administration, ledger: &Ledger) -> anyhow::Result<()> {
    let database = administration.vault().database();
    let Some((log, _)) = read_log(database, ledger.ledger).await? else { return Ok(()) };
    let client = database.pool().get().await?;
    let keys = administration.vault().log_keys(&client, ledger.ledger, &log.origin).await?;
    for (key, verifier) in keys.kept.iter().zip(&keys.verifiers) {
        let until = match (key.signs, key.retires_at) {
            (true, None) => "signs".to_owned(),
            (true, Some(moment)) => format!("signs until {moment}"),
            (false, moment) => {
                format!("retired {}", moment.map(|moment| moment.to_string()).unwrap_or_default())
            }
        };
        println!("{verifier}\t{}\t{until}", key.created_at);
    }
    Ok(())
}

pub(super) async fn existing(administration: &Administration, slug: &LedgerSlug) -> anyhow::Result<Ledger> {
    administration.find_ledger(slug).await?.with_context(|| format!("there is no ledger `{slug}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_called_by_what_may_stand_in_a_path() {
        for name in ["counterfoil", "example.com", "log.example.com/credits-1"] {
            assert_eq!(log_name(name).as_deref(), Ok(name));
        }
        for name in ["", "..", "a/../b", "/a", "a/", "a//b", "A", "a b", "a+b", ".hidden", &"a".repeat(101)] {
            assert!(log_name(name).is_err(), "{name}");
        }
    }
}
