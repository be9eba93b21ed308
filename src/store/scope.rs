//! Transactions that see one ledger: what they begin with.
//!
//! Row-level security shows the rows of the ledger that the setting `counterfoil.ledger_id` names, and none without
//! it. The setting lives as long as its transaction, so a pooled connection carries it to nobody else. It travels with
//! `BEGIN` in one message and costs no round trip: poll it together with the statements that follow.

use futures_util::future::join3;
use tokio_postgres::{
    Client, Error,
    types::{ToSql, Type},
};

use crate::domain::ids::LedgerId;

/// A value of a statement and its type, for statements that are not prepared.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// How long a transaction of ours may wait for its next statement before the server ends it: a process that hangs must
/// not keep a lock.
const IDLE_LIMIT_MS: u32 = 5_000;
/// How long one statement of ours may run: an old snapshot keeps dead versions of the hot rows alive.
const STATEMENT_LIMIT_MS: u32 = 5_000;
/// How long one statement of ours may wait for a lock.
const LOCK_LIMIT_MS: u32 = 3_000;

/// Begins a transaction that reads one ledger as of one moment.
pub fn begin_reading(ledger: LedgerId) -> String {
    format!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}", settings(ledger))
}

/// Begins a transaction that changes rows of one ledger. It gives up on a lock that it does not get in time.
pub fn begin_writing(ledger: LedgerId) -> String {
    let settings = settings(ledger);
    format!("BEGIN ISOLATION LEVEL READ COMMITTED; {settings}; SET LOCAL lock_timeout = {LOCK_LIMIT_MS}")
}

/// Begins a transaction that changes rows of one ledger and is on disk when it has committed, whatever the database's
/// own settings say.
pub fn begin_writing_durably(ledger: LedgerId) -> String {
    format!("{}; SET LOCAL synchronous_commit = on", begin_writing(ledger))
}

/// Does something within a transaction, all of it in one round trip if the work is: it is sent before anything is
/// answered. `begin` is what one of the functions above gave.
///
/// # Errors
/// The first in the order of what was sent: a transaction that could not begin is the cause of what fails in it.
pub(super) async fn within<T, E: From<Error>>(
    client: &Client,
    begin: &str,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    let (begun, done, ended) = join3(client.batch_execute(begin), work, client.batch_execute("COMMIT")).await;
    begun?;
    let done = done?;
    ended?;
    Ok(done)
}

/// What belongs to one ledger in a transaction that has begun already.
///
/// The plans of our statements are the same whatever the tables' statistics say: a statement that was first planned on
/// an empty table would otherwise scan it for each call, and go on doing so when it has grown. And a page of a list, of
/// which such a plan does not know how small it is, would be found by collecting and sorting all rows that may be in it.
pub fn settings(ledger: LedgerId) -> String {
    format!(
        "SET LOCAL counterfoil.ledger_id = '{ledger}'; \
         SET LOCAL plan_cache_mode = force_generic_plan; \
         SET LOCAL enable_seqscan = off; \
         SET LOCAL enable_bitmapscan = off; \
         SET LOCAL max_parallel_workers_per_gather = 0; \
         SET LOCAL enable_hashjoin = off; \
         SET LOCAL enable_mergejoin = off; \
         SET LOCAL jit = off; \
         SET LOCAL statement_timeout = {STATEMENT_LIMIT_MS}; \
         SET LOCAL idle_in_transaction_session_timeout = {IDLE_LIMIT_MS}"
    )
}
