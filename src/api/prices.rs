//! What prices cost and grant: what the operator says of them, and what counts.

use poem_openapi::{Enum, Object, OpenApi};
use serde::Deserialize;
use serde_json::Value;

use super::{
    answers::{Changed, Done, Found, Written},
    auth::{Admin, Authorised, Read},
    error::{ApiError, AskingStripe, Failure, Reading, Writing},
    idempotency::{OptionalIdempotencyKey, fingerprint},
    params::{Path, Query},
    payload::Json,
    rules::{NewRollover, Rollover},
    tags::Tag,
    wire::{Cursor, Days, DisplayName, Limit, Nullable, Priority, Share, Whole},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::{Amount, Currency},
        catalogue,
        command::SetPrice,
        ids::{PriceId, StripeId, Unit},
        listing,
    },
    service::{self, Accepted, PriceFilter, PricePlace},
};

/// What buying one of a price grants in one unit.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPriceGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// After how many days they expire; never if absent.
    pub expires_days: Option<Days>,
    /// Spending priority, 0 (first) to 100; 50 if absent.
    pub priority: Option<Priority>,
    /// This grant's share of the money, as a weight among the price's grants; 1 if absent.
    pub share: Option<Share>,
}

/// What a price costs, in the smallest part of the currency.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewMoneyOfPrice {
    /// How much; tax as Stripe has it.
    pub amount: Whole,
    /// The currency.
    pub currency: Currency,
}

/// What you say of a price. What is absent follows Stripe, once Stripe has told of the price; until then name, money and
/// grants have to be given.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPrice {
    /// What a shop shows.
    pub display_name: Option<DisplayName>,
    /// Place in a shop's list, lower first; 0 if absent.
    pub display_order: Option<i32>,
    /// Whether it can be bought. Payments for an inactive price are still credited.
    pub active: Option<bool>,
    /// What it costs, for as long as Stripe has not told it; then it has to agree.
    pub money: Option<NewMoneyOfPrice>,
    /// What buying one of it grants, each unit at most once.
    pub grants: Option<Vec<NewPriceGrant>>,
    /// What a period of a subscription to it takes over of the one before; as the ledger's rules say if nobody says it.
    pub rollover: Option<NewRollover>,
}

/// What buying one of a price grants in one unit.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PriceGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// After how many days they expire; absent if they do not.
    pub expires_days: Option<u32>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// This grant's share of the money, as a weight among the price's grants.
    pub share: u32,
}

/// What a price costs, in the smallest part of the currency.
#[derive(Clone, Debug, Object)]
pub struct MoneyOfPrice {
    /// How much.
    pub amount: i64,
    /// The currency.
    pub currency: Currency,
}

/// How a price is paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PriceMode {
    /// Once.
    OneTime,
    /// Again and again: a subscription.
    Recurring,
}

/// What a period is measured in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum Interval {
    /// Days.
    Day,
    /// Weeks.
    Week,
    /// Months.
    Month,
    /// Years.
    Year,
}

/// How often a recurring price is paid: each `count` intervals.
#[derive(Clone, Debug, Object)]
pub struct Period {
    /// How many intervals.
    pub count: u32,
    /// Of these.
    pub interval: Interval,
}

/// A part of a price that you have set, so that it does not follow Stripe.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PriceField {
    /// What a shop shows.
    DisplayName,
    /// Place in a shop's list.
    DisplayOrder,
    /// Whether it can be bought.
    Active,
    /// What it costs.
    Money,
    /// What buying one of it grants.
    Grants,
    /// What a period takes over of the one before.
    Rollover,
}

/// Something about a price to look at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum PriceFinding {
    /// Its metadata at Stripe no longer says what it grants. It keeps what it granted last and cannot be bought; payments
    /// for it are still credited.
    CreditsUnstated,
    /// It, or its product, was deleted at Stripe. It cannot be bought.
    DeletedAtStripe,
    /// Its product's name and metadata are not known yet; a sync brings them.
    ProductUnknown,
}

/// What a Stripe price costs and grants.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct Price {
    /// Stripe's id of it.
    pub price_id: PriceId,
    /// Stripe's id of its product; absent until Stripe has told of the price.
    pub product_id: Option<StripeId>,
    /// What a shop shows.
    pub display_name: String,
    /// Place in a shop's list, lower first.
    pub display_order: i32,
    /// Whether it can be bought.
    pub active: bool,
    /// What it costs.
    pub money: MoneyOfPrice,
    /// How it is paid.
    pub mode: PriceMode,
    /// How often, if again and again.
    pub period: Option<Period>,
    /// What buying one of it grants.
    pub grants: Vec<PriceGrant>,
    /// What a period of a subscription to it takes over of the one before; absent if the ledger's rules say it.
    pub rollover: Option<Rollover>,
    /// What of it does not follow Stripe, because you have set it.
    pub overridden: Vec<PriceField>,
    /// What to look at.
    pub findings: Vec<PriceFinding>,
    /// In the answer to a write: the position of the command's last event; absent if nothing had to be changed, and elsewhere.
    pub position: Option<i64>,
}

/// A page of prices.
#[derive(Clone, Debug, Object)]
pub struct PriceList {
    /// The prices, by display order, then by what they cost, then by id.
    pub items: Vec<Price>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

impl NewPrice {
    fn settings(self) -> Result<catalogue::PriceSettings, ApiError> {
        let grant = |grant: NewPriceGrant| catalogue::PriceGrant {
            unit: grant.unit,
            amount: grant.amount,
            expires_days: grant.expires_days.map(Days::get),
            priority: grant.priority.unwrap_or_default().get(),
            share: grant.share.unwrap_or_default().get(),
        };
        let money = |money: NewMoneyOfPrice| catalogue::MoneyOfPrice {
            amount: money.amount.get(),
            currency: money.currency,
        };
        Ok(catalogue::PriceSettings {
            display_name: self.display_name.map(|name| name.0),
            display_order: self.display_order,
            active: self.active,
            money: self.money.map(money),
            grants: self.grants.map(|grants| grants.into_iter().map(grant).collect()),
            rollover: self.rollover.map(NewRollover::into_rule).transpose()?,
        })
    }
}

impl From<catalogue::Price> for Price {
    fn from(price: catalogue::Price) -> Self {
        let grant = |grant: catalogue::PriceGrant| PriceGrant {
            unit: grant.unit,
            amount: grant.amount.get(),
            expires_days: grant.expires_days,
            priority: grant.priority,
            share: grant.share,
        };
        let (mode, period) = match price.mode() {
            listing::PriceMode::OneTime => (PriceMode::OneTime, None),
            listing::PriceMode::Recurring(period) => (PriceMode::Recurring, Some(period.into())),
        };
        Self {
            overridden: overridden(&price.operator_side()),
            findings: price.findings().into_iter().map(Into::into).collect(),
            product_id: price.product().cloned(),
            price_id: price.price,
            display_name: price.display_name,
            display_order: price.display_order,
            active: price.active,
            money: MoneyOfPrice { amount: price.money, currency: price.currency },
            mode,
            period,
            grants: price.grants.into_iter().map(grant).collect(),
            rollover: price.rollover.map(Into::into),
            position: None,
        }
    }
}

fn overridden(settings: &catalogue::PriceSettings) -> Vec<PriceField> {
    let fields = [
        settings.display_name.is_some().then_some(PriceField::DisplayName),
        settings.display_order.is_some().then_some(PriceField::DisplayOrder),
        settings.active.is_some().then_some(PriceField::Active),
        settings.money.is_some().then_some(PriceField::Money),
        settings.grants.is_some().then_some(PriceField::Grants),
        settings.rollover.is_some().then_some(PriceField::Rollover),
    ];
    fields.into_iter().flatten().collect()
}

impl From<listing::Period> for Period {
    fn from(period: listing::Period) -> Self {
        let interval = match period.interval {
            listing::Interval::Day => Interval::Day,
            listing::Interval::Week => Interval::Week,
            listing::Interval::Month => Interval::Month,
            listing::Interval::Year => Interval::Year,
        };
        Self { count: period.count, interval }
    }
}

impl From<catalogue::PriceFinding> for PriceFinding {
    fn from(finding: catalogue::PriceFinding) -> Self {
        match finding {
            catalogue::PriceFinding::CreditsUnstated => Self::CreditsUnstated,
            catalogue::PriceFinding::DeletedAtStripe => Self::DeletedAtStripe,
            catalogue::PriceFinding::ProductUnknown => Self::ProductUnknown,
        }
    }
}

/// What became of a price.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Enum)]
#[oai(rename_all = "snake_case")]
pub enum SyncOutcome {
    /// The ledger did not know it.
    Created,
    /// It is not what it was.
    Changed,
    /// It could not be taken in; the reason says why.
    Refused,
}

/// A price that a sync has something to say of.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct SyncedPrice {
    /// Its id, as Stripe has it.
    pub price_id: String,
    /// What became of it.
    pub outcome: SyncOutcome,
    /// Why it could not be taken in.
    pub reason: Option<String>,
}

/// What a sync did.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct PriceSync {
    /// How many prices the ledger did not know before.
    pub created: u64,
    /// How many are not what they were.
    pub changed: u64,
    /// How many are as they were known.
    pub unchanged: u64,
    /// How many are another product's: nothing says how many credits they are for.
    pub ignored: u64,
    /// How many could not be taken in.
    pub refused: u64,
    /// Those that were created, changed or refused, up to a thousand.
    pub items: Vec<SyncedPrice>,
    /// The position of the last event that it led to, each price being a command of its own; absent if nothing had to be
    /// changed.
    pub position: Option<i64>,
}

impl From<service::PriceSync> for PriceSync {
    fn from(sync: service::PriceSync) -> Self {
        let service::PriceSync { created, changed, unchanged, ignored, refused, named, position, token: _ } =
            sync;
        let position = position.map(|position| position.0);
        let items = named.into_iter().filter_map(SyncedPrice::of).collect();
        Self { created, changed, unchanged, ignored, refused, items, position }
    }
}

impl SyncedPrice {
    /// What is said of it; nothing of a price that nothing became of.
    fn of(synced: service::SyncedPrice) -> Option<Self> {
        let (outcome, reason) = match synced.outcome {
            service::SyncOutcome::Created => (SyncOutcome::Created, None),
            service::SyncOutcome::Changed => (SyncOutcome::Changed, None),
            service::SyncOutcome::Refused(reason) => (SyncOutcome::Refused, Some(reason)),
            service::SyncOutcome::Unchanged | service::SyncOutcome::Ignored => return None,
        };
        Some(Self { price_id: synced.price, outcome, reason })
    }
}

/// The resource.
pub struct Prices;

#[OpenApi(tag = "Tag::Catalogue")]
impl Prices {
    /// Set a price
    ///
    /// Replaces all that you say of a price. What you say wins over what Stripe says; what you leave out follows Stripe,
    /// and an empty object lets all of it follow Stripe. What was bought before stays as it is.
    #[oai(path = "/v1/prices/:price", method = "put", operation_id = "set_price")]
    async fn set_price(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request, so that a late one undoes nothing.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        /// The price.
        price: Path<PriceId>,
        body: Json<NewPrice>,
    ) -> Result<Changed<Price>, Failure<Writing>> {
        let print = fingerprint("PUT /v1/prices/{price}", &[price.0.as_str()], &body.sent);
        let command = SetPrice { price: price.0.clone(), settings: body.content.settings()? };
        let accepted = caller.submit(Command::SetPrice(command), key.0, print).await?;
        changed(&caller, &accepted, &price.0).await
    }

    /// Let a price follow Stripe
    ///
    /// Forgets all that you said of the price. The same as setting it to an empty object.
    #[oai(path = "/v1/prices/:price/overrides", method = "delete", operation_id = "remove_price_overrides")]
    async fn remove_overrides(
        &self,
        caller: Authorised<Admin>,
        /// The price.
        price: Path<PriceId>,
    ) -> Result<Changed<Price>, Failure<Writing>> {
        let command = SetPrice { price: price.0.clone(), settings: catalogue::PriceSettings::default() };
        let print = fingerprint("DELETE /v1/prices/{price}/overrides", &[price.0.as_str()], &Value::Null);
        let accepted = caller.submit(Command::SetPrice(command), None, print).await?;
        changed(&caller, &accepted, &price.0).await
    }

    /// Take in all prices from Stripe
    ///
    /// Asks Stripe for all prices, active or not, with their products, and takes in those that say in metadata how many
    /// credits they are for, and those that are known. May be repeated at any time: what is known already is unchanged.
    /// If it fails midway, what was taken in before stays.
    #[oai(path = "/v1/prices/sync", method = "post", operation_id = "sync_prices")]
    async fn sync(&self, caller: Authorised<Admin>) -> Result<Done<PriceSync>, Failure<AskingStripe>> {
        let sync = caller.service.sync_prices(&caller.caller, caller.request_id()).await?;
        Ok(Done::new(sync.token, sync.into()))
    }

    /// Read a price
    #[oai(path = "/v1/prices/:price", method = "get", operation_id = "read_price")]
    async fn price(
        &self,
        caller: Authorised<Read>,
        /// The price.
        price: Path<PriceId>,
    ) -> Result<Found<Price>, Failure<Reading>> {
        Ok(Found(caller.service.price(&caller.caller, &price.0).await?.into()))
    }

    /// List prices
    ///
    /// As a shop shows them: by display order, then by what they cost, then by id.
    #[oai(path = "/v1/prices", method = "get", operation_id = "list_prices")]
    async fn prices(
        &self,
        caller: Authorised<Read>,
        /// Only those that can be bought, or only those that cannot.
        active: Query<bool>,
        /// Only those of this currency.
        currency: Query<Currency>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<PriceList>, Failure<Reading>> {
        let after: Option<PricePlace> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().into();
        let filter = PriceFilter { active: active.0, currency: currency.0 };
        let (prices, next) = caller.service.prices(&caller.caller, filter, after.as_ref(), limit).await?;
        Ok(Found(PriceList {
            items: prices.into_iter().map(Into::into).collect(),
            next_cursor: Nullable(next.map(|place| Cursor::of(&place))),
        }))
    }
}

/// The price as the command left it; as it is, if there was nothing to change.
async fn changed<S>(
    caller: &Authorised<S>,
    accepted: &Accepted,
    price: &PriceId,
) -> Result<Changed<Price>, Failure<Writing>> {
    let set = accepted.events.iter().find_map(|event| match &event.body {
        EventBody::PriceSet(set) => Some(catalogue::Price::clone(&set.0)),
        _ => None,
    });
    let price = match set {
        Some(price) => price,
        None => caller.service.price(&caller.caller, price).await?,
    };
    let position = Written::of(accepted).position();
    Ok(Changed::new(accepted, Price { position, ..price.into() }))
}
