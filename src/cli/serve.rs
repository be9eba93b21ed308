//! `counterfoil serve`: the service, in production.

use anyhow::Context;
use tokio::net::TcpListener;

use crate::app::{self, stop::Stop};
use crate::config::ServeSettings;
use crate::telemetry;

/// Run the service.
///
/// Any number of processes may serve one database. SIGTERM and Ctrl-C end it in order: no new requests, those under way
/// are finished, what was accepted is written.
#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    settings: ServeSettings,
}

pub(super) async fn run(Arguments { settings }: Arguments) -> anyhow::Result<()> {
    telemetry::start_logging(&settings.log)?;
    let stop = Stop::on_signals().context("signals cannot be listened to")?;
    let pool_size = usize::from(settings.service.database_pool_size);
    let database = app::open_database(&settings.database.database_url, pool_size)?;
    let address = settings.service.listen;
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    app::serve(database, &settings.service, listener, stop).await
}
