//! The marks that every object of ours at Stripe carries, by which it is found again.
//!
//! | key | on | meaning |
//! | --- | --- | --- |
//! | `counterfoil_effect` | all | the effect that made it: also the key that makes the call happen once |
//! | `counterfoil_ledger` | all | the ledger's name |
//! | `counterfoil_account` | all | the account's name |
//! | `counterfoil_order`, `counterfoil_refund` | where there is one | our order, our request for a refund |
//! | `counterfoil_change` | subscriptions | the change of ours that was made last |
//! | `account_id`, `order_id`, `price_id`, `quantity` | sessions | what `metadata.rs` reads from any product's sessions |

use std::collections::HashMap;

use crate::domain::ids::{AccountId, EffectId, LedgerSlug, OrderId, RefundRequestId};

/// The key of the effect that made an object.
pub const EFFECT: &str = "counterfoil_effect";
/// The key of the ledger's name.
pub const LEDGER: &str = "counterfoil_ledger";
/// The key of the account's name.
pub const ACCOUNT: &str = "counterfoil_account";
/// The key of our order.
pub const ORDER: &str = "counterfoil_order";
/// The key of our request for a refund.
pub const REFUND: &str = "counterfoil_refund";

/// The key of the change of a subscription that was made last.
pub const CHANGE: &str = "counterfoil_change";

/// Where an object comes from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Origin {
    /// What makes it.
    pub effect: EffectId,
    /// In which ledger.
    pub ledger: LedgerSlug,
    /// For whom.
    pub account: AccountId,
    /// For which order.
    pub order: Option<OrderId>,
    /// For which request for a refund.
    pub refund: Option<RefundRequestId>,
}

impl Origin {
    /// The marks.
    pub(super) fn metadata(&self) -> HashMap<String, String> {
        let mut metadata = HashMap::from([
            (EFFECT.to_owned(), self.effect.to_string()),
            (LEDGER.to_owned(), self.ledger.to_string()),
            (ACCOUNT.to_owned(), self.account.to_string()),
        ]);
        metadata.extend(self.order.map(|order| (ORDER.to_owned(), order.to_string())));
        metadata.extend(self.refund.map(|refund| (REFUND.to_owned(), refund.to_string())));
        metadata
    }
}
