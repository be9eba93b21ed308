//! Due moments: what happens by itself.

use super::{Model, Place};
use crate::domain::time::Timestamp;

enum Due {
    Lapse(usize),
    Expiry(usize),
}

impl Model {
    /// Lets everything happen that is due until `now`, account by account, each thing at its own moment.
    pub fn pass_time(&mut self, now: Timestamp) {
        for account in 0..self.accounts.len() {
            while let Some((moment, due)) = self.next_due(account, now) {
                match due {
                    Due::Lapse(hold) => self.give_up_hold(hold, moment),
                    Due::Expiry(lot) => {
                        self.shift(
                            lot,
                            self.lots[lot].count(Place::Remaining),
                            Place::Remaining,
                            Place::Expired,
                        );
                    }
                }
            }
        }
    }

    /// The first thing due: by moment, lapses before expiries, then by entry.
    fn next_due(&self, account: usize, now: Timestamp) -> Option<(Timestamp, Due)> {
        let holds = self.holds.iter().enumerate();
        let lapses = holds
            .filter(|(_, hold)| hold.account == account && hold.open && hold.lapses_at <= now)
            .map(|(index, hold)| ((hold.lapses_at, 0, index), Due::Lapse(index)));
        let lots = self.lots.iter().enumerate();
        let expiries = lots
            .filter(|(_, lot)| lot.account == account && lot.count(Place::Remaining) > 0 && lot.is_over(now))
            .filter_map(|(index, lot)| Some(((lot.expires_at?, 1, index), Due::Expiry(index))));
        let first = lapses.chain(expiries).min_by_key(|(order, _)| *order)?;
        Some((first.0.0, first.1))
    }

    /// Gives everything that a hold has back to its lots.
    pub fn give_up_hold(&mut self, hold: usize, now: Timestamp) {
        self.holds[hold].open = false;
        let account = self.holds[hold].account;
        for (lot, amount) in self.holds[hold].draws.clone() {
            self.give_back(lot, amount, now);
        }
        self.credits_came_back(account, now);
    }

    /// Gives held credits back to their lot; they expire at once if its time has run out.
    pub fn give_back(&mut self, lot: usize, amount: i64, now: Timestamp) {
        let to = if self.lots[lot].is_over(now) { Place::Expired } else { Place::Remaining };
        self.shift(lot, amount, Place::Held, to);
    }
}
