//! A PostgreSQL cluster of one test's own, for what cannot be tried on the shared one.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use counterfoil::sandbox::postgres::{Cluster, Settings};

/// A directory that every user can enter, as the user of PostgreSQL must when tests run as root.
pub fn open_directory() -> tempfile::TempDir {
    let mode = std::fs::Permissions::from_mode(0o755);
    tempfile::Builder::new().permissions(mode).tempdir().expect("a temporary directory")
}

/// A small cluster below `directory`. What was committed survives its processes, not the machine.
pub fn settings(directory: &Path) -> Settings {
    Settings {
        directory: directory.join("postgres"),
        durable: false,
        max_connections: 10,
        parameters: vec![("shared_buffers".to_owned(), "1MB".to_owned())],
    }
}

/// Starts or adopts it.
pub async fn start(settings: &Settings) -> Cluster {
    let settings = settings.clone();
    let start = tokio::task::spawn_blocking(move || Cluster::start(&settings));
    start.await.expect("no panic").expect("a running cluster")
}

/// Stops it.
pub async fn stop(cluster: Cluster) {
    tokio::task::spawn_blocking(|| cluster.stop()).await.expect("no panic").expect("a stopped cluster");
}
