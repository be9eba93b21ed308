//! What is wrong, and where: the first few of it, because a broken beginning makes everything after it look broken.

use std::collections::BTreeMap;

use crate::store::verification::Differing;

/// How many findings are told in full.
const TOLD: usize = 20;

/// What was found in all ledgers.
#[derive(Default)]
pub(super) struct Findings {
    ledger: String,
    first: Option<String>,
    number: usize,
    in_ledger: usize,
    is_hopeless: bool,
    /// What was not compared and why, and in which ledgers.
    left_out: BTreeMap<(String, String), Vec<String>>,
}

impl Findings {
    /// What follows is found in this ledger.
    pub(super) fn begin(&mut self, ledger: &str) {
        ledger.clone_into(&mut self.ledger);
        self.in_ledger = 0;
        self.is_hopeless = false;
    }

    /// Something is wrong with the event at a position.
    pub(super) fn position(&mut self, position: i64, what: impl AsRef<str>) {
        self.add(format!("ledger {}, position {position}: {}", self.ledger, what.as_ref()));
    }

    /// Something is wrong with an account.
    pub(super) fn account(&mut self, number: i64, what: impl AsRef<str>) {
        self.add(format!("ledger {}, account {number}: {}", self.ledger, what.as_ref()));
    }

    /// A row is not as the events say.
    pub(super) fn row(&mut self, Differing { account, what }: &Differing) {
        match account {
            Some(number) => self.account(*number, what),
            None => self.ledger(what),
        }
    }

    /// Something is wrong with the ledger as a whole.
    pub(super) fn ledger(&mut self, what: impl AsRef<str>) {
        self.add(format!("ledger {}: {}", self.ledger, what.as_ref()));
    }

    /// Something was not compared, which is nobody's fault: the verdict must not claim it.
    pub(super) fn leave_out(&mut self, what: &str, why: impl Into<String>) {
        self.left_out.entry((what.to_owned(), why.into())).or_default().push(self.ledger.clone());
    }

    /// From here on nothing can be compared in this ledger.
    pub(super) fn give_up(&mut self) {
        self.is_hopeless = true;
    }

    /// Whether going on in this ledger would say nothing.
    pub(super) fn is_hopeless(&self) -> bool {
        self.is_hopeless || self.in_ledger >= TOLD
    }

    /// Everything is told. Without findings this says what is verified, and what is not.
    ///
    /// # Errors
    /// If anything is wrong, naming the first of it.
    pub(super) fn verdict(self, ledgers: usize) -> anyhow::Result<()> {
        if let Some(first) = self.first {
            anyhow::bail!("{} wrong; the first: {first}", self.number);
        }
        let s = if ledgers == 1 { "" } else { "s" };
        let left_out = self.left_out.iter().map(|((what, why), ledgers)| match ledgers.as_slice() {
            [ledger] => format!("{what} of {ledger} ({why})"),
            ledgers => format!("{what} of {} ledgers ({why})", ledgers.len()),
        });
        let left_out = left_out.collect::<Vec<_>>().join(", ");
        if left_out.is_empty() {
            println!("verified {ledgers} ledger{s}: everything follows from the events");
        } else {
            println!("verified {ledgers} ledger{s}, except: {left_out}; the rest follows from the events");
        }
        Ok(())
    }

    fn add(&mut self, finding: String) {
        self.number += 1;
        self.in_ledger += 1;
        if self.in_ledger <= TOLD {
            println!("WRONG {finding}");
        }
        self.first.get_or_insert(finding);
    }
}
