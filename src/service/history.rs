//! An account's history, from the projection: it follows the writes by a moment, and waits if it is told to.

use super::{
    Caller, HistoryFilter, NotFound, PositionToken, Service, ServiceError,
    position::{Waiting, check_seen},
};
use crate::{
    domain::{
        ids::{AccountId, AccountNumber, Position},
        time::TimeRange,
    },
    store::{
        projections::read::{self, HistoryPage},
        reads::{self, ReadError},
    },
};

/// Which entries of an account's history a page holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HistoryQuery {
    /// Only those of these types; all if there are none.
    pub types: Vec<&'static str>,
    /// Only those recorded then.
    pub recorded: TimeRange,
    /// Only those before this position.
    pub before: Option<Position>,
    /// How many at most.
    pub limit: u16,
}

impl Service {
    /// A page of an account's history, newest first. Waits until what was `seen` is in it. Of certain types it may be short, or
    /// empty, and not be the last.
    ///
    /// # Errors
    /// [`NotFound::Account`]; [`ServiceError::HistoryLost`] if what was seen is gone;
    /// [`ServiceError::PositionNotReached`] if it is not in the history in time.
    pub async fn history(
        &self,
        caller: &Caller,
        account: &AccountId,
        query: HistoryQuery,
        seen: Option<PositionToken>,
    ) -> Result<HistoryPage, ServiceError> {
        let found = reads::accounts::find_number(&self.database, caller.ledger, account);
        let (moment, number) = found.await?;
        check_seen(&moment, seen)?;
        let number = number.ok_or(ServiceError::NotFound(NotFound::Account))?;
        let HistoryQuery { types, recorded, before, limit } = query;
        let mut positions = self.positions_recorded(caller, recorded).await?;
        positions.end = before.map_or(positions.end, |before| before.min(positions.end));
        let filter = HistoryFilter { positions, types, limit };
        let mut waiting = Waiting::begin();
        loop {
            let page = self.history_page(caller, number, &filter).await?;
            if seen.is_none_or(|token| page.position >= token.position()) {
                return Ok(page);
            }
            waiting.pause().await?;
        }
    }

    /// Holds a connection no longer than for one page.
    async fn history_page(
        &self,
        caller: &Caller,
        number: AccountNumber,
        filter: &HistoryFilter,
    ) -> Result<HistoryPage, ReadError> {
        let mut client = self.database.pool().get().await?;
        Ok(read::history(&mut client, caller.ledger, number, filter).await?)
    }
}
