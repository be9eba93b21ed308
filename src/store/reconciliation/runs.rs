//! Runs of the reconciliation: those that are asked for, that one that is under way, and what came of earlier ones.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_postgres::{Client, Error, Row, types::Type};
use uuid::Uuid;

use super::{change, new_id, read, write};
use crate::{
    domain::{
        ids::{Actor, LedgerId, ReconciliationId},
        time::Timestamp,
    },
    store::{
        rows::{RowError, timestamp},
        scope::Parameter,
    },
};

/// How many runs of a ledger are kept.
const KEPT: i64 = 1_000;

/// What a run does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunKind {
    /// Takes in the events of Stripe's that the inbox lacks.
    Events,
    /// The same, and then compares what Stripe has with what the ledger has.
    Comparison,
    /// The same, repairs what can be, and lets effects be carried out again.
    Recovery,
}

impl RunKind {
    /// Every kind there is.
    pub const ALL: [Self; 3] = [Self::Events, Self::Comparison, Self::Recovery];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Comparison => "comparison",
            Self::Recovery => "recovery",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RunState {
    /// Nobody has begun it, or whoever had is gone.
    Requested,
    /// Under way.
    Running,
    /// Done.
    Done,
    /// It came to an end before its time.
    Failed,
}

impl RunState {
    /// Every state there is.
    pub const ALL: [Self; 4] = [Self::Requested, Self::Running, Self::Done, Self::Failed];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// Whether nothing more will come of it.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed)
    }
}

/// What a run has dealt with so far.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct RunCounts {
    /// Which part of it is done, in thousandths.
    pub permille: i64,
    /// Events that Stripe listed.
    pub events: i64,
    /// Those of them that the inbox did not have, and has now.
    pub events_taken_in: i64,
    /// Checkout sessions of Stripe's that were compared.
    pub sessions: i64,
    /// Paid invoices of Stripe's that were compared.
    pub invoices: i64,
    /// Refunds and credit notes of Stripe's that were compared.
    pub refunds: i64,
    /// Disputes of Stripe's that were compared.
    pub disputes: i64,
    /// Purchases, refunds and disputes of the ledger that were compared.
    pub recorded: i64,
    /// Findings that were not open before.
    pub found: i64,
    /// Findings that are no longer there.
    pub vanished: i64,
    /// Findings that were repaired.
    pub repaired: i64,
}

/// A run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Which run.
    pub id: ReconciliationId,
    /// What it does.
    pub kind: RunKind,
    /// How far it has come.
    pub state: RunState,
    /// Who asked for it; the service itself for what is due.
    pub actor: Actor,
    /// Whether what can be repaired is repaired at once.
    pub repairs: bool,
    /// From when on things are compared; what is due if absent.
    pub since: Option<Timestamp>,
    /// Until when things are compared.
    pub until: Option<Timestamp>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was begun last.
    pub started_at: Option<Timestamp>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// What it has dealt with so far.
    pub counts: RunCounts,
    /// Why it failed: a code, a colon and words.
    pub error: Option<String>,
}

/// A run that is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRun {
    /// What it is to do.
    pub kind: RunKind,
    /// Who asks.
    pub actor: Actor,
    /// Whether what can be repaired is to be repaired at once.
    pub repairs: bool,
    /// From when on things are compared; what is due if absent.
    pub since: Option<Timestamp>,
    /// Until when things are compared.
    pub until: Option<Timestamp>,
}

macro_rules! columns {
    () => {
        "run_id, kind, state, actor, repairs, since, until, requested_at, started_at, finished_at,
         counts::text AS counts, error"
    };
}

impl Run {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let invalid = |column| RowError::Value { column };
        let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
            let moment: Option<OffsetDateTime> = row.try_get(column)?;
            moment.map(|moment| timestamp(moment, column)).transpose()
        };
        Ok(Self {
            id: ReconciliationId::from_bits(row.try_get::<_, Uuid>("run_id")?.as_u128()),
            kind: RunKind::parse(row.try_get("kind")?).ok_or(invalid("kind"))?,
            state: RunState::parse(row.try_get("state")?).ok_or(invalid("state"))?,
            actor: Actor::parse(row.try_get("actor")?).ok_or(invalid("actor"))?,
            repairs: row.try_get("repairs")?,
            since: moment("since")?,
            until: moment("until")?,
            requested_at: timestamp(row.try_get("requested_at")?, "requested_at")?,
            started_at: moment("started_at")?,
            finished_at: moment("finished_at")?,
            counts: serde_json::from_str(row.try_get("counts")?).map_err(|_| invalid("counts"))?,
            error: row.try_get("error")?,
        })
    }
}

/// Asks for a run, and forgets the oldest.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn request_run(client: &Client, ledger: LedgerId, new: &NewRun) -> Result<Run, RowError> {
    let insert = concat!(
        "INSERT INTO reconciliation_runs
                (ledger_id, run_id, kind, state, actor, repairs, since, until, requested_at, counts)
         SELECT h.ledger_id, $2, $3, 'requested', $4, $5, $6, $7, now(), '{}'
           FROM ledger_heads h WHERE h.ledger_id = $1
         RETURNING ",
        columns!()
    );
    let forget = "DELETE FROM reconciliation_runs
                   WHERE ledger_id = $1 AND finished_at IS NOT NULL
                     AND run_id <= (SELECT old.run_id FROM reconciliation_runs old
                                     WHERE old.ledger_id = $1 ORDER BY old.run_id DESC OFFSET $2 LIMIT 1)";
    write(client, ledger, forget, &[(&ledger.0, Type::INT8), (&KEPT, Type::INT8)]).await?;
    let (id, actor) = (new_id(), new.actor.to_string());
    let (since, until) = (new.since.map(Timestamp::to_datetime), new.until.map(Timestamp::to_datetime));
    let parameters: [Parameter<'_>; 7] = [
        (&ledger.0, Type::INT8),
        (&id, Type::UUID),
        (&new.kind.as_str(), Type::TEXT),
        (&actor, Type::TEXT),
        (&new.repairs, Type::BOOL),
        (&since, Type::TIMESTAMPTZ),
        (&until, Type::TIMESTAMPTZ),
    ];
    let rows = change(client, ledger, insert, &parameters).await?;
    rows.first().map_or(Err(RowError::Value { column: "run_id" }), Run::from_row)
}

/// Begins the run that was asked for first, if there is one.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn begin_requested(client: &Client, ledger: LedgerId) -> Result<Option<Run>, RowError> {
    let statement = concat!(
        "UPDATE reconciliation_runs SET state = 'running', started_at = now(), counts = '{}'
          WHERE ledger_id = $1
            AND run_id = (SELECT next.run_id FROM reconciliation_runs next
                           WHERE next.ledger_id = $1 AND next.finished_at IS NULL
                           ORDER BY next.run_id LIMIT 1)
         RETURNING ",
        columns!()
    );
    let rows = change(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    rows.first().map(Run::from_row).transpose()
}

/// Writes down what a run has dealt with so far, and how it ended if it has.
///
/// # Errors
/// Those of the database.
pub async fn record_progress(
    client: &Client,
    ledger: LedgerId,
    run: ReconciliationId,
    counts: &RunCounts,
    end: Option<&Result<(), String>>,
) -> Result<(), Error> {
    let statement = "UPDATE reconciliation_runs
                        SET counts = $3::text::jsonb, state = $4, error = left($5, 500),
                            finished_at = CASE WHEN $4 IN ('done', 'failed') THEN now() END
                      WHERE ledger_id = $1 AND run_id = $2 AND state = 'running'";
    let run = Uuid::from_u128(run.to_bits());
    let counts = serde_json::to_string(counts).unwrap_or_else(|_| "{}".to_owned());
    let state = match end {
        None => RunState::Running,
        Some(Ok(())) => RunState::Done,
        Some(Err(_)) => RunState::Failed,
    };
    let error = end.and_then(|end| end.as_ref().err());
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&run, Type::UUID),
        (&counts, Type::TEXT),
        (&state.as_str(), Type::TEXT),
        (&error, Type::TEXT),
    ];
    write(client, ledger, statement, &parameters).await?;
    Ok(())
}

/// What reads a page of runs: of a ledger, before a run, so many, newest first.
pub const LIST_RUNS: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM reconciliation_runs WHERE ledger_id = $1 AND run_id < $2 ORDER BY run_id DESC LIMIT $3"
);

/// Up to `limit` runs, newest first, before `before`.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list_runs(
    client: &Client,
    ledger: LedgerId,
    before: Option<ReconciliationId>,
    limit: i64,
) -> Result<Vec<Run>, RowError> {
    let before = before.map_or(Uuid::max(), |run| Uuid::from_u128(run.to_bits()));
    let parameters: [Parameter<'_>; 3] =
        [(&ledger.0, Type::INT8), (&before, Type::UUID), (&limit, Type::INT8)];
    read(client, ledger, LIST_RUNS, &parameters).await?.iter().map(Run::from_row).collect()
}

/// One run, if it is still kept.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_run(
    client: &Client,
    ledger: LedgerId,
    run: ReconciliationId,
) -> Result<Option<Run>, RowError> {
    let statement =
        concat!("SELECT ", columns!(), " FROM reconciliation_runs WHERE ledger_id = $1 AND run_id = $2");
    let run = Uuid::from_u128(run.to_bits());
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&run, Type::UUID)];
    read(client, ledger, statement, &parameters).await?.first().map(Run::from_row).transpose()
}
