//! What somebody wants to happen, and which state is needed to decide on it. One file for each under `commands/`.

mod accounts;
mod needs;
mod selling;
mod subscriptions;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    amount::{Amount, PaidMoney},
    catalogue::{Feature, Price, PriceSettings},
    ids::{
        AccountId, AccountNumber, Actor, FeatureKey, HoldId, Key, KeyId, OrderId, PaymentReference, Position,
        PriceId, PurchaseId, Seed, StripeId, Unit,
    },
    listing::{Listing, Moments, ProductListing},
    payment::PaymentFact,
    settings::{CheckoutSettings, LedgerRules, LedgerSettings, Scope},
    time::{Span, Timestamp},
};

pub use accounts::{
    ChangeAccount, CloseAccount, EraseProfile, FreezeAccount, OpenAccount, ProfileChange, SetOverdraftLimit,
    UnfreezeAccount,
};
pub use needs::Needs;
pub use selling::{
    CloseOrder, CreateCheckoutLink, FollowCheckoutLink, LinkCustomer, PlaceOrder, RecordSession,
    RefuseRefund, RequestRefund, RevokeCheckoutLink, UnlinkCustomer,
};
pub use subscriptions::{
    ProratedLine, RecordInvoiceLine, RecordSubscription, RequestSubscriptionChange, SettleSubscriptionChange,
    SoldLine, StartSubscription, Subscriber,
};

/// A wish. Values in it are valid by themselves; whether they fit the ledger is for `decide` to say.
#[derive(Clone, PartialEq, Debug)]
pub enum Command {
    /// Opens an account, or finds it open: no event then.
    OpenAccount(OpenAccount),
    /// Changes profile and metadata.
    ChangeAccount(ChangeAccount),
    /// Erases profile, notes and the client's name of the account.
    EraseProfile(EraseProfile),
    /// Sets an overdraft limit.
    SetOverdraftLimit(SetOverdraftLimit),
    /// Freezes an account.
    FreezeAccount(FreezeAccount),
    /// Unfreezes an account.
    UnfreezeAccount(UnfreezeAccount),
    /// Closes an account.
    CloseAccount(CloseAccount),
    /// Makes an unpaid lot.
    GrantCredits(GrantCredits),
    /// Uses credits.
    SpendCredits(SpendCredits),
    /// Sets credits aside.
    PlaceHold(PlaceHold),
    /// Uses credits that were set aside.
    CaptureHold(CaptureHold),
    /// Gives credits back that were set aside.
    ReleaseHold(ReleaseHold),
    /// Puts credits in or takes them out.
    AdjustCredits(AdjustCredits),
    /// Gives credits of one account to another.
    TransferCredits(TransferCredits),
    /// Records what a payment bought.
    RecordPurchase(RecordPurchase),
    /// Records what was reported about a payment.
    RecordPaymentFact(RecordPaymentFact),
    /// Records that a purchase paid outside of Stripe was refunded.
    RefundPurchase(RefundPurchase),
    /// Gives an account its customer at Stripe.
    LinkCustomer(LinkCustomer),
    /// Takes an account's customer away that Stripe has no longer.
    UnlinkCustomer(UnlinkCustomer),
    /// Begins a checkout.
    PlaceOrder(PlaceOrder),
    /// Records where an order can be paid.
    RecordSession(RecordSession),
    /// Records that nobody paid an order.
    CloseOrder(CloseOrder),
    /// Makes a link by which a price can be bought for an account.
    CreateCheckoutLink(CreateCheckoutLink),
    /// Revokes such a link.
    RevokeCheckoutLink(RevokeCheckoutLink),
    /// Begins a checkout by such a link.
    FollowCheckoutLink(FollowCheckoutLink),
    /// Asks for a refund of an order.
    RequestRefund(RequestRefund),
    /// Records that a refund which was asked of us will not be.
    RefuseRefund(RefuseRefund),
    /// Records that a checkout began a subscription.
    StartSubscription(StartSubscription),
    /// Records how a subscription is at Stripe.
    RecordSubscription(RecordSubscription),
    /// Asks for a change of a subscription.
    RequestSubscriptionChange(RequestSubscriptionChange),
    /// Records what became of a change that was asked of us.
    SettleSubscriptionChange(SettleSubscriptionChange),
    /// Records what a paid line of a subscription's invoice grants.
    RecordInvoiceLine(RecordInvoiceLine),
    /// Sets what a feature costs.
    SetFeature(Feature),
    /// Sets what the operator says of a price.
    SetPrice(SetPrice),
    /// Takes in what Stripe says of a price.
    SyncPrice(SyncPrice),
    /// Takes in what Stripe says of a product, for all its prices that are known.
    SyncProduct(SyncProduct),
    /// Sets the ledger's settings.
    ConfigureLedger(LedgerSettings),
    /// Sets how checkouts look and where they lead back to.
    ConfigureCheckout(CheckoutSettings),
    /// Sets the ledger's rules for clawbacks, disputes, subscriptions and sign-ups.
    ConfigureRules(LedgerRules),
    /// Makes an API key.
    CreateKey(CreateKey),
    /// Revokes an API key.
    RevokeKey(RevokeKey),
    /// Writes down what has become due: the sweeper's command.
    ApplyDue(ApplyDue),
    /// Records that events which a process had seen are gone: the writer's own command.
    RecordLostHistory(RecordLostHistory),
    /// Moves a test ledger's clock on.
    AdvanceClock(AdvanceClock),
}

/// The erasable part of a command: reason and metadata, kept beside its first event.
pub type Note = Map<String, Value>;

/// See [`Command::GrantCredits`].
#[derive(Clone, PartialEq, Debug)]
pub struct GrantCredits {
    /// Who gets them.
    pub account: AccountId,
    /// Of which unit.
    pub unit: Unit,
    /// How many.
    pub amount: Amount,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// Reason and metadata.
    pub note: Note,
}

/// What a spend or hold is for.
#[derive(Clone, PartialEq, Debug)]
pub enum Charge {
    /// So many of a feature, at its cost.
    Feature {
        /// The feature.
        feature: FeatureKey,
        /// How many of it.
        quantity: Amount,
    },
    /// So many credits.
    Credits {
        /// Of which unit.
        unit: Unit,
        /// How many.
        amount: Amount,
    },
}

/// See [`Command::SpendCredits`].
#[derive(Clone, PartialEq, Debug)]
pub struct SpendCredits {
    /// Who spends.
    pub account: AccountId,
    /// On what.
    pub charge: Charge,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`Command::PlaceHold`].
#[derive(Clone, PartialEq, Debug)]
pub struct PlaceHold {
    /// Whose credits.
    pub account: AccountId,
    /// For what.
    pub charge: Charge,
    /// After how long they go back by themselves.
    pub lapses_after: Span,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`Command::CaptureHold`].
#[derive(Clone, PartialEq, Debug)]
pub struct CaptureHold {
    /// The hold.
    pub hold: HoldId,
    /// How many credits were used.
    pub amount: Amount,
    /// Whether more than was held may be taken, if the balance covers it.
    pub allow_excess: bool,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`Command::ReleaseHold`].
#[derive(Clone, PartialEq, Debug)]
pub struct ReleaseHold {
    /// The hold.
    pub hold: HoldId,
    /// Reason and metadata.
    pub note: Note,
}

/// See [`Command::AdjustCredits`].
#[derive(Clone, PartialEq, Debug)]
pub struct AdjustCredits {
    /// Whose credits.
    pub account: AccountId,
    /// Of which unit.
    pub unit: Unit,
    /// How many are put in.
    pub direction: Direction,
    /// How many.
    pub amount: Amount,
    /// Reason and metadata.
    pub note: Note,
}

/// Which way an adjustment goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Direction {
    /// Credits are put in.
    In,
    /// Credits are taken out.
    Out,
}

/// See [`Command::TransferCredits`].
#[derive(Clone, PartialEq, Debug)]
pub struct TransferCredits {
    /// Whose credits.
    pub from: AccountId,
    /// Who gets them.
    pub to: AccountId,
    /// Of which unit.
    pub unit: Unit,
    /// How many.
    pub amount: Amount,
    /// Reason and metadata.
    pub note: Note,
}

/// How a payment reached us.
#[derive(Clone, PartialEq, Debug)]
pub enum PaidThrough {
    /// A Stripe checkout session, with its payment intent if anything was paid.
    CheckoutSession {
        /// The session.
        session: StripeId,
        /// Its payment intent.
        payment_intent: Option<StripeId>,
    },
    /// Outside of Stripe.
    External,
}

/// What was bought.
#[derive(Clone, PartialEq, Debug)]
pub struct Bought {
    /// So many of a price that the ledger knows.
    pub price: Option<(PriceId, Amount)>,
    /// Credits in all, by unit. If a price is given as well, both must say the same.
    pub totals: BTreeMap<Unit, Amount>,
}

/// What a paid session says of the order that it was made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PaidOrder {
    /// The order.
    pub order: OrderId,
    /// What everything cost before discounts, tax and shipping, in the smallest part of the currency that was paid in.
    pub subtotal: i64,
}

/// See [`Command::RecordPurchase`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordPurchase {
    /// Who bought.
    pub account: AccountId,
    /// How the payment reached us.
    pub paid_through: PaidThrough,
    /// The order of ours that was paid. What was sold is the order's then, and what is known of it besides is held
    /// against it.
    pub order: Option<PaidOrder>,
    /// What was bought: a price, totals, or both; neither, if there is an order.
    pub bought: Bought,
    /// What was paid, in all.
    pub money: PaidMoney,
    /// Reference and metadata.
    pub note: Note,
}

/// See [`Command::RecordPaymentFact`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordPaymentFact {
    /// About which payment.
    pub payment: PaymentReference,
    /// What was reported.
    pub fact: PaymentFact,
}

/// See [`Command::RefundPurchase`].
#[derive(Clone, PartialEq, Debug)]
pub struct RefundPurchase {
    /// Which purchase.
    pub purchase: PurchaseId,
    /// How much money, in the smallest part of the purchase's currency; all that is left if absent.
    pub amount: Option<Amount>,
    /// Reason, reference and metadata.
    pub note: Note,
}

/// See [`Command::SetPrice`].
#[derive(Clone, PartialEq, Debug)]
pub struct SetPrice {
    /// The price.
    pub price: PriceId,
    /// All that the operator says of it; what is absent is left to Stripe.
    pub settings: PriceSettings,
}

impl From<Price> for SetPrice {
    /// Everything about the price is the operator's to say.
    fn from(price: Price) -> Self {
        Self { settings: price.as_settings(), price: price.price }
    }
}

/// How a state at Stripe came to be known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Heard {
    /// An event told of a change.
    Told,
    /// Somebody looked. To find what is known is no news.
    Looked {
        /// The moments of what was known of the price before, if anything. If that is still what is known, what was seen
        /// is newer, whatever the clocks say.
        before: Option<Moments>,
    },
}

/// See [`Command::SyncPrice`].
#[derive(Clone, PartialEq, Debug)]
pub struct SyncPrice {
    /// The price.
    pub price: PriceId,
    /// How it is at Stripe.
    pub listing: Listing,
    /// How that came to be known.
    pub heard: Heard,
}

/// See [`Command::SyncProduct`].
#[derive(Clone, PartialEq, Debug)]
pub struct SyncProduct {
    /// The product.
    pub product: StripeId,
    /// How it is at Stripe, as an event told.
    pub listing: ProductListing,
}

/// See [`Command::CreateKey`].
#[derive(Clone, PartialEq, Debug)]
pub struct CreateKey {
    /// What it may do: at least one scope.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// What people call it.
    pub name: String,
}

/// See [`Command::RevokeKey`].
#[derive(Clone, PartialEq, Debug)]
pub struct RevokeKey {
    /// The key.
    pub key: KeyId,
}

/// See [`Command::ApplyDue`].
#[derive(Clone, PartialEq, Debug)]
pub struct ApplyDue {
    /// The account.
    pub account: AccountNumber,
}

/// See [`Command::RecordLostHistory`].
#[derive(Clone, PartialEq, Debug)]
pub struct RecordLostHistory {
    /// The last position that the process had seen committed.
    pub last_seen: Position,
}

/// See [`Command::AdvanceClock`].
#[derive(Clone, PartialEq, Debug)]
pub struct AdvanceClock {
    /// By how many seconds.
    pub seconds: Amount,
}

/// What surrounds a decision; everything in it comes from outside.
#[derive(Clone, PartialEq)]
pub struct Context {
    /// The ledger's time, never below that of the previous event.
    pub now: Timestamp,
    /// The position of the first event that the command will make.
    pub next_position: Position,
    /// Who asks.
    pub actor: Actor,
    /// What makes the command happen once.
    pub key: Option<Key>,
    /// Where the random parts of ids come from.
    pub seed: Seed,
}
