//! The service as a process of its own beside a measurement, so that its processor time is not that of its clients.

use std::{fs, net::Ipv4Addr, process::Stdio, time::Duration};

use anyhow::Context;
use nix::unistd::{SysconfVar, sysconf};
use secrecy::ExposeSecret;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    time::sleep,
};

use super::ground::Ground;
use crate::{
    cli::administration::Administration,
    domain::{ids::LedgerSlug, settings::Scope},
};

/// A process without workers, and a client with a key that may spend and audit.
pub struct Served {
    child: Child,
    client: reqwest::Client,
    url: String,
    api_key: String,
}

impl Served {
    /// Starts one and waits until it is ready.
    ///
    /// # Errors
    /// When there is no such ledger, or the process does not become ready.
    pub async fn start(ground: &Ground, slug: &str) -> anyhow::Result<Self> {
        let administration = Administration::new(ground.ours()?);
        let ledger = administration.find_ledger(&LedgerSlug::parse(slug)?).await?.context("the ledger")?;
        let scopes = vec![Scope::Spend, Scope::Audit];
        let api_key = administration.create_key(&ledger, "bench", scopes, None).await?;
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
        let served = Self { child, client, url, api_key: api_key.expose_secret().to_owned() };
        for _ in 0..200 {
            let ready = served.client.get(format!("{}/readyz", served.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(served);
            }
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the service does not become ready")
    }

    /// A request to read.
    pub fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(&self.api_key)
    }

    /// A request that changes something.
    pub fn post(&self, path: &str) -> reqwest::RequestBuilder {
        self.client.post(format!("{}{path}", self.url)).bearer_auth(&self.api_key)
    }

    /// Processor time that the process has taken, in itself and in the kernel, in seconds.
    ///
    /// # Errors
    /// When it has ended, or proc(5) is not what it was.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        let id = self.child.id().context("a process that runs")?;
        let text = fs::read_to_string(format!("/proc/{id}/stat"))?;
        // After the name, which may hold anything, in parentheses: fields 14 and 15 of all, see proc(5).
        let (_, rest) = text.rsplit_once(')').context("what proc(5) says")?;
        let ticks: u64 =
            rest.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        let a_second = sysconf(SysconfVar::CLK_TCK)?.context("clock ticks")?;
        Ok(ticks as f64 / a_second as f64)
    }

    /// Ends it.
    ///
    /// # Errors
    /// When the process cannot be ended.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
