//! Measures how long after its commit an event is in each projection, at a steady rate of spends.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::{
    sync::{oneshot, watch},
    task::JoinSet,
};
use tokio_postgres::Client;

use super::{ground::Ground, ours::ThroughWriter};
use crate::{domain::ids::Position, projector::Projector, store::projections::read::progress};

/// How often spends are sent.
const TICK: Duration = Duration::from_millis(10);
/// How often the projections are looked at: the least that can be told apart.
const LOOK: Duration = Duration::from_millis(5);
/// What happens at first is not measured: accounts and plans come into memory.
const WARMING: Duration = Duration::from_secs(3);

/// How long after its commit an event is in each projection.
#[derive(Args)]
pub struct Arguments {
    /// How many spends a second.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// For how long, in seconds.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Measures and prints.
///
/// # Errors
/// When a spend fails or the database does.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { rate, seconds } = *arguments;
    ensure!(rate >= 100 && seconds > 0, "at least 100 spends a second, for a second");
    let settings = ground.settings().await?;
    let writer = Arc::new(ThroughWriter::prepare(ground).await?);
    let (stop, stopped) = oneshot::channel::<()>();
    let projector = Projector::new(ground.ours()?);
    let heads = writer.writers().commits();
    let following = tokio::spawn(projector.run(heads, async move { drop(stopped.await) }));
    let (sent, all_sent) = watch::channel(false);
    let watching = tokio::spawn(look(ground.ours()?.connect().await?, Arc::clone(&writer), all_sent));

    let begun = Instant::now();
    let spends =
        spend_steadily(&writer, ground.accounts, rate, WARMING + Duration::from_secs(seconds)).await?;
    let reached = spends as f64 / begun.elapsed().as_secs_f64();
    sent.send(true).context("nobody looks")?;
    let lags = watching.await.context("looking panicked")??;
    drop(stop);
    following.await.context("the projector panicked")?;

    println!(
        "PostgreSQL {}; {reached:.0} spends a second for {seconds} s over {} accounts; looked at every {} ms\n",
        settings.version,
        ground.accounts,
        LOOK.as_millis()
    );
    println!("| projection | median ms | p99 ms | longest ms |");
    println!("| --- | ---: | ---: | ---: |");
    for (projection, mut lags) in lags {
        lags.sort();
        let at = |share: f64| lags.get((lags.len() as f64 * share) as usize).or(lags.last());
        let [median, hundredth, longest] =
            [at(0.5), at(0.99), lags.last()].map(|lag| lag.map_or(0.0, |lag| lag.as_secs_f64() * 1_000.0));
        println!("| {projection} | {median:.0} | {hundredth:.0} | {longest:.0} |");
    }
    Ok(())
}

/// Sends so many spends a second, from accounts in turn, and waits for all of them.
async fn spend_steadily(
    writer: &Arc<ThroughWriter>,
    accounts: usize,
    rate: u32,
    lasting: Duration,
) -> anyhow::Result<usize> {
    let mut ticks = tokio::time::interval(TICK);
    let (begun, mut spends, mut sent) = (Instant::now(), JoinSet::new(), 0_usize);
    while begun.elapsed() < lasting {
        ticks.tick().await;
        let due = (begun.elapsed().as_secs_f64() * f64::from(rate)) as usize;
        for number in sent..due {
            let writer = Arc::clone(writer);
            spends.spawn(async move { writer.spend(number * 7_919 % accounts).await });
        }
        sent = due;
        while let Some(spent) = spends.try_join_next() {
            spent.context("a spend panicked")??;
        }
    }
    while let Some(spent) = spends.join_next().await {
        spent.context("a spend panicked")??;
    }
    Ok(sent)
}

/// For each projection, how long after its commit each batch was in it. Ends when everything is sent and in.
async fn look(
    client: Client,
    writer: Arc<ThroughWriter>,
    all_sent: watch::Receiver<bool>,
) -> anyhow::Result<BTreeMap<String, Vec<Duration>>> {
    let (ledger, begun) = (writer.ledger, Instant::now());
    let mut heads = writer.writers().commits();
    let mut ticks = tokio::time::interval(LOOK);
    let mut committed: VecDeque<(Position, Instant)> = VecDeque::new();
    let mut seen: BTreeMap<String, (i64, Vec<Duration>)> = BTreeMap::new();
    loop {
        tokio::select! {
            changed = heads.changed() => {
                changed.context("the writers are gone")?;
                let head = heads.borrow_and_update().get(&ledger).copied();
                committed.extend(head.map(|head| (head, Instant::now())));
                continue;
            }
            _ = ticks.tick() => {}
        }
        let found = progress(&client, &[ledger]).await?;
        let now = Instant::now();
        for progress in &found {
            let (position, lags) = seen.entry(progress.projection.clone()).or_default();
            let arrived =
                committed.iter().filter(|(head, _)| (*position + 1..=progress.position).contains(&head.0));
            let is_measured = |at: &Instant| at.duration_since(begun) > WARMING;
            lags.extend(arrived.filter(|(_, at)| is_measured(at)).map(|(_, at)| now - *at));
            *position = progress.position;
        }
        let slowest = found.iter().map(|progress| progress.position).min().unwrap_or(0);
        while committed.front().is_some_and(|(head, _)| head.0 <= slowest) {
            committed.pop_front();
        }
        if *all_sent.borrow() && found.iter().all(|progress| progress.position == progress.head) {
            return Ok(seen.into_iter().map(|(projection, (_, lags))| (projection, lags)).collect());
        }
    }
}
