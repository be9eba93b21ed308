//! Payments: what Stripe reported of each, as a lattice, so that late, repeated and shuffled reports end the same.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    amount::{Currency, PaidMoney},
    ids::{OrderId, PaymentReference, Position, PurchaseId, RefundRequestId, StripeId},
};

/// The newest version of the shape of a stored [`Payment`].
pub const PAYMENT_STATE_VERSION: i16 = 3;

/// How far a refund has come; later ranks win over earlier ones, equal ranks change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    /// On its way (Stripe's `pending` and `requires_action`).
    Pending,
    /// The money went back.
    Succeeded,
    /// The money came back to us after all.
    Failed,
    /// Called off.
    Cancelled,
}

impl RefundStatus {
    /// Place in the lattice: `pending` < `succeeded` < `failed`, `cancelled`.
    pub fn rank(self) -> u8 {
        match self {
            Self::Pending => 0,
            Self::Succeeded => 1,
            Self::Failed | Self::Cancelled => 2,
        }
    }

    /// The name in keys and events.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// How far a dispute has come; later ranks win over earlier ones, equal ranks change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DisputeStatus {
    /// A question of the bank (Stripe's `warning_*`): no money moved.
    Inquiry,
    /// Money withdrawn, verdict open.
    Open,
    /// Decided for us (also Stripe's `prevented`).
    Won,
    /// Decided against us.
    Lost,
}

impl DisputeStatus {
    /// Place in the lattice: `inquiry` < `open` < `won`, `lost`.
    pub fn rank(self) -> u8 {
        match self {
            Self::Inquiry => 0,
            Self::Open => 1,
            Self::Won | Self::Lost => 2,
        }
    }

    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inquiry => "inquiry",
            Self::Open => "open",
            Self::Won => "won",
            Self::Lost => "lost",
        }
    }
}

/// Something that was reported about a payment. Amounts are in the currency's smallest part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum PaymentFact {
    /// The state of one refund.
    Refund {
        /// The refund: Stripe's id, or the event's own for refunds outside of Stripe.
        refund: StripeId,
        /// How far it has come.
        status: RefundStatus,
        /// How much is refunded.
        amount: i64,
        /// In which currency.
        currency: Currency,
        /// The request of ours that it answers, if it says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request: Option<RefundRequestId>,
    },
    /// The sum of refunds that the charge shows, pending ones included.
    ChargeRefunded {
        /// The charge.
        charge: StripeId,
        /// The sum so far.
        amount_refunded: i64,
        /// In which currency.
        currency: Currency,
    },
    /// The state of one dispute.
    Dispute {
        /// The dispute.
        dispute: StripeId,
        /// How far it has come.
        status: DisputeStatus,
        /// How much is disputed.
        amount: i64,
        /// In which currency.
        currency: Currency,
    },
    /// The card's network warned that the payment is fraud. No money moved: a dispute may follow.
    FraudWarning {
        /// The warning.
        warning: StripeId,
    },
    /// A credit note on the invoice that was paid, as far as it gives back what no refund does: to the customer's balance, or
    /// outside of Stripe. No charge's sum has it.
    CreditNote {
        /// The note.
        note: StripeId,
        /// `succeeded` once it is issued, `cancelled` once it is void.
        status: RefundStatus,
        /// How much is given back without a refund.
        amount: i64,
        /// In which currency.
        currency: Currency,
    },
}

impl PaymentFact {
    /// The version of the shape of events that hold it: the first knew no warnings, the second no credit notes.
    pub fn shape(&self) -> i16 {
        match self {
            Self::Refund { .. } | Self::ChargeRefunded { .. } | Self::Dispute { .. } => 1,
            Self::FraudWarning { .. } => 2,
            Self::CreditNote { .. } => 3,
        }
    }

    /// The currency of its amount, if it is about an amount.
    pub fn currency(&self) -> Option<Currency> {
        match self {
            Self::Refund { currency, .. }
            | Self::ChargeRefunded { currency, .. }
            | Self::Dispute { currency, .. }
            | Self::CreditNote { currency, .. } => Some(*currency),
            Self::FraudWarning { .. } => None,
        }
    }

    /// The name of the fact: every report of it has this one, whoever brings it.
    pub fn key_text(&self) -> String {
        match self {
            Self::Refund { refund, status, .. } => format!("refund:{refund}:{}", status.as_str()),
            // It counts as a refund does, under an id that no refund has.
            Self::CreditNote { note, status, .. } => format!("refund:{note}:{}", status.as_str()),
            Self::ChargeRefunded { charge, amount_refunded, .. } => {
                format!("charge:{charge}:{amount_refunded}")
            }
            Self::Dispute { dispute, status, .. } => format!("dispute:{dispute}:{}", status.rank()),
            Self::FraudWarning { warning } => format!("fraud_warning:{warning}"),
        }
    }

    /// Its amount, in the currency's smallest part.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Refund { amount, .. } | Self::Dispute { amount, .. } | Self::CreditNote { amount, .. } => {
                *amount
            }
            Self::ChargeRefunded { amount_refunded, .. } => *amount_refunded,
            Self::FraudWarning { .. } => 0,
        }
    }
}

/// Why a refund that was asked of us will not be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefundRefusal {
    /// The money has gone back already.
    AlreadyRefunded,
    /// The payment is disputed, so that its money is no longer ours to give.
    Disputed,
    /// The balance at Stripe does not cover it.
    InsufficientFunds,
    /// Stripe refused for another reason.
    Refused,
    /// Somebody gave up on asking Stripe.
    GivenUp,
}

impl RefundRefusal {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AlreadyRefunded => "already_refunded",
            Self::Disputed => "disputed",
            Self::InsufficientFunds => "insufficient_funds",
            Self::Refused => "refused",
            Self::GivenUp => "given_up",
        }
    }
}

/// A refund that was asked of us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct RefundRequest {
    /// The order that it is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
    /// The purchase that it takes back.
    pub purchase: PurchaseId,
    /// How much, in the smallest part of the payment's currency.
    pub amount: i64,
    /// Stripe's refund that answers it, once one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund: Option<StripeId>,
    /// Why it will not be, if nothing came of it. What Stripe tells of its refund counts more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefundRefusal>,
}

/// How far a refund has come that was asked of us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RequestStatus {
    /// Stripe has not answered yet.
    Requested,
    /// Stripe's refund is on its way.
    Pending,
    /// The money went back.
    Succeeded,
    /// The money came back to us after all.
    Failed,
    /// Called off.
    Cancelled,
    /// It will not be.
    Refused,
}

impl RequestStatus {
    /// The name in answers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Pending => "pending",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
        }
    }
}

/// One payment: what it paid for, and everything reported of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Which payment.
    pub reference: PaymentReference,
    /// P of rule 7, once its purchase is known: what was paid; of an invoice what it came to, of which the customer's balance
    /// may have paid a part.
    pub money: Option<PaidMoney>,
    /// What it bought.
    pub purchases: BTreeSet<PurchaseId>,
    /// The highest-ranking report of each refund: status, amount, currency.
    pub refunds: BTreeMap<StripeId, (RefundStatus, i64, Currency)>,
    /// The highest-ranking report of each dispute: status, amount, currency.
    pub disputes: BTreeMap<StripeId, (DisputeStatus, i64, Currency)>,
    /// The highest sum of refunds that a charge showed, by currency.
    pub amount_refunded: BTreeMap<Currency, i64>,
    /// The highest-ranking report of each credit note: status, what it gives back without a refund, currency. Apart from the
    /// refunds, because no sum of a charge has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub credit_notes: BTreeMap<StripeId, (RefundStatus, i64, Currency)>,
    /// Warnings of fraud.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub warnings: BTreeSet<StripeId>,
    /// The refunds that were asked of us, all in the payment's currency.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub requested: BTreeMap<RefundRequestId, RefundRequest>,
    /// The position of the last event that it has seen.
    pub version: Position,
}

/// The money of a payment that must not stay with us, in the payment's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MoneyBack {
    /// Refunds that count or are asked for, credit notes, and disputes open or lost.
    pub total: i64,
    /// The part of it that is final: without open disputes and refunds that are only asked for.
    pub taken: i64,
}

impl Payment {
    /// A payment of which nothing is known yet.
    pub fn unknown(reference: PaymentReference) -> Self {
        Self {
            reference,
            money: None,
            purchases: BTreeSet::new(),
            refunds: BTreeMap::new(),
            disputes: BTreeMap::new(),
            amount_refunded: BTreeMap::new(),
            credit_notes: BTreeMap::new(),
            warnings: BTreeSet::new(),
            requested: BTreeMap::new(),
            version: Position::default(),
        }
    }

    /// The version of the shape that it is stored in: the oldest that can hold it, so that a process of the version before
    /// goes on beside this one until there is something that it cannot know. The third has credit notes.
    pub fn state_version(&self) -> i16 {
        if self.credit_notes.is_empty() { 2 } else { PAYMENT_STATE_VERSION }
    }

    /// Whether the fact says nothing that is not known already: its rank is not above, its sum not higher, and it ties no
    /// refund to a request.
    pub fn knows(&self, fact: &PaymentFact) -> bool {
        match fact {
            PaymentFact::Refund { refund, status, request, .. } => {
                self.outranks(refund, *status) && !request.is_some_and(|request| self.waits(request))
            }
            PaymentFact::Dispute { dispute, status, .. } => {
                self.disputes.get(dispute).is_some_and(|(known, ..)| status.rank() <= known.rank())
            }
            PaymentFact::ChargeRefunded { amount_refunded, currency, .. } => {
                self.amount_refunded.get(currency).is_some_and(|known| amount_refunded <= known)
            }
            PaymentFact::FraudWarning { warning } => self.warnings.contains(warning),
            PaymentFact::CreditNote { note, status, .. } => {
                self.credit_notes.get(note).is_some_and(|(known, ..)| status.rank() <= known.rank())
            }
        }
    }

    /// Whether what is known of the refund is not below that status.
    fn outranks(&self, refund: &StripeId, status: RefundStatus) -> bool {
        self.refunds.get(refund).is_some_and(|(known, ..)| status.rank() <= known.rank())
    }

    /// Whether the request is one of this payment's and no refund answers it yet.
    fn waits(&self, request: RefundRequestId) -> bool {
        self.requested.get(&request).is_some_and(|request| request.refund.is_none())
    }

    /// Takes the fact in, unless it is known already.
    pub fn learn(&mut self, fact: &PaymentFact) {
        if self.knows(fact) {
            return;
        }
        match fact {
            PaymentFact::Refund { refund, status, amount, currency, request } => {
                if !self.outranks(refund, *status) {
                    self.refunds.insert(refund.clone(), (*status, *amount, *currency));
                }
                let request = request.and_then(|request| self.requested.get_mut(&request));
                if let Some(request) = request.filter(|request| request.refund.is_none()) {
                    request.refund = Some(refund.clone());
                }
            }
            PaymentFact::Dispute { dispute, status, amount, currency } => {
                self.disputes.insert(dispute.clone(), (*status, *amount, *currency));
            }
            PaymentFact::ChargeRefunded { amount_refunded, currency, .. } => {
                self.amount_refunded.insert(*currency, *amount_refunded);
            }
            PaymentFact::FraudWarning { warning } => {
                self.warnings.insert(warning.clone());
            }
            PaymentFact::CreditNote { note, status, amount, currency } => {
                self.credit_notes.insert(note.clone(), (*status, *amount, *currency));
            }
        }
    }

    /// How far a refund of this payment has come that was asked of us.
    pub fn status_of(&self, request: &RefundRequest) -> RequestStatus {
        let refund = request.refund.as_ref().and_then(|refund| self.refunds.get(refund));
        match (refund, request.refusal) {
            (Some((RefundStatus::Pending, ..)), _) => RequestStatus::Pending,
            (Some((RefundStatus::Succeeded, ..)), _) => RequestStatus::Succeeded,
            (Some((RefundStatus::Failed, ..)), _) => RequestStatus::Failed,
            (Some((RefundStatus::Cancelled, ..)), _) => RequestStatus::Cancelled,
            (None, Some(_)) => RequestStatus::Refused,
            (None, None) => RequestStatus::Requested,
        }
    }

    /// What can still be refunded: what was paid, without what went back or is on its way, is asked for or disputed.
    pub fn refundable(&self) -> i64 {
        self.money.map_or(0, |money| (money.gross - self.money_back(true).total).max(0))
    }

    /// What is asked for and not known to have gone back, where `unexplained` is the part of the charge's sum that no known
    /// refund explains: it may well be the money of a request of which Stripe has not told yet, and must not count twice.
    fn set_aside(&self, claw_on_pending: bool, unexplained: i64) -> i64 {
        let requests = || self.requested.values();
        let waiting = requests().filter(|request| self.status_of(request) == RequestStatus::Requested);
        let waiting = waiting.fold(0_i64, |sum, request| sum.saturating_add(request.amount));
        let on_its_way = requests()
            .filter_map(|request| self.refunds.get(request.refund.as_ref()?))
            .filter(|(status, ..)| *status == RefundStatus::Pending && !claw_on_pending)
            .fold(0_i64, |sum, (_, amount, _)| sum.saturating_add(*amount));
        on_its_way.saturating_add(waiting.saturating_sub(unexplained).max(0))
    }

    /// R and D of rule 7, and what is asked for. Reports in another currency than the payment's never count.
    pub fn money_back(&self, claw_on_pending: bool) -> MoneyBack {
        let Some(money) = self.money else { return MoneyBack::default() };
        let refunds = |counts: fn(RefundStatus) -> bool| sum_of(&self.refunds, money.currency, counts);
        let succeeded = refunds(|status| status == RefundStatus::Succeeded);
        let pending = refunds(|status| status == RefundStatus::Pending);
        let undone = refunds(|status| matches!(status, RefundStatus::Failed | RefundStatus::Cancelled));
        let highest = self.amount_refunded.get(&money.currency).copied().unwrap_or(0);
        let by_sum = highest.saturating_sub(undone);
        let (known, refunded) = if claw_on_pending {
            let known = succeeded.saturating_add(pending);
            (known, known.max(by_sum))
        } else {
            (succeeded, succeeded.max(by_sum.saturating_sub(pending)))
        };
        let set_aside = self.set_aside(claw_on_pending, refunded - known);
        let disputed = |status: DisputeStatus| -> i64 {
            let of_this = self
                .disputes
                .values()
                .filter(|(known, _, currency)| *known == status && *currency == money.currency);
            of_this.fold(0, |sum, (_, amount, _)| sum.saturating_add(*amount))
        };
        // Beside the refunds: what a charge shows has no note in it, so that neither can stand for the other.
        let credited = sum_of(&self.credit_notes, money.currency, |status| status == RefundStatus::Succeeded);
        let taken = refunded.saturating_add(credited).saturating_add(disputed(DisputeStatus::Lost));
        let open = disputed(DisputeStatus::Open).saturating_add(set_aside);
        MoneyBack { total: taken.saturating_add(open), taken }
    }
}

/// The sum of those refunds, or credit notes, whose status counts, as far as they are in that currency.
fn sum_of(
    reports: &BTreeMap<StripeId, (RefundStatus, i64, Currency)>,
    of: Currency,
    counts: fn(RefundStatus) -> bool,
) -> i64 {
    let counted = reports.values().filter(|(status, _, currency)| counts(*status) && *currency == of);
    counted.fold(0, |sum, (_, amount, _)| sum.saturating_add(*amount))
}
