//! A database for one test: cloned from the migrated template, dropped with the value, also when the test panics.

use secrecy::SecretString;
use tokio_postgres::Client;
use uuid::Uuid;

use super::cluster::{self, APP, OWNER, SharedCluster, cluster};
use counterfoil::sandbox::postgres::SUPERUSER;

/// A database of one's own.
pub struct TestDatabase {
    name: String,
    cluster: &'static SharedCluster,
}

impl TestDatabase {
    /// One with all tables and nothing in them.
    pub async fn migrated() -> Self {
        Self::filled("migrated", async |_| {}).await
    }

    /// One without any tables, owned by the owner.
    pub async fn empty() -> Self {
        let superuser = cluster().superuser(SUPERUSER).await;
        // The owner is made with the first template.
        cluster().ensure_template(&superuser, "migrated", async |_| {}).await;
        Self::create(&superuser, "").await
    }

    /// One with all tables and what `fill` has put into them, once for all tests that give that name. `fill` gets the address
    /// for the role that the service runs as.
    pub async fn filled(name: &str, fill: impl AsyncFnOnce(SecretString)) -> Self {
        let superuser = cluster().superuser(SUPERUSER).await;
        let template = cluster().ensure_template(&superuser, name, fill).await;
        Self::create(&superuser, &format!("TEMPLATE {template} STRATEGY file_copy")).await
    }

    async fn create(superuser: &Client, source: &str) -> Self {
        let name = format!("test_{}", Uuid::new_v4().simple());
        let statement = format!("CREATE DATABASE {name} OWNER {OWNER} {source}");
        superuser.batch_execute(&statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
        Self { name, cluster: cluster() }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The port of its server on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.cluster.port()
    }

    /// Its address for the role that the service runs as.
    pub fn runtime_url(&self) -> SecretString {
        self.cluster.url(APP, &self.name)
    }

    /// Its address for the role that owns the tables.
    pub fn owner_url(&self) -> SecretString {
        self.cluster.url(OWNER, &self.name)
    }

    /// Its address for the superuser.
    pub fn superuser_url(&self) -> SecretString {
        self.cluster.url(SUPERUSER, &self.name)
    }

    /// A connection as the role that the service runs as.
    pub async fn runtime(&self) -> Client {
        cluster::connect(self.runtime_url()).await
    }

    /// A connection as the role that owns the tables.
    pub async fn owner(&self) -> Client {
        cluster::connect(self.owner_url()).await
    }

    /// A connection as the superuser, who sees everything.
    pub async fn superuser(&self) -> Client {
        cluster::connect(self.superuser_url()).await
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (name, cluster) = (self.name.clone(), self.cluster);
        // A thread with a runtime of its own: dropping happens inside of the test's runtime, also in a panic.
        let dropping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let superuser = cluster.superuser(SUPERUSER).await;
                let statement = format!("DROP DATABASE {name} WITH (FORCE)");
                superuser.batch_execute(&statement).await.expect("a database of ours");
            });
        });
        let outcome = dropping.join();
        assert!(outcome.is_ok() || std::thread::panicking(), "the test's database could not be dropped");
    }
}
