//! Facts in the past tense: what the ledger consists of.
//!
//! An event is immutable, concerns at most one account and one unit, and holds no personal data and no free text: those
//! stand beside it, erasable, and the event keeps their salted hash. One command yields one or more events, written
//! together; the first carries the command's key.
//!
//! To add one: a body type here, an arm in `evolve`, an arm in `effects_of`, a golden file.

use serde::{Deserialize, Serialize};

use super::{
    amount::{Currency, PaidMoney},
    catalogue::{Feature, Price},
    ids::{
        AccountNumber, Actor, DebtId, FeatureKey, HoldId, Key, KeyId, LotId, OrderId, PaymentReference,
        Position, PriceId, PurchaseId, RefundRequestId, SpendId, StripeId, Unit,
    },
    order::{OrderFailure, SoldCredits},
    payment::{PaymentFact, RefundRefusal},
    settings::{LedgerSettings, Scope},
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
        #[expect(
            clippy::large_enum_variant,
            reason = "the largest are rare, and a box would cost the frequent ones an allocation in reading them alike"
        )]
        #[derive(Clone, PartialEq, Debug)]
        pub enum EventBody {
            $($(#[doc = $doc])* $name($name),)*
        }

        impl EventBody {
            /// Every event type that this version writes, with its newest version.
            pub const TYPES: &[(&str, i16)] = &[$(($type, $version)),*];

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
                match self { $(Self::$name(body) => serde_json::to_string(body),)* }
            }

            /// Reads a stored body of any version ever released.
            ///
            /// # Errors
            /// [`UnreadableEvent`] if the type or version is not known here, or the body is not of that shape.
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
    AccountFrozen("account.frozen", 1),
    /// A frozen account is open again.
    AccountUnfrozen("account.unfrozen", 1),
    /// All requests are refused from here on, for ever.
    AccountClosed("account.closed", 1),
    /// A paid lot.
    CreditsPurchased("credits.purchased", 1),
    /// An unpaid lot.
    CreditsGranted("credits.granted", 1),
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
    PurchaseClawed("purchase.clawed", 1),
    /// The target of a purchase fell.
    PurchaseRestored("purchase.restored", 1),
    /// Stripe reported something about a payment whose purchase is not known yet.
    PaymentNoted("payment.noted", 1),
    /// Credits that became usable paid off debt.
    DebtSettled("debt.settled", 1),
    /// An account got, or lost, its customer at Stripe.
    CustomerLinked("customer.linked", 1),
    /// A checkout began.
    OrderPlaced("order.placed", 1),
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
    /// An account's overdraft limit was set.
    LimitChanged("limit.changed", 1),
    /// What a feature costs was set.
    FeatureSet("feature.set", 1),
    /// What a price costs and grants changed, by the operator or at Stripe.
    PriceSet("price.set", 2, 1; PriceSet::version),
    /// The ledger's settings were set.
    LedgerConfigured("ledger.configured", 1),
    /// An API key was made.
    KeyCreated("key.created", 1),
    /// An API key was revoked.
    KeyRevoked("key.revoked", 1),
    /// A process found that events which it had seen are gone.
    HistoryLost("history.lost", 1),
    /// A test ledger's clock was moved on.
    ClockAdvanced("clock.advanced", 1),
}

/// See [`EventBody::AccountOpened`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountOpened {}

/// See [`EventBody::AccountChanged`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountChanged {
    /// Which fields of the profile changed; never their values.
    pub fields: Vec<ProfileField>,
}

/// A part of what is known of an account's holder, all of it erasable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProfileField {
    /// The e-mail address.
    Email,
    /// The display name.
    Name,
    /// The language, e.g. `de`.
    Locale,
    /// The client's own key-value pairs.
    Metadata,
    /// Everything above, all notes, and the client's name of the account: erased.
    Erased,
}

/// Why an account was frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FreezeCause {
    /// Somebody asked for it.
    Requested,
    /// A dispute was opened and the ledger freezes on disputes.
    Dispute,
}

/// See [`EventBody::AccountFrozen`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountFrozen {
    /// Why.
    pub cause: FreezeCause,
}

/// See [`EventBody::AccountUnfrozen`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountUnfrozen {}

/// See [`EventBody::AccountClosed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountClosed {}

/// How a purchase reached us.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurchaseSource {
    /// A Stripe checkout session.
    CheckoutSession(StripeId),
    /// A payment outside of Stripe (wire transfer, app store).
    External,
}

/// See [`EventBody::CreditsPurchased`]. One for each unit that the purchase grants.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
    /// This lot's share of the money without tax, in the money's currency.
    pub cost: i64,
    /// How many credits.
    pub granted: i64,
    /// When they expire.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
}

/// Where an unpaid lot came from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GrantSource {
    /// Granted through the interface: bonus, promotion, goodwill.
    Requested,
    /// A checkout session for which nothing was to be paid.
    FreeCheckoutSession(StripeId),
}

/// See [`EventBody::CreditsGranted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

/// An amount taken from, or given back to, one lot.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Draw {
    /// The lot.
    pub lot: LotId,
    /// How many credits: positive.
    pub amount: i64,
}

/// See [`EventBody::CreditsSpent`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebtIncurred {
    /// The item.
    pub debt: DebtId,
    /// How much is owed by it: positive.
    pub amount: i64,
}

/// See [`EventBody::CreditsHeld`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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

/// See [`EventBody::HoldCaptured`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
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
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// The client gave it up.
    Requested,
    /// Its time ran out.
    Lapsed,
}

/// See [`EventBody::HoldReleased`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldReleased {
    /// The hold.
    pub hold: HoldId,
    /// Why.
    pub cause: ReleaseCause,
    /// What went back to which lots.
    pub returned: Vec<Draw>,
}

/// See [`EventBody::CreditsExpired`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsExpired {
    /// What was lost of which lots.
    pub lots: Vec<Draw>,
}

/// See [`EventBody::CreditsAdjusted`]: either a lot or draws.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CreditsAdjusted {
    /// What the operator asked for: positive puts credits in, negative takes them out.
    pub adjusted: i64,
    /// The lot that a positive adjustment made.
    pub lot: Option<LotId>,
    /// What a negative adjustment took.
    pub draws: Vec<Draw>,
}

/// A part of a purchase's target that was moved; what `evolve` applies, in order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "move", rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetMove {
    /// Own unspent credits were set aside (`disputed`).
    OwnTaken {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits came back to use, from `disputed`.
    OwnReturned {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if their own has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// Own credits that were set aside were taken for good.
    OwnClawed {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits that were taken are only set aside again.
    OwnUnclawed {
        /// The purchase's own lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Own credits that had expired count towards the target: no effect on the balance.
    Absorbed {
        /// How many.
        amount: i64,
    },
    /// Fewer expired credits count towards the target.
    Unabsorbed {
        /// How many.
        amount: i64,
    },
    /// Credits of another lot of the account were taken.
    OtherTaken {
        /// The other lot.
        lot: LotId,
        /// How many.
        amount: i64,
    },
    /// Credits that another lot had given up came back.
    OtherReturned {
        /// The other lot.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if theirs has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// The account owes credits that it no longer has.
    DebtMade {
        /// The debt item.
        debt: DebtId,
        /// How many.
        amount: i64,
    },
    /// The account owes less.
    DebtCancelled {
        /// The debt item.
        debt: DebtId,
        /// How many.
        amount: i64,
    },
    /// Credits that had settled debt of this purchase came back to their lot.
    SettlementReturned {
        /// The debt item that they had settled.
        debt: DebtId,
        /// The lot that they came from.
        lot: LotId,
        /// How many.
        amount: i64,
        /// The lot that they live on in, if theirs has expired since.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        into: Option<SuccessorLot>,
    },
    /// Credits that could be taken from nowhere were given up by the ledger.
    WrittenOff {
        /// How many.
        amount: i64,
    },
    /// Less was given up.
    WriteOffUndone {
        /// How many.
        amount: i64,
    },
}

/// A lot that credits live on in which came back to a lot that had expired meanwhile: same unit, purchase and priority.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuccessorLot {
    /// The new lot.
    pub lot: LotId,
    /// When it expires.
    pub expires_at: Timestamp,
    /// The share of the old lot's cost that goes with the credits, in the money's smallest part.
    pub cost: Option<i64>,
}

/// What made a purchase's target be looked at again.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TargetCause {
    /// Stripe, or whoever recorded an external purchase, reported a fact about the payment.
    Fact(PaymentFact),
    /// The purchase was recorded after facts about its payment.
    NotedBefore,
    /// Credits of the purchase came back that had been in use.
    CreditsReturned,
    /// A refund was asked of us.
    RefundRequested(RefundRequestId),
    /// A refund that was asked of us will not be.
    RefundRefused(RefundRequestId),
}

/// How much of a purchase must not be in the buyer's hands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// For refunds that succeeded or are asked for, and disputes open or lost.
    pub total: i64,
    /// The part of it that is final: without open disputes and refunds that are only asked for.
    pub taken: i64,
}

/// See [`EventBody::PurchaseClawed`] and [`EventBody::PurchaseRestored`]. One for each unit of the purchase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetMoved {
    /// The purchase.
    pub purchase: PurchaseId,
    /// The payment that the cause is about.
    pub payment: Option<PaymentReference>,
    /// Why.
    pub cause: TargetCause,
    /// The target before.
    pub before: Target,
    /// The target after.
    pub after: Target,
    /// What was moved, in order.
    pub moves: Vec<TargetMove>,
}

/// See [`EventBody::PurchaseClawed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PurchaseClawed(pub TargetMoved);

/// See [`EventBody::PurchaseRestored`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PurchaseRestored(pub TargetMoved);

/// See [`EventBody::PaymentNoted`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaymentNoted {
    /// The payment.
    pub payment: PaymentReference,
    /// What was reported.
    pub fact: PaymentFact,
}

/// One draw on a lot that paid off a part of one debt item.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settlement {
    /// The debt item.
    pub debt: DebtId,
    /// The lot.
    pub lot: LotId,
    /// How many credits.
    pub amount: i64,
}

/// See [`EventBody::DebtSettled`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DebtSettled {
    /// What paid off what.
    pub settlements: Vec<Settlement>,
}

/// Why an account's customer is what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkCause {
    /// We made it.
    Created,
    /// It was there, and the client said that it is the account's.
    Adopted,
    /// Stripe has it no longer.
    Deleted,
}

/// See [`EventBody::CustomerLinked`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CustomerLinked {
    /// The account's customer from here on; none after it was deleted.
    pub customer: Option<StripeId>,
    /// Why.
    pub cause: LinkCause,
    /// The order whose checkout came to a halt over a deleted customer: it is made anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<OrderId>,
}

/// See [`EventBody::OrderPlaced`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderPlaced {
    /// The order.
    pub order: OrderId,
    /// What was ordered.
    pub price: PriceId,
    /// How many of it.
    pub quantity: i64,
    /// What that costs before discounts, tax and shipping, in the currency's smallest part.
    pub subtotal: i64,
    /// The currency of it.
    pub currency: Currency,
    /// What was sold, whatever becomes of the price.
    pub sold: Vec<SoldCredits>,
    /// The account's customer at that time.
    pub customer: Option<StripeId>,
}

/// See [`EventBody::OrderSessionCreated`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderSessionCreated {
    /// The order.
    pub order: OrderId,
    /// The checkout session.
    pub session: StripeId,
    /// Until when it can be paid.
    pub expires_at: Timestamp,
}

/// See [`EventBody::OrderPaid`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderPaid {
    /// The order.
    pub order: OrderId,
    /// The session that was paid.
    pub session: StripeId,
    /// What was bought; none if nothing had to be paid.
    pub purchase: Option<PurchaseId>,
    /// Whether it had been paid before: somebody paid twice.
    pub again: bool,
}

/// See [`EventBody::OrderExpired`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderExpired {
    /// The order.
    pub order: OrderId,
    /// The session that expired.
    pub session: Option<StripeId>,
}

/// See [`EventBody::OrderFailed`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderFailed {
    /// The order.
    pub order: OrderId,
    /// The session that failed, if there was one.
    pub session: Option<StripeId>,
    /// Why.
    pub reason: OrderFailure,
}

/// See [`EventBody::RefundRequested`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRequested {
    /// The refund.
    pub refund: RefundRequestId,
    /// The order that it is of.
    pub order: Option<OrderId>,
    /// The purchase that it takes back.
    pub purchase: PurchaseId,
    /// The payment that the money goes back of.
    pub payment: PaymentReference,
    /// How much, in the currency's smallest part.
    pub amount: i64,
    /// The currency of it: the payment's.
    pub currency: Currency,
}

/// See [`EventBody::RefundRefused`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundRefused {
    /// The refund.
    pub refund: RefundRequestId,
    /// The payment that it was asked of.
    pub payment: PaymentReference,
    /// Why.
    pub reason: RefundRefusal,
}

/// See [`EventBody::LimitChanged`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitChanged {
    /// How many credits the account may owe by spending; 0 allows none.
    pub overdraft: i64,
}

/// See [`EventBody::FeatureSet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FeatureSet(pub Feature);

/// See [`EventBody::PriceSet`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceSet(pub Price);

impl PriceSet {
    /// 1 was written before a price had two sides; 2 has at least one of them.
    pub fn version(&self) -> i16 {
        if self.0.operator.is_none() && self.0.stripe.is_none() { 1 } else { 2 }
    }
}

/// See [`EventBody::LedgerConfigured`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LedgerConfigured(pub LedgerSettings);

/// See [`EventBody::KeyCreated`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyCreated {
    /// The key.
    pub key: KeyId,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// When it stops working.
    pub expires_at: Option<Timestamp>,
}

/// See [`EventBody::KeyRevoked`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRevoked {
    /// The key.
    pub key: KeyId,
}

/// See [`EventBody::HistoryLost`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryLost {
    /// The last position that the process had seen committed.
    pub last_seen: Position,
}

/// See [`EventBody::ClockAdvanced`].
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClockAdvanced {
    /// By how many seconds: positive. Everything after this event is judged at the later time.
    pub seconds: i64,
    /// How many seconds it is ahead of the database's clock now.
    pub ahead: i64,
}
