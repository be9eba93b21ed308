//! An account's history, in words and numbers.

use poem_openapi::{Object, OpenApi};

use super::{
    answers::Found,
    auth::{Authorised, Read},
    error::{Failure, Reading},
    params::{Path, Query},
    tags::Tag,
    wire::{Cursor, Limit, Nullable},
};
use crate::{
    domain::{
        ids::{AccountId, Position, Unit},
        time::Timestamp,
    },
    service::{HistoryEntry, PositionToken},
};

/// Something that happened to an account.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct HistoryItem {
    /// The position of the event.
    pub position: i64,
    /// Its type, e.g. `credits.spent`.
    #[oai(rename = "type")]
    pub event_type: String,
    /// The unit, where credits are concerned.
    pub unit: Nullable<Unit>,
    /// The change of available minus debt.
    pub amount: i64,
    /// Available minus debt of the unit, after it.
    pub balance_after: Nullable<i64>,
    /// What happened, in English; amounts of credits stand beside it.
    pub description: String,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// When it took effect, if that was earlier.
    pub effective_at: Option<Timestamp>,
    /// Who caused it.
    pub actor: String,
    /// The spend, hold, purchase or lot that it is about.
    pub reference: Nullable<String>,
}

impl From<HistoryEntry> for HistoryItem {
    fn from(entry: HistoryEntry) -> Self {
        Self {
            position: entry.position.0,
            event_type: entry.type_name,
            unit: Nullable(entry.unit),
            amount: entry.amount,
            balance_after: Nullable(entry.balance_after),
            description: entry.description,
            recorded_at: entry.recorded_at,
            effective_at: entry.effective_at,
            actor: entry.actor,
            reference: Nullable(entry.reference),
        }
    }
}

/// A page of history.
#[derive(Clone, Debug, Object)]
pub struct HistoryList {
    /// What happened, newest first.
    pub items: Vec<HistoryItem>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// The resource.
pub struct History;

#[OpenApi(tag = "Tag::Balances")]
impl History {
    /// Read the history
    ///
    /// What happened to the account, newest first. It follows the writes by a moment; with `min_position` it waits until
    /// it has them.
    #[oai(path = "/v1/accounts/:account/history", method = "get", operation_id = "list_history")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// The account.
        account: Path<AccountId>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<HistoryList>, Failure<Reading>> {
        let before: Option<Position> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let limit = limit.0.unwrap_or_default().get();
        // One more than is shown says whether there is another page.
        let page = caller.service.history(&caller.caller, &account.0, before, limit + 1, min_position.0);
        let mut entries = page.await?.entries;
        let has_more = entries.len() > usize::from(limit);
        entries.truncate(limit.into());
        let next = entries.last().filter(|_| has_more).map(|entry| Cursor::of(&entry.position));
        let items = entries.into_iter().map(Into::into).collect();
        Ok(Found(HistoryList { items, next_cursor: Nullable(next) }))
    }
}
