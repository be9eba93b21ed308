//! What became of a purchase after its payment was refunded or disputed (rule 7).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    ids::{DebtId, LotId, PaymentReference, PurchaseId, RefundRequestId},
    payment::PaymentFact,
    time::Timestamp,
};

/// A part of a purchase's target that was moved; what `evolve` applies, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "move", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetMove {
    /// Own unspent credits were set aside (`disputed`).
    OwnTaken {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits came back to use, from `disputed`.
    OwnReturned {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if their own has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// Own credits that were set aside were taken for good.
    OwnClawed {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits that were taken are only set aside again.
    OwnUnclawed {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits that had expired count towards the target: no effect on the balance.
    Absorbed {
        /// How many.
        amount: i64,
    },
    /// Fewer expired credits count towards the target.
    Unabsorbed {
        /// How many.
        amount: i64,
    },
    /// Credits of another lot of the account were taken.
    OtherTaken {
        /// The other lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Credits that another lot had given up came back.
    OtherReturned {
        /// The other lot.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if theirs has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// The account owes credits that it no longer has.
    DebtMade {
        /// The debt item.
        debt: DebtId,
        /// How many.
        amount: i64,
    },
    /// The account owes less.
    DebtCancelled {
        /// The debt item.
        debt: DebtId,
        /// How many.
        amount: i64,
    },
    /// Credits that had settled debt of this purchase came back to their lot.
    SettlementReturned {
        /// The debt item that they had settled.
        debt: DebtId,
        /// The lot that they came from.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if theirs has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// Credits that could be taken from nowhere were given up by the ledger.
    WrittenOff {
        /// How many.
        amount: i64,
    },
    /// Less was given up.
    WriteOffUndone {
        /// How many.
        amount: i64,
    },
}

impl TargetMove {
    /// The lot that the move made, for credits that came back to one that has expired since.
    pub fn successor(&self) -> Option<&SuccessorLot> {
        match self {
            Self::OwnReturned { into, .. }
            | Self::OtherReturned { into, .. }
            | Self::SettlementReturned { into, .. } => into.as_ref(),
            _ => None,
        }
    }

    /// The same, to give it its name.
    pub fn successor_mut(&mut self) -> Option<&mut SuccessorLot> {
        match self {
            Self::OwnReturned { into, .. }
            | Self::OtherReturned { into, .. }
            | Self::SettlementReturned { into, .. } => into.as_mut(),
            _ => None,
        }
    }
}

/// A lot that credits live on in which came back to a lot that had expired meanwhile: same unit, purchase and priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SuccessorLot {
    /// The new lot.
    pub lot: LotId,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The share of the old lot's cost that goes with the credits, in the money's smallest part.
    pub cost: Option<i64>,
}

/// What made a purchase's target be looked at again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetCause {
    /// Stripe, or whoever recorded an external purchase, reported a fact about the payment.
    Fact(PaymentFact),
    /// The purchase was recorded after facts about its payment.
    NotedBefore,
    /// Credits of the purchase came back that had been in use.
    CreditsReturned,
    /// A refund was asked of us.
    RefundRequested(RefundRequestId),
    /// A refund that was asked of us will not be.
    RefundRefused(RefundRequestId),
}

/// How much of a purchase must not be in the buyer's hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// For refunds that succeeded or are asked for, and disputes open or lost.
    pub total: i64,
    /// The part of it that is final: without open disputes and refunds that are only asked for.
    pub taken: i64,
}

/// See [`super::EventBody::PurchaseClawed`] and [`super::EventBody::PurchaseRestored`]. One for each unit of the purchase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TargetMoved {
    /// The purchase.
    pub purchase: PurchaseId,
    /// The payment that the cause is about.
    pub payment: Option<PaymentReference>,
    /// Why.
    pub cause: TargetCause,
    /// The target before.
    pub before: Target,
    /// The target after.
    pub after: Target,
    /// What was moved, in order.
    pub moves: Vec<TargetMove>,
}

/// See [`super::EventBody::PurchaseClawed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PurchaseClawed(pub TargetMoved);

impl PurchaseClawed {
    /// 1 knew no warnings of fraud and no credit notes; 2 has a warning, 3 a note.
    pub fn version(&self) -> i16 {
        match &self.0.cause {
            TargetCause::Fact(fact) => fact.shape(),
            _ => 1,
        }
    }
}

/// See [`super::EventBody::PurchaseRestored`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct PurchaseRestored(pub TargetMoved);

impl PurchaseRestored {
    /// 1 knew no credit notes; 2 has one.
    pub fn version(&self) -> i16 {
        match &self.0.cause {
            TargetCause::Fact(PaymentFact::CreditNote { .. }) => 2,
            _ => 1,
        }
    }
}

/// See [`super::EventBody::PaymentNoted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PaymentNoted {
    /// The payment.
    pub payment: PaymentReference,
    /// What was reported.
    pub fact: PaymentFact,
}

impl PaymentNoted {
    /// 1 knew no warnings of fraud and no credit notes; 2 has a warning, 3 a note.
    pub fn version(&self) -> i16 {
        self.fact.shape()
    }
}
