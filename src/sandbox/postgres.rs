//! A PostgreSQL cluster of one's own: made on first use, started, adopted if it is still there, stopped cleanly.
//!
//! Everything lives in one directory: `data/` (the cluster), `password` (of its superuser), `log`. The server
//! listens on a free port of 127.0.0.1 and on no socket file, whose paths are too short for deep directories;
//! the password is random and every connection needs it.
//!
//! The server runs in a process group of its own, so that Ctrl-C reaches only us and we stop it when we have
//! drained. Killed without a chance to do so, we leave a running server behind, and the next start adopts it.
//! Data survive `kill -9` of everything unless [`Settings::durable`] is off.
//!
//! Invariant: at most one process starts or stops the cluster of a directory at a time; the caller holds a lock.
//! The functions block; call them where that is allowed.

mod place;
mod postmaster;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use secrecy::{ExposeSecret, SecretString};

use self::place::Place;
use self::postmaster::Postmaster;
use super::binaries::BinariesError;

/// The superuser of every cluster made here.
pub const SUPERUSER: &str = "postgres";

/// A fast shutdown writes a checkpoint.
const STOP_LIMIT: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);

/// What kind of cluster is wanted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it lives; made if missing.
    pub directory: PathBuf,
    /// Whether commits survive a crash of the machine; they survive that of the server in any case. Off is faster and
    /// for tests only.
    pub durable: bool,
    /// `max_connections`.
    pub max_connections: u16,
    /// Further settings of the server, as name and value.
    pub parameters: Vec<(String, String)>,
}

/// A running cluster. Stops when dropped, unless [`Cluster::leave_running`] was called.
#[derive(Debug)]
pub struct Cluster {
    directory: PathBuf,
    moved: bool,
    adopted: bool,
    postmaster: Postmaster,
    /// Present if this process started the server: a child must be waited for.
    child: Option<Child>,
    password: SecretString,
    running: bool,
}

/// Why there is no running cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// No usable PostgreSQL on this machine.
    #[error(transparent)]
    Binaries(#[from] BinariesError),
    /// No directory that the server's user can enter.
    #[error(
        "the user `{user}`, under which PostgreSQL has to run, can enter neither {} nor a replacement for it",
        directory.display()
    )]
    Unreachable {
        /// The account.
        user: String,
        /// The directory asked for.
        directory: PathBuf,
    },
    /// The server's user cannot execute the programs.
    #[error("the user `{user}`, under which PostgreSQL has to run, cannot enter {}", directory.display())]
    UnreachableBinaries {
        /// The account.
        user: String,
        /// Where the programs are.
        directory: PathBuf,
    },
    /// The data belong to another version.
    #[error(
        "the data in {} were made by PostgreSQL {found}, but the server on this machine is {server}; point \
         COUNTERFOIL_PG_BIN to version {found}, or use another data directory", directory.display()
    )]
    OtherVersion {
        /// The data directory.
        directory: PathBuf,
        /// The version that made it.
        found: String,
        /// The version that was found on this machine.
        server: u32,
    },
    /// A program of PostgreSQL failed.
    #[error("{program} failed:\n{output}")]
    Failed {
        /// Which one.
        program: &'static str,
        /// What it had to say.
        output: String,
    },
    /// The server neither became ready nor gave up.
    #[error("PostgreSQL in {} did not {verb} within {} s", directory.display(), limit.as_secs())]
    TimedOut {
        /// The cluster's directory.
        directory: PathBuf,
        /// What it should have done.
        verb: &'static str,
        /// How long it had.
        limit: Duration,
    },
    /// The operating system refused something.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// The refusal.
        source: io::Error,
    },
}

impl Cluster {
    /// Adopts the cluster of this directory if it runs, else starts it, making it first if need be.
    ///
    /// # Errors
    ///
    /// See [`ClusterError`].
    pub fn start(settings: &Settings) -> Result<Self, ClusterError> {
        let (place, moved) = Place::choose(&settings.directory)?;
        if let Some(mut cluster) = place.adopt()? {
            cluster.moved = moved;
            return Ok(cluster);
        }
        let binaries = place.find_binaries()?;
        place.initialise(&binaries, settings.durable)?;
        let mut cluster = place.launch(&binaries, settings)?;
        cluster.moved = moved;
        Ok(cluster)
    }

    /// Takes over the cluster of this very directory if it runs.
    ///
    /// # Errors
    ///
    /// When it runs but does not become ready, or its files cannot be read.
    pub fn adopt(directory: &Path) -> Result<Option<Self>, ClusterError> {
        Place::existing(directory)?.adopt()
    }

    /// Where the cluster lives.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether it lives elsewhere than asked for, because its user cannot enter that directory.
    #[must_use]
    pub fn moved(&self) -> bool {
        self.moved
    }

    /// Whether it was running already.
    #[must_use]
    pub fn adopted(&self) -> bool {
        self.adopted
    }

    /// The process id of the server.
    #[must_use]
    pub fn process_id(&self) -> i32 {
        self.postmaster.pid.as_raw()
    }

    /// The port on 127.0.0.1.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.postmaster.port
    }

    /// The superuser's password. Letters and digits only.
    #[must_use]
    pub fn password(&self) -> &SecretString {
        &self.password
    }

    /// The address of one of its databases for a role that has the superuser's password.
    #[must_use]
    pub fn url(&self, role: &str, database: &str) -> SecretString {
        let password = self.password.expose_secret();
        format!("postgres://{role}:{password}@127.0.0.1:{}/{database}?sslmode=disable", self.port()).into()
    }

    /// Ends all sessions and stops the server.
    ///
    /// # Errors
    ///
    /// When it is still there after a minute and more.
    pub fn stop(mut self) -> Result<(), ClusterError> {
        self.shut_down()
    }

    /// Lets the server outlive this process.
    pub fn leave_running(mut self) {
        self.running = false;
    }

    fn shut_down(&mut self) -> Result<(), ClusterError> {
        if !self.running {
            return Ok(());
        }
        // Fast first (checkpoint, clean files), then immediate (recovery at the next start).
        for (signal, limit) in [(Signal::SIGINT, STOP_LIMIT), (Signal::SIGQUIT, STOP_LIMIT / 4)] {
            // An error means that it has ended by itself, which is what we want.
            let _ = kill(self.postmaster.pid, signal);
            if poll_until(limit, || self.has_ended()) {
                self.running = false;
                return Ok(());
            }
        }
        Err(ClusterError::TimedOut { directory: self.directory.clone(), verb: "stop", limit: STOP_LIMIT })
    }

    fn has_ended(&mut self) -> bool {
        match &mut self.child {
            Some(child) => !matches!(child.try_wait(), Ok(None)),
            None => !self.postmaster.is_alive(),
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if let Err(error) = self.shut_down() {
            tracing::error!(%error, "the private PostgreSQL could not be stopped");
        }
    }
}

fn io_error(what: String, source: io::Error) -> ClusterError {
    ClusterError::Io { what, source }
}

/// Asks again and again until the answer is yes (then `true`) or time is up.
fn poll_until(limit: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        pause();
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "this module blocks, as it says, and is called where that is allowed"
)]
fn pause() {
    std::thread::sleep(POLL);
}
