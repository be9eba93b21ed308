//! `counterfoil verify`: proves that everything that is stored follows from the events.

mod accounts;
mod events;
mod findings;
mod projections;

use uuid::Uuid;

use crate::config::MigrateSettings;
use crate::store::database_url::DatabaseUrl;
use crate::store::ledgers::Ledger;
use crate::store::pool::Database;
use crate::store::projections::definition::Definition;
use crate::store::verification::{Compared, EventPage, ProjectionPage, Recount, Refolder};

use super::progress::Rate;
use super::rebuild;
use events::EventChecker;
use findings::Findings;

/// Check that positions, keys, notes, accounts and projections follow from the events.
///
/// Recounts every balance from the events, by the SQL of the `balances` projection, and compares it with the accounts
/// and with the projection; folds every other projection once more and compares all rows. Writes nothing and may run
/// beside the service. Ends with exit code 1 if anything is wrong, naming the first position or account.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only the ledger with this slug.
    #[arg(long, value_name = "SLUG")]
    ledger: Option<String>,
    #[command(flatten)]
    settings: MigrateSettings,
}

/// Events in a page.
const EVENTS: i64 = 5_000;
/// Accounts in a page.
const ACCOUNTS: i64 = 500;
/// Account numbers in a page of the projection: numbers are positions, so most of them are no account's.
const NUMBERS: i64 = 20_000;

pub(super) async fn run(Arguments { ledger, settings }: Arguments) -> anyhow::Result<()> {
    // Temporary tables live as long as a session, which a pooler does not keep.
    let address = settings.database_direct_url.as_ref().or(settings.database_url.as_ref());
    let Some(address) = address else { anyhow::bail!("DATABASE_URL or DATABASE_DIRECT_URL is needed") };
    let database = Database::open(&DatabaseUrl::parse(address)?, 1)?;
    let ledgers = rebuild::ledgers(&database, ledger.as_deref()).await?;
    let (balances, others): (Vec<_>, Vec<_>) =
        rebuild::definitions(&settings)?.into_iter().partition(|definition| definition.name == "balances");
    let Some(balances) = balances.into_iter().next() else {
        anyhow::bail!("this program has no projection `balances`")
    };
    let mut recount = Recount::open(&database, balances.clone()).await?;
    let mut refolder = Refolder::open(&database).await?;
    let mut findings = Findings::default();
    let all: Vec<&Definition> = others.iter().chain([&balances]).collect();
    for ledger in &ledgers {
        findings.begin(ledger.slug.as_str());
        let is_comparable = projections::look(&refolder, ledger, &balances, &mut findings).await?.is_some();
        Verification::new(&mut recount, ledger, &mut findings).run(is_comparable).await?;
        projections::look_at_all(&refolder, ledger, &all, &mut findings).await?;
        for definition in &others {
            projections::compare(&mut refolder, ledger, definition, &mut findings).await?;
        }
    }
    findings.verdict(ledgers.len())
}

/// The verification of one ledger.
struct Verification<'a> {
    recount: &'a mut Recount,
    ledger: &'a Ledger,
    findings: &'a mut Findings,
    events: EventChecker,
}

impl<'a> Verification<'a> {
    fn new(recount: &'a mut Recount, ledger: &'a Ledger, findings: &'a mut Findings) -> Self {
        Self { recount, ledger, findings, events: EventChecker::default() }
    }

    /// `is_comparable` says whether there are balances of the projection to compare with.
    async fn run(mut self, is_comparable: bool) -> anyhow::Result<()> {
        if is_comparable {
            self.compare_projection().await?;
        }
        self.compare_accounts().await?;
        self.compare_payments().await?;
        self.compare_lots().await?;
        self.compare_rest().await?;
        let ends = self.recount.ends(self.ledger.ledger).await?;
        events::check_ends(&ends, self.findings);
        self.events.finish(&ends, self.findings);
        println!("{}: {}", self.ledger.slug, self.events.summary());
        Ok(())
    }

    /// Checks and recounts the events up to `goal`, or up to the head if none is given.
    async fn advance(&mut self, goal: Option<i64>) -> anyhow::Result<()> {
        let mut rate = Rate::new(format!("{}: events", self.ledger.slug), 0);
        while !self.findings.is_hopeless() {
            let after = self.events.position();
            let limit = goal.map_or(EVENTS, |goal| EVENTS.min(goal - after));
            if limit <= 0 {
                break;
            }
            let page = self.recount.advance(self.ledger.ledger, after, limit).await?;
            self.check(&page);
            rate.report(page.until, goal.unwrap_or(page.head));
            // A goal beyond the head is never reached; what is left before the head is little, and comes with the next
            // comparison.
            if page.until <= after || (goal.is_none() && page.head - page.until < EVENTS) {
                break;
            }
        }
        Ok(())
    }

    fn check(&mut self, page: &EventPage) {
        self.events.check(page, self.findings);
    }

    /// While the recount is where the projection is: it may be behind the head, and moves on meanwhile.
    async fn compare_projection(&mut self) -> anyhow::Result<()> {
        let (mut from, mut compared) = (0, 0);
        loop {
            let projected = self.recount.projected(self.ledger.ledger).await?;
            self.advance(Some(projected)).await?;
            if self.findings.is_hopeless() {
                return Ok(());
            }
            let to = if from + NUMBERS > projected { i64::MAX } else { from + NUMBERS };
            let after = self.events.position();
            let (page, outcome) =
                self.recount.compare_projection(self.ledger.ledger, after, (from, to)).await?;
            self.check(&page);
            match outcome {
                ProjectionPage::Gone => {
                    self.findings.leave_out("balances", "another build took over meanwhile");
                    return Ok(());
                }
                ProjectionPage::Compared { rows, differing, position } => {
                    compared += rows;
                    for (account, unit) in differing {
                        self.findings.account(account, format!(
                            "the projection's balance of {unit} is not what the events up to {position} say"
                        ));
                    }
                    if to == i64::MAX {
                        println!(
                            "{}: {compared} balances of the projection compared at {position}",
                            self.ledger.slug
                        );
                        return Ok(());
                    }
                }
            }
            from = to;
        }
    }

    /// Whether there is a state that the events lead to, and it is worth while to compare it.
    fn has_state(&self) -> bool {
        !self.findings.is_hopeless() && !self.events.is_stuck()
    }

    async fn compare_accounts(&mut self) -> anyhow::Result<()> {
        let (mut after_number, mut accounts, mut rows) = (0, 0, [0; 3]);
        loop {
            self.advance(None).await?;
            if !self.has_state() {
                return Ok(());
            }
            let after = self.events.position();
            let (events, page) =
                self.recount.accounts(self.ledger.ledger, after, after_number, ACCOUNTS).await?;
            self.check(&events);
            if !self.has_state() {
                return Ok(());
            }
            accounts::compare(&page, self.findings);
            accounts += page.accounts.len();
            for (sum, compared) in rows.iter_mut().zip([&page.purchases, &page.orders, &page.subscriptions]) {
                *sum += compared.rows;
            }
            match page.until {
                Some(number) => after_number = number,
                None => break,
            }
        }
        let [purchases, orders, subscriptions] = rows;
        let slug = &self.ledger.slug;
        println!("{slug}: {accounts} accounts compared with their events");
        println!("{slug}: {purchases} purchases compared with their events");
        println!("{slug}: {orders} orders compared with their events");
        println!("{slug}: {subscriptions} subscriptions compared with their events");
        Ok(())
    }

    async fn compare_payments(&mut self) -> anyhow::Result<()> {
        let (mut after, mut compared) = (String::new(), 0);
        while self.has_state() {
            let position = self.events.position();
            let (events, page) = self.recount.payments(self.ledger.ledger, position, &after).await?;
            self.check(&events);
            compared += self.take_in(&page.compared);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        println!("{}: {compared} payments compared with their events", self.ledger.slug);
        Ok(())
    }

    /// Those that stand in rows of their own; the others were compared with their accounts.
    async fn compare_lots(&mut self) -> anyhow::Result<()> {
        let (mut after, mut compared) = (Uuid::nil(), 0);
        while self.has_state() {
            let position = self.events.position();
            let (events, page) = self.recount.lots(self.ledger.ledger, position, after).await?;
            self.check(&events);
            compared += self.take_in(&page.compared);
            match page.next {
                Some(next) => after = next,
                None => break,
            }
        }
        println!("{}: {compared} lots in rows of their own compared with their events", self.ledger.slug);
        Ok(())
    }

    /// Says what differs; gives how many rows were compared.
    fn take_in(&mut self, compared: &Compared) -> usize {
        if self.has_state() {
            compared.differing.iter().for_each(|differing| self.findings.row(differing));
        }
        compared.rows
    }

    async fn compare_rest(&mut self) -> anyhow::Result<()> {
        if self.findings.is_hopeless() {
            return Ok(());
        }
        let (events, rest) = self.recount.rest(self.ledger.ledger, self.events.position()).await?;
        self.check(&events);
        if self.findings.is_hopeless() {
            return Ok(());
        }
        for what in rest.configuration {
            self.findings.ledger(format!("{what}: not what its events say"));
        }
        for (position, notes) in rest.missing_notes {
            let others =
                if notes > 1 { format!("; so are {} more of the account", notes - 1) } else { String::new() };
            let what = format!("its note is gone, and its account was not erased after it{others}");
            self.findings.position(position.0, what);
        }
        Ok(())
    }
}
