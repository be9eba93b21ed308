//! Measures what it costs that many clients follow a ledger's events live: processor time of the service and transactions of
//! the database while the same spends are made, first with one client and then with many.

use std::{
    fs,
    net::Ipv4Addr,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use clap::Args;
use nix::unistd::{SysconfVar, sysconf};
use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    task::JoinSet,
    time::{interval, sleep},
};

use super::{
    ground::Ground,
    ours::{FEATURE, SLUG, ThroughWriter, account_id},
};
use crate::{
    cli::administration::Administration,
    domain::{ids::LedgerSlug, settings::Scope},
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
    let mut served = Served::start(ground).await?;
    println!("PostgreSQL {}; {spends} spends, {rate} a second, over HTTP", settings.version);
    println!("\n| clients | events received | processor seconds | transactions |");
    println!("| ---: | ---: | ---: | ---: |");
    let mut costs = Vec::new();
    for clients in [1, clients] {
        let cost = served.round(ground, clients, spends, rate).await?;
        println!("| {clients} | {} | {:.2} | {} |", cost.received, cost.seconds, cost.transactions);
        costs.push(cost);
    }
    served.stop().await?;
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

/// The service as a process of its own, so that its processor time is not that of the clients.
struct Served {
    child: Child,
    client: reqwest::Client,
    url: String,
    api_key: String,
    made: u64,
}

impl Served {
    async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let administration = Administration::new(ground.ours()?);
        let ledger = administration.find_ledger(&LedgerSlug::parse(SLUG)?).await?.context("the ledger")?;
        let scopes = vec![Scope::Spend, Scope::Audit];
        let api_key = administration.create_key(&ledger, "followers", scopes, None).await?;
        administration.finish().await;
        // Free now; nobody else is expected to take it meanwhile.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let child = Command::new(std::env::current_exe()?)
            .args(["serve", "--workers", "false", "--listen", &address.to_string()])
            .env("DATABASE_URL", ground.our_url().expose_secret())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let (client, url) = (reqwest::Client::new(), format!("http://{address}"));
        let served = Self { child, client, url, api_key: api_key.expose_secret().to_owned(), made: 0 };
        for _ in 0..200 {
            let ready = served.client.get(format!("{}/readyz", served.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(served);
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the service does not become ready")
    }

    async fn round(
        &mut self,
        ground: &Ground,
        clients: usize,
        spends: u64,
        rate: u32,
    ) -> anyhow::Result<Cost> {
        let head: serde_json::Value = self.get("/v1/events?limit=1").send().await?.json().await?;
        let after = head["head"].as_i64().context("a position")?;
        let received = Arc::new(AtomicU64::new(0));
        let mut following = JoinSet::new();
        for _ in 0..clients {
            let request =
                self.get(&format!("/v1/events?after={after}")).header("Accept", "text/event-stream");
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
        let (seconds, transactions) = (self.processor_seconds()?, ground.transactions().await?);
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
            seconds: self.processor_seconds()? - seconds,
            transactions: ground.transactions().await? - transactions,
        };
        following.shutdown().await;
        ensure!(cost.received == all, "{} of {all} events were received", cost.received);
        Ok(cost)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.api_key)
    }

    async fn spend(&mut self) -> anyhow::Result<()> {
        self.made += 1;
        let path = format!("{}/v1/accounts/{}/spends", self.url, account_id(0)?);
        let request = self.client.post(path).bearer_auth(&self.api_key);
        let request = request.header("Idempotency-Key", format!("follow-{}", self.made));
        request.json(&serde_json::json!({"feature": FEATURE})).send().await?.error_for_status()?;
        Ok(())
    }

    /// Processor time that the process has taken, in itself and in the kernel, in seconds.
    fn processor_seconds(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("a process that runs")?;
        let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // After the name, which may hold anything, in parentheses: fields 14 and 15 of all, see proc(5).
        let (_, rest) = text.rsplit_once(')').context("what proc(5) says")?;
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second = sysconf(SysconfVar::CLK_TCK)?.context("clock ticks")?;
        Ok(ticks as f64 / a_second as f64)
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
