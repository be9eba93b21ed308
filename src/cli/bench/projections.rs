//! Measures how fast projections are filled anew, beside how long it takes to read the events and do nothing with them.

use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Args;

use super::{ground::Ground, median};
use crate::{
    domain::ids::LedgerId,
    projector,
    store::projections::{
        definition::{Definition, compiled_in},
        install::{drop_unused, make_build},
    },
};

/// How many events a second each projection is filled with.
#[derive(Args)]
pub struct Arguments {
    /// How many events there are.
    #[arg(long, default_value_t = 5_000_000)]
    events: i64,
    /// How many times each projection is filled; the median counts.
    #[arg(long, default_value_t = 3)]
    times: usize,
    /// Which projections; all if absent.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
}

/// Measures and prints.
///
/// # Errors
/// When the history cannot be written or folded.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { events, times, only } = arguments;
    ensure!(*events > 0 && *times > 0, "at least one event and one time");
    let definitions: Vec<Definition> = compiled_in()?
        .into_iter()
        .filter(|definition| only.is_empty() || only.contains(&definition.name))
        .collect();
    ensure!(!definitions.is_empty(), "none of these is a projection: {}", only.join(", "));
    let settings = ground.settings().await?;
    println!(
        "PostgreSQL {}; {events} events of {} accounts, of a hundred one buys and the others spend; medians of {times}",
        settings.version, ground.accounts
    );
    let ledger = ground.make_filled_ledger("events", *events).await?.ledger;
    println!("\n| projection | seconds | events/s | times as long as reading |");
    println!("| --- | ---: | ---: | ---: |");
    for definition in &definitions {
        let (mut readings, mut fillings) = (Vec::new(), Vec::new());
        for _ in 0..*times {
            readings.push(ground.read_events(ledger).await?.as_secs_f64());
            fillings.push(fill(ground, ledger, definition).await?);
        }
        let (reading, filling) = (median(readings), median(fillings));
        println!(
            "| {} | {filling:.1} | {:.0} | {:.1} |",
            definition.name,
            *events as f64 / filling,
            filling / reading
        );
    }
    Ok(())
}

/// Seconds to fill a new build of the projection, as `counterfoil rebuild` does.
async fn fill(ground: &Ground, ledger: LedgerId, definition: &Definition) -> anyhow::Result<f64> {
    let mut owner = ground.owner().await?;
    let build = make_build(&mut owner, definition, Some(ledger)).await?;
    let database = ground.ours()?;
    let begun = Instant::now();
    projector::rebuild(&database, ledger, &build, |_| {})
        .await
        .with_context(|| format!("{} cannot be filled", definition.name))?;
    let seconds = begun.elapsed().as_secs_f64();
    // What was filled before: disks are finite.
    drop_unused(&mut owner).await?;
    Ok(seconds)
}
