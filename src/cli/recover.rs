//! `counterfoil recover`: what follows when signed history is gone.

use anyhow::{Context, bail, ensure};

use super::administration::Administration;
use super::{keys, parse};
use crate::app;
use crate::audit::checkpoint::Checkpoint;
use crate::config::{CheckpointSettings, DatabaseSettings, SealingSettings};
use crate::domain::ids::LedgerSlug;
use crate::sealer::outside::{Outside, Standing};
use crate::store::logs::keys::open_log;
use crate::store::logs::read::read_log;
use crate::store::logs::{Log, StoredPredecessor};
use crate::store::reconciliation::gate;

/// Open another log for a ledger whose log is halted.
///
/// A log halts when the database is not what was signed of it: it lost events in a fail-over or a restored backup, or
/// somebody changed it. Nothing is signed in that log's name again. Find out what is missing first: an auditor's copy of
/// the events, and `counterfoil verify`. The new log begins with the events that there are now, and every checkpoint of it
/// names the old log and its last known head, so that nobody takes one for the other. Prints the new verifier keys. What the
/// ledger has ordered outside waits until Stripe was asked what is missing: see `counterfoil reconcile`.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The ledger.
    #[arg(value_name = "LEDGER", value_parser = parse::ledger_slug)]
    slug: LedgerSlug,
    /// Open another log although this one goes on.
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    checkpoints: CheckpointSettings,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let administration =
        Administration::connect(&arguments.database).await?.with_keys(app::read_keys(&arguments.sealing)?);
    let ledger = keys::existing(&administration, &arguments.slug).await?;
    let database = administration.vault().database();
    let Some((log, checkpoint)) = read_log(database, ledger.ledger).await? else {
        bail!("the ledger `{}` has no log: see `counterfoil keys create`", ledger.slug);
    };
    ensure!(
        log.halted.is_some() || arguments.force,
        "the log of `{}` is not halted: there is nothing to recover from",
        ledger.slug
    );
    let client = database.pool().get().await?;
    let verifiers = administration.vault().log_keys(&client, ledger.ledger, &log.origin).await?.verifiers;
    let outside = Outside::new(&arguments.checkpoints)?.last(&log.origin).await?;
    let mut heads = Vec::new();
    for Standing { place, note } in outside {
        let checkpoint = Checkpoint::open(&note, &verifiers).context(place)?;
        heads.push(StoredPredecessor {
            origin: log.origin.clone(),
            size: i64::try_from(checkpoint.size).unwrap_or(i64::MAX),
            root: checkpoint.root.0,
        });
    }
    heads.extend(checkpoint.map(|checkpoint| StoredPredecessor {
        origin: log.origin.clone(),
        size: checkpoint.sealed.0,
        root: checkpoint.root,
    }));
    // The head that reaches furthest is what others may hold against the ledger.
    let predecessor = heads.into_iter().max_by_key(|head| head.size);
    let origin = keys::origin(name_of(&log, &ledger.slug), &ledger.slug);
    let is_opened = open_log(&client, ledger.ledger, log.number + 1, &origin, predecessor.as_ref()).await?;
    ensure!(is_opened, "somebody else has opened another log at this moment");
    // Stripe knows what was done since; nothing is done again before it was asked.
    gate::close(&client, ledger.ledger).await?;
    drop(client);
    if let Some(StoredPredecessor { origin, size, .. }) = predecessor {
        eprintln!("counterfoil: it takes the place of {origin}, which covered {size} events");
    }
    keys::print_keys(&administration, &ledger).await?;
    administration.finish().await;
    Ok(())
}

/// What the log's name began with.
fn name_of<'a>(log: &'a Log, slug: &LedgerSlug) -> &'a str {
    let end = format!("/{slug}/");
    log.origin.rsplit_once(&end).map_or(keys::DEFAULT_NAME, |(name, _)| name)
}
