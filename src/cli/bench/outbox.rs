//! Measures how many effects a second leave the outbox when carrying them out takes no time: first in peace, then while
//! another transaction keeps an old snapshot, so that nothing that is done can be cleaned away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::sync::Notify;

use super::ground::Ground;
use crate::{
    domain::ids::LedgerId,
    outbox::{Looked, Ordered, Outbox, OutboxSettings, Perform, Performed},
    writer::{WriterSettings, Writers},
};

/// How many effects a second leave the outbox, with many waiting, and while another transaction is held open.
#[derive(Args)]
pub struct Arguments {
    /// How many effects wait.
    #[arg(long, default_value_t = 1_000_000)]
    effects: i64,
    /// For how long another transaction is held open, in seconds.
    #[arg(long, default_value_t = 120)]
    held_seconds: u64,
    /// How many keys the effects are spread over; those of one key go one after the other.
    #[arg(long, default_value_t = 100_000)]
    keys: i64,
}

/// Carries out nothing.
struct Nothing(Arc<AtomicU64>);

impl Perform for Nothing {
    fn destination(&self, _: &Ordered) -> &'static str {
        "nowhere"
    }

    async fn perform(&self, _: &Ordered) -> Performed {
        self.0.fetch_add(1, Ordering::Relaxed);
        Performed::Done(Vec::new())
    }

    async fn look(&self, _: &Ordered) -> Looked {
        Looked::Absent
    }
}

/// Measures and prints both.
///
/// # Errors
/// When effects are left, or were carried out twice.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { effects, held_seconds, keys } = *arguments;
    ensure!(effects > 0 && keys > 0 && held_seconds > 0, "at least one effect, one key and one second");
    let settings = ground.settings().await?;
    println!(
        "PostgreSQL {}; {effects} effects of {keys} keys wait, and doing them takes no time",
        settings.version
    );
    let peaceful = ground.make_ledger("peaceful").await?.ledger;
    let held = ground.make_ledger("held").await?.ledger;

    ground.fill_outbox(peaceful, effects, keys).await?;
    let in_peace = carry_out(ground, peaceful, effects, Duration::MAX).await?;
    println!(
        "in peace: {} effects in {:.1} s, {:.0} a second",
        in_peace.effects,
        in_peace.seconds,
        in_peace.rate()
    );

    ground.fill_outbox(held, effects, keys).await?;
    let watching = ground.hold_snapshot().await?;
    let while_held = carry_out(ground, held, effects, Duration::from_secs(held_seconds)).await?;
    drop(watching);
    println!(
        "while another transaction is held open: {} effects in {:.1} s, {:.0} a second",
        while_held.effects,
        while_held.seconds,
        while_held.rate()
    );
    println!("ratio: {:.2}", while_held.rate() / in_peace.rate());
    Ok(())
}

struct Measured {
    effects: u64,
    seconds: f64,
}

impl Measured {
    fn rate(&self) -> f64 {
        self.effects as f64 / self.seconds
    }
}

/// Carries effects out until none is left, or time is up.
async fn carry_out(
    ground: &Ground,
    ledger: LedgerId,
    effects: i64,
    limit: Duration,
) -> anyhow::Result<Measured> {
    let done = Arc::new(AtomicU64::new(0));
    let database = ground.ours()?;
    let writers = Writers::new(database.clone(), WriterSettings::default());
    let performer = Nothing(Arc::clone(&done));
    let outbox = Outbox::new(database, writers, performer, OutboxSettings::default());
    let stop = Arc::new(Notify::new());
    let stopped = Arc::clone(&stop);
    let begun = Instant::now();
    let running = tokio::spawn(outbox.run(async move { stopped.notified().await }));
    let wanted = u64::try_from(effects)?;
    while done.load(Ordering::Relaxed) < wanted && begun.elapsed() < limit {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Until what was carried out has left.
    stop.notify_one();
    running.await.context("the outbox panicked")?;
    let seconds = begun.elapsed().as_secs_f64();
    let (done, left) = (done.load(Ordering::Relaxed), ground.effects_left(ledger).await?);
    ensure!(
        done + u64::try_from(left)? == wanted,
        "{done} of {wanted} effects were carried out, {left} are left"
    );
    Ok(Measured { effects: done, seconds })
}
