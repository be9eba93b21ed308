//! A turn: what is done of a ledger's reconciliation while its lease is held.

use std::{future::Future, time::Duration};

use deadpool_postgres::{Object, PoolError};
use metrics::counter;
use tokio::time::{Instant, sleep};

use super::{Reconciler, Stopped, trouble::Trouble};
use crate::{
    credentials::NoStripe,
    domain::ids::{Actor, LedgerId},
    store::{
        ledgers::Ledger,
        reconciliation::{
            findings::{
                self, Details, Difference, Finding, FindingFilter, FindingKind, FindingState, Settled,
            },
            gate,
            runs::{self, NewRun, Run, RunCounts, RunKind},
            turn::{self, PutOff, Standing},
        },
    },
    telemetry::metrics::RECONCILIATION_RUNS,
};

/// How long the lease holds if it is not renewed.
const LEASE: Duration = Duration::from_secs(30);
/// How often it is renewed.
const RENEW_EVERY: Duration = Duration::from_secs(5);
/// How long what did not succeed is put off, at most.
const RETRY_AFTER: Duration = Duration::from_secs(60);
/// How long a comparison is put off that did not succeed.
const COMPARE_AFTER: Duration = Duration::from_secs(600);
/// How long it is put off to let effects be carried out again, if that did not succeed.
const RECOVER_AFTER: Duration = Duration::from_secs(5);
/// What is about Stripe's events as a whole has this in the place of an object.
const ALL_EVENTS: &str = "events";
/// There are no more things that cannot be read.
const PAGE: i64 = 100;

/// A ledger whose lease is held.
pub(super) struct Turn<'a> {
    pub(super) reconciler: &'a Reconciler,
    pub(super) ledger: &'a Ledger,
    pub(super) fence: i64,
}

impl Reconciler {
    /// Does what is due of a ledger, unless somebody else is at it; says whether it had the turn. What is under way when
    /// `stop` is done is begun again by whoever has the next turn.
    ///
    /// # Errors
    /// [`Stopped`].
    pub async fn take_turn(&self, ledger: &Ledger, stop: impl Future<Output = ()>) -> Result<bool, Stopped> {
        let fence = turn::acquire(&*self.connection().await?, ledger, LEASE).await?;
        let Some(fence) = fence else { return Ok(false) };
        let turn = Turn { reconciler: self, ledger, fence };
        let done = tokio::select! {
            done = turn.do_what_is_due() => done,
            () = turn.hold_on() => Err(Stopped::LeaseLost),
            () = stop => Ok(()),
        };
        // If this does not succeed, the lease runs out.
        if let Ok(client) = self.connection().await {
            let _ = turn::renew(&client, ledger.ledger, fence, None).await;
        }
        done.map(|()| true)
    }

    pub(super) async fn connection(&self) -> Result<Object, PoolError> {
        self.database.pool().get().await
    }
}

impl Turn<'_> {
    pub(super) fn id(&self) -> LedgerId {
        self.ledger.ledger
    }

    pub(super) async fn connection(&self) -> Result<Object, PoolError> {
        self.reconciler.connection().await
    }

    /// Renews the lease, and returns when it is lost.
    async fn hold_on(&self) {
        let mut held = Instant::now();
        while held.elapsed() < LEASE - RENEW_EVERY {
            sleep(RENEW_EVERY).await;
            let Ok(client) = self.connection().await else { continue };
            match turn::renew(&client, self.id(), self.fence, Some(LEASE)).await {
                Ok(true) => held = Instant::now(),
                Ok(false) => return,
                Err(_) => {}
            }
        }
    }

    pub(super) async fn standing(&self) -> Result<Standing, Stopped> {
        let found = turn::find_standing(&*self.connection().await?, self.id()).await?;
        found.ok_or(Stopped::LeaseLost)
    }

    /// One thing after the other, what was asked for first.
    async fn do_what_is_due(&self) -> Result<(), Stopped> {
        loop {
            let requested = runs::begin_requested(&*self.connection().await?, self.id()).await?;
            match requested {
                Some(run) => self.carry_out(run).await?,
                None if self.make_repairs().await? || self.request_what_is_due().await? => {}
                None => return Ok(()),
            }
        }
    }

    /// Asks for the run whose time has come, if there is one. A ledger that has no way to Stripe has none.
    async fn request_what_is_due(&self) -> Result<bool, Stopped> {
        let standing = self.standing().await?;
        let (kind, what, put_off_by) = if standing.recovery_is_due {
            (RunKind::Recovery, PutOff::Recovery, RECOVER_AFTER)
        } else if standing.events_are_due {
            (RunKind::Events, PutOff::Events, self.reconciler.every)
        } else if standing.comparison_is_due {
            (RunKind::Comparison, PutOff::Comparison, COMPARE_AFTER)
        } else {
            return Ok(false);
        };
        if let Err(NoStripe::NoCredentials(_)) = self.reconciler.clients.of(self.id()).await {
            self.put_off(what, put_off_by).await?;
            return Ok(true);
        }
        let repairs = kind == RunKind::Recovery;
        let run = NewRun { kind, actor: Actor::System, repairs, since: None, until: None };
        runs::request_run(&*self.connection().await?, self.id(), &run).await?;
        Ok(true)
    }

    async fn put_off(&self, what: PutOff, by: Duration) -> Result<(), Stopped> {
        Ok(turn::put_off(&*self.connection().await?, self.id(), self.fence, what, by).await?)
    }

    async fn carry_out(&self, run: Run) -> Result<(), Stopped> {
        let mut counts = RunCounts::default();
        let ended = match self.try_to_carry_out(&run, &mut counts).await {
            Ok(()) => {
                counts.permille = 1_000;
                Ok(())
            }
            Err(Trouble::Stopped(stopped)) => return Err(stopped),
            Err(trouble) => {
                self.tell_trouble(&run, &trouble).await?;
                Err(trouble)
            }
        };
        let outcome = if ended.is_ok() { "done" } else { "failed" };
        counter!(RECONCILIATION_RUNS, "kind" => run.kind.as_str(), "outcome" => outcome).increment(1);
        let ended = ended.map_err(|trouble| trouble.to_string());
        let client = self.connection().await?;
        Ok(runs::record_progress(&client, self.id(), run.id, &counts, Some(&ended)).await?)
    }

    async fn try_to_carry_out(&self, run: &Run, counts: &mut RunCounts) -> Result<(), Trouble> {
        if run.kind == RunKind::Recovery {
            return self.recover(run, counts).await;
        }
        self.take_in_events(run, counts).await?;
        if run.kind == RunKind::Comparison {
            self.inbox_rests().await?;
            self.compare(run, counts).await?;
        }
        Ok(())
    }

    /// Lets effects be carried out again when the ledger has all that Stripe knows. Whoever dies on the way, or finds that
    /// the ledger changed under him, leaves them waiting.
    async fn recover(&self, run: &Run, counts: &mut RunCounts) -> Result<(), Trouble> {
        let ledger = self.id();
        tracing::warn!(%ledger, "the ledger may lack what Stripe knows: effects wait until it was asked");
        let seen = gate::look(&*self.connection().await?, ledger).await?;
        self.take_in_events(run, counts).await?;
        self.inbox_must_rest().await?;
        self.compare(run, counts).await?;
        self.inbox_must_rest().await?;
        if !gate::open(&*self.connection().await?, ledger, self.fence, &seen).await? {
            return Err(Trouble::HistoryMoved);
        }
        tracing::warn!(%ledger, "the ledger has what Stripe knows: effects are carried out again");
        Ok(())
    }

    async fn inbox_must_rest(&self) -> Result<(), Trouble> {
        if self.inbox_rests().await? { Ok(()) } else { Err(Trouble::InboxBusy) }
    }

    pub(super) async fn tell_progress(&self, run: &Run, counts: &RunCounts) -> Result<(), Stopped> {
        let client = self.connection().await?;
        Ok(runs::record_progress(&client, self.id(), run.id, counts, None).await?)
    }

    /// That events are not read is no matter as long as it passes soon.
    async fn tell_trouble(&self, run: &Run, trouble: &Trouble) -> Result<(), Stopped> {
        let every = self.reconciler.every;
        let (what, by) = match run.kind {
            RunKind::Events => (PutOff::Events, every.min(RETRY_AFTER)),
            RunKind::Comparison => (PutOff::Comparison, COMPARE_AFTER),
            RunKind::Recovery => (PutOff::Recovery, RECOVER_AFTER),
        };
        self.put_off(what, by).await?;
        if matches!(trouble, Trouble::Forbidden { .. }) {
            return Ok(());
        }
        let standing = self.standing().await?;
        let since = standing.events_read_at.unwrap_or(self.ledger.created_at);
        let patience = i64::try_from(every.as_secs().saturating_mul(3)).unwrap_or(i64::MAX);
        let ledger = self.id();
        tracing::warn!(%ledger, error = %trouble, "reconciliation with Stripe does not go on");
        if !trouble.needs_a_person() && standing.now.since(since).whole_seconds() < patience {
            return Ok(());
        }
        let difference = Difference {
            kind: FindingKind::EventsNotRead,
            object: ALL_EVENTS.to_owned(),
            details: Details { since: Some(since), ..Details::default() },
            reason: Some(trouble.to_string()),
        };
        self.record(&difference, &mut RunCounts::default()).await?;
        Ok(())
    }

    /// One kind of what is compared cannot be read, which a person has to put right. The next comparison that can has it
    /// vanish.
    pub(super) async fn tell_forbidden(
        &self,
        what: &str,
        trouble: &Trouble,
        counts: &mut RunCounts,
    ) -> Result<(), Stopped> {
        let ledger = self.id();
        tracing::warn!(%ledger, what, error = %trouble, "reconciliation with Stripe goes on without what the key may not read");
        let difference = Difference {
            kind: FindingKind::EventsNotRead,
            object: what.to_owned(),
            details: Details::default(),
            reason: Some(trouble.to_string()),
        };
        self.record(&difference, counts).await?;
        Ok(())
    }

    /// Events can be read: if they could not be, that is over.
    pub(super) async fn tell_no_trouble(&self) -> Result<(), Stopped> {
        let client = self.connection().await?;
        let filter =
            FindingFilter { kind: Some(FindingKind::EventsNotRead), state: Some(FindingState::Open) };
        let open = findings::list_findings(&client, self.id(), filter, None, PAGE).await?;
        for finding in open.iter().filter(|finding| finding.difference.object == ALL_EVENTS) {
            findings::settle(&client, self.id(), finding.id, &Settled::Vanished).await?;
        }
        Ok(())
    }

    /// Puts a difference on record.
    pub(super) async fn record(
        &self,
        difference: &Difference,
        counts: &mut RunCounts,
    ) -> Result<Finding, Stopped> {
        let client = self.connection().await?;
        let (finding, is_new) = findings::record_difference(&client, self.id(), difference).await?;
        if is_new {
            counts.found += 1;
            let (ledger, kind, object) = (self.id(), difference.kind.as_str(), &difference.object);
            tracing::warn!(%ledger, finding = %finding.id, kind, object, "Stripe and the ledger differ");
        }
        Ok(finding)
    }
}
