//! Facts in the past tense: what the ledger consists of.
//!
//! An event is immutable, concerns at most one account and one unit, and holds no personal data and no free text: those
//! stand beside it, erasable, and the event keeps their salted hash. One command yields one or more events, written
//! together; the first carries the command's key.
//!
//! To add one: a body type in the file of its kind, a line in the list below, an arm in `evolve`, an arm in `effects_of`,
//! a golden file.

mod accounts;
mod checkout_links;
mod credits;
mod ledger;
mod orders;
mod subscriptions;
mod targets;
mod transfers;

use serde::{Deserialize, Serialize};

pub use self::{
    accounts::*, checkout_links::*, credits::*, ledger::*, orders::*, subscriptions::*, targets::*,
    transfers::*,
};
use super::{
    ids::{AccountNumber, Actor, Key, Position, Unit},
    time::Timestamp,
};

/// One immutable fact.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Its place in the ledger.
    pub position: Position,
    /// The position of the first event of the command that it belongs to.
    pub command: Position,
    /// The account that it concerns, if any.
    pub account: Option<AccountNumber>,
    /// The unit that it concerns, if any.
    pub unit: Option<Unit>,
    /// The change of `available − debt` of that account and unit.
    pub amount: i64,
    /// What the account has of the unit after the event; absent exactly if there is no unit.
    pub balance: Option<BalanceAfter>,
    /// When it was written, by the ledger's clock.
    pub recorded_at: Timestamp,
    /// When it took effect, where that is not when it was written (due moments).
    pub effective_at: Option<Timestamp>,
    /// Who caused it.
    pub actor: Actor,
    /// The command's key, on the command's first event.
    pub key: Option<Key>,
    /// Salted hash of the erasable note beside the event.
    pub note_hash: Option<[u8; 32]>,
    /// What happened.
    pub body: EventBody,
}

/// The balances of an account and unit after an event.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct BalanceAfter {
    /// `available − debt`; both can be told from it, since an account with credits has no debt.
    pub net: i64,
    /// Set aside in open holds.
    pub held: i64,
    /// Set aside for open disputes and requested refunds.
    pub disputed: i64,
}

impl BalanceAfter {
    /// What usable lots have left.
    pub fn available(&self) -> i64 {
        self.net.max(0)
    }

    /// What is owed.
    pub fn debt(&self) -> i64 {
        (-self.net).max(0)
    }
}

/// Each line gives the type's name and the version of its shape. A type whose shape has changed lists the older versions
/// after the newest, and says of a body which of them it has.
macro_rules! event_bodies {
    ($($(#[doc = $doc:literal])*
       $name:ident($type:literal, $version:literal $(, $older:literal)* $(; $version_of:path)?),)*) => {
        /// What happened, by type.
        #[derive(Clone, PartialEq, Debug, Serialize)]
        #[serde(untagged)]
        pub enum EventBody {
            $($(#[doc = $doc])* $name($name),)*
        }

        impl EventBody {
            /// Every event type that this version writes, with its newest version.
            pub const TYPES: &[(&str, i16)] = &[$(($type, $version)),*];

            /// Every event type and version that this version reads, with what it means and the JSON Schema of its body. Bodies
            /// of an older version are read as what the newest one allows to be left out.
            pub fn schemas() -> Vec<(&'static str, i16, &'static str, schemars::Schema)> {
                let mut schemas = Vec::new();
                $(for version in [$version $(, $older)*] {
                    schemas.push(($type, version, concat!($($doc),*).trim_start(), schemars::schema_for!($name)));
                })*
                schemas
            }

            /// The event's type as stored, e.g. `credits.spent`.
            pub fn type_name(&self) -> &'static str {
                match self { $(Self::$name(_) => $type,)* }
            }

            /// The version of the body's shape.
            pub fn version(&self) -> i16 {
                match self { $(Self::$name(body) => event_bodies!(@version body, $version $(, $version_of)?),)* }
            }

            /// The body as a JSON object.
            ///
            /// # Errors
            /// None that a body of ours can cause; serde's signature asks for it.
            pub fn to_json(&self) -> serde_json::Result<String> {
                serde_json::to_string(self)
            }

            /// Reads a stored body of any version ever released.
            ///
            /// # Errors
            /// [`UnreadableEvent`] if the type or version is not known here, or the body is not of that shape.
            #[expect(clippy::manual_range_patterns, reason = "each version is released by itself, and listed so")]
            pub fn parse(type_name: &str, version: i16, body: &str) -> Result<Self, UnreadableEvent> {
                match (type_name, version) {
                    $(($type, $version $(| $older)*) => serde_json::from_str(body).map(Self::$name).map_err(|error| {
                        UnreadableEvent::Malformed { type_name: type_name.into(), version, reason: error.to_string() }
                    }),)*
                    _ => Err(UnreadableEvent::Unknown { type_name: type_name.into(), version }),
                }
            }
        }

        $(impl From<$name> for EventBody {
            fn from(body: $name) -> Self {
                Self::$name(body)
            }
        })*
    };
    (@version $body:ident, $version:literal) => {{
        let _ = $body;
        $version
    }};
    (@version $body:ident, $version:literal, $version_of:path) => {
        $version_of($body)
    };
}

/// A stored event that this version cannot read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UnreadableEvent {
    /// Written by a newer version of the service.
    #[error("event type {type_name} version {version} is not known to this version")]
    Unknown {
        /// The type as stored.
        type_name: String,
        /// The version as stored.
        version: i16,
    },
    /// Not of the shape that its type and version promise.
    #[error("event of type {type_name} version {version} is malformed: {reason}")]
    Malformed {
        /// The type as stored.
        type_name: String,
        /// The version as stored.
        version: i16,
        /// What the parser said.
        reason: String,
    },
}

event_bodies! {
    /// An account came to be; its number is this event's position.
    AccountOpened("account.opened", 1),
    /// Profile, metadata or both changed, or were erased.
    AccountChanged("account.changed", 1),
    /// Clients' requests that move credits are refused from here on.
    AccountFrozen("account.frozen", 2, 1; AccountFrozen::version),
    /// A frozen account is open again.
    AccountUnfrozen("account.unfrozen", 1),
    /// All requests are refused from here on, for ever.
    AccountClosed("account.closed", 1),
    /// A paid lot.
    CreditsPurchased("credits.purchased", 2, 1; CreditsPurchased::version),
    /// An unpaid lot.
    CreditsGranted("credits.granted", 3, 2, 1; CreditsGranted::version),
    /// Credits were used.
    CreditsSpent("credits.spent", 1),
    /// Credits were set aside for a job of unknown cost.
    CreditsHeld("credits.held", 1),
    /// A hold was used, in part or whole.
    HoldCaptured("hold.captured", 1),
    /// A hold was given up or lapsed.
    HoldReleased("hold.released", 1),
    /// Lots ran out of time.
    CreditsExpired("credits.expired", 1),
    /// An operator put credits in or took them out.
    CreditsAdjusted("credits.adjusted", 1),
    /// The target of a purchase rose, or where it was taken from changed.
    PurchaseClawed("purchase.clawed", 3, 2, 1; PurchaseClawed::version),
    /// The target of a purchase fell.
    PurchaseRestored("purchase.restored", 2, 1; PurchaseRestored::version),
    /// Stripe reported something about a payment whose purchase is not known yet.
    PaymentNoted("payment.noted", 3, 2, 1; PaymentNoted::version),
    /// Credits that became usable paid off debt.
    DebtSettled("debt.settled", 1),
    /// Credits went to another account.
    TransferSent("transfer.sent", 1),
    /// Credits came from another account.
    TransferReceived("transfer.received", 1),
    /// An account got, or lost, its customer at Stripe.
    CustomerLinked("customer.linked", 1),
    /// A checkout began.
    OrderPlaced("order.placed", 2, 1; OrderPlaced::version),
    /// A checkout has a page where it can be paid.
    OrderSessionCreated("order.session_created", 1),
    /// A checkout was paid.
    OrderPaid("order.paid", 1),
    /// Nobody completed a checkout in time.
    OrderExpired("order.expired", 1),
    /// A checkout came to nothing.
    OrderFailed("order.failed", 1),
    /// A refund was asked of us: its money is set aside.
    RefundRequested("refund.requested", 1),
    /// A refund that was asked of us will not be: its money counts as ours again.
    RefundRefused("refund.refused", 1),
    /// A link was made by which a price can be bought for an account.
    CheckoutLinkCreated("checkout_link.created", 1),
    /// A link stopped working.
    CheckoutLinkRevoked("checkout_link.revoked", 1),
    /// A subscription became known.
    SubscriptionStarted("subscription.started", 1),
    /// How a subscription is changed, or what it is worth within a period.
    SubscriptionChanged("subscription.changed", 1),
    /// A change of a subscription was asked of us.
    SubscriptionChangeRequested("subscription.change_requested", 1),
    /// Stripe has made a change that was asked of us, or it will not be made.
    SubscriptionChangeSettled("subscription.change_settled", 1),
    /// A subscription is over.
    SubscriptionEnded("subscription.ended", 1),
    /// What was left of a subscription's period lives on in the next one.
    CreditsRolledOver("credits.rolled_over", 1),
    /// An account's overdraft limit was set.
    LimitChanged("limit.changed", 1),
    /// What a feature costs was set.
    FeatureSet("feature.set", 1),
    /// What a price costs and grants changed, by the operator or at Stripe.
    PriceSet("price.set", 3, 2, 1; PriceSet::version),
    /// The ledger's settings were set.
    LedgerConfigured("ledger.configured", 2, 1; LedgerConfigured::version),
    /// An API key was made.
    KeyCreated("key.created", 1),
    /// An API key was revoked.
    KeyRevoked("key.revoked", 1),
    /// A process found that events which it had seen are gone.
    HistoryLost("history.lost", 1),
    /// A test ledger's clock was moved on.
    ClockAdvanced("clock.advanced", 1),
}
