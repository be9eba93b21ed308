//! Tasks that take turns, so that everyone's comes.

use std::{collections::BTreeSet, ops::Bound};

use super::Task;

/// Tasks that may be folded at once.
#[derive(Default)]
pub struct Ring {
    /// Which they are.
    pub due: BTreeSet<Task>,
    /// Where the last turn ended.
    last: Option<Task>,
}

impl Ring {
    /// The task after the last.
    pub fn first(&mut self) -> Option<Task> {
        let after = self.last.take().map_or(Bound::Unbounded, Bound::Excluded);
        let first = self.due.range((after, Bound::Unbounded)).next().or_else(|| self.due.first())?.clone();
        self.due.remove(&first);
        self.last = Some(first.clone());
        Some(first)
    }

    /// The task after the last, with the others of its ledger that may go with it, each of which is asked about once: first
    /// those that follow it, so that everyone's turn comes.
    pub fn shared(&mut self, mut goes_along: impl FnMut(&Task) -> bool) -> Option<Vec<Task>> {
        let first = self.first()?;
        // Asked for what it takes of the turn; the first goes in any case.
        goes_along(&first);
        let after = self.due.range((Bound::Excluded(&first), Bound::Unbounded));
        let after = after.take_while(|task| task.0 == first.0).filter(|task| goes_along(task));
        let after: Vec<Task> = after.cloned().collect();
        let before = self.due.range(..&first).rev().take_while(|task| task.0 == first.0);
        let before: Vec<Task> = before.filter(|task| goes_along(task)).cloned().collect();
        self.last = after.last().or(Some(&first)).cloned();
        let mut tasks = [before, vec![first], after].concat();
        tasks.sort();
        for task in &tasks {
            self.due.remove(task);
        }
        Some(tasks)
    }
}
