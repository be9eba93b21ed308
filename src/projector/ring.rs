//! Tasks that take turns, so that everyone's comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use super::Task;
use crate::store::projections::{Build, LedgerId};

/// Tasks each of which has a turn of its own.
#[derive(Default)]
pub struct Ring {
    due: BTreeSet<Task>,
    /// Where the last turn ended.
    last: Option<Task>,
}

impl Ring {
    /// The task may be folded.
    pub fn insert(&mut self, task: Task) {
        self.due.insert(task);
    }

    /// Forgets the tasks that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&Task) -> bool) {
        self.due.retain(is_wanted);
    }

    /// The task after the last.
    pub fn next(&mut self) -> Option<Task> {
        let next = after(self.last.as_ref(), |from| self.due.range(from).next())?.clone();
        self.due.remove(&next);
        self.last = Some(next.clone());
        Some(next)
    }
}

/// Tasks that are folded together with others of their ledger. Ledgers take turns, and so do those tasks of one ledger that
/// do not all fit into its turn: were they kept in one order with those of other ledgers, the same ones would be left over
/// each time.
#[derive(Default)]
pub struct SharedRing {
    due: BTreeMap<LedgerId, BTreeSet<Arc<Build>>>,
    /// Whose turn was the last.
    last: Option<LedgerId>,
    /// The task before the first that had to be left over in its ledger's last turn, or the last one of all.
    ended: BTreeMap<LedgerId, Arc<Build>>,
}

impl SharedRing {
    /// The task may be folded.
    pub fn insert(&mut self, (ledger, build): Task) {
        self.due.entry(ledger).or_default().insert(build);
    }

    /// Forgets the tasks that are not wanted.
    pub fn retain(&mut self, is_wanted: impl Fn(&Task) -> bool) {
        let is_wanted = |ledger: &LedgerId, build: &Arc<Build>| is_wanted(&(*ledger, Arc::clone(build)));
        for (ledger, builds) in &mut self.due {
            builds.retain(|build| is_wanted(ledger, build));
        }
        self.due.retain(|_, builds| !builds.is_empty());
        self.ended.retain(|ledger, build| is_wanted(ledger, build));
    }

    /// Tasks of the ledger after the last: first those that have a place in each of its turns, then as many of the others as
    /// fit, each of which is asked about once, beginning with the one that has waited longest.
    pub fn next(
        &mut self,
        has_a_place: impl Fn(&Task) -> bool,
        mut fits: impl FnMut(&Task) -> bool,
    ) -> Option<Vec<Task>> {
        let (ledger, due) = after(self.last.as_ref(), |from| self.due.range(from).next())?;
        let ledger = *ledger;
        let (mut tasks, others): (Vec<Task>, Vec<Task>) =
            due.iter().map(|build| (ledger, Arc::clone(build))).partition(has_a_place);
        let ended = self.ended.get(&ledger);
        let (before, behind): (Vec<Task>, Vec<Task>) =
            others.into_iter().partition(|(_, build)| ended.is_some_and(|ended| build <= ended));
        let mut is_one_left_over = false;
        for (place, task) in behind.into_iter().chain(before).enumerate() {
            // The first goes in any case: somebody must.
            if !fits(&task) && place > 0 {
                is_one_left_over = true;
                continue;
            }
            if !is_one_left_over {
                self.ended.insert(ledger, Arc::clone(&task.1));
            }
            tasks.push(task);
        }
        self.take(ledger, &tasks);
        Some(tasks)
    }

    fn take(&mut self, ledger: LedgerId, tasks: &[Task]) {
        self.last = Some(ledger);
        let due = self.due.entry(ledger).or_default();
        for (_, build) in tasks {
            due.remove(build);
        }
        if due.is_empty() {
            self.due.remove(&ledger);
        }
    }
}

/// What is found first behind the last, or else from the beginning on.
fn after<K: Ord, T>(last: Option<&K>, first: impl Fn((Bound<&K>, Bound<&K>)) -> Option<T>) -> Option<T> {
    let behind = last.and_then(|last| first((Bound::Excluded(last), Bound::Unbounded)));
    behind.or_else(|| first((Bound::Unbounded, Bound::Unbounded)))
}
