//! The values of a database address's parameters: each text is read as what its parameter takes, or refused with what
//! would have been taken.

use std::{str::FromStr, time::Duration};

use tokio_postgres::config::{ChannelBinding, LoadBalanceHosts, SslNegotiation, TargetSessionAttrs};

use super::{DEFAULT_PORT, DatabaseUrlError, Encryption};

pub(super) fn value_error(name: &'static str, expected: &'static str) -> DatabaseUrlError {
    DatabaseUrlError::Value { name, expected }
}

pub(super) fn check(holds: bool, name: &'static str, expected: &'static str) -> Result<(), DatabaseUrlError> {
    if holds { Ok(()) } else { Err(value_error(name, expected)) }
}

pub(super) fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',').map(str::trim)
}

pub(super) fn parse_list<T: FromStr>(
    name: &'static str,
    value: &str,
    expected: &'static str,
) -> Result<Vec<T>, DatabaseUrlError> {
    list(value).map(|item| item.parse().map_err(|_| value_error(name, expected))).collect()
}

/// An empty entry means the default port, as in `one,two:5433`.
pub(super) fn ports(value: &str) -> Result<Vec<u16>, DatabaseUrlError> {
    let port = |item: &str| match item {
        "" => Ok(DEFAULT_PORT),
        digits => digits.parse().ok().filter(|port| *port > 0).ok_or(()),
    };
    list(value)
        .map(port)
        .collect::<Result<_, ()>>()
        .map_err(|()| value_error("port", "a number from 1 to 65535, or a list of them, one for each host"))
}

pub(super) fn encryption(value: &str) -> Result<Encryption, DatabaseUrlError> {
    Ok(match value {
        "disable" => Encryption::Disable,
        // `allow` would try without encryption first; offering encryption first is never weaker.
        "allow" | "prefer" => Encryption::Prefer,
        "require" => Encryption::Require,
        "verify-ca" => Encryption::VerifyCa,
        "verify-full" => Encryption::VerifyFull,
        _ => {
            let expected = "disable, allow, prefer, require, verify-ca or verify-full";
            return Err(value_error("sslmode", expected));
        }
    })
}

/// A primary accepts writes and a standby does not; telling them apart by that also refuses a primary whose
/// default is read-only, which is of no use to a ledger either.
pub(super) fn session_attributes(value: &str) -> Result<TargetSessionAttrs, DatabaseUrlError> {
    Ok(match value {
        "any" => TargetSessionAttrs::Any,
        "read-write" | "primary" => TargetSessionAttrs::ReadWrite,
        "read-only" | "standby" => TargetSessionAttrs::ReadOnly,
        _ => {
            let expected = "any, read-write, primary, read-only or standby";
            return Err(value_error("target_session_attrs", expected));
        }
    })
}

pub(super) fn channel_binding(value: &str) -> Result<ChannelBinding, DatabaseUrlError> {
    Ok(match value {
        "disable" => ChannelBinding::Disable,
        "prefer" => ChannelBinding::Prefer,
        "require" => ChannelBinding::Require,
        _ => return Err(value_error("channel_binding", "disable, prefer or require")),
    })
}

pub(super) fn load_balance(value: &str) -> Result<LoadBalanceHosts, DatabaseUrlError> {
    Ok(match value {
        "disable" => LoadBalanceHosts::Disable,
        "random" => LoadBalanceHosts::Random,
        _ => return Err(value_error("load_balance_hosts", "disable or random")),
    })
}

pub(super) fn negotiation(value: &str) -> Result<SslNegotiation, DatabaseUrlError> {
    Ok(match value {
        "postgres" => SslNegotiation::Postgres,
        "direct" => SslNegotiation::Direct,
        _ => return Err(value_error("sslnegotiation", "postgres or direct")),
    })
}

pub(super) fn boolean(name: &'static str, value: &str) -> Result<bool, DatabaseUrlError> {
    match value {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(value_error(name, "true or false")),
    }
}

pub(super) fn number(name: &'static str, value: &str) -> Result<u32, DatabaseUrlError> {
    value.parse().map_err(|_| value_error(name, "a whole number"))
}

pub(super) fn seconds(name: &'static str, value: &str) -> Result<Duration, DatabaseUrlError> {
    match value.parse() {
        Ok(seconds @ 1..=86_400_u32) => Ok(Duration::from_secs(u64::from(seconds))),
        _ => Err(value_error(name, "a number of seconds from 1 to 86400")),
    }
}
