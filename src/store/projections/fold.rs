//! Folding: one page of one ledger's events into one build, in one transaction with the cursor.
//!
//! The cursor's row lock makes one worker at a time fold a ledger into a build, over all processes; the others pass by
//! (`SKIP LOCKED`). The cursor is moved from where it was read, and a worker whose cursor is not there any more writes
//! nothing. Positions have no gaps and their order is commit order, so everything up to the head is complete.

use std::{
    fmt,
    time::{Duration, Instant},
};

use deadpool_postgres::{ClientWrapper, Transaction as PooledTransaction};
use futures_util::future::join;
use tokio_postgres::{
    Client, Error, Statement, Transaction,
    error::SqlState,
    types::{ToSql, Type},
};

use super::{Build, LedgerId, key, search_path};
use crate::store::{
    pool::Database,
    scope::{self, Parameter},
};

/// Longest that all statements of a page may take together: with it the transaction stays under five seconds.
const PAGE_LIMIT: Duration = Duration::from_secs(4);
/// What sorting or grouping a page may take before it goes to disk.
const WORK_MEMORY: &str = "64MB";

/// What became of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// The cursor moved.
    Folded {
        /// Over how many positions.
        events: i64,
        /// Whether it is where the head was when the page began.
        is_level: bool,
    },
    /// There is nothing to fold.
    Level,
    /// Another worker is at it, or the ledger does not follow the build.
    Passed,
    /// An event stopped it before.
    Halted,
}

/// The events of a page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageEvents {
    /// The position before the first.
    pub after: i64,
    /// The position of the last.
    pub until: i64,
}

impl PageEvents {
    /// How many.
    pub fn count(self) -> i64 {
        self.until - self.after
    }
}

impl fmt::Display for PageEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.after + 1;
        if self.count() == 1 {
            write!(f, "the event at position {first}")
        } else {
            write!(f, "the events at positions {first} to {}", self.until)
        }
    }
}

/// Why a page was not folded; nothing of it was written.
#[derive(Debug, thiserror::Error)]
pub enum FoldError {
    /// One of its events at least cannot be folded.
    #[error("{events} cannot be folded")]
    Events {
        /// The page.
        events: PageEvents,
        /// The statement's refusal.
        source: Error,
    },
    /// The database gave up after a page's longest time.
    #[error("to fold {events} takes longer than {} s", PAGE_LIMIT.as_secs())]
    TooLong {
        /// The page.
        events: PageEvents,
        /// The end of the statement that was running then.
        source: Error,
    },
    /// Somebody else moved the cursor.
    #[error("the cursor has been moved by somebody else")]
    LostCursor,
    /// Not the events' fault: the database is away, lacks resources, or refuses the statement whatever the events.
    #[error("the database refused a step of folding")]
    Database(#[from] Error),
}

/// When the statements of a page have to be over, whoever runs them: each may take what is left of the page's time.
#[derive(Clone, Copy)]
pub(in crate::store) struct Deadline(Instant);

impl Deadline {
    /// That of a page which begins now.
    pub(in crate::store) fn of_a_page() -> Self {
        Self(Instant::now() + PAGE_LIMIT)
    }

    /// Runs the transaction's next statement, to be ended by the database at the deadline. The limit travels with the
    /// statement and costs no round trip.
    ///
    /// # Errors
    /// The statement's.
    pub(in crate::store) async fn keep<T>(
        self,
        client: &Client,
        statement: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let left = self.0.saturating_duration_since(Instant::now());
        // 0 would be no limit.
        let limit = format!("SET LOCAL statement_timeout = {}", left.as_millis().max(1));
        let (limited, done) = join(client.batch_execute(&limit), statement).await;
        limited?;
        done
    }
}

/// Makes the ledger follow a build from the beginning on, unless it follows this or a newer one, or the build is retired.
/// The first build of a projection serves at once.
///
/// # Errors
/// Those of the database.
pub async fn follow(transaction: &Transaction<'_>, ledger: LedgerId, build: &Build) -> Result<(), Error> {
    let statement = "
        INSERT INTO projection_cursors (ledger_id, projection, build, is_serving)
        SELECT h.ledger_id, $2, $3,
               NOT EXISTS (SELECT FROM projection_cursors s
                            WHERE s.ledger_id = $1 AND s.projection = $2 AND s.is_serving)
          FROM ledger_heads h
         WHERE h.ledger_id = $1
           AND EXISTS (SELECT FROM projection_versions v
                        WHERE v.projection = $2 AND v.build = $3 AND v.retired_at IS NULL)
           AND NOT EXISTS (SELECT FROM projection_cursors c
                            WHERE c.ledger_id = $1 AND c.projection = $2 AND c.build >= $3)
            ON CONFLICT DO NOTHING";
    transaction.execute_typed(statement, &key(&ledger.0, build)).await.map(drop)
}

/// Folds the next events of a ledger into a build: at most `limit`.
///
/// # Errors
/// See [`FoldError`].
pub async fn fold_page(
    database: &Database,
    client: &mut ClientWrapper,
    ledger: LedgerId,
    build: &Build,
    limit: i64,
) -> Result<Page, FoldError> {
    let deadline = Deadline::of_a_page();
    let transaction = client.transaction().await?;
    transaction.batch_execute(&beginning(ledger, build)).await?;
    let Some(cursor) = lock_cursor(database, &transaction, ledger, build).await? else {
        return Ok(Page::Passed);
    };
    if cursor.is_halted {
        return Ok(Page::Halted);
    }
    let until = cursor.head.min(cursor.position.saturating_add(limit));
    if until > cursor.position {
        let events = PageEvents { after: cursor.position, until };
        apply(database, &transaction, deadline, ledger, build, events).await?;
        move_cursor(database, &transaction, deadline, ledger, build, events).await?;
    } else if cursor.is_serving {
        return Ok(Page::Level);
    }
    let is_level = until >= cursor.head;
    if is_level && !cursor.is_serving {
        take_over(&transaction, deadline, ledger, build, until).await?;
    }
    transaction.commit().await?;
    let events = until - cursor.position;
    Ok(if events > 0 { Page::Folded { events, is_level } } else { Page::Level })
}

/// What became of an event that a build cannot fold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GivenUp {
    /// The ledger's build has stopped there, or has passed over it if it is one that parks.
    Recorded,
    /// Nothing: a newer build is being filled, which may know the event, and takes over then.
    Awaited,
    /// Nothing: the cursor has moved meanwhile.
    Moved,
}

/// Records that a build cannot fold the event after `position`: the ledger's build stops there, or passes over the event if
/// it is one that parks. One that would stop does not as long as the ledger follows a newer build that goes on.
///
/// # Errors
/// Those of the database.
pub async fn give_up(
    client: &mut Client,
    ledger: LedgerId,
    build: &Build,
    position: i64,
    category: &str,
    reason: &str,
) -> Result<GivenUp, Error> {
    let [ledger_id, projection, number] = key(&ledger.0, build);
    let parameters = [
        ledger_id,
        projection,
        number,
        (&position as _, Type::INT8),
        (&category as _, Type::TEXT),
        (&reason as _, Type::TEXT),
    ];
    let transaction = client.transaction().await?;
    transaction.batch_execute(&scope::settings(ledger)).await?;
    let is_recorded = if build.parks {
        let is_passed = transaction.execute_typed(PASS, &parameters[..4]).await? == 1;
        if is_passed {
            transaction.execute_typed(REMEMBER, &parameters).await?;
        }
        is_passed
    } else if is_being_replaced(&transaction, ledger, build).await? {
        return Ok(GivenUp::Awaited);
    } else {
        transaction.execute_typed(HALT, &parameters).await? == 1
    };
    transaction.commit().await?;
    Ok(if is_recorded { GivenUp::Recorded } else { GivenUp::Moved })
}

async fn is_being_replaced(
    transaction: &Transaction<'_>,
    ledger: LedgerId,
    build: &Build,
) -> Result<bool, Error> {
    let statement = "SELECT EXISTS (SELECT FROM projection_cursors n
                                     WHERE n.ledger_id = $1 AND n.projection = $2 AND n.build > $3
                                       AND n.halted_at IS NULL)";
    transaction.query_typed_one(statement, &key(&ledger.0, build)).await?.try_get(0)
}

const HALT: &str = "
    UPDATE projection_cursors
       SET halted_position = position + 1, halted_category = $5, halted_reason = $6, halted_at = clock_timestamp()
     WHERE ledger_id = $1 AND projection = $2 AND build = $3 AND position = $4 AND halted_at IS NULL";

const PASS: &str = "
    UPDATE projection_cursors SET position = position + 1
     WHERE ledger_id = $1 AND projection = $2 AND build = $3 AND position = $4 AND halted_at IS NULL";

const REMEMBER: &str = "
    INSERT INTO projection_parked (ledger_id, projection, build, position, category, reason, parked_at)
    VALUES ($1, $2, $3, $4 + 1, $5, $6, clock_timestamp())";

struct Cursor {
    position: i64,
    head: i64,
    is_serving: bool,
    is_halted: bool,
}

fn beginning(ledger: LedgerId, build: &Build) -> String {
    let (settings, path) = (scope::settings(ledger), search_path(&build.schema));
    // What a crash takes away here is folded again: rows and cursor go together, and nobody has to wait for the disk.
    format!("{settings}; SET LOCAL synchronous_commit = off; {}; {path}", page_settings())
}

/// What the statements of a projection are run with: a page is joined with itself at most, which hashing is made for.
pub(in crate::store) fn page_settings() -> String {
    format!("SET LOCAL work_mem = '{WORK_MEMORY}'; SET LOCAL enable_hashjoin = on")
}

async fn lock_cursor(
    database: &Database,
    transaction: &PooledTransaction<'_>,
    ledger: LedgerId,
    build: &Build,
) -> Result<Option<Cursor>, Error> {
    let statement = "
        SELECT c.position, h.position AS head, c.is_serving, c.halted_at IS NOT NULL AS is_halted
          FROM projection_cursors c JOIN ledger_heads h ON h.ledger_id = c.ledger_id
         WHERE c.ledger_id = $1 AND h.ledger_id = $1 AND c.projection = $2 AND c.build = $3
           FOR UPDATE OF c SKIP LOCKED";
    let parameters = key(&ledger.0, build);
    let row = match prepare(database, transaction, statement, &parameters).await? {
        Some(prepared) => transaction.query_opt(&prepared, &values(&parameters)).await?,
        None => transaction.query_typed_opt(statement, &parameters).await?,
    };
    row.map(|row| {
        Ok(Cursor {
            position: row.try_get("position")?,
            head: row.try_get("head")?,
            is_serving: row.try_get("is_serving")?,
            is_halted: row.try_get("is_halted")?,
        })
    })
    .transpose()
}

/// Runs the build's statements over the events.
async fn apply(
    database: &Database,
    transaction: &PooledTransaction<'_>,
    deadline: Deadline,
    ledger: LedgerId,
    build: &Build,
    events: PageEvents,
) -> Result<(), FoldError> {
    let parameters: [Parameter<'_>; 3] =
        [(&ledger.0, Type::INT8), (&events.after, Type::INT8), (&events.until, Type::INT8)];
    for statement in &build.apply {
        execute(database, transaction, deadline, statement, &parameters).await.map_err(refused(events))?;
    }
    Ok(())
}

fn refused(events: PageEvents) -> impl Fn(Error) -> FoldError {
    move |source| {
        if is_of_the_events(&source) {
            FoldError::Events { events, source }
        } else if is_out_of_time(&source) {
            FoldError::TooLong { events, source }
        } else {
            FoldError::Database(source)
        }
    }
}

async fn execute(
    database: &Database,
    transaction: &PooledTransaction<'_>,
    deadline: Deadline,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<u64, Error> {
    let client = transaction.client();
    match prepare(database, transaction, statement, parameters).await? {
        Some(prepared) => deadline.keep(client, transaction.execute(&prepared, &values(parameters))).await,
        None => deadline.keep(client, transaction.execute_typed(statement, parameters)).await,
    }
}

/// Planned once for each connection, unless a pooler stands between: planning takes longer than folding a few events.
async fn prepare(
    database: &Database,
    transaction: &PooledTransaction<'_>,
    statement: &str,
    parameters: &[Parameter<'_>],
) -> Result<Option<Statement>, Error> {
    if database.pgbouncer() {
        return Ok(None);
    }
    let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
    transaction.prepare_typed_cached(statement, &types).await.map(Some)
}

fn values<'a>(parameters: &[Parameter<'a>]) -> Vec<&'a (dyn ToSql + Sync)> {
    parameters.iter().map(|(value, _)| *value).collect()
}

async fn move_cursor(
    database: &Database,
    transaction: &PooledTransaction<'_>,
    deadline: Deadline,
    ledger: LedgerId,
    build: &Build,
    events: PageEvents,
) -> Result<(), FoldError> {
    let statement = "UPDATE projection_cursors SET position = $5
                      WHERE ledger_id = $1 AND projection = $2 AND build = $3 AND position = $4";
    let [ledger_id, projection, number] = key(&ledger.0, build);
    let (from, to) = ((&events.after as _, Type::INT8), (&events.until as _, Type::INT8));
    let parameters = [ledger_id, projection, number, from, to];
    let moved =
        execute(database, transaction, deadline, statement, &parameters).await.map_err(refused(events))?;
    if moved == 1 { Ok(()) } else { Err(FoldError::LostCursor) }
}

/// Lets reads go to this build instead of an older one that is not further, and forgets the older ones.
async fn take_over(
    transaction: &Transaction<'_>,
    deadline: Deadline,
    ledger: LedgerId,
    build: &Build,
    position: i64,
) -> Result<(), Error> {
    let [ledger_id, projection, number] = key(&ledger.0, build);
    // The serving cursor may be moved at this moment; a read must never see the ledger go back.
    let withdraw = "DELETE FROM projection_cursors
                     WHERE ledger_id = $1 AND projection = $2 AND build < $3 AND is_serving AND position <= $4";
    let parameters = [ledger_id, projection, number, (&position as _, Type::INT8)];
    // Whoever folds into the serving build holds its cursor for a page.
    let withdrawn = transaction.execute_typed(withdraw, &parameters);
    if deadline.keep(transaction.client(), withdrawn).await? == 0 {
        return Ok(());
    }
    let serve = "UPDATE projection_cursors SET is_serving = true
                  WHERE ledger_id = $1 AND projection = $2 AND build = $3";
    transaction.execute_typed(serve, &key(&ledger.0, build)).await?;
    let forget = "DELETE FROM projection_cursors WHERE ledger_id = $1 AND projection = $2 AND build < $3";
    transaction.execute_typed(forget, &key(&ledger.0, build)).await?;
    let forget_parked =
        "DELETE FROM projection_parked WHERE ledger_id = $1 AND projection = $2 AND build < $3";
    transaction.execute_typed(forget_parked, &key(&ledger.0, build)).await?;
    Ok(())
}

/// Whether a refusal is caused by the values in a page's rows: the same page will be refused again.
pub(in crate::store) fn is_of_the_events(error: &Error) -> bool {
    // Cardinality, data exception, integrity constraint, a limit of row or index size, a raised error.
    const CLASSES: &[&str] = &["21", "22", "23", "54", "P0"];
    error.code().is_some_and(|code| CLASSES.iter().any(|class| code.code().starts_with(class)))
}

/// Whether a statement was ended because it took too long: fewer events may take less.
pub(in crate::store) fn is_out_of_time(error: &Error) -> bool {
    error.code() == Some(&SqlState::QUERY_CANCELED)
}
