//! Projections: tables for reading, folded from the events by SQL.
//!
//! A projection is a folder of SQL ([`definition`]). `counterfoil migrate` makes a *build* of it, tables in a schema of
//! their own together with the statements that fill them ([`install`]): only the owner may do that, and a process
//! follows every build that it finds, so that the old and the new version of a projection stay current side by side
//! while old and new processes run. A page of events is folded and the cursor moved in one transaction ([`fold`]), so
//! a build is always exactly as far as its cursor says. Readers find out inside of their own transaction which build
//! serves their ledger ([`read`], [`reports`]).
//!
//! | a ledger's cursor of a build | means |
//! | --- | --- |
//! | absent | it does not follow the build |
//! | not serving | the build is being filled beside the serving one |
//! | serving | reads go here; at most one build of a projection |
//! | halted | an event cannot be folded; nothing after it is |
//!
//! A projection of statistics may *park* instead: pass over the event, and remember it in `projection_parked`.
//!
//! A newer build takes over as soon as it is as far as the serving one; the cursors of older builds go in the same
//! transaction, and a build without cursors is dropped when no transaction can be reading it any more.

pub mod definition;
pub mod fold;
pub mod install;
pub mod read;
pub mod reports;

use tokio_postgres::{Client, Error, Row, types::Type};

use super::scope::Parameter;
pub use crate::domain::ids::{LedgerId, Position};

/// Tables of one version of a projection, and the statements that fill them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Build {
    /// The projection's name.
    pub projection: String,
    /// Which build of it: a newer one has a larger number.
    pub build: i32,
    /// The version of its SQL.
    pub version: String,
    /// Where its tables are. A plain name: needs no quotes.
    pub schema: String,
    /// Fold the events of ledger `$1` in `($2, $3]`, in this order.
    pub apply: Vec<String>,
    /// Whether ledgers follow it unasked.
    pub for_all: bool,
    /// Whether an event that cannot be folded is passed over; otherwise it stops the ledger's build.
    pub parks: bool,
}

impl Build {
    fn from_row(row: &Row) -> Result<Self, Error> {
        Ok(Self {
            projection: row.try_get("projection")?,
            build: row.try_get("build")?,
            version: row.try_get("version")?,
            schema: row.try_get("schema_name")?,
            apply: row.try_get("apply")?,
            for_all: row.try_get("for_all")?,
            parks: row.try_get("parks")?,
        })
    }
}

/// The builds that there are, by projection, oldest first.
///
/// # Errors
/// Those of the database.
pub async fn list_builds(client: &Client) -> Result<Vec<Build>, Error> {
    let statement = "SELECT projection, build, version, schema_name, apply, for_all, parks
                       FROM projection_versions WHERE retired_at IS NULL ORDER BY projection, build";
    client.query_typed(statement, &[]).await?.iter().map(Build::from_row).collect()
}

/// What puts a build's tables in front of those of the service, for the rest of a transaction.
fn search_path(schema: &str) -> String {
    format!(
        "SELECT pg_catalog.set_config('search_path', '{schema}, ' || pg_catalog.current_setting('search_path'), true)"
    )
}

/// What names a ledger's cursor of a build in statements: `$1` to `$3`.
fn key<'a>(ledger: &'a i64, build: &'a Build) -> [Parameter<'a>; 3] {
    [(ledger, Type::INT8), (&build.projection, Type::TEXT), (&build.build, Type::INT4)]
}
