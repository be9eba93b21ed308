//! A Stripe that works without a network: it keeps state, speaks Stripe's HTTP API on a port of its own, shows a page to
//! pay at, and sends signed webhooks. A control API plays banks, buyers and bad days.
//!
//! What it must never do: answer in a shape that Stripe would not, forget something it has answered for, or know anything
//! of the ledger. Objects are kept in the API version that our client is made for and shown in older ones on request.
//!
//! | part | what it is for |
//! | --- | --- |
//! | `api`, `answer`, `form`, `parameters`, `idempotency` | requests and answers as Stripe's |
//! | `resources/` | one file for each kind of object |
//! | `checkout`, `payments`, `pricing`, `invoices`, `cards` | how money moves |
//! | `subscriptions`, `billing`, `calendar` | how it moves again every month |
//! | `events`, `webhooks`, `older` | who hears of it, and in which shape |
//! | `world`, `store`, `journal`, `due` | state, time, and what survives |
//! | `page/` | where buyers pay in a browser |
//! | `control`, `faults`, `connection` | what is ordered to happen |

mod answer;
mod api;
mod billing;
mod calendar;
mod cards;
mod checkout;
mod connection;
mod control;
mod due;
mod events;
mod faults;
mod form;
mod idempotency;
mod ids;
mod invoices;
mod journal;
mod lists;
mod older;
mod page;
mod parameters;
mod payments;
mod pricing;
mod resources;
mod search;
mod store;
mod subscriptions;
mod webhooks;
mod world;

use std::{io, net::SocketAddr, path::PathBuf, sync::Arc};

use poem::Route;
use serde_json::json;
use tokio::{net::TcpListener, task::JoinHandle};

use api::Api;
use connection::{Connections, Doorkeeper};
use control::Control;
use page::Pages;
use resources::webhook_endpoints;
use store::Kind;
use world::{Cause, Shared, Transaction};

/// The version of Stripe's API that objects are kept in.
pub const API_VERSION: &str = "2026-09-30.endive";

/// How a simulator behaves.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only API key that is taken.
    pub api_key: String,
    /// Where webhooks go from the start, beside endpoints that are made by the API.
    pub webhooks: Vec<Webhook>,
    /// What automatic tax takes, of an amount without tax.
    pub tax_percent: i64,
    /// Where state survives the process; without it, it does not.
    pub folder: Option<PathBuf>,
    /// How browsers reach the simulator, if not at the address that it listens at.
    pub public_url: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            api_key: "sk_test_counterfoil".to_owned(),
            webhooks: Vec::new(),
            tax_percent: 19,
            folder: None,
            public_url: None,
        }
    }
}

/// A receiver of webhooks.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Where they are posted.
    pub url: String,
    /// What signs them, `whsec_…`.
    pub secret: String,
    /// In which version of the API they are written; the newest, if none is given.
    pub api_version: Option<String>,
}

/// A simulator that runs. It ends when this is dropped.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    server: JoinHandle<io::Result<()>>,
    sender: JoinHandle<()>,
}

impl Simulator {
    /// Starts to answer and to send.
    ///
    /// # Errors
    /// If the listener has no address, or the folder cannot be used.
    pub fn start(listener: TcpListener, settings: Settings) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let base_url = settings.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let folder = settings.folder.clone();
        let shared = Arc::new(Shared::open(settings, base_url, folder.as_deref())?);
        know_webhooks(&shared)?;
        let connections = Connections::default();
        let route = Route::new()
            .nest_no_strip("/v1", Api { shared: Arc::clone(&shared), connections: connections.clone() })
            .nest_no_strip("/_control", Control { shared: Arc::clone(&shared) })
            .nest_no_strip("/pay", Pages { shared: Arc::clone(&shared) })
            .nest_no_strip("/portal", Pages { shared: Arc::clone(&shared) });
        let doorkeeper = Doorkeeper::new(listener, connections)?;
        let server = tokio::spawn(poem::Server::new_with_acceptor(doorkeeper).run(route));
        let sender = tokio::spawn(webhooks::run(shared));
        Ok(Self { address, server, sender })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server ends, which it only does if it fails.
    ///
    /// # Errors
    /// Why it ended.
    pub async fn run(mut self) -> io::Result<()> {
        (&mut self.server).await.map_err(io::Error::other)?
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.server.abort();
        self.sender.abort();
    }
}

/// Makes endpoints for the webhooks of the settings, unless they are there from an earlier time.
fn know_webhooks(shared: &Shared) -> io::Result<()> {
    shared
        .transact(Cause::default(), |transaction| {
            for webhook in &shared.settings.webhooks {
                know_webhook(transaction, webhook);
            }
            Ok(())
        })
        .map_err(|failure| io::Error::other(failure.message))
}

fn know_webhook(transaction: &mut Transaction<'_>, webhook: &Webhook) {
    let known =
        transaction.store.all(Kind::WebhookEndpoint).find(|endpoint| endpoint["url"] == webhook.url.as_str());
    match known.and_then(|endpoint| endpoint["id"].as_str()).map(str::to_owned) {
        None => {
            let version = webhook.api_version.clone().into();
            webhook_endpoints::make(transaction, &webhook.url, &webhook.secret, json!(["*"]), version);
        }
        Some(id) if !webhook_endpoints::secrets(transaction, &id).contains(&webhook.secret) => {
            webhook_endpoints::rotate(transaction, &id, &webhook.secret, 0);
        }
        Some(_) => {}
    }
}
