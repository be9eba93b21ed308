//! The Stripe of `counterfoil dev`: simulated, on a port of its own, with the demo's prices and its webhooks set up.
//!
//! What it knows survives in the data directory, and it comes back at the port that it had, so that a payment page which
//! is open in a browser still works after a restart.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context, ensure};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::net::TcpListener;

use super::demo;
use crate::cli::administration::Administration;
use crate::cli::environment_file;
use crate::domain::Command;
use crate::domain::ids::{Key, Namespace};
use crate::domain::settings::{CheckoutSettings, LedgerMode};
use crate::sandbox::stripe::{Settings, Simulator, Webhook};
use crate::store::ledgers::Ledger;
use crate::stripe::client::{ApiKey, BaseUrl};

/// The name of its address in the file for scripts.
pub(super) const STRIPE_URL: &str = "COUNTERFOIL_STRIPE_URL";
/// The name of the key that it takes in the file for scripts.
pub(super) const STRIPE_API_KEY: &str = "COUNTERFOIL_STRIPE_API_KEY";
/// The only key that it takes. It opens nothing but this simulator.
pub(super) const API_KEY: &str = "sk_test_counterfoil";

/// Listens where the last run did, if the file for scripts says so and nobody else is there now.
pub(super) async fn listen(data_directory: &Path) -> anyhow::Result<TcpListener> {
    let entries = environment_file::read(&environment_file::path(data_directory))?;
    let last = entries.iter().find(|(name, _)| name == STRIPE_URL).and_then(|(_, url)| port_of(url));
    if let Some(port) = last
        && let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await
    {
        return Ok(listener);
    }
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("no port for the simulated Stripe")
}

fn port_of(url: &str) -> Option<u16> {
    url.strip_prefix("http://")?.parse::<SocketAddr>().ok().map(|address| address.port())
}

/// Starts it, with the demo ledger as receiver of its webhooks.
pub(super) fn start(
    listener: TcpListener,
    data_directory: &Path,
    service: SocketAddr,
    webhook_secret: &SecretString,
) -> anyhow::Result<Simulator> {
    let webhook = Webhook {
        url: format!("http://{service}/webhooks/stripe/{}", demo::SLUG),
        secret: webhook_secret.expose_secret().to_owned(),
        api_version: None,
    };
    let settings = Settings {
        api_key: API_KEY.to_owned(),
        webhooks: vec![webhook],
        folder: Some(data_directory.join("stripe")),
        ..Settings::default()
    };
    Simulator::start(listener, settings).context("the simulated Stripe")
}

/// Has the simulator sell what the demo ledger sells, and the demo ledger call the simulator.
pub(super) async fn connect(
    administration: &Administration,
    ledger: &Ledger,
    simulator: SocketAddr,
    service: SocketAddr,
) -> anyhow::Result<()> {
    let url = format!("http://{simulator}");
    let client = reqwest::Client::new();
    for (id, name, credits, money) in demo::PRICES {
        let price = json!({
            "id": id, "currency": "eur", "unit_amount": money, "product_data": {"name": name},
            "metadata": {"credits": credits.to_string(), "credit_unit": demo::UNIT},
        });
        let answer = client.post(format!("{url}/_control/prices")).json(&price).send().await?;
        ensure!(answer.status().is_success(), "the simulated Stripe does not take the price {id}");
    }
    let (key, base_url) = (ApiKey::parse(API_KEY)?, BaseUrl::parse(&url, LedgerMode::Test)?);
    administration.vault().keep_stripe_key(ledger.ledger, &key, Some(&base_url), None).await?;
    let checkout = CheckoutSettings {
        success_url: Some(format!("http://{service}/docs")),
        cancel_url: Some(format!("http://{service}/docs")),
        redirect_hosts: ["127.0.0.1", "localhost"].map(str::to_owned).into(),
        promotion_codes: true,
        ..CheckoutSettings::default()
    };
    let once = Key::new(Namespace::System, "demo:checkout")?;
    administration.submit(ledger, Command::ConfigureCheckout(checkout), Some(once)).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_port_of_the_last_run_is_taken_again_if_it_is_free() {
        let directory = tempfile::tempdir().expect("a directory");
        let first = listen(directory.path()).await.expect("a port").local_addr().expect("an address");
        let file = environment_file::path(directory.path());
        environment_file::write(&file, &[(STRIPE_URL, &format!("http://{first}"))]).expect("a file");
        let again = listen(directory.path()).await.expect("the port");
        assert_eq!(again.local_addr().expect("an address"), first);
        let other = listen(directory.path()).await.expect("another port").local_addr().expect("an address");
        assert_ne!(other, first);
    }
}
