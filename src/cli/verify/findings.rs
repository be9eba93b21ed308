//! What is wrong, and where: the first few of it, because a broken beginning makes everything after it look broken.

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

    /// Something is wrong with the ledger as a whole.
    pub(super) fn ledger(&mut self, what: impl AsRef<str>) {
        self.add(format!("ledger {}: {}", self.ledger, what.as_ref()));
    }

    /// From here on nothing can be compared in this ledger.
    pub(super) fn give_up(&mut self) {
        self.is_hopeless = true;
    }

    /// Whether going on in this ledger would say nothing.
    pub(super) fn is_hopeless(&self) -> bool {
        self.is_hopeless || self.in_ledger >= TOLD
    }

    /// Everything is told.
    ///
    /// # Errors
    /// If anything is wrong, naming the first of it.
    pub(super) fn verdict(self, ledgers: usize) -> anyhow::Result<()> {
        match self.first {
            None => {
                let s = if ledgers == 1 { "" } else { "s" };
                println!("verified {ledgers} ledger{s}: everything follows from the events");
                Ok(())
            }
            Some(first) => anyhow::bail!("{} wrong; the first: {first}", self.number),
        }
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
