//! Measures how many events a second are sealed: read, hashed into the tree, and covered by signed heads that stand in a
//! directory; beside how long it takes to read the events and do nothing with them.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::sync::{oneshot, watch};

use super::{ground::Ground, median};
use crate::{
    cli::{administration::Administration, keys},
    config::CheckpointSettings,
    credentials::Vault,
    sealer::{Sealer, outside::Outside},
    store::{logs::read::read_log, sealing::KeyRing},
};

/// How often it is looked how far the log is.
const LOOK: Duration = Duration::from_millis(20);

/// How many events a second are sealed.
#[derive(Args)]
pub struct Arguments {
    /// How many events there are.
    #[arg(long, default_value_t = 200_000)]
    events: i64,
    /// How many ledgers with so many events are sealed, one after the other; the median counts.
    #[arg(long, default_value_t = 3)]
    times: usize,
}

/// Measures and prints.
///
/// # Errors
/// When the history cannot be written or sealed.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { events, times } = *arguments;
    ensure!(events > 0 && times > 0, "at least one event and one time");
    let settings = ground.settings().await?;
    let checkpoint_dir = Some(ground.place("checkpoints"));
    let checkpoints = CheckpointSettings { checkpoint_dir, ..CheckpointSettings::default() };
    let key = KeyRing::generate();
    let keys = || KeyRing::parse(Some(&key), None);
    let (mut readings, mut sealings) = (Vec::new(), Vec::new());
    for number in 0..times {
        let ledger = ground.make_filled_ledger(&format!("sealed-{number}"), events).await?;
        readings.push(ground.read_events(ledger.ledger).await?.as_secs_f64());
        let administration = Administration::new(ground.ours()?).with_keys(keys()?);
        ensure!(keys::ensure_log(&administration, &ledger, "bench").await?, "the log is there already");
        administration.finish().await;

        let (stop, stopped) = oneshot::channel::<()>();
        let sealer = Sealer::new(Vault::new(ground.ours()?, keys()?), Outside::new(&checkpoints)?);
        let heads = watch::Sender::new(HashMap::new());
        let begun = Instant::now();
        let sealing = tokio::spawn(sealer.run(heads.subscribe(), async move { drop(stopped.await) }));
        loop {
            let log = read_log(&ground.ours()?, ledger.ledger).await?;
            let sealed = log.and_then(|(_, checkpoint)| checkpoint).map_or(0, |last| last.sealed.0);
            if sealed >= events {
                break;
            }
            ensure!(!sealing.is_finished(), "the sealer has ended at {sealed}");
            tokio::time::sleep(LOOK).await;
        }
        sealings.push(begun.elapsed().as_secs_f64());
        drop(stop);
        sealing.await.context("the sealer panicked")?;
    }
    let (reading, sealing) = (median(readings), median(sealings));
    println!(
        "PostgreSQL {}; {events} events sealed in {sealing:.1} s, {:.0} a second; {:.1} times as long as reading them",
        settings.version,
        events as f64 / sealing,
        sealing / reading
    );
    Ok(())
}
