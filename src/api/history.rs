//! An account's history, in words and numbers.

use poem::{FromRequest, Request, RequestBody, http::header};
use poem_openapi::{Object, OpenApi};

use super::{
    answers::Found,
    auth::{Authorised, Read},
    error::{Failure, Reading},
    filters::{self, EventType, Several},
    params::{Path, Query},
    tags::Tag,
    wire::{Cursor, Limit, Locale, Nullable},
};
use crate::{
    domain::{
        ids::{AccountId, Unit},
        time::Timestamp,
    },
    service::{HistoryEntry, HistoryQuery, PositionToken},
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
    /// What happened, in the language that was asked for; amounts of credits stand beside it.
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

impl HistoryItem {
    fn new(entry: HistoryEntry, language: Language) -> Self {
        let description = match language {
            Language::English => entry.description,
            Language::German => entry.description_de,
        };
        Self {
            position: entry.position.0,
            event_type: entry.type_name,
            unit: Nullable(entry.unit),
            amount: entry.amount,
            balance_after: Nullable(entry.balance_after),
            description,
            recorded_at: entry.recorded_at,
            effective_at: entry.effective_at,
            actor: entry.actor,
            reference: Nullable(entry.reference),
        }
    }
}

/// A language that there are words in.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Language {
    #[default]
    English,
    German,
}

impl Language {
    /// The language of a tag such as `de-AT`.
    fn of(tag: &str) -> Option<Self> {
        let language = tag.split(['-', '_']).next().unwrap_or_default();
        match language.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "de" => Some(Self::German),
            _ => None,
        }
    }

    /// What a list such as `fr, de;q=0.8, en;q=0.5` likes best of those.
    fn preferred(list: &str) -> Self {
        let weighed = list.split(',').filter_map(|range| {
            let (tag, rest) = range.split_once(';').unwrap_or((range, ""));
            let weight =
                rest.trim().strip_prefix("q=").map_or(Some(1.0), |weight| weight.parse::<f32>().ok())?;
            Some((Self::of(tag.trim())?, weight))
        });
        let best = weighed.fold(None, |best: Option<(Self, f32)>, one| match best {
            Some(best) if best.1 >= one.1 => Some(best),
            _ => Some(one),
        });
        best.filter(|(_, weight)| *weight > 0.0).map(|(language, _)| language).unwrap_or_default()
    }
}

/// The language that the client's settings prefer.
struct Preferred(Language);

impl<'a> FromRequest<'a> for Preferred {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self(Language::preferred(request.header(header::ACCEPT_LANGUAGE).unwrap_or_default())))
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
    /// it has them. Descriptions are in English or German: as `locale` says, otherwise as `Accept-Language` prefers,
    /// otherwise in English. Of certain types a page may be short, or empty, and not be the last: `next_cursor` says.
    #[oai(path = "/v1/accounts/:account/history", method = "get", operation_id = "list_history")]
    #[expect(clippy::too_many_arguments, reason = "each is a parameter of the interface")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// The account.
        account: Path<AccountId>,
        /// Only events of this type, or of several with commas between.
        #[oai(name = "type", explode = false)]
        types: Several<EventType>,
        /// Only what was recorded then or later.
        recorded_from: Query<Timestamp>,
        /// Only what was recorded before.
        recorded_until: Query<Timestamp>,
        /// The `X-Position-Token` of a write that must be seen.
        min_position: Query<PositionToken>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
        /// The language of descriptions, e.g. `de` or `de-AT`; languages that there are no words in are told in English.
        locale: Query<Locale>,
        preferred: Preferred,
    ) -> Result<Found<HistoryList>, Failure<Reading>> {
        let language = locale.0.map_or(preferred.0, |locale| Language::of(&locale.0).unwrap_or_default());
        let query = HistoryQuery {
            types: filters::names(types),
            recorded: filters::time_range("recorded", recorded_from, recorded_until)?,
            before: cursor.0.map(|cursor| cursor.place()).transpose()?,
            limit: limit.0.unwrap_or_default().get(),
        };
        let page = caller.service.history(&caller.caller, &account.0, query, min_position.0).await?;
        let items = page.entries.into_iter().map(|entry| HistoryItem::new(entry, language)).collect();
        let next = page.next.map(|position| Cursor::of(&position));
        Ok(Found(HistoryList { items, next_cursor: Nullable(next) }))
    }
}

#[cfg(test)]
mod tests {
    use super::Language;

    #[test]
    fn the_language_liked_best_of_those_there_are_is_taken() {
        for (list, language) in [
            ("", Language::English),
            ("de", Language::German),
            ("fr-FR, de-AT;q=0.8, en;q=0.5", Language::German),
            ("de;q=0.3, en;q=0.7", Language::English),
            ("de;q=0", Language::English),
            ("fr, *", Language::English),
            ("de;q=much, en", Language::English),
        ] {
            assert_eq!(Language::preferred(list), language, "{list}");
        }
    }
}
