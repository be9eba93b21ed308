//! How the work on one webhook ended.
//!
//! Invariant: reasons begin with a stable code and name fields and ids, never values or persons: they are shown in lists and
//! written to logs.

use std::time::Duration;

use crate::{
    credentials::NoStripe,
    domain::Rejection,
    store::reads::ReadError,
    stripe::{
        self, NeedsStripe, NoFact,
        client::{CallClass, CallError},
    },
    writer::SubmitError,
};

use super::batch::StoreError;

/// The longest that a retry waits because Stripe asks for it.
const LONGEST_ASKED: Duration = Duration::from_secs(60 * 60);

/// Why a webhook is not processed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Undone {
    /// And will not be by itself.
    #[error(transparent)]
    Not(#[from] NotDone),
    /// But may be later.
    #[error(transparent)]
    Later(#[from] Later),
}

impl From<Quarantined> for Undone {
    fn from(reason: Quarantined) -> Self {
        Self::Not(reason.into())
    }
}

/// Why something could not be done this time.
#[derive(Debug, thiserror::Error)]
pub(super) enum Later {
    /// The ledger could not take it.
    #[error(transparent)]
    Ledger(#[from] SubmitError),
    /// The ledger's rows could not be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger's state could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Something else was recorded between looking and recording.
    #[error("overtaken: the subscription became known meanwhile")]
    Overtaken,
    /// Stripe cannot be called from here and now.
    #[error("{}: {_0}", _0.code())]
    NoStripe(NoStripe),
    /// Stripe did not answer, or answered that it cannot now.
    #[error("stripe_unavailable: {0}")]
    Unavailable(CallError),
    /// Stripe did not answer for as long as a webhook may wait.
    #[error("stripe_silent: Stripe did not answer in time")]
    Silent,
    /// Other webhooks of the ledger wait for Stripe already.
    #[error("stripe_busy: other webhooks of this ledger are waiting for Stripe")]
    Busy,
}

impl Later {
    /// How long to wait at least: as long as Stripe asks for, within reason.
    pub(super) fn at_least(&self) -> Duration {
        let asked = match self {
            Self::Unavailable(error) => match error.class {
                CallClass::Retry { after } | CallClass::Unknown { after } => after,
                CallClass::Permanent => None,
            },
            _ => None,
        };
        asked.unwrap_or_default().min(LONGEST_ASKED)
    }
}

/// Why an event led to no command that was accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotDone {
    /// Not our business.
    #[error(transparent)]
    Ignored(#[from] Ignored),
    /// Somebody has to look at it.
    #[error(transparent)]
    Quarantined(#[from] Quarantined),
}

/// Why an event is not our business.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Ignored {
    /// It tells nothing that the ledger could use.
    #[error("{}: {_0}", _0.code())]
    NoFact(stripe::Ignored),
    /// Test money for a live ledger, or the other way round.
    #[error("wrong_mode: the event is of the other mode than the ledger")]
    WrongMode,
    /// Of an account that is connected to the one whose endpoint this is.
    #[error("foreign_account: the event is of a connected Stripe account")]
    ForeignAccount,
    /// A product of which no price is ours.
    #[error("unknown_product: the ledger knows no price of this product")]
    UnknownProduct,
    /// Two ledgers may share a Stripe account; each gets the events of both.
    #[error("other_ledger: its object was made for another ledger")]
    OtherLedger,
    /// A subscription to other products, or of a customer of nobody.
    #[error("unknown_subscription: the subscription is to no price of this ledger, or of no account")]
    UnknownSubscription,
    /// A customer of nobody, or of another product.
    #[error("unknown_customer: no account of this ledger has this customer")]
    UnknownCustomer,
    /// A checkout without a marker of ours that sold none of our prices.
    #[error("no_known_price: it sold no price of this ledger")]
    NoKnownPrice,
}

/// Why somebody has to look at an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Quarantined {
    /// The body cannot be true as it stands.
    #[error("nonsense: {0}")]
    Nonsense(stripe::Nonsense),
    /// Only Stripe could complete it, and has not.
    #[error("needs_stripe: {0}")]
    NeedsStripe(NeedsStripe),
    /// Only Stripe can complete it, and the ledger has no way to ask.
    #[error("needs_stripe: {needs}, which cannot be asked: {trouble}")]
    CannotAsk {
        /// What is to be asked.
        needs: NeedsStripe,
        /// Why it cannot be: a code and words.
        trouble: String,
    },
    /// What it is about is not there to be asked for.
    #[error("not_at_stripe: Stripe has no {} {}", .0.kind, .0.id)]
    NotAtStripe(NeedsStripe),
    /// The ledger's key for Stripe is wrong, was revoked, or may not read this.
    #[error("stripe_key_refused: {0}")]
    KeyRefused(CallError),
    /// Stripe refuses to tell.
    #[error("stripe_refuses: {0}")]
    Refused(CallError),
    /// Credits were paid for, and nothing says by whom.
    #[error("missing_account: the session sold credits and names no account")]
    MissingAccount,
    /// What names the account cannot be the id of one.
    #[error("invalid_account: `{field}` is not the id of an account")]
    InvalidAccount {
        /// Where it stands.
        field: &'static str,
    },
    /// Credits of which unit?
    #[error("missing_unit: the session names no unit and the ledger has not just one")]
    MissingUnit,
    /// The price is not in the price table.
    #[error("unknown_price: the session sold a price that this ledger does not have")]
    UnknownPrice,
    /// One purchase is of one price.
    #[error("several_prices: the session sold more than one price, at least one of them ours")]
    SeveralPrices,
    /// A credit note on an invoice of ours that no payment of Stripe's paid.
    #[error(
        "paid_outside_of_stripe: the invoice was paid outside of Stripe, so that its credits have to be adjusted by hand"
    )]
    PaidOutsideOfStripe,
    /// A credit note on an invoice of ours that the customer's balance paid, all of it.
    #[error(
        "paid_from_balance: the invoice was paid from the customer's balance, so that its credits have to be adjusted by hand"
    )]
    PaidFromBalance,
    /// No id of Stripe's is that long.
    #[error("id_too_long: an id leaves no room for the key of its fact")]
    IdTooLong,
    /// Something in us broke over it.
    #[error("defect: the webhook met a defect of this service; its log has the cause")]
    Defect,
    /// The ledger does not refuse it, and fails over it every time.
    #[error("cannot_be_recorded: the ledger failed over it again and again; its log has the cause")]
    CannotBeRecorded,
    /// The fact is recorded already, with other money.
    #[error("money_differs: this is recorded already, with other money or for another payment")]
    MoneyDiffers,
    /// The ledger refused the command.
    #[error("{code}: {rejection}", code = rejection_code(.0), rejection = .0)]
    Rejected(Rejection),
}

fn rejection_code(rejection: &Rejection) -> &'static str {
    match rejection {
        Rejection::AccountNotFound => "unknown_account",
        Rejection::UnknownUnit { .. } => "unknown_unit",
        Rejection::UnknownPrice { .. } => "unknown_price",
        Rejection::PriceWithoutUnit { .. } => "missing_unit",
        Rejection::OrderNotFound => "unknown_order",
        Rejection::PaymentContradicts { .. } | Rejection::OrderContradicts { .. } => "contradiction",
        _ => "rejected",
    }
}

impl From<NoFact> for NotDone {
    fn from(reason: NoFact) -> Self {
        match reason {
            NoFact::Ignored(ignored) => Ignored::NoFact(ignored).into(),
            NoFact::NeedsStripe(needs) => Quarantined::NeedsStripe(needs).into(),
            NoFact::Nonsense(nonsense) => Quarantined::Nonsense(nonsense).into(),
        }
    }
}
