//! Measures how fast a ledger's events leave over HTTP as lines of JSON, beside how long it takes to read the events and do
//! nothing with them.

use std::time::Instant;

use anyhow::ensure;
use clap::Args;

use super::{ground::Ground, median, served::Served};
const SLUG: &str = "exported";

/// How many events a second are exported: all of a ledger's, over HTTP, one per line.
#[derive(Args)]
pub struct Arguments {
    /// How many events there are.
    #[arg(long, default_value_t = 1_000_000)]
    events: i64,
    /// How many times they are exported; the median counts.
    #[arg(long, default_value_t = 3)]
    times: usize,
}

/// Measures and prints.
///
/// # Errors
/// When the history cannot be written, the service cannot be started, or an export lacks an event.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { events, times } = *arguments;
    ensure!(events > 0 && times > 0, "at least one event and one time");
    let settings = ground.settings().await?;
    let ledger = ground.make_filled_ledger(SLUG, events).await?.ledger;
    let served = Served::start(ground, SLUG).await?;
    let (mut readings, mut exports, mut processor, mut bytes) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..times {
        readings.push(ground.read_events(ledger).await?.as_secs_f64());
        let (begun, before) = (Instant::now(), served.processor_seconds()?);
        let request = served.get("/v1/events?after=0").header("Accept", "application/x-ndjson");
        let mut answer = request.send().await?.error_for_status()?;
        let mut lines = 0;
        bytes = 0;
        while let Some(chunk) = answer.chunk().await? {
            bytes += chunk.len();
            lines += chunk.iter().filter(|byte| **byte == b'\n').count();
        }
        exports.push(begun.elapsed().as_secs_f64());
        processor.push(served.processor_seconds()? - before);
        // The key that it is read with is an event, too.
        ensure!(lines as i64 > events, "{lines} of {events} events were exported");
    }
    served.stop().await?;
    let (reading, exporting) = (median(readings), median(exports));
    println!(
        "PostgreSQL {}; {events} events, {} MB, exported in {exporting:.1} s: {:.0} a second, {:.0} MB a second; {:.1} times \
         as long as reading them; {:.1} s of the service's processor time",
        settings.version,
        bytes / 1_000_000,
        events as f64 / exporting,
        bytes as f64 / 1e6 / exporting,
        exporting / reading,
        median(processor)
    );
    Ok(())
}
