//! What happened to credits: they came, were spent, held, adjusted, ran out of time, or paid debt off.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::{
    amount::PaidMoney,
    ids::{DebtId, FeatureKey, HoldId, LotId, PaymentReference, PriceId, PurchaseId, SpendId, StripeId},
    subscription::InvoiceLine,
    time::Timestamp,
};

/// How a purchase reached us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseSource {
    /// A Stripe checkout session.
    CheckoutSession(StripeId),
    /// A payment outside of Stripe (wire transfer, app store).
    External,
    /// A line of a subscription's invoice.
    InvoiceLine(InvoiceLine),
}

/// See [`super::EventBody::CreditsPurchased`]. One for each unit that the purchase grants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsPurchased {
    /// What was bought; the same in all events of one purchase.
    pub purchase: PurchaseId,
    /// The lot that it made.
    pub lot: LotId,
    /// How it reached us.
    pub source: PurchaseSource,
    /// The payment that facts about refunds and disputes will name; none for Stripe payments without an intent.
    pub payment: Option<PaymentReference>,
    /// The price that was bought, if one is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceId>,
    /// How many of the price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<i64>,
    /// What was paid for the whole purchase.
    pub money: PaidMoney,
    /// What everything came to that the payment paid for, where that is not `money`: it paid for more than this purchase, or
    /// the customer's balance paid a part. The share of it that goes back is the share of the credits that is taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paid_with: Option<PaidMoney>,
    /// This lot's share of the money without tax, in the money's currency.
    pub cost: i64,
    /// How many credits.
    pub granted: i64,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

impl CreditsPurchased {
    /// 1 knew no invoices.
    pub fn version(&self) -> i16 {
        match self.source {
            PurchaseSource::CheckoutSession(_) | PurchaseSource::External => 1,
            PurchaseSource::InvoiceLine(_) => 2,
        }
    }
}

/// Where an unpaid lot came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// Granted through the interface: bonus, promotion, goodwill.
    Requested,
    /// A checkout session for which nothing was to be paid.
    FreeCheckoutSession(StripeId),
    /// The account is new, and the ledger's rules grant this to each new one.
    SignUp,
    /// A line of a subscription's invoice for which nothing was to be paid after discounts.
    InvoiceLine(InvoiceLine),
    /// The line of a trial, or another of price zero, for which the ledger's rules grant this.
    Trial(InvoiceLine),
}

/// See [`super::EventBody::CreditsGranted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsGranted {
    /// The lot that it made.
    pub lot: LotId,
    /// Where it came from.
    pub source: GrantSource,
    /// How many credits.
    pub granted: i64,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

impl CreditsGranted {
    /// 1 knew no credits of new accounts, 2 none of subscriptions: each has a source that those before did not know.
    pub fn version(&self) -> i16 {
        match self.source {
            GrantSource::Requested | GrantSource::FreeCheckoutSession(_) => 1,
            GrantSource::SignUp => 2,
            GrantSource::InvoiceLine(_) | GrantSource::Trial(_) => 3,
        }
    }
}

/// An amount taken from, or given back to, one lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// The lot.
    pub lot: LotId,
    /// How many credits: positive.
    pub amount: i64,
}

/// See [`super::EventBody::CreditsSpent`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsSpent {
    /// The spend.
    pub spend: SpendId,
    /// Everything that was spent: draws and overdraft.
    pub spent: i64,
    /// What it was spent on, if a feature was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub feature: Option<FeatureKey>,
    /// How many of the feature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantity: Option<i64>,
    /// From which lots.
    pub draws: Vec<Draw>,
    /// What was spent beyond the lots, within the overdraft limit, and the debt item that it made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdraft: Option<DebtIncurred>,
}

/// A new debt item, or more of an old one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DebtIncurred {
    /// The item.
    pub debt: DebtId,
    /// How much is owed by it: positive.
    pub amount: i64,
}

/// See [`super::EventBody::CreditsHeld`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsHeld {
    /// The hold.
    pub hold: HoldId,
    /// How many credits.
    pub held: i64,
    /// From which lots.
    pub draws: Vec<Draw>,
    /// When it gives them back by itself.
    pub lapses_at: Timestamp,
}

/// See [`super::EventBody::HoldCaptured`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldCaptured {
    /// The hold.
    pub hold: HoldId,
    /// Everything that was used: `draws` and `excess`.
    pub captured: i64,
    /// What of the hold was used.
    pub draws: Vec<Draw>,
    /// What of the hold went back to its lots.
    pub returned: Vec<Draw>,
    /// What was used beyond the hold.
    pub excess: Vec<Draw>,
}

/// Why a hold was released.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The client gave it up.
    Requested,
    /// Its time ran out.
    Lapsed,
}

/// See [`super::EventBody::HoldReleased`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldReleased {
    /// The hold.
    pub hold: HoldId,
    /// Why.
    pub cause: ReleaseCause,
    /// What went back to which lots.
    pub returned: Vec<Draw>,
}

/// See [`super::EventBody::CreditsExpired`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsExpired {
    /// What was lost of which lots.
    pub lots: Vec<Draw>,
}

/// See [`super::EventBody::CreditsAdjusted`]: either a lot or draws.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CreditsAdjusted {
    /// What the operator asked for: positive puts credits in, negative takes them out.
    pub adjusted: i64,
    /// The lot that a positive adjustment made.
    pub lot: Option<LotId>,
    /// What a negative adjustment took.
    pub draws: Vec<Draw>,
}

/// One draw on a lot that paid off a part of one debt item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// The debt item.
    pub debt: DebtId,
    /// The lot.
    pub lot: LotId,
    /// How many credits.
    pub amount: i64,
}

/// See [`super::EventBody::DebtSettled`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DebtSettled {
    /// What paid off what.
    pub settlements: Vec<Settlement>,
}
