//! Measures spends, side by side with the design that this one replaces, on the same server and in the same run.
//!
//! The other design is the common one: a transaction for each spend that locks the account's row, updates its balance and
//! inserts the spend with a unique idempotency key. It gets prepared statements, a table of its own without any of our
//! features, and the best of several numbers of connections. Nothing reads the events meanwhile: a service without workers
//! answers over HTTP. Both run on a private PostgreSQL that is as durable as in production, which is checked; afterwards both
//! must have stored exactly the spends that were acknowledged.
//!
//! Others measure something else: `counterfoil bench outbox` how fast the outbox is emptied, `bench projections` how fast
//! projections are filled anew, `bench lag` how far behind they follow, `bench sealer` how fast
//! events are sealed, `bench export` how fast they leave, `bench followers` what it costs that many follow them.
//!
//! Rounds of both alternate, and medians are compared, because machines are noisy. Only ratios of one run mean anything.

mod export;
mod followers;
mod ground;
mod http;
mod lag;
mod load;
mod ours;
mod outbox;
mod projections;
mod report;
mod rival;
mod sealer;
mod served;

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use clap::{Args, Subcommand};

use crate::{config::LogSettings, telemetry::start_logging};

use self::{
    ground::Ground,
    http::OverHttp,
    load::{Measured, Plan, Spread},
    ours::ThroughWriter,
    report::Report,
    rival::Rival,
};

/// Measure spends a second and their latency against one transaction for each spend.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Arguments {
    #[command(subcommand)]
    measurement: Option<Measurement>,
    /// How many accounts the spends are spread over.
    #[arg(long, default_value_t = 10_000)]
    accounts: usize,
    /// How many callers spend at once, one number for each measurement.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64, 512])]
    callers: Vec<usize>,
    /// How long each round lasts, in seconds.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// How many rounds each side gets for each measurement; their median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Where the private PostgreSQL lives while this runs; removed afterwards.
    #[arg(long)]
    directory: Option<PathBuf>,
    #[command(flatten)]
    log: LogSettings,
}

/// Something else to measure.
#[derive(Subcommand)]
enum Measurement {
    Export(export::Arguments),
    Followers(followers::Arguments),
    Outbox(outbox::Arguments),
    Projections(projections::Arguments),
    Lag(lag::Arguments),
    Sealer(sealer::Arguments),
}

/// The numbers of connections that the other design may choose from, anew for each number of callers.
const CONNECTIONS: [usize; 4] = [8, 16, 32, 64];

/// Measures, checks, prints.
///
/// # Errors
/// When the server cannot be started or is not durable, a spend fails, or stored and acknowledged spends differ.
pub async fn run(arguments: Arguments) -> anyhow::Result<()> {
    ensure!(
        !arguments.callers.is_empty() && arguments.rounds > 0,
        "at least one number of callers and one round"
    );
    start_logging(&arguments.log)?;
    let ground = Ground::prepare(arguments.directory.clone(), arguments.accounts).await?;
    let outcome = match &arguments.measurement {
        Some(Measurement::Export(arguments)) => export::measure(&ground, arguments).await,
        Some(Measurement::Followers(arguments)) => followers::measure(&ground, arguments).await,
        Some(Measurement::Outbox(arguments)) => outbox::measure(&ground, arguments).await,
        Some(Measurement::Projections(arguments)) => projections::measure(&ground, arguments).await,
        Some(Measurement::Lag(arguments)) => lag::measure(&ground, arguments).await,
        Some(Measurement::Sealer(arguments)) => sealer::measure(&ground, arguments).await,
        None => measure(&ground, &arguments).await,
    };
    ground.remove().await?;
    outcome
}

async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let mut report = Report::begin(&ground.settings().await?, arguments);
    let writer = ThroughWriter::prepare(ground).await?;
    let http = OverHttp::start(ground).await?;
    let rival = Rival::prepare(ground).await?;
    for spread in [Spread::ManyAccounts, Spread::OneAccount] {
        let lasting = Duration::from_secs(arguments.seconds);
        let plan = |callers| Plan { callers, lasting, spread, accounts: arguments.accounts };
        report.section(spread);
        for callers in &arguments.callers {
            let connections = best_connections(&rival, plan(*callers)).await?;
            let (mut ours, mut ours_http, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..arguments.rounds {
                ours.push(writer.round(plan(*callers)).await?);
                theirs.push(rival.round(plan(*callers), connections).await?);
                ours_http.push(http.round(plan(*callers)).await?);
            }
            let [ours, ours_http, theirs] = [ours, ours_http, theirs].map(Measured::median);
            report.line(*callers, connections, [&theirs, &ours, &ours_http]);
        }
    }
    let (stored, acknowledged) = (writer.stored(ground).await?, writer.acknowledged() + http.acknowledged());
    ensure!(stored == acknowledged, "{acknowledged} spends were acknowledged, {stored} events are stored");
    http.stop().await?;
    let (their_stored, their_acknowledged) = (rival.stored().await?, rival.acknowledged());
    ensure!(
        their_stored == their_acknowledged,
        "the other design acknowledged {their_acknowledged}, stored {their_stored}"
    );
    report.end(stored, their_stored);
    Ok(())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// With how many connections the other design does best under this load.
async fn best_connections(rival: &Rival, plan: Plan) -> anyhow::Result<usize> {
    let mut best = (0.0, CONNECTIONS[0]);
    for connections in CONNECTIONS {
        let rate = rival.round(plan, connections).await?.rate;
        if rate > best.0 {
            best = (rate, connections);
        }
    }
    Ok(best.1)
}
