//! This service: a ledger with accounts that have credits, spent from through the writer.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anyhow::{Context, bail, ensure};
use futures_util::{TryStreamExt, stream};
use uuid::Uuid;

use super::{
    ground::Ground,
    load::{self, Measured, Plan},
};
use crate::{
    domain::{
        Command,
        amount::{Amount, MAX_AMOUNT},
        catalogue::Feature,
        command::{Charge, GrantCredits, Note, OpenAccount, ProfileChange, SpendCredits},
        ids::{AccountId, Actor, FeatureKey, Key, LedgerId, Namespace, Unit},
        settings::{LedgerSettings, UnitSettings},
    },
    store::scope::begin_reading,
    writer::{Outcome, Submission, WriterSettings, Writers},
};

/// What one spend costs.
const COST: i64 = 10;
/// The feature that is spent on.
pub const FEATURE: &str = "resume_analysis";
/// The ledger.
pub const SLUG: &str = "bench";

/// The name of the account that callers know by number.
pub fn account_id(number: usize) -> anyhow::Result<AccountId> {
    Ok(AccountId::parse(&format!("user-{number}"))?)
}

/// Submits to a writer in this process.
pub struct ThroughWriter {
    writers: Arc<Writers>,
    /// The ledger that everything is written to.
    pub ledger: LedgerId,
    accounts: Arc<Vec<AccountId>>,
    acknowledged: AtomicU64,
}

impl ThroughWriter {
    /// Makes a ledger with a feature and accounts that can pay for it for ever.
    pub async fn prepare(ground: &Ground) -> anyhow::Result<Self> {
        let database = ground.ours()?;
        let ledger = ground.make_ledger(SLUG).await?.ledger;
        let accounts = (0..ground.accounts).map(account_id).collect::<anyhow::Result<Vec<_>>>()?;
        let writers = Writers::new(database, WriterSettings::default());
        let ours = Self { writers, ledger, accounts: Arc::new(accounts), acknowledged: AtomicU64::new(0) };
        ours.fill().await?;
        ground.vacuum_ours().await?;
        Ok(ours)
    }

    async fn fill(&self) -> anyhow::Result<()> {
        let unit = Unit::parse("credits")?;
        let units = [(unit.clone(), UnitSettings { scale: 0 })].into();
        let settings = LedgerSettings { units, ..LedgerSettings::default() };
        let cost = Amount::new(COST).context("a cost")?;
        let feature =
            Feature { feature: FeatureKey::parse(FEATURE)?, unit: unit.clone(), cost, active: true };
        submit(&self.writers, self.ledger, Command::ConfigureLedger(settings), None).await?;
        submit(&self.writers, self.ledger, Command::SetFeature(feature), None).await?;
        let amount = Amount::new(MAX_AMOUNT).context("an amount")?;
        stream::iter(self.accounts.iter().cloned().map(anyhow::Ok))
            .try_for_each_concurrent(512, |account| {
                let unit = unit.clone();
                async move {
                    let open = OpenAccount {
                        account: account.clone(),
                        profile: ProfileChange::default(),
                        stripe_customer: None,
                    };
                    submit(&self.writers, self.ledger, Command::OpenAccount(open), None).await?;
                    let (expires_at, priority, note) = (None, 50, Note::new());
                    let grant = GrantCredits { account, unit, amount, expires_at, priority, note };
                    submit(&self.writers, self.ledger, Command::GrantCredits(grant), None).await
                }
            })
            .await
    }

    /// The writers that it submits to.
    pub fn writers(&self) -> &Arc<Writers> {
        &self.writers
    }

    /// Spends once from an account, and waits for the acknowledgement.
    pub async fn spend(&self, account: usize) -> anyhow::Result<()> {
        let charge = Charge::Feature {
            feature: FeatureKey::parse(FEATURE)?,
            quantity: Amount::new(1).context("one")?,
        };
        let account = self.accounts[account].clone();
        let command = Command::SpendCredits(SpendCredits { account, charge, note: Note::new() });
        submit(&self.writers, self.ledger, command, Some(Uuid::new_v4())).await
    }

    /// One round.
    pub async fn round(&self, plan: Plan) -> anyhow::Result<Measured> {
        let (writers, ledger) = (Arc::clone(&self.writers), self.ledger);
        let accounts = Arc::clone(&self.accounts);
        let feature = FeatureKey::parse(FEATURE)?;
        let one = Amount::new(1).context("one")?;
        let spend = move |account: usize| {
            let (writers, account, feature) =
                (Arc::clone(&writers), accounts[account].clone(), feature.clone());
            async move {
                let charge = Charge::Feature { feature, quantity: one };
                let command = Command::SpendCredits(SpendCredits { account, charge, note: Note::new() });
                submit(&writers, ledger, command, Some(Uuid::new_v4())).await
            }
        };
        let (measured, acknowledged) = load::round(plan, spend).await?;
        self.acknowledged.fetch_add(acknowledged, Ordering::Relaxed);
        Ok(measured)
    }

    /// How many spends were acknowledged in all rounds.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// How many spends are stored, by the events and by what left the accounts, which must agree.
    pub async fn stored(&self, ground: &Ground) -> anyhow::Result<u64> {
        let client = ground.ours()?.connect().await?;
        client.batch_execute(&begin_reading(self.ledger)).await?;
        let row = client
            .query_one(
                "SELECT (SELECT count(*) FROM events WHERE ledger_id = $1 AND type = 'credits.spent'),
                        (SELECT sum($2::bigint - (state->'books'->'credits'->>'available')::bigint)::numeric / $3::bigint
                           FROM accounts WHERE ledger_id = $1)::bigint",
                &[&self.ledger.0, &MAX_AMOUNT, &COST],
            )
            .await?;
        let (events, left): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
        ensure!(events == left, "{events} spends are stored, {left} left the accounts");
        Ok(u64::try_from(events)?)
    }
}

/// Submits a command, under a client's key if there is one, and insists that it is accepted.
async fn submit(
    writers: &Writers,
    ledger: LedgerId,
    command: Command,
    key: Option<Uuid>,
) -> anyhow::Result<()> {
    let key = key.map(|key| Key::new(Namespace::Client, &key.to_string())).transpose()?;
    let fingerprint = key.as_ref().map(|_| [7; 32]);
    let submission = Submission { command, key, fingerprint, actor: Actor::Operator, request_id: None };
    match writers.submit(ledger, submission).await? {
        Outcome::Accepted(_) => Ok(()),
        Outcome::Rejected(rejection) => bail!("rejected: {rejection}"),
    }
}
