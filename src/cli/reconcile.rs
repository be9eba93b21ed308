//! `counterfoil reconcile`: what Stripe knows and the ledger does not is taken in, and where they differ is told.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::parse;
use super::progress::Parts;
use crate::app;
use crate::app::stop::Stop;
use crate::config::{DatabaseSettings, SealingSettings, StripeSettings};
use crate::credentials::{StripeClients, Vault};
use crate::domain::ids::{Actor, LedgerSlug, ReconciliationId};
use crate::domain::time::Timestamp;
use crate::inbox::{Batches, InboxWorker};
use crate::reconcile::{ReconcileWorker, Reconciler};
use crate::store::inbox::is_at_rest;
use crate::store::ledgers::{Ledger, find_ledger};
use crate::store::pool::Database;
use crate::store::reconciliation::findings::{FindingFilter, FindingState, list_findings};
use crate::store::reconciliation::gate;
use crate::store::reconciliation::runs::{NewRun, Run, RunCounts, RunKind, RunState, find_run, request_run};
use crate::stripe::client::ClientSettings;
use crate::writer::{WriterSettings, Writers};

/// How many connections the parts share that work here.
const POOL_SIZE: usize = 8;
/// How often it is looked how far the run is.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How many open findings are shown.
const SHOWN: i64 = 500;
/// How often Stripe's events are read meanwhile, beside the run that was asked for.
const EVERY: Duration = Duration::from_secs(300);

/// Take in what Stripe knows and the ledger does not, and compare them.
///
/// Reads Stripe's events and puts those that no webhook has brought into the inbox; then compares paid checkout sessions,
/// paid invoices, refunds and disputes with the ledger, both ways. It works beside running services, and without them; whatever is done
/// twice changes nothing. Where Stripe and the ledger differ is printed, one finding a line: its id, its kind, what it is
/// about, why. Ends with exit code 1 if any finding is open.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The ledger.
    #[arg(long, value_name = "LEDGER", value_parser = parse::ledger_slug)]
    ledger: LedgerSlug,
    /// Take in events, and compare nothing.
    #[arg(long, conflicts_with_all = ["compare", "from", "to", "repair"])]
    events: bool,
    /// Compare as well: what is done without --events.
    #[arg(long)]
    compare: bool,
    /// Compare what was made at Stripe, or recorded in the ledger, from then on. Two weeks before the last comparison if left
    /// out.
    #[arg(long, value_name = "TIME", value_parser = parse::timestamp)]
    from: Option<Timestamp>,
    /// Compare what was before then.
    #[arg(long, value_name = "TIME", value_parser = parse::timestamp)]
    to: Option<Timestamp>,
    /// Repair at once what Stripe tells and the ledger lacks.
    #[arg(long)]
    repair: bool,
    /// The database is an older state than the ledger once had: a backup that was put back. Until Stripe has been asked and
    /// what is missing is there, nothing that the ledger orders is carried out.
    #[arg(long, conflicts_with = "events")]
    restored: bool,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    stripe: StripeSettings,
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    if let (Some(from), Some(to)) = (arguments.from, arguments.to)
        && from >= to
    {
        bail!("--from must be before --to");
    }
    let database = app::open_database(&arguments.database.database_url, POOL_SIZE)?;
    app::check_database(&database).await?;
    let client = database.pool().get().await?;
    let Some(ledger) = find_ledger(&client, &arguments.ledger).await? else {
        bail!("there is no ledger `{}`", arguments.ledger);
    };
    drop(client);
    let workers = Workers::start(&database, &arguments, &ledger)?;
    let done = asked(&database, &ledger, &arguments).await;
    workers.finish().await;
    // What a run found stays, however it ended.
    let told = tell_findings(&database, &ledger).await;
    done?;
    told
}

/// What works while the command waits: the same parts that a service has.
struct Workers {
    stop: Stop,
    writers: Arc<Writers>,
    inbox: tokio::task::JoinHandle<()>,
    reconciliation: tokio::task::JoinHandle<()>,
}

impl Workers {
    fn start(database: &Database, arguments: &Arguments, ledger: &Ledger) -> anyhow::Result<Self> {
        let stop = Stop::default();
        let vault = Vault::new(database.clone(), app::read_keys(&arguments.sealing)?);
        let clients = StripeClients::new(vault, ClientSettings::from(&arguments.stripe));
        let writers = Writers::new(database.clone(), WriterSettings::default());
        let (ringer, bell) = mpsc::channel(1);
        let batches = Batches::new(database.clone(), Arc::clone(&writers), Arc::clone(&clients));
        let (inbox, inbox_stop) = (InboxWorker::new(batches, bell), stop.clone());
        let inbox = tokio::spawn(async move { inbox.run(inbox_stop.requested()).await });
        let reconciler = Reconciler::new(database.clone(), Arc::clone(&writers), clients, ringer, EVERY);
        let worker = ReconcileWorker::of_one(Arc::new(reconciler), ledger.ledger);
        let worker_stop = stop.clone();
        let reconciliation = tokio::spawn(async move { worker.run(worker_stop.requested()).await });
        Ok(Self { stop, writers, inbox, reconciliation })
    }

    async fn finish(self) {
        self.stop.request();
        let _ = tokio::join!(self.inbox, self.reconciliation);
        self.writers.drain().await;
    }
}

/// Asks for a run, and waits until it is over, whoever does it.
async fn asked(database: &Database, ledger: &Ledger, arguments: &Arguments) -> anyhow::Result<()> {
    let kind = match (arguments.restored, arguments.events) {
        (true, _) => RunKind::Recovery,
        (false, true) => RunKind::Events,
        (false, false) => RunKind::Comparison,
    };
    let new = NewRun {
        kind,
        actor: Actor::Operator,
        repairs: arguments.repair || arguments.restored,
        since: arguments.from,
        until: arguments.to,
    };
    let client = database.pool().get().await?;
    if arguments.restored {
        gate::close(&client, ledger.ledger).await?;
    }
    let run = request_run(&client, ledger.ledger, &new).await?;
    drop(client);
    let mut bar = Parts::new(ledger.slug.to_string());
    let ended = loop {
        let run = look(database, ledger, run.id).await?;
        if run.state.is_over() {
            break run;
        }
        bar.report(run.counts.permille, &words(&run.counts));
        sleep(LOOK_EVERY).await;
    };
    match ended.state {
        RunState::Failed => bail!("it did not succeed: {}", ended.error.unwrap_or_default()),
        _ => bar.finish(&words(&ended.counts)),
    }
    // The clock that entries of the inbox are marked by is the one that the run is.
    let Some(up_to) = ended.finished_at else { return Ok(()) };
    while !is_at_rest(&*database.pool().get().await?, ledger.ledger, up_to).await? {
        sleep(LOOK_EVERY).await;
    }
    Ok(())
}

async fn look(database: &Database, ledger: &Ledger, run: ReconciliationId) -> anyhow::Result<Run> {
    let client = database.pool().get().await?;
    find_run(&client, ledger.ledger, run).await?.context("the run is gone")
}

fn words(counts: &RunCounts) -> String {
    let RunCounts { events, events_taken_in, sessions, invoices, refunds, disputes, recorded, found, .. } =
        counts;
    let compared = sessions + invoices + refunds + disputes + recorded;
    format!("{events} events, {events_taken_in} of them missing; {compared} compared, {found} differ")
}

/// Prints what is open.
async fn tell_findings(database: &Database, ledger: &Ledger) -> anyhow::Result<()> {
    let client = database.pool().get().await?;
    let filter = FindingFilter { kind: None, state: Some(FindingState::Open) };
    let open = list_findings(&client, ledger.ledger, filter, None, SHOWN).await?;
    for finding in &open {
        let difference = &finding.difference;
        let reason = difference.reason.as_deref().unwrap_or_default();
        println!("{}\t{}\t{}\t{reason}", finding.id, difference.kind.as_str(), difference.object);
    }
    match i64::try_from(open.len()) {
        Ok(0) => Ok(()),
        Ok(count) if count < SHOWN => bail!("{count} findings are open"),
        _ => bail!("at least {SHOWN} findings are open"),
    }
}
