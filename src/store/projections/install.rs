//! Making and dropping builds, as the owner of the database: the service itself owns nothing.
//!
//! Every table gets row-level security here and not in the projection's SQL, so that nobody who writes one can forget
//! it, and a view shows each reader only what that reader may see of its tables. A build that no ledger follows any more
//! is first retired and dropped [`GRACE`] later: whoever has looked up a moment ago that it serves has finished reading
//! by then.
//!
//! Locks: `projection_versions` against other makers; a build's tables only when it is dropped.

use std::time::Duration;

use tokio_postgres::{Client, Error, Transaction, error::SqlState, types::Type};

use super::{Build, LedgerId, definition::Definition, key, list_builds, search_path};
use crate::store::{
    ledgers::{self, Ledger},
    roles::RUNTIME_ROLE,
    rows::RowError,
    scope::{self, Parameter},
};

/// How long a retired build is kept. Our own transactions end within half of it.
pub const GRACE: Duration = Duration::from_secs(10);

/// Why a build could not be made.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// A table that row-level security could not guard.
    #[error("projection {projection}: the primary key of table {table} must begin with ledger_id")]
    NoLedger {
        /// The projection.
        projection: String,
        /// The table.
        table: String,
    },
    /// Its SQL is refused.
    #[error("projection {projection}: {step} is refused by the database")]
    Refused {
        /// The projection.
        projection: String,
        /// Which part of it.
        step: &'static str,
        /// Why.
        source: Error,
    },
    /// Something else is refused.
    #[error("the database refused a step of setting up projections")]
    Database(#[from] Error),
    /// The ledgers cannot be listed.
    #[error("the ledgers cannot be listed")]
    Ledgers(#[source] RowError),
}

/// Makes a build of each definition whose newest build is of another version. Returns what was made.
///
/// # Errors
/// See [`InstallError`]; builds made before the failing one stay.
pub async fn install(owner: &mut Client, definitions: &[Definition]) -> Result<Vec<Build>, InstallError> {
    let mut made = Vec::new();
    for definition in definitions {
        let statement = "SELECT version FROM projection_versions
                          WHERE projection = $1 AND for_all AND retired_at IS NULL ORDER BY build DESC LIMIT 1";
        let newest = owner.query_typed(statement, &[(&definition.name, Type::TEXT)]).await?;
        let version: Option<&str> = newest.first().map(|row| row.try_get("version")).transpose()?;
        if version != Some(definition.version.as_str()) {
            made.push(make_build(owner, definition, None).await?);
        }
    }
    Ok(made)
}

/// The newest build of this definition, if it was made for the same ledgers, does not serve all of them yet, and can be
/// filled further: what an interrupted rebuild has left.
///
/// # Errors
/// Those of the database.
pub async fn begun_build(
    owner: &mut Client,
    definition: &Definition,
    ledgers: &[Ledger],
    only: Option<LedgerId>,
) -> Result<Option<Build>, InstallError> {
    let builds = list_builds(owner).await?;
    let Some(newest) = builds.into_iter().rfind(|build| build.projection == definition.name) else {
        return Ok(None);
    };
    if newest.version != definition.version || newest.for_all != only.is_none() {
        return Ok(None);
    }
    let mut is_begun = false;
    for ledger in ledgers {
        let statement = "
            SELECT EXISTS (SELECT FROM projection_cursors c
                            WHERE c.ledger_id = $1 AND c.projection = $2 AND c.build < $3 AND c.is_serving),
                   EXISTS (SELECT FROM projection_cursors c
                            WHERE c.ledger_id = $1 AND c.projection = $2 AND c.build = $3),
                   EXISTS (SELECT FROM projection_cursors c
                            WHERE c.ledger_id = $1 AND c.projection = $2 AND c.build = $3 AND c.halted_at IS NOT NULL)";
        let parameters = key(&ledger.ledger.0, &newest);
        let begin = scope::begin_reading(ledger.ledger);
        let row = scope::within(owner, &begin, owner.query_typed_one(statement, &parameters)).await?;
        let (older_serves, follows, is_halted): (bool, bool, bool) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        if is_halted || (only.is_some() && !follows) {
            return Ok(None);
        }
        is_begun |= older_serves;
    }
    Ok(is_begun.then_some(newest))
}

/// Makes a new build, whatever builds there are. Every ledger begins to follow it, or only the one named.
///
/// # Errors
/// See [`InstallError`]; nothing is made then.
pub async fn make_build(
    owner: &mut Client,
    definition: &Definition,
    only: Option<LedgerId>,
) -> Result<Build, InstallError> {
    let transaction = owner.transaction().await?;
    let build = insert_build(&transaction, definition, only.is_none()).await?;
    make_tables(&transaction, &build, &definition.tables).await?;
    for table in tables_of(&transaction, &build).await? {
        guard_table(&transaction, &build, &table).await?;
    }
    for view in views_of(&transaction, &build).await? {
        guard_view(&transaction, &build, &view).await?;
    }
    for statement in &definition.apply {
        let parameters = [Type::INT8, Type::INT8, Type::INT8];
        transaction.prepare_typed(statement, &parameters).await.map_err(refused(&build, "apply.sql"))?;
    }
    if let Some(ledger) = only {
        transaction.batch_execute(&scope::settings(ledger)).await?;
        super::fold::follow(&transaction, ledger, &build).await?;
    }
    transaction.commit().await?;
    Ok(build)
}

/// Retires every build of a projection and has every ledger leave it. Returns how many builds there are.
///
/// A process that is about to let a new ledger follow may do so once more: call it again [`GRACE`] later, and then
/// [`drop_unused`].
///
/// # Errors
/// Those of the database; what is done by then stays, and another call goes on with the rest.
pub async fn abandon(owner: &mut Client, projection: &str) -> Result<u64, InstallError> {
    let retire = "UPDATE projection_versions SET retired_at = COALESCE(retired_at, clock_timestamp())
                   WHERE projection = $1";
    let builds = owner.execute_typed(retire, &[(&projection, Type::TEXT)]).await?;
    for ledger in ledgers::list_ledgers(owner).await.map_err(InstallError::Ledgers)? {
        let parameters: [Parameter<'_>; 2] = [(&ledger.ledger.0, Type::INT8), (&projection, Type::TEXT)];
        let transaction = owner.transaction().await?;
        transaction.batch_execute(&scope::settings(ledger.ledger)).await?;
        for table in ["projection_cursors", "projection_parked"] {
            let leave = format!("DELETE FROM {table} WHERE ledger_id = $1 AND projection = $2");
            transaction.execute_typed(&leave, &parameters).await?;
        }
        transaction.commit().await?;
    }
    Ok(builds)
}

/// Retires builds that no ledger follows, and drops those that were retired at least [`GRACE`] ago. Returns the schemas
/// that are gone.
///
/// # Errors
/// Those of the database.
pub async fn drop_unused(owner: &mut Client) -> Result<Vec<String>, InstallError> {
    let mut unused = superseded_builds(owner).await?;
    for ledger in ledgers::list_ledgers(owner).await.map_err(InstallError::Ledgers)? {
        let transaction = owner.transaction().await?;
        transaction.batch_execute(&scope::settings(ledger.ledger)).await?;
        let statement = "SELECT projection, build FROM projection_cursors WHERE ledger_id = $1";
        for row in transaction.query_typed(statement, &[(&ledger.ledger.0, Type::INT8)]).await? {
            let followed: (String, i32) = (row.try_get(0)?, row.try_get(1)?);
            unused.retain(|build| (&build.projection, build.build) != (&followed.0, followed.1));
        }
        transaction.rollback().await?;
    }
    let mut dropped = Vec::new();
    for build in unused {
        match retire_or_drop(owner, &build).await {
            Ok(true) => dropped.push(build.schema),
            Ok(false) => {}
            // Somebody reads it after all: the next call will find it.
            Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(dropped)
}

async fn insert_build(
    transaction: &Transaction<'_>,
    definition: &Definition,
    for_all: bool,
) -> Result<Build, Error> {
    // Two makers would otherwise take the same number.
    transaction.batch_execute("LOCK TABLE projection_versions IN SHARE ROW EXCLUSIVE MODE").await?;
    let statement = "
        INSERT INTO projection_versions (projection, build, version, schema_name, apply, for_all, parks)
        SELECT $1, n.build, $2, 'projection_' || $1 || '_' || n.build, $3, $4, $5
          FROM (SELECT COALESCE(max(build), 0) + 1 AS build FROM projection_versions WHERE projection = $1) n
        RETURNING projection, build, version, schema_name, apply, for_all, parks";
    let row = transaction
        .query_typed_one(
            statement,
            &[
                (&definition.name, Type::TEXT),
                (&definition.version, Type::TEXT),
                (&definition.apply, Type::TEXT_ARRAY),
                (&for_all, Type::BOOL),
                (&definition.parks, Type::BOOL),
            ],
        )
        .await?;
    Build::from_row(&row)
}

async fn make_tables(
    transaction: &Transaction<'_>,
    build: &Build,
    tables: &[String],
) -> Result<(), InstallError> {
    let schema = &build.schema;
    let prepare = format!(
        "CREATE SCHEMA {schema}; GRANT USAGE ON SCHEMA {schema} TO {RUNTIME_ROLE}; {}",
        search_path(schema)
    );
    transaction.batch_execute(&prepare).await.map_err(refused(build, "its schema"))?;
    for statement in tables {
        transaction.batch_execute(statement).await.map_err(refused(build, "tables.sql"))?;
    }
    Ok(())
}

async fn tables_of(transaction: &Transaction<'_>, build: &Build) -> Result<Vec<String>, InstallError> {
    let statement = "
        SELECT quote_ident(c.relname),
               EXISTS (SELECT FROM pg_index i
                         JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
                        WHERE i.indrelid = c.oid AND i.indisprimary AND a.attname = 'ledger_id')
          FROM pg_class c
         WHERE c.relnamespace = to_regnamespace($1) AND c.relkind IN ('r', 'p') ORDER BY c.relname";
    let mut tables = Vec::new();
    for row in transaction.query_typed(statement, &[(&build.schema, Type::TEXT)]).await? {
        let table: String = row.try_get(0)?;
        if !row.try_get::<_, bool>(1)? {
            return Err(InstallError::NoLedger { projection: build.projection.clone(), table });
        }
        tables.push(table);
    }
    Ok(tables)
}

async fn guard_table(transaction: &Transaction<'_>, build: &Build, table: &str) -> Result<(), InstallError> {
    let table = format!("{}.{table}", build.schema);
    let statements = format!(
        "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
         ALTER TABLE {table} FORCE ROW LEVEL SECURITY;
         CREATE POLICY one_ledger ON {table}
             USING (ledger_id = (SELECT NULLIF(current_setting('counterfoil.ledger_id', true), '')::bigint));
         GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {RUNTIME_ROLE}"
    );
    transaction.batch_execute(&statements).await.map_err(refused(build, "guarding its tables"))
}

async fn views_of(transaction: &Transaction<'_>, build: &Build) -> Result<Vec<String>, Error> {
    let statement = "SELECT quote_ident(c.relname) FROM pg_class c
                      WHERE c.relnamespace = to_regnamespace($1) AND c.relkind = 'v' ORDER BY c.relname";
    let rows = transaction.query_typed(statement, &[(&build.schema, Type::TEXT)]).await?;
    rows.iter().map(|row| row.try_get(0)).collect()
}

async fn guard_view(transaction: &Transaction<'_>, build: &Build, view: &str) -> Result<(), InstallError> {
    let view = format!("{}.{view}", build.schema);
    // Otherwise it would be read with its owner's rights.
    let statements = format!(
        "ALTER VIEW {view} SET (security_invoker = true);
         GRANT SELECT ON {view} TO {RUNTIME_ROLE}"
    );
    transaction.batch_execute(&statements).await.map_err(refused(build, "guarding its views"))
}

/// Builds that ledgers leave: all but the newest of each projection that is meant for all, and those of abandoned ones.
async fn superseded_builds(owner: &Client) -> Result<Vec<Build>, Error> {
    let statement = "
        SELECT v.projection, v.build, v.version, v.schema_name, v.apply, v.for_all, v.parks FROM projection_versions v
         WHERE v.retired_at IS NOT NULL
            OR v.build <> (SELECT max(n.build) FROM projection_versions n
                            WHERE n.projection = v.projection AND n.for_all)";
    owner.query_typed(statement, &[]).await?.iter().map(Build::from_row).collect()
}

async fn retire_or_drop(owner: &mut Client, build: &Build) -> Result<bool, Error> {
    let transaction = owner.transaction().await?;
    let retire = "UPDATE projection_versions SET retired_at = COALESCE(retired_at, clock_timestamp())
                   WHERE projection = $1 AND build = $2
                  RETURNING clock_timestamp() >= retired_at + make_interval(secs => $3)";
    let grace = GRACE.as_secs_f64();
    let parameters =
        [(&build.projection as _, Type::TEXT), (&build.build as _, Type::INT4), (&grace as _, Type::FLOAT8)];
    let is_over: bool = transaction.query_typed_one(retire, &parameters).await?.try_get(0)?;
    if is_over {
        let delete = "DELETE FROM projection_versions WHERE projection = $1 AND build = $2";
        transaction.execute_typed(delete, &parameters[..2]).await?;
        transaction.batch_execute(&format!("DROP SCHEMA IF EXISTS {} CASCADE", build.schema)).await?;
    }
    transaction.commit().await?;
    Ok(is_over)
}

fn refused(build: &Build, step: &'static str) -> impl Fn(Error) -> InstallError + use<> {
    let projection = build.projection.clone();
    move |source| InstallError::Refused { projection: projection.clone(), step, source }
}
