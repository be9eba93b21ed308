//! Which ledgers have new events, as the writers of this process tell.

use std::{
    collections::{BTreeSet, HashMap},
    future::pending,
};

use tokio::sync::watch;

use crate::store::projections::{LedgerId, Position};

/// Remembers which heads have been seen.
pub struct Commits {
    heads: watch::Receiver<HashMap<LedgerId, Position>>,
    seen: HashMap<LedgerId, Position>,
}

impl Commits {
    /// Begins with nothing seen.
    pub fn new(heads: watch::Receiver<HashMap<LedgerId, Position>>) -> Self {
        Self { heads, seen: HashMap::new() }
    }

    /// Waits for heads to move and names their ledgers. May be dropped while it waits.
    pub async fn next(&mut self) -> BTreeSet<LedgerId> {
        if self.heads.changed().await.is_err() {
            // The writers are gone; what they wrote last is found by looking around.
            return pending().await;
        }
        let heads = self.heads.borrow_and_update();
        let is_new = |(ledger, head): &(&LedgerId, &Position)| self.seen.get(*ledger) != Some(*head);
        let moved = heads.iter().filter(is_new).map(|(ledger, _)| *ledger).collect();
        self.seen.clone_from(&heads);
        moved
    }
}
