//! Payments: what Stripe reported of each, as a lattice, so that late, repeated and shuffled reports end the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    amount::{Currency, PaidMoney},
    ids::{PaymentReference, Position, PurchaseId, StripeId},
};

/// The version of the shape of a stored [`Payment`].
pub const PAYMENT_STATE_VERSION: i16 = 1;

/// How far a refund has come; later ranks win over earlier ones, equal ranks change nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
}

/// Something that was reported about a payment. Amounts are in the currency's smallest part.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
}

impl PaymentFact {
    /// The currency of its amount.
    pub fn currency(&self) -> Currency {
        match self {
            Self::Refund { currency, .. }
            | Self::ChargeRefunded { currency, .. }
            | Self::Dispute { currency, .. } => *currency,
        }
    }

    /// Its amount, in the currency's smallest part.
    pub fn amount(&self) -> i64 {
        match self {
            Self::Refund { amount, .. } | Self::Dispute { amount, .. } => *amount,
            Self::ChargeRefunded { amount_refunded, .. } => *amount_refunded,
        }
    }
}

/// One payment: what it paid for, and everything reported of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// Which payment.
    pub reference: PaymentReference,
    /// What was paid, once its purchase is known.
    pub money: Option<PaidMoney>,
    /// What it bought.
    pub purchases: BTreeSet<PurchaseId>,
    /// The highest-ranking report of each refund: status, amount, currency.
    pub refunds: BTreeMap<StripeId, (RefundStatus, i64, Currency)>,
    /// The highest-ranking report of each dispute: status, amount, currency.
    pub disputes: BTreeMap<StripeId, (DisputeStatus, i64, Currency)>,
    /// The highest sum of refunds that a charge showed, by currency.
    pub amount_refunded: BTreeMap<Currency, i64>,
    /// The position of the last event that it has seen.
    pub version: Position,
}

/// The money of a payment that must not stay with us, in the payment's currency.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct MoneyBack {
    /// Refunds that count, and disputes open or lost.
    pub total: i64,
    /// The part of it that is final: without open disputes.
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
            version: Position::default(),
        }
    }

    /// Whether the fact says nothing that is not known already: its rank is not above, its sum not higher.
    pub fn knows(&self, fact: &PaymentFact) -> bool {
        match fact {
            PaymentFact::Refund { refund, status, .. } => {
                self.refunds.get(refund).is_some_and(|(known, ..)| status.rank() <= known.rank())
            }
            PaymentFact::Dispute { dispute, status, .. } => {
                self.disputes.get(dispute).is_some_and(|(known, ..)| status.rank() <= known.rank())
            }
            PaymentFact::ChargeRefunded { amount_refunded, currency, .. } => {
                self.amount_refunded.get(currency).is_some_and(|known| amount_refunded <= known)
            }
        }
    }

    /// Takes the fact in, unless it is known already.
    pub fn learn(&mut self, fact: &PaymentFact) {
        if self.knows(fact) {
            return;
        }
        match fact {
            PaymentFact::Refund { refund, status, amount, currency } => {
                self.refunds.insert(refund.clone(), (*status, *amount, *currency));
            }
            PaymentFact::Dispute { dispute, status, amount, currency } => {
                self.disputes.insert(dispute.clone(), (*status, *amount, *currency));
            }
            PaymentFact::ChargeRefunded { amount_refunded, currency, .. } => {
                self.amount_refunded.insert(*currency, *amount_refunded);
            }
        }
    }

    /// R and D of rule 7. Reports in another currency than the payment's never count.
    pub fn money_back(&self, claw_on_pending: bool) -> MoneyBack {
        let Some(money) = self.money else { return MoneyBack::default() };
        let refunds = |counts: fn(RefundStatus) -> bool| -> i64 {
            let of_this_currency = self.refunds.values().filter(|(.., currency)| *currency == money.currency);
            of_this_currency
                .filter(|(status, ..)| counts(*status))
                .fold(0, |sum, (_, amount, _)| sum.saturating_add(*amount))
        };
        let succeeded = refunds(|status| status == RefundStatus::Succeeded);
        let pending = refunds(|status| status == RefundStatus::Pending);
        let undone = refunds(|status| matches!(status, RefundStatus::Failed | RefundStatus::Cancelled));
        let highest = self.amount_refunded.get(&money.currency).copied().unwrap_or(0);
        let refunded = if claw_on_pending {
            succeeded.saturating_add(pending).max(highest.saturating_sub(undone))
        } else {
            succeeded.max(highest.saturating_sub(undone).saturating_sub(pending))
        };
        let disputed = |status: DisputeStatus| -> i64 {
            let of_this = self
                .disputes
                .values()
                .filter(|(known, _, currency)| *known == status && *currency == money.currency);
            of_this.fold(0, |sum, (_, amount, _)| sum.saturating_add(*amount))
        };
        let taken = refunded.saturating_add(disputed(DisputeStatus::Lost));
        MoneyBack { total: taken.saturating_add(disputed(DisputeStatus::Open)), taken }
    }
}
