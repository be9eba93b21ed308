//! What runs and findings look like as JSON.

use poem_openapi::{Enum, Object};
use serde::Deserialize;

use crate::{
    api::{
        error::ApiError,
        params::Parameter,
        wire::{Cursor, Nullable, Reason, same_variants},
    },
    domain::{
        amount::Currency,
        ids::{FindingId, InvalidName, OrderId, PurchaseId, ReconciliationId},
        time::Timestamp,
    },
    service::{self, Details, Run},
};

/// What a run does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReconciliationKind {
    /// Takes in the events of Stripe's that no webhook has brought.
    Events,
    /// The same, and then compares what Stripe has with what the ledger has.
    Comparison,
    /// The same, repairs what can be, and lets effects be carried out again.
    Recovery,
}

same_variants!(ReconciliationKind, service::RunKind { Events, Comparison, Recovery });

/// How far a run has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum ReconciliationState {
    /// Nobody has begun it, or whoever had is gone.
    Requested,
    /// Under way.
    Running,
    /// Done.
    Done,
    /// It came to an end before its time.
    Failed,
}

same_variants!(ReconciliationState, service::RunState { Requested, Running, Done, Failed });

/// What a run has dealt with so far.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
pub struct ReconciliationCounts {
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

impl From<service::RunCounts> for ReconciliationCounts {
    fn from(counts: service::RunCounts) -> Self {
        let service::RunCounts {
            permille,
            events,
            events_taken_in,
            sessions,
            invoices,
            refunds,
            disputes,
            recorded,
            found,
            vanished,
            repaired,
        } = counts;
        Self {
            permille,
            events,
            events_taken_in,
            sessions,
            invoices,
            refunds,
            disputes,
            recorded,
            found,
            vanished,
            repaired,
        }
    }
}

/// A run of the reconciliation.
#[derive(Clone, Debug, Object)]
pub struct ReconciliationRun {
    /// Its id.
    pub run_id: ReconciliationId,
    /// What it does.
    pub kind: ReconciliationKind,
    /// How far it has come.
    pub state: ReconciliationState,
    /// Who asked for it: `api_key:` and the id of the key, `operator`, or `system` for what is due.
    pub actor: String,
    /// Whether what Stripe tells and the ledger lacks is repaired at once.
    pub repair: bool,
    /// From when on things are compared; `null` for what is due.
    pub from: Nullable<Timestamp>,
    /// Until when things are compared; `null` if up to now.
    pub to: Nullable<Timestamp>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it was begun last; `null` if nobody has.
    pub started_at: Nullable<Timestamp>,
    /// When it was over; `null` if it is not.
    pub finished_at: Nullable<Timestamp>,
    /// What it has dealt with so far.
    pub counts: ReconciliationCounts,
    /// Why it failed: a code, a colon and words; `null` if it did not.
    pub error: Nullable<String>,
}

impl From<Run> for ReconciliationRun {
    fn from(run: Run) -> Self {
        Self {
            run_id: run.id,
            kind: run.kind.into(),
            state: run.state.into(),
            actor: run.actor.to_string(),
            repair: run.repairs,
            from: Nullable(run.since),
            to: Nullable(run.until),
            requested_at: run.requested_at,
            started_at: Nullable(run.started_at),
            finished_at: Nullable(run.finished_at),
            counts: run.counts.into(),
            error: Nullable(run.error),
        }
    }
}

/// A page of runs.
#[derive(Clone, Debug, Object)]
pub struct ReconciliationRunList {
    /// The runs, newest first.
    pub items: Vec<ReconciliationRun>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// How Stripe and the ledger differ.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum FindingKind {
    /// A checkout session of ours is paid, and the ledger has no purchase of it; or an invoice, and credits of it are missing.
    PaidNotCredited,
    /// The ledger has credits of a session or an invoice that Stripe does not have, or that is not paid.
    CreditedNotPaid,
    /// Both have it, with other money.
    AmountDiffers,
    /// Stripe has a refund of a purchase, or has come further with it than the ledger knows.
    RefundNotRecorded,
    /// The ledger has a refund that Stripe does not have.
    RefundUnknownAtStripe,
    /// Stripe has a dispute of a purchase, or has come further with it than the ledger knows.
    DisputeNotRecorded,
    /// The ledger has a dispute that Stripe does not have.
    DisputeUnknownAtStripe,
    /// An order was paid twice, and neither payment went back.
    OrderPaidTwice,
    /// Stripe keeps events for 30 days, and some were not read in that time.
    EventsMissed,
    /// Stripe's events cannot be read; or all of one kind that is compared, such as `credit_notes`, because the key may not.
    EventsNotRead,
}

same_variants!(
    FindingKind,
    service::FindingKind {
        PaidNotCredited,
        CreditedNotPaid,
        AmountDiffers,
        RefundNotRecorded,
        RefundUnknownAtStripe,
        DisputeNotRecorded,
        DisputeUnknownAtStripe,
        OrderPaidTwice,
        EventsMissed,
        EventsNotRead
    }
);

impl Parameter for FindingKind {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be a kind of finding, such as paid_not_credited";
        service::FindingKind::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// What became of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum FindingState {
    /// It is there, and nobody has decided.
    Open,
    /// It is to be repaired.
    Repairing,
    /// It was repaired.
    Repaired,
    /// Somebody says that it may be as it is.
    Dismissed,
    /// It was no longer there.
    Vanished,
}

same_variants!(FindingState, service::FindingState { Open, Repairing, Repaired, Dismissed, Vanished });

impl Parameter for FindingState {
    fn parse(text: &str) -> Result<Self, InvalidName> {
        let expected = "must be open, repairing, repaired, dismissed or vanished";
        service::FindingState::parse(text).map(Into::into).ok_or(InvalidName { expected })
    }
}

/// One side of a difference.
#[derive(Clone, PartialEq, Eq, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct FindingSide {
    /// How much money, in the currency's smallest part.
    pub amount: Option<i64>,
    /// In which currency.
    pub currency: Option<Currency>,
    /// How far it has come.
    pub status: Option<String>,
}

impl From<service::Side> for FindingSide {
    fn from(side: service::Side) -> Self {
        let service::Side { amount, currency, status } = side;
        Self { amount, currency, status }
    }
}

/// A difference between Stripe and the ledger.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Finding {
    /// Its id.
    pub finding_id: FindingId,
    /// How they differ.
    pub kind: FindingKind,
    /// What it is about: Stripe's id of a session, an invoice, a refund, a dispute or an event; an order; or a time.
    pub object: String,
    /// What became of it.
    pub state: FindingState,
    /// What Stripe has.
    pub at_stripe: Option<FindingSide>,
    /// What the ledger has.
    pub in_ledger: Option<FindingSide>,
    /// The payment that it is of.
    pub payment: Option<String>,
    /// The line of the invoice that it is of, or the first of several.
    pub invoice_line: Option<String>,
    /// The purchase that it is of.
    pub purchase_id: Option<PurchaseId>,
    /// The order that it is of.
    pub order_id: Option<OrderId>,
    /// When it began, of what has a duration.
    pub since: Option<Timestamp>,
    /// When it ended.
    pub until: Option<Timestamp>,
    /// Why the ledger does not have it, or why a repair did not succeed: a code, a colon and words.
    pub reason: Option<String>,
    /// When it was met first, or again after it was closed.
    pub found_at: Timestamp,
    /// When it was met last.
    pub seen_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When somebody decided of it last.
    pub decided_at: Option<Timestamp>,
    /// Who decided: `api_key:` and the id of the key, or `operator`.
    pub actor: Option<String>,
    /// Why.
    pub decision_reason: Option<String>,
}

impl From<service::Finding> for Finding {
    fn from(finding: service::Finding) -> Self {
        let Details { at_stripe, in_ledger, payment, line, purchase, order, since, until } =
            finding.difference.details;
        Self {
            finding_id: finding.id,
            kind: finding.difference.kind.into(),
            object: finding.difference.object,
            state: finding.state.into(),
            at_stripe: at_stripe.map(Into::into),
            in_ledger: in_ledger.map(Into::into),
            payment: payment.map(|payment| payment.to_string()),
            invoice_line: line.map(|line| line.to_string()),
            purchase_id: purchase,
            order_id: order,
            since,
            until,
            reason: finding.difference.reason,
            found_at: finding.found_at,
            seen_at: finding.seen_at,
            closed_at: finding.closed_at,
            decided_at: finding.decided_at,
            actor: finding.actor.map(|actor| actor.to_string()),
            decision_reason: finding.note,
        }
    }
}

/// A page of findings.
#[derive(Clone, Debug, Object)]
pub struct FindingList {
    /// The findings, newest first.
    pub items: Vec<Finding>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// A decision to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewFindingDecision {
    /// Why, for whoever asks later. It stays on record.
    pub reason: Reason,
}

/// What a run is asked to do.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Enum, Deserialize)]
#[serde(rename_all = "snake_case")]
#[oai(rename_all = "snake_case")]
pub enum RequestedReconciliation {
    /// To take in the events of Stripe's that no webhook has brought.
    Events,
    /// The same, and then to compare what Stripe has with what the ledger has.
    #[default]
    Comparison,
}

/// A run to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewReconciliation {
    /// What it is to do; `comparison` if absent.
    pub kind: Option<RequestedReconciliation>,
    /// From when on things are compared, by Stripe's clock; two weeks before the last comparison if absent.
    pub from: Option<Timestamp>,
    /// Until when things are compared; up to now if absent.
    pub to: Option<Timestamp>,
    /// Whether what Stripe tells and the ledger lacks is repaired at once.
    #[serde(default)]
    pub repair: Option<bool>,
}

impl NewReconciliation {
    pub(super) fn check(&self) -> Result<RequestedReconciliation, ApiError> {
        let kind = self.kind.unwrap_or_default();
        let Self { from, to, repair, .. } = self;
        if kind == RequestedReconciliation::Events {
            let given = [("from", from.is_some()), ("to", to.is_some()), ("repair", repair.is_some())];
            if let Some((field, _)) = given.into_iter().find(|(_, is_given)| *is_given) {
                return Err(ApiError::invalid(field, "is for comparisons alone"));
            }
        }
        match (from, to) {
            (Some(from), Some(to)) if from >= to => Err(ApiError::invalid("to", "must be after `from`")),
            _ => Ok(kind),
        }
    }
}
