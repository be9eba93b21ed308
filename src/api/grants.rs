//! Credits that nobody paid for, and corrections by an operator.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Created, LotDraw, UnitBalance, Written, unit_of},
    auth::{Authorised, Grant as MayGrant, Operate},
    error::{ApiError, Failure, Taking, Writing},
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    params::Path,
    payload::Json,
    tags::Tag,
    wire::{Metadata, Nullable, Priority, Reason, SignedAmount},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::Amount,
        command::{AdjustCredits, Direction, GrantCredits},
        ids::{AccountId, LotId, Unit},
        time::Timestamp,
    },
    service::Accepted,
};

/// Credits to be granted.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewGrant {
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: Amount,
    /// Why, for people.
    pub reason: Reason,
    /// When they expire; never if absent.
    pub expires_at: Option<Timestamp>,
    /// Spending priority, 0 (first) to 100; 50 if absent.
    pub priority: Option<Priority>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// Credits that were granted.
#[derive(Clone, Debug, Object)]
pub struct Grant {
    /// The lot that they are.
    pub lot_id: LotId,
    /// Who got them.
    pub account_id: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// When they expire; `null` if they do not.
    pub expires_at: Nullable<Timestamp>,
    /// Spending priority, 0 (first) to 100.
    pub priority: u8,
    /// What the account had of the unit then.
    pub balance: UnitBalance,
    /// The position of the event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Grant {
    fn of(account: AccountId, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let (event, granted) = written.find(|body| match body {
            EventBody::CreditsGranted(granted) => Some(granted),
            _ => None,
        })?;
        let unit = unit_of(event)?;
        Ok(Self {
            lot_id: granted.lot,
            account_id: account,
            unit: unit.clone(),
            amount: granted.granted,
            expires_at: Nullable(granted.expires_at),
            priority: granted.priority,
            balance: written.balance(unit)?,
            position: event.position.0,
            recorded_at: event.recorded_at,
        })
    }
}

/// A correction to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewAdjustment {
    /// The unit.
    pub unit: Unit,
    /// How many credits are put in, or, if negative, taken out; never 0.
    pub amount: SignedAmount,
    /// Why, for people.
    pub reason: Reason,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// A correction that was made.
#[derive(Clone, Debug, Object)]
pub struct Adjustment {
    /// Whose credits.
    pub account_id: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits were put in, or, if negative, taken out.
    pub amount: i64,
    /// The lot that was put in; `null` if credits were taken out.
    pub lot_id: Nullable<LotId>,
    /// From which lots credits were taken out.
    pub draws: Vec<LotDraw>,
    /// What the account had of the unit then.
    pub balance: UnitBalance,
    /// The position of the event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Adjustment {
    fn of(account: AccountId, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let (event, adjusted) = written.find(|body| match body {
            EventBody::CreditsAdjusted(adjusted) => Some(adjusted),
            _ => None,
        })?;
        let unit = unit_of(event)?;
        Ok(Self {
            account_id: account,
            unit: unit.clone(),
            amount: adjusted.adjusted,
            lot_id: Nullable(adjusted.lot),
            draws: adjusted.draws.iter().map(Into::into).collect(),
            balance: written.balance(unit)?,
            position: event.position.0,
            recorded_at: event.recorded_at,
        })
    }
}

/// The resource.
pub struct Grants;

#[OpenApi(tag = "Tag::Grants")]
impl Grants {
    /// Grant credits
    ///
    /// A lot that nobody paid for: a bonus, a promotion, goodwill.
    #[oai(path = "/v1/accounts/:account/grants", method = "post", operation_id = "grant_credits")]
    async fn grant(
        &self,
        caller: Authorised<MayGrant>,
        /// Marks repeats of this request: they are answered as it was, and nothing is granted twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<NewGrant>,
    ) -> Result<Created<Grant>, Failure<Writing>> {
        let print = fingerprint("POST /v1/accounts/{account}/grants", &[account.0.as_str()], &body.sent);
        let NewGrant { unit, amount, reason, expires_at, priority, metadata } = body.content;
        let command = Command::GrantCredits(GrantCredits {
            account: account.0.clone(),
            unit,
            amount,
            expires_at,
            priority: priority.unwrap_or_default().get(),
            note: notes::note(Some(reason), metadata),
        });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        Ok(Created::new(&accepted, Grant::of(account.0, &accepted)?))
    }

    /// Adjust a balance
    ///
    /// A correction by an operator; possible while the account is frozen. What is taken out must be there.
    #[oai(path = "/v1/accounts/:account/adjustments", method = "post", operation_id = "adjust_credits")]
    async fn adjust(
        &self,
        caller: Authorised<Operate>,
        /// Marks repeats of this request: they are answered as it was, and nothing is adjusted twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        /// The account.
        account: Path<AccountId>,
        body: Json<NewAdjustment>,
    ) -> Result<Created<Adjustment>, Failure<Taking>> {
        let print = fingerprint("POST /v1/accounts/{account}/adjustments", &[account.0.as_str()], &body.sent);
        let NewAdjustment { unit, amount, reason, metadata } = body.content;
        let direction = if amount.get() > 0 { Direction::In } else { Direction::Out };
        let amount = Amount::new(amount.get().abs()).ok_or_else(ApiError::internal)?;
        let note = notes::note(Some(reason), metadata);
        let command = AdjustCredits { account: account.0.clone(), unit, direction, amount, note };
        let accepted = caller.submit(Command::AdjustCredits(command), Some(key.0), print).await?;
        Ok(Created::new(&accepted, Adjustment::of(account.0, &accepted)?))
    }
}
