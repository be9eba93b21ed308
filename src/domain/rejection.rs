//! Why a command was refused: a value named after the broken rule. Nothing was written.

use super::{
    amount::MAX_AMOUNT,
    ids::{
        FeatureKey, HoldId, KeyId, OrderId, PriceId, PurchaseId, RefundRequestId, StripeId,
        SubscriptionChangeId, Unit,
    },
};

/// A rule that a command would have broken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejection {
    /// No such account.
    #[error("there is no such account")]
    AccountNotFound,
    /// The account is frozen and the request moves credits.
    #[error("the account is frozen")]
    AccountFrozen,
    /// The account is closed.
    #[error("the account is closed")]
    AccountClosed,
    /// No such account, to which credits are to be given.
    #[error("there is no such account to receive the credits")]
    RecipientNotFound,
    /// The account to which credits are to be given is frozen.
    #[error("the account that is to receive the credits is frozen")]
    RecipientFrozen,
    /// The account to which credits are to be given is closed.
    #[error("the account that is to receive the credits is closed")]
    RecipientClosed,
    /// Credits are to be given to the account that they are in.
    #[error("credits cannot be transferred to the account that they are in")]
    TransferToItself,
    /// The ledger does not count this unit.
    #[error("the ledger has no unit `{unit}`")]
    UnknownUnit {
        /// The unit.
        unit: Unit,
    },
    /// The ledger has no such feature.
    #[error("the ledger has no feature `{feature}`")]
    UnknownFeature {
        /// The feature.
        feature: FeatureKey,
    },
    /// The feature cannot be spent on.
    #[error("the feature `{feature}` is not active")]
    FeatureInactive {
        /// The feature.
        feature: FeatureKey,
    },
    /// The ledger has no such price.
    #[error("the ledger has no price `{price}`")]
    UnknownPrice {
        /// The price.
        price: PriceId,
    },
    /// Neither Stripe nor the operator says what the price grants, and it is not known from before.
    #[error("nothing says what the price `{price}` grants")]
    PriceGrantsNothing {
        /// The price.
        price: PriceId,
    },
    /// The price states credits, but not of which unit.
    #[error("the price `{price}` names no unit and the ledger has not just one")]
    PriceWithoutUnit {
        /// The price.
        price: PriceId,
    },
    /// The price cannot be bought.
    #[error("the price `{price}` is not active")]
    PriceInactive {
        /// The price.
        price: PriceId,
    },
    /// The customer at Stripe is another account's.
    #[error("the customer `{customer}` belongs to another account")]
    CustomerOfAnotherAccount {
        /// The customer.
        customer: StripeId,
    },
    /// The account has a customer at Stripe already.
    #[error("the account has the customer `{customer}` already")]
    AccountHasCustomer {
        /// The customer that it has.
        customer: StripeId,
    },
    /// No such checkout link, or none that works.
    #[error("there is no such checkout link, or it has expired or was revoked")]
    CheckoutLinkNotFound,
    /// The subscription is another account's than the one that is named.
    #[error("the subscription `{subscription}` belongs to another account")]
    SubscriptionOfAnotherAccount {
        /// The subscription.
        subscription: StripeId,
    },
    /// No such subscription.
    #[error("there is no such subscription")]
    SubscriptionNotFound,
    /// The subscription is over, so that nothing about it can change.
    #[error("the subscription `{subscription}` has ended")]
    SubscriptionEnded {
        /// The subscription.
        subscription: StripeId,
    },
    /// As many changes of the subscription as may be are still to be made.
    #[error("too many changes of the subscription `{subscription}` are still to be made")]
    TooManyChanges {
        /// The subscription.
        subscription: StripeId,
    },
    /// No such change was asked for of that subscription.
    #[error("there is no such change `{change}` of the subscription")]
    SubscriptionChangeNotFound {
        /// The change.
        change: SubscriptionChangeId,
    },
    /// No such order.
    #[error("there is no such order")]
    OrderNotFound,
    /// The order is not paid, so that nothing of it can be refunded.
    #[error("the order `{order}` is not paid")]
    OrderNotPaid {
        /// The order.
        order: OrderId,
    },
    /// What was paid is not what was ordered.
    #[error("what was paid is not what was ordered by `{order}`: {what}")]
    OrderContradicts {
        /// The order.
        order: OrderId,
        /// What differs, for people; names no one.
        what: &'static str,
    },
    /// No such refund was asked of that payment.
    #[error("there is no such refund `{refund}`")]
    RefundNotFound {
        /// The refund.
        refund: RefundRequestId,
    },
    /// The spend, hold or negative adjustment is not covered.
    #[error("{required} {unit} are required, {spendable} can be spent")]
    InsufficientCredits {
        /// The unit.
        unit: Unit,
        /// What usable lots have left.
        available: i64,
        /// What this command could have taken.
        spendable: i64,
        /// What it asked for.
        required: i64,
    },
    /// An amount, or the sum that it would lead to, is beyond 2^53 − 1.
    #[error("the amount would go beyond {MAX_AMOUNT} {unit}")]
    AmountTooLarge {
        /// The unit.
        unit: Unit,
    },
    /// The account has as many open lots of the unit as it may have.
    #[error("the account has too many open lots of `{unit}`")]
    TooManyLots {
        /// The unit.
        unit: Unit,
    },
    /// The expiry is not in the future.
    #[error("the expiry is not in the future")]
    ExpiryNotInFuture,
    /// The hold would lapse at once, or later than 7 days from now.
    #[error("a hold lapses after 1 second to 7 days")]
    LapseOutOfRange,
    /// No such hold.
    #[error("there is no such hold")]
    HoldNotFound,
    /// The hold was captured, released or has lapsed.
    #[error("the hold `{hold}` is resolved already")]
    HoldAlreadyResolved {
        /// The hold.
        hold: HoldId,
    },
    /// More is to be captured than is held, without leave to.
    #[error("{captured} are to be captured, {held} are held")]
    CaptureExceedsHold {
        /// What was asked for.
        captured: i64,
        /// What the hold has.
        held: i64,
    },
    /// No such purchase.
    #[error("there is no such purchase")]
    PurchaseNotFound,
    /// A purchase that Stripe was paid for is refunded through Stripe.
    #[error("the purchase `{purchase}` was paid through Stripe and is refunded there")]
    PurchasePaidThroughStripe {
        /// The purchase.
        purchase: PurchaseId,
    },
    /// More is to be refunded than is left of the payment.
    #[error("{requested} are to be refunded, {refundable} are left of the payment")]
    RefundExceedsPayment {
        /// What was asked for.
        requested: i64,
        /// What is left.
        refundable: i64,
    },
    /// Two statements about one payment disagree.
    #[error("the payment contradicts what is known: {what}")]
    PaymentContradicts {
        /// Which statements, for people; names no one.
        what: &'static str,
    },
    /// The configuration is not valid.
    #[error("{field}: {problem}")]
    InvalidConfiguration {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// No such API key.
    #[error("there is no API key `{key}`")]
    KeyNotFound {
        /// The key.
        key: KeyId,
    },
    /// Only the clock of a test ledger can be moved.
    #[error("the clock of a live ledger cannot be moved")]
    ClockOfLiveLedger,
    /// The key was used for another request.
    #[error("the idempotency key was used for another request")]
    IdempotencyKeyReused,
}
