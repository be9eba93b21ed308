//! What an operator decides for a whole ledger, and what a key may do.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::ids::Unit;

/// Whether a ledger's money is real.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LedgerMode {
    /// Real money.
    Live,
    /// Stripe's test mode.
    Test,
}

impl LedgerMode {
    /// The name as stored and as it appears in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Test => "test",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Live, Self::Test].into_iter().find(|mode| mode.as_str() == text)
    }
}

/// Where a clawback's shortfall comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClawbackPolicy {
    /// From the account's other lots, then as debt.
    #[default]
    Debt,
    /// From nowhere: it is written off.
    LotOnly,
}

/// How a unit is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitSettings {
    /// Decimal places for display: 0 to 9.
    pub scale: u8,
}

/// A ledger's settings; each change is an event with all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LedgerSettings {
    /// The units that this ledger counts.
    pub units: BTreeMap<Unit, UnitSettings>,
    /// Where a clawback's shortfall comes from.
    pub clawback_policy: ClawbackPolicy,
    /// Whether a pending refund counts like one that succeeded.
    pub claw_on_pending: bool,
    /// Whether an open dispute freezes the account.
    pub freeze_on_dispute: bool,
    /// Where a client that is short of credits can send its user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buy_url: Option<String>,
    /// How checkouts at Stripe look and where they lead back to.
    #[serde(default, skip_serializing_if = "CheckoutSettings::is_default")]
    pub checkout: CheckoutSettings,
}

/// How checkouts at Stripe look, and where they lead back to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckoutSettings {
    /// Where buyers go after payment, unless an order says otherwise; `{LOCALE}`, `{ORDER_ID}` and Stripe's
    /// `{CHECKOUT_SESSION_ID}` are filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub success_url: Option<String>,
    /// Where buyers go who turn back, unless an order says otherwise; filled in likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel_url: Option<String>,
    /// The hosts that orders may lead buyers back to, without ports, in lower case.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub redirect_hosts: BTreeSet<String>,
    /// Whether Stripe computes tax and adds it.
    #[serde(default)]
    pub automatic_tax: bool,
    /// Whether buyers may give their tax id.
    #[serde(default)]
    pub collect_tax_ids: bool,
    /// Whether buyers may give promotion codes.
    #[serde(default)]
    pub promotion_codes: bool,
    /// Whether Stripe makes an invoice for each paid checkout.
    #[serde(default)]
    pub invoices: bool,
}

impl CheckoutSettings {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What an API key may do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read accounts, balances, history and the catalogue.
    Read,
    /// Open accounts; spend and hold credits.
    Spend,
    /// Grant credits.
    Grant,
    /// Checkout, portal, purchases outside of Stripe.
    Billing,
    /// Adjust, refund, freeze; the inbox.
    Operate,
    /// The event stream and its proofs.
    Audit,
    /// The catalogue, settings and keys; includes every other scope.
    Admin,
}

impl Scope {
    /// Every scope there is.
    pub const ALL: [Self; 7] =
        [Self::Read, Self::Spend, Self::Grant, Self::Billing, Self::Operate, Self::Audit, Self::Admin];

    /// The name in requests and storage.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Spend => "spend",
            Self::Grant => "grant",
            Self::Billing => "billing",
            Self::Operate => "operate",
            Self::Audit => "audit",
            Self::Admin => "admin",
        }
    }

    /// Reads what [`Self::as_str`] gave.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == text)
    }
}
