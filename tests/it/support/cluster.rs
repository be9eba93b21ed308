//! One PostgreSQL cluster for the whole test run.
//!
//! A run is many processes (cargo-nextest starts one for each test) or many threads of one (`cargo test`), or both
//! at once. Whoever comes first starts the cluster; the others adopt it; a [reaper](super::reaper), a process of
//! its own, stops it and removes its directory a moment after the last one has gone, however it went.
//!
//! Two lock files in `target/` keep order, and the kernel forgets a process's locks when it dies:
//! `users` is held shared by every test process while it lives, `start` by the one that starts or adopts.

use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::path::PathBuf;
use std::sync::OnceLock;

use counterfoil::sandbox::postgres::{Cluster, SUPERUSER, Settings};
use counterfoil::store::database_url::DatabaseUrl;
use counterfoil::store::pool::Database;
use counterfoil::store::roles::Login;
use counterfoil::store::{migrate, provision};
use secrecy::SecretString;
use tokio_postgres::Client;

use super::reaper;

/// The role that owns every test database.
pub const OWNER: &str = "counterfoil_owner";
/// The role that the service under test logs in as.
pub const APP: &str = "counterfoil_app";

/// The running cluster, as this process knows it.
pub struct SharedCluster {
    port: u16,
    password: SecretString,
    template: String,
    /// Its lock says that somebody still needs the cluster.
    _user: File,
}

/// The cluster of this run: started or adopted on first use.
pub fn cluster() -> &'static SharedCluster {
    static CLUSTER: OnceLock<SharedCluster> = OnceLock::new();
    // A thread of its own, because callers may stand inside of a runtime, where blocking is not allowed.
    CLUSTER.get_or_init(|| std::thread::spawn(join).join().expect("the shared cluster"))
}

impl SharedCluster {
    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a database for one of the roles, which all have the same password.
    pub fn url(&self, role: &str, database: &str) -> SecretString {
        use secrecy::ExposeSecret;
        let (password, port) = (self.password.expose_secret(), self.port);
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable").into()
    }

    /// The name of the migrated database that tests clone.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// A connection as the superuser.
    pub async fn superuser(&self, database: &str) -> Client {
        connect(self.url(SUPERUSER, database)).await
    }
}

/// Opens a connection of one's own.
pub async fn connect(url: SecretString) -> Client {
    database(url).connect().await.expect("a connection to the test cluster")
}

fn database(url: SecretString) -> Database {
    let url = DatabaseUrl::parse(&url).expect("a valid address");
    Database::open(&url, 1).expect("a usable address")
}

/// A lock file of this build's `target/`.
pub fn lock_file(name: &str) -> File {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("cluster.{name}.lock"));
    OpenOptions::new().create(true).truncate(false).write(true).open(path).expect("a lock file")
}

/// Where this build's cluster lives: below the system's temporary directory, which the user that PostgreSQL runs
/// as can enter wherever the sources are.
pub fn directory() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_TARGET_TMPDIR").hash(&mut hasher);
    std::env::temp_dir().join(format!("counterfoil-tests-{:016x}", hasher.finish()))
}

fn join() -> SharedCluster {
    let user = lock_file("users");
    user.lock_shared().expect("the lock of the users");
    let start = lock_file("start");
    start.lock().expect("the lock of the starter");
    reaper::ensure_running();

    let cluster = Cluster::start(&Settings {
        directory: directory().join("postgres"),
        durable: false,
        max_connections: 400,
        parameters: vec![],
    });
    let cluster = cluster.expect("a PostgreSQL for the tests");
    assert!(!cluster.moved(), "set TMPDIR to a directory that the user of PostgreSQL can enter");
    let template = format!("template_{:016x}", migrate::fingerprint());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(ensure_template(&cluster, &template));

    let shared =
        SharedCluster { port: cluster.port(), password: cluster.password().clone(), template, _user: user };
    cluster.leave_running();
    shared
}

/// Makes the template under another name first, so that one that was cut short is never cloned.
async fn ensure_template(cluster: &Cluster, template: &str) {
    let superuser = connect(cluster.url(SUPERUSER, SUPERUSER)).await;
    let exists = superuser.query("SELECT FROM pg_database WHERE datname = $1", &[&template]).await;
    if !exists.expect("the list of databases").is_empty() {
        return;
    }
    let unfinished = format!("{template}_unfinished");
    let login = |name: &str| Login { name: name.to_owned(), password: Some(cluster.password().clone()) };
    run(&superuser, &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
    provision::ensure_owner(&superuser, &login(OWNER)).await.expect("an owner");
    provision::ensure_database(&superuser, &unfinished, &login(OWNER)).await.expect("a database");
    let owner = database(cluster.url(OWNER, &unfinished));
    migrate::run(&owner, Some(&login(APP))).await.expect("a migrated template");
    drop(owner);
    // Sessions that are just ending would be in the way of the next statement.
    run(&superuser, &format!("ALTER DATABASE {unfinished} ALLOW_CONNECTIONS false")).await;
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
    superuser.query(end, &[&unfinished]).await.expect("no sessions");
    run(&superuser, &format!("ALTER DATABASE {unfinished} RENAME TO {template}")).await;
}

async fn run(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}
