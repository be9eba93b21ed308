//! What an operator decides for a whole ledger, and what a key may do.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{amount::Amount, ids::Unit};

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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClawbackPolicy {
    /// From the account's other lots, then as debt.
    #[default]
    Debt,
    /// From nowhere: it is written off.
    LotOnly,
}

/// How a unit is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitSettings {
    /// Decimal places for display: 0 to 9.
    pub scale: u8,
}

/// A ledger's settings; each change is an event with all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
    /// What subscriptions grant besides what was paid for, and for how long.
    #[serde(default, skip_serializing_if = "SubscriptionRules::is_default")]
    pub subscriptions: SubscriptionRules,
    /// What each new account gets, one entry for a unit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub signup_grants: Vec<SignupGrant>,
}

impl LedgerSettings {
    /// The part of them that is rules.
    pub fn rules(&self) -> LedgerRules {
        LedgerRules {
            clawback_policy: self.clawback_policy,
            claw_on_pending: self.claw_on_pending,
            freeze_on_dispute: self.freeze_on_dispute,
            subscriptions: self.subscriptions.clone(),
            signup_grants: self.signup_grants.clone(),
        }
    }

    /// These settings with other rules.
    pub fn with_rules(self, rules: LedgerRules) -> Self {
        let LedgerRules { clawback_policy, claw_on_pending, freeze_on_dispute, subscriptions, signup_grants } =
            rules;
        Self { clawback_policy, claw_on_pending, freeze_on_dispute, subscriptions, signup_grants, ..self }
    }
}

/// The settings that say what becomes of credits when money comes, stays away or goes back.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LedgerRules {
    /// See [`LedgerSettings::clawback_policy`].
    pub clawback_policy: ClawbackPolicy,
    /// See [`LedgerSettings::claw_on_pending`].
    pub claw_on_pending: bool,
    /// See [`LedgerSettings::freeze_on_dispute`].
    pub freeze_on_dispute: bool,
    /// See [`LedgerSettings::subscriptions`].
    pub subscriptions: SubscriptionRules,
    /// See [`LedgerSettings::signup_grants`].
    pub signup_grants: Vec<SignupGrant>,
}

/// What a renewal moves into the new period of what is left of the old one, of each unit.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Rollover {
    /// Nothing: it expires.
    #[default]
    None,
    /// Everything.
    All,
    /// At most so many credits.
    Capped(Amount),
}

/// How long credits of subscriptions live, and what trials grant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubscriptionRules {
    /// For how many days after the end of a period its credits can still be used, because renewals are paid late: 0 to
    /// [`Self::LONGEST_GRACE_DAYS`].
    pub renewal_grace_days: u32,
    /// What becomes of credits that are left at renewal, unless the price says otherwise.
    pub rollover: Rollover,
    /// What a trial grants, once for each account.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub trial_credits: BTreeMap<Unit, Amount>,
}

impl Default for SubscriptionRules {
    /// Three days of grace, because Stripe finalises renewals late; nothing rolls over, trials grant nothing.
    fn default() -> Self {
        Self { renewal_grace_days: 3, rollover: Rollover::None, trial_credits: BTreeMap::new() }
    }
}

impl SubscriptionRules {
    /// The longest that credits outlive their period.
    pub const LONGEST_GRACE_DAYS: u32 = 90;

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Credits that each new account gets.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SignupGrant {
    /// Of which unit.
    pub unit: Unit,
    /// How many.
    pub amount: Amount,
    /// After how many days they expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

/// How checkouts at Stripe look, and where they lead back to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read accounts, balances, history and the catalogue.
    Read,
    /// Open accounts; spend, hold and transfer credits.
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
