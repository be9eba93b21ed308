//! Credits that went from one account of the ledger to another: a pair of events, in one command.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Draw;
use crate::domain::{
    ids::{AccountNumber, LotId, PurchaseId, TransferId},
    time::Timestamp,
};

/// See [`super::EventBody::TransferSent`]. The event is the sender's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferSent {
    /// The transfer; the same in both events of a pair, and in all pairs of one that is too large for one.
    pub transfer: TransferId,
    /// Who received them.
    pub to: AccountNumber,
    /// How many credits.
    pub sent: i64,
    /// From which lots.
    pub draws: Vec<Draw>,
}

/// See [`super::EventBody::TransferReceived`]. The event is the recipient's.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TransferReceived {
    /// The transfer.
    pub transfer: TransferId,
    /// Who sent them.
    pub from: AccountNumber,
    /// How many credits.
    pub received: i64,
    /// The lots that they live on in, one for each draw of the sender's event, in the same order.
    pub lots: Vec<ReceivedLot>,
}

/// A lot that credits live on in which came from another account.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReceivedLot {
    /// The new lot.
    pub lot: LotId,
    /// The sender's lot that they came from.
    pub of: LotId,
    /// How many credits.
    pub granted: i64,
    /// The purchase that they were bought with, whoever bought.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase: Option<PurchaseId>,
    /// The share of the old lot's cost that goes with them, in the money's smallest part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost: Option<i64>,
    /// When they expire, as before.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, as before.
    pub priority: u8,
}
