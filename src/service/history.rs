//! An account's history, from the projection: it follows the writes by a moment, and waits if it is told to.

use super::{
    Caller, NotFound, PositionToken, Service, ServiceError,
    position::{Waiting, check_seen},
};
use crate::{
    domain::ids::{AccountId, AccountNumber, Position},
    store::{
        projections::read::{self, HistoryPage},
        reads::{self, ReadError},
    },
};

impl Service {
    /// A page of an account's history, newest first, before a position. Waits until what was `seen` is in it.
    ///
    /// # Errors
    /// [`NotFound::Account`]; [`ServiceError::HistoryLost`] if what was seen is gone;
    /// [`ServiceError::PositionNotReached`] if it is not in the history in time.
    pub async fn history(
        &self,
        caller: &Caller,
        account: &AccountId,
        before: Option<Position>,
        limit: u16,
        seen: Option<PositionToken>,
    ) -> Result<HistoryPage, ServiceError> {
        let found = reads::accounts::find_number(&self.database, caller.ledger, account);
        let (moment, number) = found.await?;
        check_seen(&moment, seen)?;
        let number = number.ok_or(ServiceError::NotFound(NotFound::Account))?;
        let mut waiting = Waiting::begin();
        loop {
            let page = self.history_page(caller, number, before, limit).await?;
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
        before: Option<Position>,
        limit: u16,
    ) -> Result<HistoryPage, ReadError> {
        let mut client = self.database.pool().get().await?;
        Ok(read::history(&mut client, caller.ledger, number, before, limit).await?)
    }
}
