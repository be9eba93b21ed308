//! One PostgreSQL cluster for the whole test run.
//!
//! A run is many processes (cargo-nextest starts one for each test) or many threads of one (`cargo test`), or both
//! at once. Whoever comes first starts the cluster; the others adopt it; a [reaper](super::reaper), a process of
//! its own, stops it and removes its directory a moment after the last one has gone, however it went.
//!
//! Lock files in `target/` keep order, and the kernel forgets a process's locks when it dies: `users` is held shared by
//! every test process while it lives, `start` by the one that starts or adopts, `templates` by the one that makes a
//! database to clone.

use std::collections::hash_map::DefaultHasher;
use std::fs::{File, OpenOptions};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use counterfoil::sandbox::postgres::{Cluster, SUPERUSER, Settings};
use counterfoil::store::database_url::DatabaseUrl;
use counterfoil::store::pool::Database;
use counterfoil::store::roles::Login;
use counterfoil::store::{migrate, provision};
use hmac::{Hmac, KeyInit, Mac};
use nix::sys::statvfs::{Statvfs, statvfs};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
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
        let (password, port) = (self.password.expose_secret(), self.port);
        format!("postgres://{role}:{password}@127.0.0.1:{port}/{database}?sslmode=disable").into()
    }

    /// The name of a migrated database to clone, which `fill` has filled once for all processes. `fill` gets its
    /// address for the role that the service runs as.
    pub async fn ensure_template(
        &self,
        superuser: &Client,
        name: &str,
        fill: impl AsyncFnOnce(SecretString),
    ) -> String {
        let template = format!("template_{name}_{:016x}", migrate::fingerprint());
        let exists = async || {
            let found = superuser.query("SELECT FROM pg_database WHERE datname = $1", &[&template]).await;
            !found.expect("the list of databases").is_empty()
        };
        if exists().await {
            return template;
        }
        let file = lock_file("templates");
        let lock = tokio::task::spawn_blocking(move || file.lock().map(|()| file));
        let _lock = lock.await.expect("no panic").expect("the lock of the templates");
        if exists().await {
            return template;
        }
        // Under another name first, so that one that was cut short is never cloned.
        let unfinished = format!("{template}_unfinished");
        run(superuser, &format!("DROP DATABASE IF EXISTS {unfinished} WITH (FORCE)")).await;
        self.make_migrated(superuser, &unfinished).await;
        fill(self.url(APP, &unfinished)).await;
        // Sessions that are just ending would be in the way of the last statement.
        run(superuser, &format!("ALTER DATABASE {unfinished} ALLOW_CONNECTIONS false")).await;
        let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1";
        superuser.query(end, &[&unfinished]).await.expect("no sessions");
        run(superuser, &format!("ALTER DATABASE {unfinished} RENAME TO {template}")).await;
        template
    }

    async fn make_migrated(&self, superuser: &Client, name: &str) {
        let login = |name: &str| Login { name: name.to_owned(), password: Some(self.password.clone()) };
        provision::ensure_owner(superuser, &login(OWNER)).await.expect("an owner");
        provision::ensure_database(superuser, name, &login(OWNER)).await.expect("a database");
        let owner = database(self.url(OWNER, name));
        migrate::run(&owner, Some(&login(APP))).await.expect("a migrated database");
        for role in [SUPERUSER, OWNER, APP] {
            let verifier = quick_verifier(self.password.expose_secret());
            run(superuser, &format!("ALTER ROLE {role} PASSWORD '{verifier}'")).await;
        }
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

/// Where this build's cluster lives: where the user that PostgreSQL runs as can enter wherever the sources are.
pub fn directory() -> PathBuf {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_TARGET_TMPDIR").hash(&mut hasher);
    directory_for_all().join(format!("counterfoil-tests-{:016x}", hasher.finish()))
}

/// In memory where there is room, unless the caller says where: each test makes and drops a database of some five hundred
/// files, which costs a file system on a disk more than all that the test does with it. Else the system's temporary directory.
fn directory_for_all() -> PathBuf {
    const ROOM: f64 = 4e9;
    let memory = Path::new("/dev/shm");
    let room = |size: &Statvfs| size.blocks_available() as f64 * size.fragment_size() as f64;
    let has_room = statvfs(memory).is_ok_and(|size| room(&size) >= ROOM);
    if std::env::var_os("TMPDIR").is_none() && has_room { memory.to_owned() } else { std::env::temp_dir() }
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
        // Whoever makes or drops a database waits for all sessions, also for those of which a test has cut off the login.
        parameters: vec![("authentication_timeout".to_owned(), "5s".to_owned())],
    });
    let cluster = cluster.expect("a PostgreSQL for the tests");
    assert!(!cluster.moved(), "set TMPDIR to a directory that the user of PostgreSQL can enter");
    let shared = SharedCluster { port: cluster.port(), password: cluster.password().clone(), _user: user };
    cluster.leave_running();
    shared
}

/// What PostgreSQL is to know of a password that nobody has to guess: thousands of logins in a run hash it once each, instead
/// of four thousand times (RFC 5802, RFC 7677).
fn quick_verifier(password: &str) -> String {
    let hmac = |key: &[u8], message: &[&[u8]]| {
        let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("keys of any length");
        message.iter().for_each(|part| hmac.update(part));
        hmac.finalize().into_bytes()
    };
    let salt = b"a password for tests";
    let salted = hmac(password.as_bytes(), &[salt, &1_u32.to_be_bytes()]);
    let stored_key = Sha256::digest(hmac(&salted, &[b"Client Key"]));
    let server_key = hmac(&salted, &[b"Server Key"]);
    let [salt, stored_key, server_key] =
        [&salt[..], &stored_key, &server_key].map(|part| BASE64.encode(part));
    format!("SCRAM-SHA-256$1:{salt}${stored_key}:{server_key}")
}

async fn run(client: &Client, statement: &str) {
    client.batch_execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error:?}"));
}
