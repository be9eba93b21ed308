//! Measures what it costs that many clients follow a ledger's events live: processor time of the service and transactions of
//! the database while the same spends are made, first with one client and then with many.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use tokio::{
    task::JoinSet,
    time::{interval, sleep},
};

use super::{
    ground::Ground,
    ours::{FEATURE, SLUG, ThroughWriter, account_id},
    served::Served,
};

/// What begins an event in the stream.
const EVENT: &[u8] = b"\ndata: ";
/// How long the last events may take to reach everyone.
const PATIENCE: Duration = Duration::from_secs(60);

/// What many clients cost that follow the events live, compared with one. Each needs a connection: `ulimit -n` must be higher.
#[derive(Args)]
pub struct Arguments {
    /// How many clients follow at once.
    #[arg(long, default_value_t = 1_000)]
    clients: usize,
    /// How many spends are made meanwhile.
    #[arg(long, default_value_t = 1_000)]
    spends: u64,
    /// How many of them a second.
    #[arg(long, default_value_t = 50)]
    rate: u32,
}

/// Measures and prints both, and their ratios.
///
/// # Errors
/// When the service cannot be started, or a client does not get every event.
#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
pub async fn measure(ground: &Ground, arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { clients, spends, rate } = *arguments;
    ensure!(clients > 0 && spends > 0 && rate > 0, "at least one client, one spend, and one a second");
    let settings = ground.settings().await?;
    ThroughWriter::prepare(ground).await?;
    let mut followed = Followed { served: Served::start(ground, SLUG).await?, made: 0 };
    println!("PostgreSQL {}; {spends} spends, {rate} a second, over HTTP", settings.version);
    println!("\n| clients | events received | processor seconds | transactions |");
    println!("| ---: | ---: | ---: | ---: |");
    let mut costs = Vec::new();
    for clients in [1, clients] {
        let cost = followed.round(ground, clients, spends, rate).await?;
        println!("| {clients} | {} | {:.2} | {} |", cost.received, cost.seconds, cost.transactions);
        costs.push(cost);
    }
    followed.served.stop().await?;
    let [one, many] = &costs[..] else { return Ok(()) };
    println!("\nratio of processor time: {:.2}", many.seconds / one.seconds.max(0.01));
    println!("ratio of transactions: {:.2}", many.transactions as f64 / one.transactions.max(1) as f64);
    Ok(())
}

struct Cost {
    received: u64,
    seconds: f64,
    transactions: i64,
}

/// Spends with clients that follow them.
struct Followed {
    served: Served,
    made: u64,
}

impl Followed {
    async fn round(
        &mut self,
        ground: &Ground,
        clients: usize,
        spends: u64,
        rate: u32,
    ) -> anyhow::Result<Cost> {
        let head: serde_json::Value = self.served.get("/v1/events?limit=1").send().await?.json().await?;
        let after = head["head"].as_i64().context("a position")?;
        let received = Arc::new(AtomicU64::new(0));
        let mut following = JoinSet::new();
        for _ in 0..clients {
            let request =
                self.served.get(&format!("/v1/events?after={after}")).header("Accept", "text/event-stream");
            let mut answer = request.send().await.context("a client more")?.error_for_status()?;
            let received = Arc::clone(&received);
            following.spawn(async move {
                let mut text = Vec::new();
                while let Some(chunk) = answer.chunk().await? {
                    text.extend_from_slice(&chunk);
                    let events = text.windows(EVENT.len()).filter(|window| *window == EVENT).count();
                    received.fetch_add(events as u64, Ordering::Relaxed);
                    // What may be the beginning of the next one.
                    text.drain(..text.len().saturating_sub(EVENT.len() - 1));
                }
                anyhow::Ok(())
            });
        }
        let (seconds, transactions) = (self.served.processor_seconds()?, ground.transactions().await?);
        let mut moments = interval(Duration::from_secs(1) / rate);
        for _ in 0..spends {
            moments.tick().await;
            self.spend().await?;
        }
        let all = spends * clients as u64;
        for _ in 0..PATIENCE.as_millis() / 10 {
            if received.load(Ordering::Relaxed) >= all {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let cost = Cost {
            received: received.load(Ordering::Relaxed),
            seconds: self.served.processor_seconds()? - seconds,
            transactions: ground.transactions().await? - transactions,
        };
        following.shutdown().await;
        ensure!(cost.received == all, "{} of {all} events were received", cost.received);
        Ok(cost)
    }

    async fn spend(&mut self) -> anyhow::Result<()> {
        self.made += 1;
        let request = self.served.post(&format!("/v1/accounts/{}/spends", account_id(0)?));
        let request = request.header("Idempotency-Key", format!("follow-{}", self.made));
        request.json(&serde_json::json!({"feature": FEATURE})).send().await?.error_for_status()?;
        Ok(())
    }
}
