//! `counterfoil stripe simulate`: runs the simulated Stripe by itself.

use std::{net::SocketAddr, path::PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;

use crate::{
    sandbox::stripe::{Settings, Simulator, Webhook},
    stripe::signature::SigningSecret,
};

/// Run a Stripe that works without a network and without an account.
///
/// It speaks Stripe's API, shows a page to pay at with test cards, sends signed webhooks, and obeys a control API under
/// /_control. Clients need its address and its API key.
#[derive(Args)]
pub(super) struct Arguments {
    /// Where to listen; port 0 takes a free one. The address is printed.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:12111")]
    listen: SocketAddr,
    /// The only port to listen at, on this machine alone.
    #[arg(long, value_name = "PORT", conflicts_with = "listen")]
    port: Option<u16>,
    /// The API key that clients send.
    #[arg(long, value_name = "sk_test_…", env = "COUNTERFOIL_STRIPE_API_KEY", hide_env_values = true)]
    #[arg(default_value = "sk_test_counterfoil")]
    api_key: SecretString,
    /// Where webhooks go. More endpoints can be made by the API.
    #[arg(long, value_name = "URL", requires = "webhook_secret")]
    webhook_url: Option<String>,
    /// What signs the webhooks.
    #[arg(long, value_name = "whsec_…", env = "COUNTERFOIL_STRIPE_WEBHOOK_SECRET", hide_env_values = true)]
    webhook_secret: Option<SecretString>,
    /// The API version of the webhooks; the newest, if left out.
    #[arg(long, value_name = "VERSION")]
    webhook_version: Option<String>,
    /// Where state is kept. Without it, it is forgotten at the end.
    #[arg(long, value_name = "DIRECTORY")]
    data_dir: Option<PathBuf>,
    /// How much automatic tax takes, of an amount without tax, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 19)]
    #[arg(value_parser = clap::value_parser!(i64).range(0..=100))]
    tax_percent: i64,
    /// How browsers reach it, if not at the address that it listens at.
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let webhooks = match (arguments.webhook_url, arguments.webhook_secret) {
        (Some(url), Some(secret)) => {
            let secret = secret.expose_secret().to_owned();
            if SigningSecret::parse(&secret).is_err() {
                bail!("--webhook-secret begins with `whsec_`");
            }
            vec![Webhook { url, secret, api_version: arguments.webhook_version }]
        }
        _ => Vec::new(),
    };
    let settings = Settings {
        api_key: arguments.api_key.expose_secret().to_owned(),
        webhooks,
        tax_percent: arguments.tax_percent,
        folder: arguments.data_dir,
        public_url: arguments.public_url.map(|url| url.trim_end_matches('/').to_owned()),
    };
    let listen = arguments.port.map_or(arguments.listen, |port| SocketAddr::from(([127, 0, 0, 1], port)));
    let listener = TcpListener::bind(listen).await.with_context(|| format!("cannot listen at {listen}"))?;
    let simulator = Simulator::start(listener, settings).context("the simulator does not start")?;
    println!("http://{}", simulator.address());
    tokio::select! {
        ended = simulator.run() => ended.context("the simulator failed"),
        () = interrupted() => Ok(()),
    }
}

/// Waits to be told to stop.
async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut signal) => {
                signal.recv().await;
            }
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = terminated => {}
    }
}
