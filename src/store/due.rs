//! Accounts of which something happens by itself: an expiry, a lapse.

use tokio_postgres::{Client, types::Type};

use super::{
    rows::{RowError, timestamp},
    scope::{self, Parameter},
};
use crate::domain::{
    ids::{AccountNumber, LedgerId},
    time::{Span, Timestamp},
};

/// What waits in a ledger.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Due {
    /// Accounts whose moment has come, the longest overdue first.
    pub accounts: Vec<AccountNumber>,
    /// How long until the next moment comes, by the ledger's clock; nothing if that is not known or there is none.
    pub next_in: Option<Span>,
}

/// The accounts that are due, at most `limit` of them, and when the next one is.
///
/// # Errors
/// Those of the database, and rows that cannot be read.
pub async fn find_due(client: &Client, ledger: LedgerId, limit: i64) -> Result<Due, RowError> {
    let statement = "SELECT a.account_number, a.next_due_at,
                            clock_timestamp() + COALESCE(h.clock_ahead, 0) * interval '1 second' AS now
                       FROM accounts a JOIN ledger_heads h ON h.ledger_id = a.ledger_id
                      WHERE a.ledger_id = $1 AND h.ledger_id = $1 AND a.next_due_at IS NOT NULL
                      ORDER BY a.next_due_at LIMIT $2";
    let parameters: [Parameter<'_>; 2] = [(&ledger.0, Type::INT8), (&limit, Type::INT8)];
    let begin = scope::begin_reading(ledger);
    let rows = scope::within(client, &begin, client.query_typed(statement, &parameters)).await?;
    let mut due = Due::default();
    for row in rows {
        let at: Timestamp = timestamp(row.try_get("next_due_at")?, "next_due_at")?;
        let now = timestamp(row.try_get("now")?, "now")?;
        if at > now {
            due.next_in = Some(at.since(now));
            break;
        }
        due.accounts.push(AccountNumber(row.try_get("account_number")?));
    }
    Ok(due)
}
