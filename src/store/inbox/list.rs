//! The inbox in pages, newest first.

use tokio_postgres::{Client, types::Type};

use super::{InboxEntry, InboxStatus, columns, query};
use crate::{
    domain::{
        ids::{LedgerId, StripeId},
        time::{TimeRange, Timestamp},
    },
    store::{
        pages::{self, LookedAt},
        rows::RowError,
        scope::{self, Parameter},
    },
};

/// Which entries a list holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct InboxFilter {
    /// Only those of this status.
    pub status: Option<InboxStatus>,
    /// Only those of these types; all if there are none.
    pub types: Vec<String>,
    /// Only those that arrived then.
    pub received: TimeRange,
}

/// Where a page of entries goes on: the arrival and id of the last one that it has dealt with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxCursor {
    /// See [`InboxEntry::received_at`].
    pub received_at: Timestamp,
    /// See [`InboxEntry::event_id`].
    pub event_id: StripeId,
}

/// A page of entries.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InboxPage {
    /// The entries, newest first.
    pub entries: Vec<InboxEntry>,
    /// The place after which the next page begins, if there may be more.
    pub next: Option<InboxCursor>,
}

/// How many entries are looked at for a page of certain types, so that one who asks for what is rare cannot have a long inbox
/// read at once.
const LOOKED_AT: i64 = 5_000;

/// Entries of an inbox under a condition, from `$2` on, and before `$3` and `$4`, so many of them as `$6` says. Bounds are plain
/// values: a `COALESCE` around one would keep it out of the index, because for all that the planner knows it may leak what the
/// ledger's policy hides.
macro_rules! page_where {
    ($condition:literal, $is_asked_for:literal) => {
        concat!(
            "SELECT e.*
               FROM (SELECT ",
            columns!(),
            ", ",
            $is_asked_for,
            " AS is_asked_for, row_number() OVER (ORDER BY received_at DESC, event_id DESC) = $6 AS is_last_looked_at
                       FROM stripe_inbox
                      WHERE ledger_id = $1 AND received_at >= $2 AND (received_at, event_id) < ($3, $4) AND ",
            $condition,
            " ORDER BY received_at DESC, event_id DESC
                      LIMIT $6) e
              WHERE e.is_asked_for OR e.is_last_looked_at
              ORDER BY e.received_at DESC, e.event_id DESC
              LIMIT $5"
        )
    };
}

/// The statements that read a page: of any status and type, of a status, of types, of a status and types. Parameters: ledger, the time
/// from when on and before when, the id before which, how many are told at most, how many are looked at, status, types.
pub const PAGES: [&str; 4] = [
    page_where!("true", "true"),
    page_where!("status = $7", "true"),
    page_where!("true", "type = ANY ($7)"),
    page_where!("status = $7", "type = ANY ($8)"),
];

/// A page of up to `limit` entries, newest first, after `cursor`. Of certain types it may be short, or empty, and not be the last.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn list_inbox(
    client: &Client,
    ledger: LedgerId,
    filter: &InboxFilter,
    cursor: Option<&InboxCursor>,
    limit: i64,
) -> Result<InboxPage, RowError> {
    let InboxFilter { status, types, received } = filter;
    let (of_status, of_types) = (status.is_some(), !types.is_empty());
    let statement = PAGES[usize::from(of_status) + 2 * usize::from(of_types)];
    // The earlier of both: nothing that arrived at the very end of the range has an id before the empty one.
    let until = received.until.unwrap_or(Timestamp::LAST);
    let cursor = cursor.filter(|cursor| cursor.received_at < until);
    let before = cursor.map_or(until, |cursor| cursor.received_at).to_datetime();
    let event_id = cursor.map_or("", |cursor| cursor.event_id.as_str());
    let from = received.from.unwrap_or_default().to_datetime();
    let status = status.map(InboxStatus::as_str);
    // One more than is told says whether there is another page.
    let told = limit.saturating_add(1);
    let looked_at = if of_types { told.max(LOOKED_AT) } else { told };
    let mut parameters: Vec<Parameter<'_>> = vec![
        (&ledger.0, Type::INT8),
        (&from, Type::TIMESTAMPTZ),
        (&before, Type::TIMESTAMPTZ),
        (&event_id, Type::TEXT),
        (&told, Type::INT8),
        (&looked_at, Type::INT8),
    ];
    parameters.extend(of_status.then_some((&status as _, Type::TEXT)));
    parameters.extend(of_types.then_some((types as _, Type::TEXT_ARRAY)));
    let rows = query(client, &scope::begin_reading(ledger), statement, &parameters).await?;
    let looked_at = rows.iter().map(|row| LookedAt::from_row(row, InboxEntry::from_row(row)?));
    let looked_at = looked_at.collect::<Result<Vec<_>, RowError>>()?;
    let place =
        |entry: &InboxEntry| InboxCursor { received_at: entry.received_at, event_id: entry.event_id.clone() };
    let (entries, next) = pages::page(looked_at, limit, place);
    Ok(InboxPage { entries, next })
}
