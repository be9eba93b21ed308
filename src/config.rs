//! Settings: one definition of each flag, its environment variable, its default and its meaning.
//!
//! Values stay text here where parsing them belongs to somebody else: a database address may hold a password, so
//! it is a secret from the command line on, and neither `--help` nor an error prints it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, ValueEnum};
use secrecy::SecretString;

/// Where the database is, as the service sees it.
#[derive(Clone, Debug, Args)]
pub struct DatabaseSettings {
    /// PostgreSQL for the service: a login role that is a member of `counterfoil_runtime` and owns nothing.
    ///
    /// A URL or name=value text as for psql: sslmode (disable, allow, prefer, require, verify-ca, verify-full)
    /// with sslrootcert, several hosts, target_session_attrs (any, read-write, primary, read-only, standby),
    /// connect_timeout, keepalives and more. `pgbouncer=true` says that a pooler in transaction mode stands
    /// between.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
}

/// Where the database is, as migrations see it.
#[derive(Clone, Debug, Args)]
pub struct MigrateSettings {
    /// PostgreSQL as in `counterfoil serve`. If --database-direct-url is given too and names another role, the
    /// role of this address is created if it is missing and let into `counterfoil_runtime`.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    #[arg(required_unless_present = "database_direct_url")]
    pub database_url: Option<SecretString>,
    /// PostgreSQL for migrations: the role that owns the tables, connected to directly and not through a pooler.
    /// --database-url if absent.
    #[arg(long, env = "DATABASE_DIRECT_URL", hide_env_values = true, value_name = "URL")]
    pub database_direct_url: Option<SecretString>,
    /// A directory with projections of your own, each a folder with tables.sql and apply.sql. They are set up
    /// beside those that come with the program, and every running process follows them.
    #[arg(long, env = "COUNTERFOIL_PROJECTIONS_DIR", value_name = "DIRECTORY")]
    pub projections_dir: Option<PathBuf>,
}

/// The variable with the key that secrets are sealed with, for messages.
pub const KEY_ENCRYPTION_KEY: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY";
/// The variable with older keys that still open what they sealed, for messages.
pub const KEY_ENCRYPTION_KEY_PREVIOUS: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY_PREVIOUS";

/// What opens the secrets that lie in the database.
#[derive(Clone, Debug, Default, Args)]
pub struct SealingSettings {
    /// The key that secrets of ledgers are sealed with: 32 random bytes in base64, as `openssl rand -base64 32`
    /// prints them. Keep a copy where the database's backups are not.
    ///
    /// Without it no ledger can call Stripe, and signing secrets of webhooks are kept in clear.
    #[arg(long, env = KEY_ENCRYPTION_KEY, hide_env_values = true, value_name = "KEY")]
    pub key_encryption_key: Option<SecretString>,
    /// Older keys, separated by commas, that open what they sealed until `counterfoil ledger reseal` has run.
    #[arg(long, env = KEY_ENCRYPTION_KEY_PREVIOUS, hide_env_values = true, value_name = "KEYS")]
    pub key_encryption_key_previous: Option<SecretString>,
}

/// How Stripe is called.
#[derive(Clone, Debug, Args)]
pub struct StripeSettings {
    /// The most calls a second that this process makes to Stripe for one ledger in test mode.
    #[arg(long, env = "COUNTERFOIL_STRIPE_TEST_RATE", default_value = "25", value_name = "NUMBER")]
    pub stripe_test_rate: NonZeroU32,
    /// The most calls a second that this process makes to Stripe for one ledger in live mode.
    #[arg(long, env = "COUNTERFOIL_STRIPE_LIVE_RATE", default_value = "100", value_name = "NUMBER")]
    pub stripe_live_rate: NonZeroU32,
    /// How long one call to Stripe may take.
    #[arg(long, env = "COUNTERFOIL_STRIPE_TIMEOUT_SECONDS", default_value = "20", value_name = "SECONDS")]
    #[arg(value_parser = seconds)]
    pub stripe_timeout_seconds: Duration,
}

impl Default for StripeSettings {
    fn default() -> Self {
        let rate = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        Self {
            stripe_test_rate: rate(25),
            stripe_live_rate: rate(100),
            stripe_timeout_seconds: Duration::from_secs(20),
        }
    }
}

/// Where checkpoints stand outside of the database.
#[derive(Clone, Debug, Default, Args)]
pub struct CheckpointSettings {
    /// A directory that each signed head of a ledger's events is written to, one file for each log. Best on storage that
    /// whoever administers the database cannot rewrite. Before anything is signed, it is held against what stands there.
    #[arg(long, env = "COUNTERFOIL_CHECKPOINT_DIR", value_name = "DIRECTORY")]
    pub checkpoint_dir: Option<PathBuf>,
    /// An address that each signed head is posted to, as text. Whoever answers 409 there halts the log. Before anything is
    /// signed, it is asked for the last head of a log (GET, `origin` in the query); 404 if it has none or cannot tell.
    #[arg(long, env = "COUNTERFOIL_CHECKPOINT_URL", value_name = "URL")]
    pub checkpoint_url: Option<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Args)]
pub struct LogSettings {
    /// The least important messages that are written (to standard error).
    ///
    /// It applies to Counterfoil's own messages; its libraries speak up from `warn` on only, because what they
    /// say below that may contain data.
    #[arg(long, env = "COUNTERFOIL_LOG_LEVEL", default_value = "info", value_name = "LEVEL")]
    pub log_level: LogLevel,
    /// One JSON object per line for machines, or text for people.
    #[arg(long, env = "COUNTERFOIL_LOG_FORMAT", default_value = "json", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

/// How important a message must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    /// Something failed and somebody should look.
    Error,
    /// Something is odd, and the service goes on.
    Warn,
    /// What an operator wants to know about a normal day.
    Info,
    /// What helps to find a defect.
    Debug,
    /// Everything.
    Trace,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// Text.
    Text,
}

/// What `counterfoil serve` needs to know.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// The database.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// How the service behaves, wherever its database comes from.
    #[command(flatten)]
    pub service: ServiceSettings,
    /// The log.
    #[command(flatten)]
    pub log: LogSettings,
}

/// How the service behaves.
#[derive(Clone, Debug, Args)]
pub struct ServiceSettings {
    /// Address and port for HTTP. Port 0 takes a free one, which the log tells. Encryption is for the proxy in
    /// front.
    #[arg(long, env = "COUNTERFOIL_LISTEN", default_value = "127.0.0.1:8080", value_name = "ADDRESS:PORT")]
    pub listen: SocketAddr,
    /// How the addresses of the pages begin that buyers see, as their browsers reach them: `https://credits.example.com`.
    /// A service that listens to its own machine alone is taken to be found there.
    #[arg(long, env = PUBLIC_URL, value_name = "URL", value_parser = PublicUrl::parse)]
    pub public_url: Option<PublicUrl>,
    /// The most database connections that reads and background work share; what writes has others.
    #[arg(long, env = "COUNTERFOIL_DATABASE_POOL_SIZE", default_value_t = 16, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub database_pool_size: u16,
    /// The most database connections of what writes. Each ledger that is written to has one; a ledger that gets none waits
    /// for that of another one.
    #[arg(long, env = "COUNTERFOIL_WRITER_CONNECTIONS", default_value_t = 16, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub writer_connections: u16,
    /// How long requests that are under way may take to finish when the service is told to stop.
    #[arg(long, env = "COUNTERFOIL_SHUTDOWN_SECONDS", default_value = "30", value_name = "SECONDS")]
    #[arg(value_parser = seconds)]
    pub shutdown_seconds: Duration,
    /// Whether this process does what happens without being asked for (projections, seals, webhooks, calls to Stripe,
    /// expiry). One that only answers requests needs another one beside it that does.
    #[arg(long, env = "COUNTERFOIL_WORKERS", default_value_t = true, action = ArgAction::Set, value_name = "true|false")]
    pub workers: bool,
    /// What opens secrets.
    #[command(flatten)]
    pub sealing: SealingSettings,
    /// How Stripe is called.
    #[command(flatten)]
    pub stripe: StripeSettings,
    /// How often Stripe's events are read, for those that no webhook has brought.
    #[arg(long, env = "COUNTERFOIL_RECONCILE_SECONDS", default_value = "300", value_name = "SECONDS")]
    #[arg(value_parser = seconds)]
    pub reconcile_seconds: Duration,
    /// Where checkpoints go.
    #[command(flatten)]
    pub checkpoints: CheckpointSettings,
}

/// How the addresses of our own pages begin, as buyers' browsers see them; without a slash at the end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PublicUrl(String);

impl PublicUrl {
    /// Reads an address: `https://`, or `http://` for trials, a host, perhaps a port and a path.
    ///
    /// # Errors
    /// What such an address looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('/').unwrap_or(text);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':' | b'/');
        match rest {
            Some(rest) if !rest.is_empty() && !rest.starts_with('/') && rest.bytes().all(is_plain) => {
                Ok(Self(text.to_owned()))
            }
            _ => Err("an address like https://credits.example.com".to_owned()),
        }
    }

    /// Where a service is found that listens to this machine alone; none for one that others can reach, since what they
    /// call it is not known here.
    pub fn of_this_machine(listen: SocketAddr) -> Option<Self> {
        listen.ip().is_loopback().then(|| Self(format!("http://{listen}")))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The variable with the address of our own pages, for messages.
pub const PUBLIC_URL: &str = "COUNTERFOIL_PUBLIC_URL";

/// What `counterfoil dev` needs to know.
#[derive(Clone, Debug, Args)]
pub struct DevSettings {
    /// The port for HTTP on 127.0.0.1.
    #[arg(long, env = "COUNTERFOIL_PORT", default_value_t = 8080, value_name = "PORT")]
    pub port: u16,
    /// Where the database and the generated secrets live. Instances on different directories and ports run side by
    /// side.
    #[arg(long, env = "COUNTERFOIL_DATA_DIR", default_value = ".counterfoil", value_name = "DIRECTORY")]
    pub data_dir: PathBuf,
    /// The least important messages that are written (to standard error).
    #[arg(long, env = "COUNTERFOIL_LOG_LEVEL", default_value = "warn", value_name = "LEVEL")]
    pub log_level: LogLevel,
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 1..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds from 1 to 3600".to_owned()),
    }
}
