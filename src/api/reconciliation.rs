//! Reconciliation with Stripe: its runs, and where Stripe and the ledger differ.

mod bodies;

use poem_openapi::OpenApi;
use serde::{Deserialize, Serialize};

use self::bodies::{
    Finding, FindingKind, FindingList, FindingState, NewFindingDecision, NewReconciliation,
    ReconciliationRun, ReconciliationRunList, RequestedReconciliation,
};
use super::{
    answers::Found,
    auth::{Authorised, Operate},
    error::{Failure, Reading, Writing},
    params::{Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Cursor, Limit, Nullable},
};
use crate::{
    domain::ids::{FindingId, ReconciliationId},
    service::{self, FindingFilter, FindingQuery},
};

/// A place in the list of runs.
#[derive(Serialize, Deserialize)]
struct RunPlace {
    run: ReconciliationId,
}

/// A place in the list of findings.
#[derive(Serialize, Deserialize)]
struct FindingPlace {
    finding: FindingId,
}

/// The resource.
pub struct Reconciliation;

#[OpenApi(tag = "Tag::Reconciliation")]
impl Reconciliation {
    /// Reconcile with Stripe
    ///
    /// Asks for a run, which begins within a second if no other is under way; read it to see how far it is. Events are taken in
    /// by themselves every few minutes, and what is due is compared every day.
    #[oai(path = "/v1/reconciliation/runs", method = "post", operation_id = "reconcile")]
    async fn request(
        &self,
        caller: Authorised<Operate>,
        body: Json<NewReconciliation>,
    ) -> Result<Found<ReconciliationRun>, Failure<Writing>> {
        let new = body.content;
        let kind = match new.check()? {
            RequestedReconciliation::Events => service::RunKind::Events,
            RequestedReconciliation::Comparison => service::RunKind::Comparison,
        };
        let (compared, repairs) = ((new.from, new.to), new.repair.unwrap_or(false));
        let run = caller.service.request_reconciliation(&caller.caller, kind, compared, repairs).await?;
        Ok(Found(run.into()))
    }

    /// List runs
    #[oai(path = "/v1/reconciliation/runs", method = "get", operation_id = "list_reconciliation_runs")]
    async fn list_runs(
        &self,
        caller: Authorised<Operate>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<ReconciliationRunList>, Failure<Reading>> {
        let before: Option<RunPlace> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let (before, limit) = (before.map(|place| place.run), limit.0.unwrap_or_default().into());
        let page = caller.service.reconciliations(&caller.caller, before, limit).await?;
        Ok(Found(ReconciliationRunList {
            items: page.runs.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(page.next.map(|run| Cursor::of(&RunPlace { run }))),
        }))
    }

    /// Read a run
    #[oai(path = "/v1/reconciliation/runs/:run", method = "get", operation_id = "read_reconciliation_run")]
    async fn read_run(
        &self,
        caller: Authorised<Operate>,
        /// The id of the run.
        run: Path<ReconciliationId>,
    ) -> Result<Found<ReconciliationRun>, Failure<Reading>> {
        Ok(Found(caller.service.reconciliation(&caller.caller, run.0).await?.into()))
    }

    /// List findings
    #[oai(path = "/v1/reconciliation/findings", method = "get", operation_id = "list_findings")]
    async fn list_findings(
        &self,
        caller: Authorised<Operate>,
        /// Only findings of this kind.
        kind: Query<FindingKind>,
        /// Only findings in this state.
        state: Query<FindingState>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<FindingList>, Failure<Reading>> {
        let before: Option<FindingPlace> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let query = FindingQuery {
            filter: FindingFilter { kind: kind.0.map(Into::into), state: state.0.map(Into::into) },
            before: before.map(|place| place.finding),
            limit: limit.0.unwrap_or_default().into(),
        };
        let page = caller.service.findings(&caller.caller, query).await?;
        Ok(Found(FindingList {
            items: page.findings.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(page.next.map(|finding| Cursor::of(&FindingPlace { finding }))),
        }))
    }

    /// Read a finding
    #[oai(path = "/v1/reconciliation/findings/:finding", method = "get", operation_id = "read_finding")]
    async fn read_finding(
        &self,
        caller: Authorised<Operate>,
        /// The id of the finding.
        finding: Path<FindingId>,
    ) -> Result<Found<Finding>, Failure<Reading>> {
        Ok(Found(caller.service.finding(&caller.caller, finding.0).await?.into()))
    }

    /// Repair a finding
    ///
    /// What Stripe tells goes through the inbox, under the name of its fact, so that nothing is credited or taken twice; what
    /// Stripe does not have is put right by another fact of the same payment. If it takes long, the finding is `repairing`
    /// when this answers; if it did not succeed, it is `open` and says why. The same request again is answered like the first.
    #[oai(
        path = "/v1/reconciliation/findings/:finding/repair",
        method = "post",
        operation_id = "repair_finding"
    )]
    async fn repair(
        &self,
        caller: Authorised<Operate>,
        /// The id of the finding.
        finding: Path<FindingId>,
        decision: Json<NewFindingDecision>,
    ) -> Result<Found<Finding>, Failure<Writing>> {
        let reason = decision.content.reason.0;
        Ok(Found(caller.service.repair_finding(&caller.caller, finding.0, &reason).await?.into()))
    }

    /// Dismiss a finding
    ///
    /// It may be as it is, and is not told again unless it becomes another. The same request again is answered like the
    /// first.
    #[oai(
        path = "/v1/reconciliation/findings/:finding/dismiss",
        method = "post",
        operation_id = "dismiss_finding"
    )]
    async fn dismiss(
        &self,
        caller: Authorised<Operate>,
        /// The id of the finding.
        finding: Path<FindingId>,
        decision: Json<NewFindingDecision>,
    ) -> Result<Found<Finding>, Failure<Writing>> {
        let reason = decision.content.reason.0;
        Ok(Found(caller.service.dismiss_finding(&caller.caller, finding.0, &reason).await?.into()))
    }
}
