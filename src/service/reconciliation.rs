//! Reconciliation with Stripe as the operator sees it: its runs, and where Stripe and the ledger differ.
//!
//! What is asked for here is written down, and done by whoever has the ledger's turn: it outlives the process that took the
//! request.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{Caller, FindingFilter, NotFound, Service, ServiceError};
use crate::{
    domain::{
        ids::{Actor, FindingId, ReconciliationId},
        time::Timestamp,
    },
    store::{
        reads::ReadError,
        reconciliation::{
            findings::{self, Finding, FindingState, Verdict},
            runs::{self, NewRun, Run, RunKind},
        },
    },
};

/// How long whoever asks for a repair waits for what comes of it.
const REPAIR_WAIT: Duration = Duration::from_secs(8);
/// How often it is looked at meanwhile.
const REPAIR_LOOK: Duration = Duration::from_millis(50);

/// A page of runs.
pub struct RunPage {
    /// The runs, newest first.
    pub runs: Vec<Run>,
    /// The run before which the next page begins, if there is one.
    pub next: Option<ReconciliationId>,
}

/// Which findings a page holds.
#[derive(Clone, Copy, Debug, Default)]
pub struct FindingQuery {
    /// Only these.
    pub filter: FindingFilter,
    /// Only those before this one.
    pub before: Option<FindingId>,
    /// How many at most.
    pub limit: i64,
}

/// A page of findings.
pub struct FindingPage {
    /// The findings, newest first.
    pub findings: Vec<Finding>,
    /// The finding before which the next page begins, if there is one.
    pub next: Option<FindingId>,
}

impl Service {
    /// Asks for a run: of that kind, which compares what was from `since` on and before `until`, or what is due, and repairs
    /// at once what Stripe tells and the ledger lacks, if it `repairs`.
    ///
    /// # Errors
    /// Whatever keeps it from being written down.
    pub async fn request_reconciliation(
        &self,
        caller: &Caller,
        kind: RunKind,
        (since, until): (Option<Timestamp>, Option<Timestamp>),
        repairs: bool,
    ) -> Result<Run, ServiceError> {
        let new = NewRun { kind, actor: Actor::ApiKey(caller.key), repairs, since, until };
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        Ok(runs::request_run(&client, caller.ledger, &new).await.map_err(ReadError::from)?)
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn reconciliations(
        &self,
        caller: &Caller,
        before: Option<ReconciliationId>,
        limit: i64,
    ) -> Result<RunPage, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let runs = runs::list_runs(&client, caller.ledger, before, limit + 1).await;
        let (runs, next) = page(runs.map_err(ReadError::from)?, limit, |run| run.id);
        Ok(RunPage { runs, next })
    }

    /// One run.
    ///
    /// # Errors
    /// [`NotFound::Reconciliation`], and whatever keeps a read from succeeding.
    pub async fn reconciliation(&self, caller: &Caller, run: ReconciliationId) -> Result<Run, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let found = runs::find_run(&client, caller.ledger, run).await.map_err(ReadError::from)?;
        found.ok_or(ServiceError::NotFound(NotFound::Reconciliation))
    }

    /// A page of findings, newest first.
    ///
    /// # Errors
    /// Whatever keeps a read from succeeding.
    pub async fn findings(&self, caller: &Caller, query: FindingQuery) -> Result<FindingPage, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let FindingQuery { filter, before, limit } = query;
        let findings = findings::list_findings(&client, caller.ledger, filter, before, limit + 1).await;
        let (findings, next) = page(findings.map_err(ReadError::from)?, limit, |finding| finding.id);
        Ok(FindingPage { findings, next })
    }

    /// One finding.
    ///
    /// # Errors
    /// [`NotFound::Finding`], and whatever keeps a read from succeeding.
    pub async fn finding(&self, caller: &Caller, finding: FindingId) -> Result<Finding, ServiceError> {
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let found = findings::find_finding(&client, caller.ledger, finding).await;
        found.map_err(ReadError::from)?.ok_or(ServiceError::NotFound(NotFound::Finding))
    }

    /// Says that a finding may be as it is. Who and why stays on record. Whoever repeats it is told the same.
    ///
    /// # Errors
    /// [`NotFound::Finding`]; [`ServiceError::FindingNotOpen`] if there is nothing to decide.
    pub async fn dismiss_finding(
        &self,
        caller: &Caller,
        finding: FindingId,
        reason: &str,
    ) -> Result<Finding, ServiceError> {
        self.decide_finding(caller, finding, Verdict::Dismiss, reason).await
    }

    /// Has a finding repaired, and waits a while for what comes of it: one that is `repairing` still will be. Who and why
    /// stays on record. Whoever repeats it is told the same.
    ///
    /// # Errors
    /// [`NotFound::Finding`]; [`ServiceError::FindingNotRepairable`] if a person has to act;
    /// [`ServiceError::FindingNotOpen`] if there is nothing to decide.
    pub async fn repair_finding(
        &self,
        caller: &Caller,
        finding: FindingId,
        reason: &str,
    ) -> Result<Finding, ServiceError> {
        if !self.finding(caller, finding).await?.difference.kind.has_repair() {
            return Err(ServiceError::FindingNotRepairable);
        }
        let mut decided = self.decide_finding(caller, finding, Verdict::Repair, reason).await?;
        let begun = Instant::now();
        while decided.state == FindingState::Repairing && begun.elapsed() < REPAIR_WAIT {
            sleep(REPAIR_LOOK).await;
            decided = self.finding(caller, finding).await?;
        }
        Ok(decided)
    }

    async fn decide_finding(
        &self,
        caller: &Caller,
        finding: FindingId,
        verdict: Verdict,
        reason: &str,
    ) -> Result<Finding, ServiceError> {
        let actor = Actor::ApiKey(caller.key);
        let client = self.database.pool().get().await.map_err(ReadError::from)?;
        let decided = findings::decide(&client, caller.ledger, finding, verdict, &actor, reason).await;
        let is_decided = decided.map_err(ReadError::from)?;
        drop(client);
        let found = self.finding(caller, finding).await?;
        let is_repeat = verdict.led_to(found.state)
            && found.actor.as_ref() == Some(&actor)
            && found.note.as_deref() == Some(reason);
        if is_decided || is_repeat { Ok(found) } else { Err(ServiceError::FindingNotOpen) }
    }
}

/// Takes the one item away that was read to find out whether there are more.
fn page<T, Id>(mut items: Vec<T>, limit: i64, id: impl Fn(&T) -> Id) -> (Vec<T>, Option<Id>) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| has_more).map(id);
    (items, next)
}
