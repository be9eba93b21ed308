//! Whose turn it is where there are more ledgers than can be worked on at a time: everyone's, one after the other.
//!
//! Invariant: of those that wait, nobody has a second turn before everybody has had a first one.

use std::{collections::BTreeSet, ops::Bound};

use crate::domain::ids::LedgerId;

/// The ledgers that wait for a turn, and where in the round the last turn was.
#[derive(Default)]
pub struct Round {
    waiting: BTreeSet<LedgerId>,
    last: Option<LedgerId>,
}

impl Round {
    /// These wait for a turn, if they do not already.
    pub fn add(&mut self, ledgers: impl IntoIterator<Item = LedgerId>) {
        self.waiting.extend(ledgers);
    }

    /// Takes out whose turn it is: of those that may have one now, the first behind the last that had one.
    pub fn take_next(&mut self, may_have_one: impl Fn(LedgerId) -> bool) -> Option<LedgerId> {
        let behind = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let round = self.waiting.range((behind, Bound::Unbounded)).chain(&self.waiting);
        let next = round.copied().find(|ledger| may_have_one(*ledger))?;
        self.waiting.remove(&next);
        self.last = Some(next);
        Some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledgers(numbers: impl IntoIterator<Item = i64>) -> Vec<LedgerId> {
        numbers.into_iter().map(LedgerId).collect()
    }

    #[test]
    fn whoever_comes_back_at_once_has_his_turn_after_everybody_else() {
        let mut round = Round::default();
        round.add(ledgers(1..=9));
        let mut order = Vec::new();
        for _ in 0..18 {
            let next = round.take_next(|_| true).expect("somebody waits");
            order.push(next);
            round.add([next]);
        }
        assert_eq!(order, ledgers((1..=9).chain(1..=9)));
    }

    #[test]
    fn a_round_goes_on_where_it_was_even_if_nobody_waited_meanwhile() {
        let mut round = Round::default();
        round.add(ledgers([1, 2]));
        assert_eq!(
            (round.take_next(|_| true), round.take_next(|_| true)),
            (Some(LedgerId(1)), Some(LedgerId(2)))
        );
        assert_eq!(round.take_next(|_| true), None);
        round.add(ledgers([1, 2, 3]));
        let order: Vec<LedgerId> = std::iter::from_fn(|| round.take_next(|_| true)).collect();
        assert_eq!(order, ledgers([3, 1, 2]));
    }

    #[test]
    fn whoever_may_not_have_a_turn_now_is_passed_over_and_goes_on_waiting() {
        let mut round = Round::default();
        round.add(ledgers([1, 2]));
        assert_eq!(round.take_next(|ledger| ledger != LedgerId(1)), Some(LedgerId(2)));
        assert_eq!(round.take_next(|ledger| ledger != LedgerId(1)), None);
        assert_eq!(round.take_next(|_| true), Some(LedgerId(1)));
    }
}
