//! Why a webhook that really came from Stripe yields no fact.
//!
//! Invariant: the texts name fields and ids, never values; a body may hold personal data.

use crate::domain::ids::StripeId;

/// Why an event yields no fact.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoFact {
    /// The event is well understood and does not concern the ledger.
    #[error(transparent)]
    Ignored(#[from] Ignored),
    /// The body leaves open what only Stripe can answer.
    #[error(transparent)]
    NeedsStripe(#[from] NeedsStripe),
    /// The body cannot be true as it stands; someone has to look at it.
    #[error(transparent)]
    Nonsense(#[from] Nonsense),
}

/// Why an event does not concern the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Ignored {
    /// No rule of ours speaks of events of this type.
    #[error("events of this type are not used")]
    TypeNotUsed,
    /// A checkout that names neither an account nor an order nor credits: another product's.
    #[error("the session carries no marker of ours")]
    NoMarker,
    /// Completed, but the money is still on its way; another event will say how that ended.
    #[error("the session is not paid yet")]
    NotPaidYet,
    /// The checkout of a subscription that names neither an account nor an order: its credits come with its invoices.
    #[error("the credits of a subscription come with its invoices")]
    Subscription,
    /// An invoice that belongs to no subscription: what was sold is credited by its session.
    #[error("the invoice belongs to no subscription")]
    NoSubscription,
    /// A checkout that only stores a way to pay.
    #[error("the session sells nothing")]
    Setup,
    /// A checkout ended without payment and no order waits for it.
    #[error("the session ended without payment and belongs to no order")]
    ClosedWithoutOrder,
    /// Every checkout is paid through a payment intent, so what has none was not sold by one.
    #[error("without a payment intent this stems from no checkout")]
    NoPaymentIntent,
    /// A price that does not say how many credits it is for: another product's.
    #[error("neither the price nor its product says how many credits it is for")]
    NoCredits,
    /// The charge says that nothing of it has been paid back.
    #[error("nothing has been refunded")]
    NothingRefunded,
    /// A credit note that lowered what was due, or whose refunds tell of all that it gave back.
    #[error("the credit note gives nothing back but what its refunds tell")]
    NothingCredited,
    /// A credit note on an invoice for which nothing had to be paid, or which the balance paid of a customer of others.
    #[error("nothing was paid for the invoice")]
    NothingPaid,
}

impl Ignored {
    /// A stable name for lists and metrics.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::TypeNotUsed => "type_not_used",
            Self::NoMarker => "no_marker",
            Self::NotPaidYet => "not_paid_yet",
            Self::Subscription => "subscription",
            Self::NoSubscription => "no_subscription",
            Self::Setup => "setup",
            Self::ClosedWithoutOrder => "closed_without_order",
            Self::NoPaymentIntent => "no_payment_intent",
            Self::NoCredits => "no_credits",
            Self::NothingRefunded => "nothing_refunded",
            Self::NothingCredited => "nothing_credited",
            Self::NothingPaid => "nothing_paid",
        }
    }
}

/// What has to be read from Stripe before the event can be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs `{missing}` of {kind} {id} from Stripe")]
pub struct NeedsStripe {
    /// The kind of object, as Stripe names it: `checkout.session`, `refund`, `charge` …
    pub kind: &'static str,
    /// Which one.
    pub id: StripeId,
    /// What the body does not tell about it.
    pub missing: &'static str,
}

/// A field that cannot be as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {problem}")]
pub struct Nonsense {
    /// The path of the field, such as `data.object.metadata.credits`.
    pub field: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is not one unambiguous JSON document; says where and why.
    #[error("cannot be read: {0}")]
    Unreadable(String),
    /// It has to be there.
    #[error("is missing")]
    Missing,
    /// A text was expected.
    #[error("is not a text")]
    NotText,
    /// A boolean was expected.
    #[error("is not true or false")]
    NotAFlag,
    /// A JSON array was expected.
    #[error("is not a list")]
    NotAList,
    /// A JSON object was expected.
    #[error("is not an object")]
    NotAnObject,
    /// A Stripe id, or an object with one, was expected.
    #[error("is not an id")]
    NotAnId,
    /// A number without a fraction was expected, written in digits alone.
    #[error("is not a whole number")]
    NotAWholeNumber,
    /// The number is negative, too large, or zero where that makes no sense.
    #[error("is out of range")]
    OutOfRange,
    /// A name of another form, or one of a few words, was expected.
    #[error("has an unknown value")]
    Unknown,
    /// This field and the named one cannot both be true.
    #[error("contradicts `{0}`")]
    Contradicts(&'static str),
}
