//! The address of a PostgreSQL database: text as libpq writes it, parsed once at the edge.
//!
//! Names, units and meanings of the parameters are those of libpq (PostgreSQL documentation, "Connection
//! Strings"), so that an address that works with `psql` works here. `tokio-postgres` reads a smaller language
//! in other units, which is why the text is not handed to it. One parameter is ours: `pgbouncer=true` says that
//! a pooler in transaction mode stands between, so that nothing may rely on the session.
//!
//! Invariants: no value that parsed is half-valid; neither an error nor `Debug` nor `Display` shows a password.

mod syntax;
mod values;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode, SslNegotiation};

use values::{
    boolean, channel_binding, check, encryption, list, load_balance, negotiation, number, parse_list, ports,
    seconds, session_attributes, value_error,
};

const DEFAULT_PORT: u16 = 5432;
const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

// A peer that vanished without a word is noticed within about a minute, not after the two hours that operating
// systems default to: the write path holds a lock on the server side until the connection is known to be dead.
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(30);
const DEFAULT_KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_KEEPALIVES_COUNT: u32 = 3;
const DEFAULT_TCP_USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a database is and how to talk to it.
#[derive(Clone)]
pub struct DatabaseUrl {
    config: Config,
    server_identity: ServerIdentity,
    pgbouncer: bool,
}

/// What the server has to prove when the connection is encrypted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerIdentity {
    /// Nothing: `sslmode` `disable`, `allow`, `prefer`, or `require` without `sslrootcert`.
    Unverified,
    /// A certificate by an authority in this PEM file, for whatever name: `verify-ca`, or `require` with
    /// `sslrootcert`.
    Authority(PathBuf),
    /// A certificate by an authority among these, for the host's name: `verify-full`.
    AuthorityAndName(TrustedRoots),
}

/// The authorities that may vouch for a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustedRoots {
    /// Those of the operating system: no `sslrootcert`, or `sslrootcert=system`.
    System,
    /// Those in a PEM file.
    File(PathBuf),
}

/// Why a text is not a usable database address. Never contains a piece of a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Nothing but blanks.
    #[error("the database address is empty")]
    Empty,
    /// A URL of something else.
    #[error("the database address must begin with postgres:// or postgresql://, or be a list of name=value")]
    Scheme,
    /// An `@` where none can be.
    #[error(
        "the database address has an @ after its hosts; percent-encode the characters / ? @ in user and password"
    )]
    UnescapedAt,
    /// `[` without `]`, or something other than a port behind it.
    #[error("an IPv6 host in the database address must look like [::1] or [::1]:5432")]
    UnclosedBracket,
    /// `?name` without `=`.
    #[error("a parameter after the ? of the database address has no value")]
    ParameterWithoutValue,
    /// A word without `=` in the other notation.
    #[error("the database address must be a URL or a list of name=value")]
    KeyWithoutValue,
    /// A quoted value without end.
    #[error("a quoted value in the database address does not end")]
    UnclosedQuote,
    /// `%` not followed by two hexadecimal digits, or bytes that are no text.
    #[error("the {part} in the database address is not percent-encoded text")]
    PercentEncoding {
        /// Which part.
        part: String,
    },
    /// A parameter that is not supported.
    #[error("the database address has a parameter `{name}`, which is not supported")]
    UnknownParameter {
        /// Its name.
        name: String,
    },
    /// A parameter whose value cannot be used.
    #[error("`{name}` in the database address must be {expected}")]
    Value {
        /// The parameter's name.
        name: &'static str,
        /// What would have been fine.
        expected: &'static str,
    },
    /// Neither host nor hostaddr.
    #[error("the database address names no host")]
    NoHost,
    /// Lists of unequal length.
    #[error("the database address names {hosts} hosts but {others} {what}")]
    Lengths {
        /// How many hosts there are.
        hosts: usize,
        /// How many of the others.
        others: usize,
        /// What the others are.
        what: &'static str,
    },
    /// `verify-ca` without an authority of one's own.
    #[error(
        "sslmode=verify-ca needs sslrootcert=<file>: any host on earth has a certificate by a public authority"
    )]
    RootCertificateMissing,
    /// `sslrootcert=system` with a mode that does not check the name.
    #[error("sslrootcert=system needs sslmode=verify-full")]
    SystemRootsNeedFullVerification,
}

impl DatabaseUrl {
    /// Parses an address in either notation.
    ///
    /// # Errors
    ///
    /// Names the part that cannot be used, never its value.
    pub fn parse(text: &SecretString) -> Result<Self, DatabaseUrlError> {
        let mut draft = Draft::default();
        for parameter in syntax::parameters(text.expose_secret())? {
            draft.apply(&parameter.name, &parameter.value)?;
        }
        draft.finish()
    }

    /// The settings for `tokio-postgres`.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What the server has to prove.
    #[must_use]
    pub fn server_identity(&self) -> &ServerIdentity {
        &self.server_identity
    }

    /// Whether a pooler in transaction mode stands between: then only unnamed, typed queries work.
    #[must_use]
    pub fn pgbouncer(&self) -> bool {
        self.pgbouncer
    }
}

/// `user@host:port,host:port/database`, fit for logs.
impl fmt::Display for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(user) = self.config.get_user() {
            write!(formatter, "{user}@")?;
        }
        for (index, host) in self.config.get_hosts().iter().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let ports = self.config.get_ports();
            let port = ports.get(index).or(ports.first()).copied().unwrap_or(DEFAULT_PORT);
            match host {
                Host::Tcp(name) => write!(formatter, "{separator}{name}:{port}")?,
                Host::Unix(path) => write!(formatter, "{separator}{}:{port}", path.display())?,
            }
        }
        if let Some(database) = self.config.get_dbname() {
            write!(formatter, "/{database}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "DatabaseUrl({self})")
    }
}

/// libpq's `sslmode`.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Encryption {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyCa,
    VerifyFull,
}

/// What has been read so far: lists are held against each other, and modes against certificates, at the end.
struct Draft {
    config: Config,
    hosts: Vec<String>,
    addresses: Vec<IpAddr>,
    ports: Vec<u16>,
    encryption: Encryption,
    root_certificate: Option<String>,
    pgbouncer: bool,
}

impl Default for Draft {
    fn default() -> Self {
        let mut config = Config::new();
        config
            .application_name("counterfoil")
            .connect_timeout(DEFAULT_CONNECT_TIMEOUT)
            .keepalives_idle(DEFAULT_KEEPALIVES_IDLE)
            .keepalives_interval(DEFAULT_KEEPALIVES_INTERVAL)
            .keepalives_retries(DEFAULT_KEEPALIVES_COUNT)
            .tcp_user_timeout(DEFAULT_TCP_USER_TIMEOUT);
        Self {
            config,
            hosts: Vec::new(),
            addresses: Vec::new(),
            ports: Vec::new(),
            encryption: Encryption::default(),
            root_certificate: None,
            pgbouncer: false,
        }
    }
}

impl Draft {
    fn apply(&mut self, name: &str, value: &str) -> Result<(), DatabaseUrlError> {
        match name {
            "host" => self.hosts = list(value).map(str::to_owned).collect(),
            "hostaddr" => {
                self.addresses = parse_list("hostaddr", value, "a list of numeric IP addresses")?;
            }
            "port" => self.ports = ports(value)?,
            "sslmode" => self.encryption = encryption(value)?,
            "sslrootcert" => self.root_certificate = Some(value.to_owned()),
            "pgbouncer" => self.pgbouncer = boolean("pgbouncer", value)?,
            "gssencmode" => check(value != "require", "gssencmode", "disable or prefer")?,
            _ => self.apply_to_config(name, value)?,
        }
        Ok(())
    }

    fn apply_to_config(&mut self, name: &str, value: &str) -> Result<(), DatabaseUrlError> {
        let config = &mut self.config;
        match name {
            "user" => config.user(value),
            "password" => config.password(value),
            "dbname" => config.dbname(value),
            "options" => config.options(value),
            "application_name" => config.application_name(value),
            "connect_timeout" => config.connect_timeout(seconds("connect_timeout", value)?),
            "keepalives" => config.keepalives(boolean("keepalives", value)?),
            "keepalives_idle" => config.keepalives_idle(seconds("keepalives_idle", value)?),
            "keepalives_interval" => config.keepalives_interval(seconds("keepalives_interval", value)?),
            "keepalives_count" => config.keepalives_retries(number("keepalives_count", value)?),
            "tcp_user_timeout" => {
                let milliseconds = number("tcp_user_timeout", value)?;
                config.tcp_user_timeout(Duration::from_millis(u64::from(milliseconds)))
            }
            "target_session_attrs" => config.target_session_attrs(session_attributes(value)?),
            "channel_binding" => config.channel_binding(channel_binding(value)?),
            "load_balance_hosts" => config.load_balance_hosts(load_balance(value)?),
            "sslnegotiation" => config.ssl_negotiation(negotiation(value)?),
            unknown => return Err(unknown_parameter(unknown)),
        };
        Ok(())
    }

    fn finish(mut self) -> Result<DatabaseUrl, DatabaseUrlError> {
        self.add_hosts()?;
        let all_local = self.config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_)));
        let mode = match self.encryption {
            // PostgreSQL has no TLS on Unix sockets; libpq ignores sslmode there.
            _ if all_local => SslMode::Disable,
            Encryption::Disable => SslMode::Disable,
            Encryption::Prefer => SslMode::Prefer,
            Encryption::Require | Encryption::VerifyCa | Encryption::VerifyFull => SslMode::Require,
        };
        self.config.ssl_mode(mode);
        if mode == SslMode::Prefer && self.config.get_ssl_negotiation() == SslNegotiation::Direct {
            return Err(value_error("sslnegotiation", "postgres unless sslmode is require or stricter"));
        }
        let server_identity = server_identity(self.encryption, self.root_certificate)?;
        Ok(DatabaseUrl { config: self.config, server_identity, pgbouncer: self.pgbouncer })
    }

    fn add_hosts(&mut self) -> Result<(), DatabaseUrlError> {
        if self.hosts.is_empty() {
            // TLS wants a name to verify, also where only numbers are given.
            self.hosts = self.addresses.iter().map(IpAddr::to_string).collect();
        }
        let hosts = self.hosts.len();
        if hosts == 0 {
            return Err(DatabaseUrlError::NoHost);
        }
        if !self.addresses.is_empty() && self.addresses.len() != hosts {
            return Err(DatabaseUrlError::Lengths { hosts, others: self.addresses.len(), what: "hostaddrs" });
        }
        if self.ports.len() > 1 && self.ports.len() != hosts {
            return Err(DatabaseUrlError::Lengths { hosts, others: self.ports.len(), what: "ports" });
        }
        for host in &self.hosts {
            check(!host.is_empty(), "host", "a name, an address or the path of a socket directory")?;
            self.config.host(host);
        }
        for address in &self.addresses {
            self.config.hostaddr(*address);
        }
        for port in &self.ports {
            self.config.port(*port);
        }
        Ok(())
    }
}

fn server_identity(
    encryption: Encryption,
    root_certificate: Option<String>,
) -> Result<ServerIdentity, DatabaseUrlError> {
    let system = root_certificate.as_deref() == Some("system");
    if system && encryption != Encryption::VerifyFull {
        return Err(DatabaseUrlError::SystemRootsNeedFullVerification);
    }
    Ok(match (encryption, root_certificate) {
        (Encryption::VerifyFull, Some(file)) if !system => {
            ServerIdentity::AuthorityAndName(TrustedRoots::File(file.into()))
        }
        (Encryption::VerifyFull, _) => ServerIdentity::AuthorityAndName(TrustedRoots::System),
        (Encryption::VerifyCa, None) => return Err(DatabaseUrlError::RootCertificateMissing),
        // libpq does the same for `require`: who names an authority means it.
        (Encryption::VerifyCa | Encryption::Require, Some(file)) => ServerIdentity::Authority(file.into()),
        (Encryption::Disable | Encryption::Prefer | Encryption::Require, _) => ServerIdentity::Unverified,
    })
}

/// A name that does not look like one may be a piece of a password with a stray `?` or `&`: not repeated.
fn unknown_parameter(name: &str) -> DatabaseUrlError {
    let looks_like_a_name = name.len() <= 32 && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    let name = if looks_like_a_name { name } else { "(unreadable)" };
    DatabaseUrlError::UnknownParameter { name: name.to_owned() }
}

#[cfg(test)]
mod tests {
    use tokio_postgres::config::TargetSessionAttrs;

    use super::*;

    fn parse(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        DatabaseUrl::parse(&SecretString::from(text))
    }

    fn parsed(text: &str) -> DatabaseUrl {
        parse(text).expect("a usable address")
    }

    #[test]
    fn each_ssl_mode_says_what_is_encrypted_and_verified() {
        let file = || PathBuf::from("/ca.pem");
        for (mode, ssl_mode, identity) in [
            ("disable", SslMode::Disable, ServerIdentity::Unverified),
            ("allow", SslMode::Prefer, ServerIdentity::Unverified),
            ("prefer", SslMode::Prefer, ServerIdentity::Unverified),
            ("require", SslMode::Require, ServerIdentity::Unverified),
            ("require&sslrootcert=/ca.pem", SslMode::Require, ServerIdentity::Authority(file())),
            ("verify-ca&sslrootcert=/ca.pem", SslMode::Require, ServerIdentity::Authority(file())),
            ("verify-full", SslMode::Require, ServerIdentity::AuthorityAndName(TrustedRoots::System)),
            (
                "verify-full&sslrootcert=system",
                SslMode::Require,
                ServerIdentity::AuthorityAndName(TrustedRoots::System),
            ),
            (
                "verify-full&sslrootcert=/ca.pem",
                SslMode::Require,
                ServerIdentity::AuthorityAndName(TrustedRoots::File(file())),
            ),
        ] {
            let url = parsed(&format!("postgres://u@h/d?sslmode={mode}"));
            assert_eq!(url.config().get_ssl_mode(), ssl_mode, "{mode}");
            assert_eq!(url.server_identity(), &identity, "{mode}");
        }
    }

    #[test]
    fn combinations_that_promise_more_than_they_verify_are_refused() {
        assert_eq!(
            parse("postgres://h/d?sslmode=verify-ca").unwrap_err(),
            DatabaseUrlError::RootCertificateMissing
        );
        assert_eq!(
            parse("postgres://h/d?sslmode=require&sslrootcert=system").unwrap_err(),
            DatabaseUrlError::SystemRootsNeedFullVerification
        );
        assert!(parse("postgres://h/d?sslnegotiation=direct").is_err());
        assert!(parse("postgres://h/d?sslnegotiation=direct&sslmode=require").is_ok());
    }

    #[test]
    fn several_hosts_take_their_ports_and_the_attributes_of_a_primary() {
        let url = parsed("postgres://u@one:5433,two,three:5435/d?target_session_attrs=primary");
        assert_eq!(url.config().get_ports(), [5433, 5432, 5435]);
        assert_eq!(url.config().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(url.to_string(), "u@one:5433,two:5432,three:5435/d");

        let url = parsed("host=one,two port=6000 target_session_attrs=any");
        assert_eq!(url.config().get_ports(), [6000]);
        assert_eq!(url.config().get_target_session_attrs(), TargetSessionAttrs::Any);
        assert_eq!(url.to_string(), "one:6000,two:6000");
    }

    #[test]
    fn timeouts_have_the_units_of_libpq_and_sane_defaults() {
        let url = parsed("postgres://h/d?connect_timeout=3&tcp_user_timeout=1500&keepalives_idle=7");
        assert_eq!(url.config().get_connect_timeout(), Some(&Duration::from_secs(3)));
        assert_eq!(url.config().get_tcp_user_timeout(), Some(&Duration::from_millis(1500)));
        assert_eq!(url.config().get_keepalives_idle(), Duration::from_secs(7));

        let url = parsed("postgres://h/d");
        assert_eq!(url.config().get_connect_timeout(), Some(&DEFAULT_CONNECT_TIMEOUT));
        assert!(parse("postgres://h/d?connect_timeout=0").is_err());
    }

    #[test]
    fn a_socket_directory_is_never_encrypted() {
        let url = parsed("postgres://u@%2Frun%2Fpostgresql/d?sslmode=require");
        assert_eq!(url.config().get_ssl_mode(), SslMode::Disable);
        assert_eq!(url.to_string(), "u@/run/postgresql:5432/d");
    }

    #[test]
    fn a_numeric_address_alone_serves_as_the_name_too() {
        let url = parsed("hostaddr=10.0.0.7 user=u sslmode=require");
        assert_eq!(url.config().get_hosts(), [Host::Tcp("10.0.0.7".to_owned())]);
    }

    #[test]
    fn errors_name_the_part() {
        for (text, part) in [
            ("postgres://h:0/d", "port"),
            ("postgres://h:65536/d", "port"),
            ("postgres://h/d?sslmode=verify_full", "sslmode"),
            ("postgres://h/d?target_session_attrs=prefer-standby", "target_session_attrs"),
            ("postgres://h/d?pgbouncer=maybe", "pgbouncer"),
            ("postgres://h/d?hostaddr=example.org", "hostaddr"),
            ("postgres://h/d?sslkey=k", "sslkey"),
            ("postgres://h/d?gssencmode=require", "gssencmode"),
            ("postgres:///d", "host"),
            ("postgres://one,,three/d", "host"),
            ("postgres://one,two/d?port=1,2,3", "ports"),
            ("postgres://one,two/d?hostaddr=10.0.0.1", "hostaddrs"),
        ] {
            let message = parse(text).expect_err(text).to_string();
            assert!(message.contains(part), "{text}: {message}");
        }
    }

    #[test]
    fn nothing_shows_the_password() {
        for text in [
            "postgres://u:hunter2@h/d",
            "postgres://u:hunter2",
            "postgres://u:hunter2:x@h:port/d",
            "postgres://u:x&hunter2=1@h/d",
            "postgres://h/d?HUNTER2hunter2=1",
            "user=u password=hunter2 host=h",
            "user=u password=hunter2 host=h port=x",
        ] {
            let shown = match parse(text) {
                Ok(url) => format!("{url} {url:?}"),
                Err(error) => format!("{error} {error:?}"),
            };
            assert!(!shown.contains("hunter2"), "{text}: {shown}");
        }
    }
}
