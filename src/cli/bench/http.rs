//! This service as its clients see it: the same ledger, over HTTP with keep-alive, on the loopback interface.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, ensure};
use secrecy::ExposeSecret;
use tokio::{net::TcpListener, task::JoinHandle};
use uuid::Uuid;

use super::{
    ground::Ground,
    load::{self, Measured, Plan},
    ours::{FEATURE, SLUG, account_id},
};
use crate::{
    app::{self, stop::Stop},
    cli::administration::Administration,
    config::{CheckpointSettings, SealingSettings, ServiceSettings, StripeSettings},
    domain::{ids::LedgerSlug, settings::Scope},
};

/// The whole service in this process, and a client.
pub struct OverHttp {
    client: reqwest::Client,
    url: String,
    api_key: String,
    stop: Stop,
    service: JoinHandle<anyhow::Result<()>>,
    acknowledged: AtomicU64,
}

impl OverHttp {
    /// Starts the service on a free port and waits until it is ready.
    pub async fn start(ground: &Ground) -> anyhow::Result<Self> {
        let administration = Administration::new(ground.ours()?);
        let ledger = administration.find_ledger(&LedgerSlug::parse(SLUG)?).await?.context("the ledger")?;
        let api_key = administration.create_key(&ledger, "bench", vec![Scope::Spend], None).await?;
        administration.finish().await;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let shutdown_seconds = Duration::from_secs(5);
        let settings = ServiceSettings {
            listen: address,
            public_url: None,
            database_pool_size: 8,
            writer_connections: 16,
            shutdown_seconds,
            // What it costs to follow is measured apart.
            workers: false,
            sealing: SealingSettings::default(),
            stripe: StripeSettings::default(),
            reconcile_seconds: Duration::from_secs(3600),
            checkpoints: CheckpointSettings::default(),
        };
        let (database, stop) = (ground.ours()?, Stop::default());
        let stopped = stop.clone();
        let service = tokio::spawn(async move { app::serve(database, &settings, listener, stopped).await });
        let client = reqwest::Client::builder().build()?;
        let api_key = api_key.expose_secret().to_owned();
        let url = format!("http://{address}");
        let ours = Self { client, url, api_key, stop, service, acknowledged: AtomicU64::new(0) };
        ours.wait_until_ready().await?;
        Ok(ours)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        for _ in 0..200 {
            let ready = self.client.get(format!("{}/readyz", self.url)).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        anyhow::bail!("the service does not become ready")
    }

    /// One round.
    pub async fn round(&self, plan: Plan) -> anyhow::Result<Measured> {
        let (client, url) = (self.client.clone(), self.url.clone());
        let authorisation: Arc<str> = format!("Bearer {}", self.api_key).into();
        let body: Arc<str> = format!(r#"{{"feature":"{FEATURE}"}}"#).into();
        let spend = move |account: usize| {
            let (client, authorisation, body) =
                (client.clone(), Arc::clone(&authorisation), Arc::clone(&body));
            let url = account_id(account).map(|account| format!("{url}/v1/accounts/{account}/spends"));
            async move {
                let request = client
                    .post(url?)
                    .header("Authorization", &*authorisation)
                    .header("Content-Type", "application/json")
                    .header("Idempotency-Key", Uuid::new_v4().to_string())
                    .body(body.to_string());
                let answer = request.send().await?;
                let status = answer.status();
                ensure!(status.as_u16() == 201, "{status}: {}", answer.text().await?);
                answer.bytes().await?;
                Ok(())
            }
        };
        let (measured, acknowledged) = load::round(plan, spend).await?;
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        Ok(measured)
    }

    /// How many spends were acknowledged in all rounds.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Ends the service in order.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.request();
        self.service.await?
    }
}
