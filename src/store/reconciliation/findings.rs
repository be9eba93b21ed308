//! Where Stripe and the ledger differ: found, met again, decided, closed.
//!
//! Invariants:
//! - one difference is one row, whatever becomes of it: one that comes back after it was repaired or had vanished is open
//!   again, and one that was dismissed stays so for as long as it is the same;
//! - whoever decides is on record, with a reason.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio_postgres::{Client, Error, Row, types::Type};
use uuid::Uuid;

use super::{change, new_id, read, write};
use crate::{
    domain::{
        amount::Currency,
        ids::{Actor, FindingId, LedgerId, OrderId, PaymentReference, PurchaseId, StripeId},
        time::Timestamp,
    },
    store::{
        rows::{RowError, timestamp},
        scope::Parameter,
    },
};

/// How Stripe and the ledger differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FindingKind {
    /// A checkout session of ours is paid, and the ledger has no purchase of it; or an invoice, and credits of it are missing.
    PaidNotCredited,
    /// The ledger has credits of a session or an invoice that Stripe does not have, or that is not paid.
    CreditedNotPaid,
    /// Both have it, with other money.
    AmountDiffers,
    /// Stripe has a refund of a purchase or a credit note on it, or has come further with it than the ledger knows.
    RefundNotRecorded,
    /// The ledger has a refund or a credit note that Stripe does not have.
    RefundUnknownAtStripe,
    /// Stripe has a dispute of a purchase, or has come further with it than the ledger knows.
    DisputeNotRecorded,
    /// The ledger has a dispute that Stripe does not have.
    DisputeUnknownAtStripe,
    /// An order was paid twice, and neither payment went back.
    OrderPaidTwice,
    /// Stripe keeps events for 30 days, and some were not read in that time.
    EventsMissed,
    /// Stripe's events cannot be read, or all that is compared of one kind.
    EventsNotRead,
}

impl FindingKind {
    /// Every kind there is.
    pub const ALL: [Self; 10] = [
        Self::PaidNotCredited,
        Self::CreditedNotPaid,
        Self::AmountDiffers,
        Self::RefundNotRecorded,
        Self::RefundUnknownAtStripe,
        Self::DisputeNotRecorded,
        Self::DisputeUnknownAtStripe,
        Self::OrderPaidTwice,
        Self::EventsMissed,
        Self::EventsNotRead,
    ];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PaidNotCredited => "paid_not_credited",
            Self::CreditedNotPaid => "credited_not_paid",
            Self::AmountDiffers => "amount_differs",
            Self::RefundNotRecorded => "refund_not_recorded",
            Self::RefundUnknownAtStripe => "refund_unknown_at_stripe",
            Self::DisputeNotRecorded => "dispute_not_recorded",
            Self::DisputeUnknownAtStripe => "dispute_unknown_at_stripe",
            Self::OrderPaidTwice => "order_paid_twice",
            Self::EventsMissed => "events_missed",
            Self::EventsNotRead => "events_not_read",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    /// Whether there is a repair that the service can make; otherwise a person has to act, and the finding vanishes.
    pub fn has_repair(self) -> bool {
        !matches!(self, Self::AmountDiffers | Self::OrderPaidTwice | Self::EventsNotRead)
    }
}

impl FindingKind {
    /// Whether Stripe tells something that the ledger lacks, so that a repair is what a webhook would have done.
    pub fn is_told_by_stripe(self) -> bool {
        matches!(self, Self::PaidNotCredited | Self::RefundNotRecorded | Self::DisputeNotRecorded)
    }
}

/// What became of a finding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
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

impl FindingState {
    /// Every state there is.
    pub const ALL: [Self; 5] = [Self::Open, Self::Repairing, Self::Repaired, Self::Dismissed, Self::Vanished];

    /// The name as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Repairing => "repairing",
            Self::Repaired => "repaired",
            Self::Dismissed => "dismissed",
            Self::Vanished => "vanished",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// One side of a difference.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Side {
    /// How much money, in the currency's smallest part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<i64>,
    /// In which currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
}

/// What is known of a difference. It names no person.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Details {
    /// What Stripe has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_stripe: Option<Side>,
    /// What the ledger has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_ledger: Option<Side>,
    /// The payment that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<PaymentReference>,
    /// The line of the invoice that it is of, or the first of several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<StripeId>,
    /// The purchase that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase: Option<PurchaseId>,
    /// The order that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// When it began, of what has a duration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// A difference that was met.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// How they differ.
    pub kind: FindingKind,
    /// What it is about.
    pub object: String,
    /// What is known of it.
    pub details: Details,
    /// Why the ledger does not have it, if that is known: a code, a colon and words.
    pub reason: Option<String>,
}

/// A difference that is on record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// Which finding.
    pub id: FindingId,
    /// What it is.
    pub difference: Difference,
    /// What became of it.
    pub state: FindingState,
    /// When it was met first, or again after it was closed.
    pub found_at: Timestamp,
    /// When it was met last.
    pub seen_at: Timestamp,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// When somebody decided of it last.
    pub decided_at: Option<Timestamp>,
    /// Who decided.
    pub actor: Option<Actor>,
    /// Why.
    pub note: Option<String>,
}

macro_rules! columns {
    () => {
        "finding_id, kind, object, state, details::text AS details, reason, found_at, seen_at, closed_at, decided_at,
         actor, note"
    };
}

impl Finding {
    fn from_row(row: &Row) -> Result<Self, RowError> {
        let invalid = |column| RowError::Value { column };
        let moment = |column: &'static str| -> Result<Option<Timestamp>, RowError> {
            let moment: Option<OffsetDateTime> = row.try_get(column)?;
            moment.map(|moment| timestamp(moment, column)).transpose()
        };
        let actor: Option<&str> = row.try_get("actor")?;
        Ok(Self {
            id: FindingId::from_bits(row.try_get::<_, Uuid>("finding_id")?.as_u128()),
            difference: Difference {
                kind: FindingKind::parse(row.try_get("kind")?).ok_or(invalid("kind"))?,
                object: row.try_get("object")?,
                details: serde_json::from_str(row.try_get("details")?).map_err(|_| invalid("details"))?,
                reason: row.try_get("reason")?,
            },
            state: FindingState::parse(row.try_get("state")?).ok_or(invalid("state"))?,
            found_at: timestamp(row.try_get("found_at")?, "found_at")?,
            seen_at: timestamp(row.try_get("seen_at")?, "seen_at")?,
            closed_at: moment("closed_at")?,
            decided_at: moment("decided_at")?,
            actor: actor.map(|actor| Actor::parse(actor).ok_or(invalid("actor"))).transpose()?,
            note: row.try_get("note")?,
        })
    }
}

/// Puts a difference on record, or says that it was met again. Answers the finding, and whether it was closed before or
/// not there.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn record_difference(
    client: &Client,
    ledger: LedgerId,
    difference: &Difference,
) -> Result<(Finding, bool), RowError> {
    const STATEMENT: &str = concat!(
        "INSERT INTO reconciliation_findings AS f
                (ledger_id, finding_id, kind, object, state, details, reason, found_at, seen_at)
         SELECT h.ledger_id, $2, $3, $4, 'open', $5::text::jsonb, left($6, 500), now(), now()
           FROM ledger_heads h WHERE h.ledger_id = $1
             ON CONFLICT (ledger_id, kind, object) DO UPDATE
            SET seen_at = now(),
                details = excluded.details,
                reason = COALESCE(excluded.reason, f.reason),
                state = CASE WHEN f.state IN ('repaired', 'vanished')
                                  OR f.state = 'dismissed' AND f.details <> excluded.details
                             THEN 'open' ELSE f.state END,
                found_at = CASE WHEN f.state IN ('repaired', 'vanished')
                                     OR f.state = 'dismissed' AND f.details <> excluded.details
                                THEN now() ELSE f.found_at END,
                closed_at = CASE WHEN f.state = 'dismissed' AND f.details = excluded.details THEN f.closed_at END
         RETURNING found_at = now() AS is_new, ",
        columns!()
    );
    let id = new_id();
    let details = serde_json::to_string(&difference.details).unwrap_or_else(|_| "{}".to_owned());
    let parameters: [Parameter<'_>; 6] = [
        (&ledger.0, Type::INT8),
        (&id, Type::UUID),
        (&difference.kind.as_str(), Type::TEXT),
        (&difference.object, Type::TEXT),
        (&details, Type::TEXT),
        (&difference.reason, Type::TEXT),
    ];
    let rows = change(client, ledger, STATEMENT, &parameters).await?;
    let row = rows.first().ok_or(RowError::Value { column: "finding_id" })?;
    Ok((Finding::from_row(row)?, row.try_get("is_new")?))
}

/// How a finding that was open, or was to be repaired, goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Settled {
    /// It is no longer there.
    Vanished,
    /// It was repaired.
    Repaired,
    /// The repair did not succeed, and says why: it is open.
    NotRepaired(String),
}

/// Writes down how a finding goes on. False if somebody has decided otherwise meanwhile.
///
/// # Errors
/// Those of the database.
pub async fn settle(
    client: &Client,
    ledger: LedgerId,
    finding: FindingId,
    settled: &Settled,
) -> Result<bool, Error> {
    let statement = "UPDATE reconciliation_findings
                        SET state = $3, reason = COALESCE(left($4, 500), reason),
                            closed_at = CASE WHEN $3 <> 'open' THEN now() END
                      WHERE ledger_id = $1 AND finding_id = $2 AND state IN ('open', 'repairing')";
    let finding = Uuid::from_u128(finding.to_bits());
    let (state, reason) = match settled {
        Settled::Vanished => (FindingState::Vanished, None),
        Settled::Repaired => (FindingState::Repaired, None),
        Settled::NotRepaired(reason) => (FindingState::Open, Some(reason)),
    };
    let parameters: [Parameter<'_>; 4] = [
        (&ledger.0, Type::INT8),
        (&finding, Type::UUID),
        (&state.as_str(), Type::TEXT),
        (&reason, Type::TEXT),
    ];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// What somebody decides of an open finding.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It is to be repaired.
    Repair,
    /// It may be as it is.
    Dismiss,
}

impl Verdict {
    /// Whether a finding in this state is what becomes of it.
    pub fn led_to(self, state: FindingState) -> bool {
        match self {
            Self::Repair => matches!(state, FindingState::Repairing | FindingState::Repaired),
            Self::Dismiss => state == FindingState::Dismissed,
        }
    }
}

/// Writes down what somebody has decided. False if the finding is not open.
///
/// # Errors
/// Those of the database.
pub async fn decide(
    client: &Client,
    ledger: LedgerId,
    finding: FindingId,
    verdict: Verdict,
    actor: &Actor,
    note: &str,
) -> Result<bool, Error> {
    let statement = "UPDATE reconciliation_findings
                        SET state = $3, decided_at = now(), actor = $4, note = $5,
                            closed_at = CASE WHEN $3 = 'dismissed' THEN now() END
                      WHERE ledger_id = $1 AND finding_id = $2 AND state = 'open'";
    let (finding, actor) = (Uuid::from_u128(finding.to_bits()), actor.to_string());
    let state = match verdict {
        Verdict::Repair => FindingState::Repairing,
        Verdict::Dismiss => FindingState::Dismissed,
    };
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&finding, Type::UUID),
        (&state.as_str(), Type::TEXT),
        (&actor, Type::TEXT),
        (&note, Type::TEXT),
    ];
    Ok(write(client, ledger, statement, &parameters).await? == 1)
}

/// Which findings a list holds.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct FindingFilter {
    /// Only those of this kind.
    pub kind: Option<FindingKind>,
    /// Only those in this state.
    pub state: Option<FindingState>,
}

/// Up to `limit` findings, newest first, before `before`.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list_findings(
    client: &Client,
    ledger: LedgerId,
    filter: FindingFilter,
    before: Option<FindingId>,
    limit: i64,
) -> Result<Vec<Finding>, RowError> {
    let statement = findings_statement(filter);
    let (state, kind) = (filter.state.map(FindingState::as_str), filter.kind.map(FindingKind::as_str));
    let before = before.map_or(Uuid::max(), |finding| Uuid::from_u128(finding.to_bits()));
    let parameters: [Parameter<'_>; 5] = [
        (&ledger.0, Type::INT8),
        (&state, Type::TEXT),
        (&before, Type::UUID),
        (&kind, Type::TEXT),
        (&limit, Type::INT8),
    ];
    read(client, ledger, &statement, &parameters).await?.iter().map(Finding::from_row).collect()
}

/// What reads a page of findings: of a ledger, in state `$2`, before the finding `$3`, of kind `$4`, so many. What the filter
/// leaves open is null, and no condition of the index.
pub fn findings_statement(filter: FindingFilter) -> String {
    let state = if filter.state.is_some() { "state = $2" } else { "$2::text IS NULL" };
    let kind = if filter.kind.is_some() { "kind = $4" } else { "$4::text IS NULL" };
    format!(
        "SELECT {} FROM reconciliation_findings
          WHERE ledger_id = $1 AND {state} AND finding_id < $3 AND {kind}
          ORDER BY finding_id DESC LIMIT $5",
        columns!()
    )
}

/// One finding.
///
/// # Errors
/// Those of the database, and a row that cannot be read.
pub async fn find_finding(
    client: &Client,
    ledger: LedgerId,
    finding: FindingId,
) -> Result<Option<Finding>, RowError> {
    let statement = concat!(
        "SELECT ",
        columns!(),
        " FROM reconciliation_findings WHERE ledger_id = $1 AND finding_id = $2"
    );
    let finding = Uuid::from_u128(finding.to_bits());
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&finding, Type::UUID)];
    read(client, ledger, statement, &parameters).await?.first().map(Finding::from_row).transpose()
}

/// How many findings are open or being repaired, by kind.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn count_findings(client: &Client, ledger: LedgerId) -> Result<Vec<(FindingKind, i64)>, RowError> {
    let statement = "SELECT kind, count(*) AS findings FROM reconciliation_findings
                      WHERE ledger_id = $1 AND state IN ('open', 'repairing') GROUP BY kind";
    let rows = read(client, ledger, statement, &[(&ledger.0, Type::INT8)]).await?;
    let count = |row: &Row| {
        let kind = FindingKind::parse(row.try_get("kind")?).ok_or(RowError::Value { column: "kind" })?;
        Ok((kind, row.try_get("findings")?))
    };
    rows.iter().map(count).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_are_written() {
        for kind in FindingKind::ALL {
            assert_eq!(FindingKind::parse(kind.as_str()), Some(kind));
        }
        for state in FindingState::ALL {
            assert_eq!(FindingState::parse(state.as_str()), Some(state));
        }
    }

    #[test]
    fn details_hold_no_more_than_is_known() {
        let details = Details {
            at_stripe: Some(Side { amount: Some(500), currency: Currency::parse("eur"), status: None }),
            ..Details::default()
        };
        let text = serde_json::to_string(&details).expect("JSON");
        assert_eq!(text, r#"{"at_stripe":{"amount":500,"currency":"eur"}}"#);
        assert_eq!(serde_json::from_str::<Details>(&text).expect("details"), details);
    }
}
