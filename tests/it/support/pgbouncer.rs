//! A PgBouncer in transaction mode before the shared cluster. It clears the session after every transaction, so that
//! whatever relies on one fails at once and not only when another client happened to come in between.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use counterfoil::sandbox::run_as::RunAs;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpStream;

use super::cluster::{APP, cluster};
use super::private::open_directory;
use super::wait;

/// A running PgBouncer; ends when dropped.
pub struct PgBouncer {
    port: u16,
    process: Child,
    _directory: tempfile::TempDir,
}

impl PgBouncer {
    /// Starts one that lets the service's role in.
    pub async fn start() -> Self {
        let directory = open_directory();
        let port = free_port();
        let app_url = cluster().url(APP, "any");
        let users = directory.path().join("users");
        std::fs::write(&users, format!("\"{APP}\" \"{}\"\n", password_of(&app_url))).expect("a file");
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = scram-sha-256\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 1\nserver_reset_query = DISCARD ALL\nserver_reset_query_always = 1\n",
            cluster().port(),
            users.display()
        );
        let file = directory.path().join("settings.ini");
        std::fs::write(&file, settings).expect("a file");
        let user = RunAs::for_directory(directory.path()).expect("a user that is not root");
        let mut command = user.command(&program());
        let process =
            command.arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("the pgbouncer program");
        let bouncer = Self { port, process, _directory: directory };
        wait::until("PgBouncer to listen", async || TcpStream::connect(("127.0.0.1", port)).await.ok()).await;
        bouncer
    }

    /// A database's address, leading through PgBouncer.
    pub fn url(&self, direct: &SecretString) -> SecretString {
        let server = format!("@127.0.0.1:{}/", cluster().port());
        let through = direct.expose_secret().replace(&server, &format!("@127.0.0.1:{}/", self.port));
        format!("{through}&pgbouncer=true").into()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        // Errors mean that it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Debian puts it where only administrators look.
fn program() -> PathBuf {
    let administrators = Path::new("/usr/sbin/pgbouncer");
    if administrators.exists() { administrators.to_owned() } else { PathBuf::from("pgbouncer") }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

fn password_of(url: &SecretString) -> &str {
    let (_, rest) = url.expose_secret().split_once("//").expect("a URL");
    let (credentials, _) = rest.split_once('@').expect("credentials");
    credentials.split_once(':').map(|(_, password)| password).expect("a password")
}
