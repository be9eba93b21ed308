//! Transfers: credits of one account go to another.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Created, UnitBalance, Written, unit_of},
    auth::{Authorised, Spend},
    error::{ApiError, Failure, Taking},
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    payload::Json,
    tags::Tag,
    wire::{Metadata, Reason},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::Amount,
        command::TransferCredits,
        ids::{AccountId, TransferId, Unit},
        time::Timestamp,
    },
    service::Accepted,
};

/// Credits that are to go from one account to another.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewTransfer {
    /// Whose credits.
    pub from_account_id: AccountId,
    /// Who gets them.
    pub to_account_id: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits: not more than are available. What is held or could be overdrawn is not transferred.
    pub amount: Amount,
    /// What for, for people.
    pub reason: Option<Reason>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// Credits that went from one account to another.
#[derive(Clone, Debug, Object)]
pub struct Transfer {
    /// Which transfer.
    pub transfer_id: TransferId,
    /// Whose credits they were.
    pub from_account_id: AccountId,
    /// Whose they are.
    pub to_account_id: AccountId,
    /// The unit.
    pub unit: Unit,
    /// How many credits.
    pub amount: i64,
    /// What the sender had of the unit then.
    pub from_balance: UnitBalance,
    /// What the recipient had of the unit then, after what was owed was paid off.
    pub to_balance: UnitBalance,
    /// The position of the sender's event.
    pub position: i64,
    /// When it was recorded.
    pub recorded_at: Timestamp,
}

impl Transfer {
    fn of(request: NewTransfer, accepted: &Accepted) -> Result<Self, ApiError> {
        let written = Written::of(accepted);
        let (event, sent) = written.find(|body| match body {
            EventBody::TransferSent(sent) => Some(sent),
            _ => None,
        })?;
        let unit = unit_of(event)?;
        let sender = event.account.ok_or_else(ApiError::internal)?;
        Ok(Self {
            transfer_id: sent.transfer,
            from_account_id: request.from_account_id,
            to_account_id: request.to_account_id,
            unit: unit.clone(),
            amount: request.amount.get(),
            from_balance: written.balance_of(sender, unit)?,
            to_balance: written.balance_of(sent.to, unit)?,
            position: event.position.0,
            recorded_at: event.recorded_at,
        })
    }
}

/// The resource.
pub struct Transfers;

#[OpenApi(tag = "Tag::Transfers")]
impl Transfers {
    /// Transfer credits
    ///
    /// All or nothing. The recipient gets them as they are: what was bought stays bought by whom it was, and keeps its
    /// expiry and priority. If the buyer gets his money back, what the recipient still has of it is taken back, and he
    /// never owes anything for it. If an account is refused, `field` says `to_account_id` if it is the recipient.
    #[oai(path = "/v1/transfers", method = "post", operation_id = "transfer_credits")]
    async fn transfer(
        &self,
        caller: Authorised<Spend>,
        /// Marks repeats of this request: they are answered as it was, and nothing is transferred twice.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<NewTransfer>,
    ) -> Result<Created<Transfer>, Failure<Taking>> {
        let print = fingerprint("POST /v1/transfers", &[], &body.sent);
        let request = body.content;
        let command = Command::TransferCredits(TransferCredits {
            from: request.from_account_id.clone(),
            to: request.to_account_id.clone(),
            unit: request.unit.clone(),
            amount: request.amount,
            note: notes::note(request.reason.clone(), request.metadata.clone()),
        });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        Ok(Created::new(&accepted, Transfer::of(request, &accepted)?))
    }
}
