//! A subscription at Stripe: how it is there, and what its invoices granted (rule 9).
//!
//! Invariants: each state of it is of a moment, and the newest counts, in whatever order they are told; one that has ended
//! stays ended; what a change within a period granted is never more than the signed sum of all changes of that period.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    ids::{AccountNumber, LotId, OrderId, Position, PriceId, StripeId, SubscriptionChangeId, Unit},
    settings::SubscriptionRules,
    subscription_change::{ChangeOutcome, RequestedChange},
    time::{Span, Timestamp},
};

/// The version of the shape of a stored [`Subscription`].
pub const SUBSCRIPTION_STATE_VERSION: i16 = 2;

/// Of how many periods the changes are remembered: later ones of older periods find nothing to be set off against.
const REMEMBERED_PERIODS: usize = 8;

/// How many lots are remembered: older ones are left to their own expiry.
const REMEMBERED_LOTS: usize = 64;

/// How many changes that were asked for are remembered, and how many may be open at once: what became of older ones is in
/// the events.
pub const REMEMBERED_REQUESTS: usize = 8;

/// How a subscription is at Stripe. The order is that of two states of one moment: the later variant counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionStatus {
    /// Its first invoice is not paid yet.
    Incomplete,
    /// Nothing is to be paid before the trial ends.
    Trialing,
    /// Paid.
    Active,
    /// A renewal is not paid; Stripe tries again.
    PastDue,
    /// A renewal is not paid; Stripe has stopped trying.
    Unpaid,
    /// Its trial ended without a way to pay.
    Paused,
    /// Its first invoice was not paid in time.
    IncompleteExpired,
    /// It is over.
    Canceled,
}

impl SubscriptionStatus {
    /// Every status there is.
    pub const ALL: [Self; 8] = [
        Self::Incomplete,
        Self::Trialing,
        Self::Active,
        Self::PastDue,
        Self::Unpaid,
        Self::Paused,
        Self::IncompleteExpired,
        Self::Canceled,
    ];

    /// The name at Stripe, in answers and as stored.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Incomplete => "incomplete",
            Self::Trialing => "trialing",
            Self::Active => "active",
            Self::PastDue => "past_due",
            Self::Unpaid => "unpaid",
            Self::Paused => "paused",
            Self::IncompleteExpired => "incomplete_expired",
            Self::Canceled => "canceled",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it is over, for ever.
    pub fn has_ended(self) -> bool {
        matches!(self, Self::IncompleteExpired | Self::Canceled)
    }
}

/// How many of a price are subscribed to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscribedPrice {
    /// The price.
    pub price: PriceId,
    /// How many of it.
    pub quantity: i64,
}

/// What Stripe says of a subscription at one moment. Ordered by the moment, then by content.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionTerms {
    /// The moment that it is the state of, by Stripe's clock. The beginning of time, if only an invoice told of it.
    pub as_of: Timestamp,
    /// How it is.
    pub status: SubscriptionStatus,
    /// What is subscribed to.
    pub items: Vec<SubscribedPrice>,
    /// Until when it is paid, or its trial goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub period_end: Option<Timestamp>,
    /// Whether it ends with the period.
    pub cancel_at_period_end: bool,
    /// Whether the collection of money for it is paused at Stripe.
    pub collection_paused: bool,
}

impl SubscriptionTerms {
    /// Whether a later state than `known` is told. A state that has ended is the last one.
    pub fn overtakes(&self, known: &Self) -> bool {
        match (known.status.has_ended(), self.status.has_ended()) {
            (true, _) => false,
            (false, true) => true,
            (false, false) => self > known,
        }
    }
}

/// A stretch of time that is paid for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Period {
    /// Its first moment.
    pub start: Timestamp,
    /// The first moment after it.
    pub end: Timestamp,
}

/// How long the credits of a period can be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Life {
    /// The end of the period; one that was over when it was paid counts from payment.
    pub ends_at: Timestamp,
    /// When the credits expire: the grace after that, while the subscription lives.
    pub expires_at: Timestamp,
}

impl Period {
    /// How long the credits of this period, paid at `now`, can be used.
    pub fn life(&self, now: Timestamp, rules: &SubscriptionRules, lives: bool) -> Life {
        let is_over = self.end <= now;
        let ends_at = if is_over { now.plus(self.end.since(self.start)) } else { self.end };
        let grace = if lives { Span::days(i64::from(rules.renewal_grace_days)) } else { Span::days(0) };
        Life { ends_at, expires_at: ends_at.plus(grace) }
    }
}

/// A line of an invoice that granted credits.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InvoiceLine {
    /// The invoice.
    pub invoice: StripeId,
    /// Its line; the first of several that are set off against each other.
    pub line: StripeId,
    /// Of which subscription.
    pub subscription: StripeId,
    /// What it is paid for.
    pub period: Period,
    /// When the credits' period ends: later than the period, if that was over when it was paid.
    pub ends_at: Timestamp,
    /// Whether it is of a change within the period.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub prorated: bool,
}

/// Credits of a subscription that live by its periods.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodLot {
    /// Of which unit.
    pub unit: Unit,
    /// The lot.
    pub lot: LotId,
    /// When its period ends.
    pub ends_at: Timestamp,
}

/// What the changes within one period came to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeriodChanges {
    /// When the period ends.
    pub period_end: Timestamp,
    /// The signed sum of prorated credits: E.
    pub expected: BTreeMap<Unit, i64>,
    /// What was granted so far.
    pub granted: BTreeMap<Unit, i64>,
}

/// A subscription.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Subscription {
    /// Which one, at Stripe.
    pub id: StripeId,
    /// Whose.
    pub account: AccountNumber,
    /// The order of ours that it began with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// How it is.
    pub terms: SubscriptionTerms,
    /// The position of the event by which it became known.
    pub started: Position,
    /// When that was.
    pub started_at: Timestamp,
    /// Its latest lots, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lots: Vec<PeriodLot>,
    /// Changes within periods, by the end of the period.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<PeriodChanges>,
    /// The latest changes that were asked of us, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub requests: Vec<RequestedChange>,
    /// The position of the last event that it has seen.
    pub version: Position,
}

impl Subscription {
    /// Credits that changes of the period were worth, and were granted for, of a unit; those of the period that it
    /// replaced included.
    pub fn changes_of(&self, period_end: Timestamp, replaced: Option<Timestamp>, unit: &Unit) -> (i64, i64) {
        let of_period = self
            .changes
            .iter()
            .filter(|changes| changes.period_end == period_end || Some(changes.period_end) == replaced);
        let of_unit = |credits: &BTreeMap<Unit, i64>| credits.get(unit).copied().unwrap_or(0);
        of_period.fold((0, 0), |(expected, granted), changes| {
            (expected + of_unit(&changes.expected), granted + of_unit(&changes.granted))
        })
    }

    /// Adds to what the changes of a period are worth. A period that took another's place takes its changes over.
    pub fn expect(
        &mut self,
        period_end: Timestamp,
        replaced: Option<Timestamp>,
        credits: &BTreeMap<Unit, i64>,
    ) {
        let replaced = replaced.filter(|replaced| *replaced != period_end);
        let at = self.changes.iter().position(|changes| Some(changes.period_end) == replaced);
        if let Some(taken_over) = at.map(|at| self.changes.remove(at)) {
            let changes = self.changes_mut(period_end);
            add(&mut changes.expected, &taken_over.expected);
            add(&mut changes.granted, &taken_over.granted);
        }
        add(&mut self.changes_mut(period_end).expected, credits);
        let surplus = self.changes.len().saturating_sub(REMEMBERED_PERIODS);
        self.changes.drain(..surplus);
    }

    /// Takes a lot of a period in.
    pub fn take_in(&mut self, unit: &Unit, lot: LotId, granted: i64, line: &InvoiceLine) {
        if line.prorated {
            let credits = [(unit.clone(), granted)].into();
            add(&mut self.changes_mut(line.period.end).granted, &credits);
        }
        self.remember(PeriodLot { unit: unit.clone(), lot, ends_at: line.ends_at });
    }

    /// Takes one more lot in that lives by its periods.
    pub fn remember(&mut self, lot: PeriodLot) {
        self.lots.push(lot);
        let surplus = self.lots.len().saturating_sub(REMEMBERED_LOTS);
        self.lots.drain(..surplus);
    }

    /// Remembers that a change is asked for. One that is open is never forgotten for it: nobody would make it.
    pub fn request(&mut self, requested: RequestedChange) {
        self.requests.push(requested);
        let settled = self.requests.iter().position(|known| known.outcome.is_some());
        if let Some(oldest) = settled.filter(|_| self.requests.len() > REMEMBERED_REQUESTS) {
            self.requests.remove(oldest);
        }
    }

    /// Whether one more change may be asked for.
    pub fn may_be_asked(&self) -> bool {
        self.requests.iter().filter(|known| known.outcome.is_none()).count() < REMEMBERED_REQUESTS
    }

    /// Remembers what became of a change, unless that is known or it is forgotten.
    pub fn settle(&mut self, change: SubscriptionChangeId, outcome: ChangeOutcome) {
        if let Some(requested) = self.requests.iter_mut().find(|requested| requested.id == change) {
            requested.outcome.get_or_insert(outcome);
        }
    }

    fn changes_mut(&mut self, period_end: Timestamp) -> &mut PeriodChanges {
        let at = self.changes.partition_point(|changes| changes.period_end < period_end);
        if self.changes.get(at).is_none_or(|changes| changes.period_end != period_end) {
            let new = PeriodChanges { period_end, expected: BTreeMap::new(), granted: BTreeMap::new() };
            self.changes.insert(at, new);
        }
        &mut self.changes[at]
    }
}

fn add(to: &mut BTreeMap<Unit, i64>, credits: &BTreeMap<Unit, i64>) {
    for (unit, credits) in credits {
        *to.entry(unit.clone()).or_default() += credits;
    }
}
