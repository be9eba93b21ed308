//! Reads values of the command line into types of the domain, saying what was expected.

use crate::domain::ids::LedgerSlug;
use crate::domain::settings::Scope;
use crate::domain::time::Timestamp;

pub(super) fn ledger_slug(text: &str) -> Result<LedgerSlug, String> {
    LedgerSlug::parse(text).map_err(|error| error.to_string())
}

pub(super) fn scope(text: &str) -> Result<Scope, String> {
    Scope::parse(text).ok_or_else(|| format!("one of {}", Scope::ALL.map(Scope::as_str).join(", ")))
}

pub(super) fn timestamp(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).ok_or_else(|| "a time like 2030-01-31T12:00:00Z".to_owned())
}
