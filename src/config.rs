//! Settings shared by subcommands: one definition of each flag, its environment variable and its meaning.
//!
//! Values stay text here where parsing them belongs to somebody else: a database address may hold a password, so
//! it is a secret from the command line on, and `clap` never prints it.

use secrecy::SecretString;

/// Where the database is.
#[derive(Clone, Debug, clap::Args)]
pub struct DatabaseSettings {
    /// PostgreSQL as the service uses it: a login role that is a member of `counterfoil_runtime` and owns
    /// nothing.
    ///
    /// A URL or name=value text as for psql: sslmode (disable, allow, prefer, require, verify-ca, verify-full)
    /// with sslrootcert, several hosts, target_session_attrs (any, read-write, primary, read-only, standby),
    /// connect_timeout, keepalives and more. `pgbouncer=true` says that a pooler in transaction mode stands
    /// between.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,
    /// The most connections that reads and background workers share; writers have their own.
    #[arg(long, env = "COUNTERFOIL_DATABASE_POOL_SIZE", default_value_t = 16, value_name = "NUMBER")]
    #[arg(value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub database_pool_size: u16,
}
