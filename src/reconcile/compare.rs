//! Stripe and the ledger are compared, both ways, a day after the other.
//!
//! What Stripe made in a day is listed and looked up in the ledger; then what the ledger recorded in that day is gone
//! through, and what was not listed is asked of Stripe one by one. What was found open before is looked at again, whenever
//! it is from.
//!
//! Invariants:
//! - no more is held than a page of either side, and which ids were compared of late;
//! - a difference is recorded only after Stripe's events were taken in once more and both sides were asked again: what was
//!   on its way is none;
//! - what the ledger's key may not read keeps nothing else from being compared, and the run from being done: its time is
//!   compared again.

use std::{
    collections::HashSet,
    hash::{BuildHasher, RandomState},
    time::Duration,
};

use tokio::time::{Instant, sleep};

use super::{
    Stopped,
    events::before,
    examine::{Subject, TAKEN_BACK},
    trouble::{Trouble, patiently},
    turn::Turn,
};
use crate::{
    domain::{
        Event, EventBody,
        event::{GrantSource, PurchaseSource, TargetCause, TargetMoved},
        ids::{PaymentReference, Position},
        payment::PaymentFact,
        subscription::InvoiceLine,
        time::{Span, Timestamp},
    },
    store::{
        inbox::{self, InboxFilter, InboxStatus},
        reconciliation::{
            findings::{
                self, Details, Difference, Finding, FindingFilter, FindingKind, FindingState, Settled,
            },
            recorded,
            runs::{Run, RunCounts},
            turn::{self, Moved},
        },
    },
    stripe::{
        self, Payload, StripeObject,
        client::{CallError, MadeIn, StripeClient},
    },
};

/// What was compared is compared again for so long: money may come late, and refunds may fail.
const LOOK_BACK: Span = Span::days(14);
/// The same of disputes, which take months.
const DISPUTES_LOOK_BACK: Span = Span::days(120);
/// The same of invoices, which Stripe tries to collect for up to two months, and lists by when they were made.
const INVOICES_LOOK_BACK: Span = Span::days(60);
/// How far back the first comparison of a ledger begins by itself.
const FIRST_LOOK_BACK: Span = Span::days(60);
/// How much time is compared at once.
const CHUNK: Span = Span::days(1);
/// How many positions of the ledger are read at once.
const POSITIONS: i64 = 5_000;
/// When what is due is compared again.
const AGAIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How many ids are kept of what was compared, before the older half of them is forgotten.
const REMEMBERED: usize = 1_000_000;
/// How many findings, or entries of the inbox, are read at once.
const PAGE: i64 = 100;
/// How long the inbox is waited for.
const INBOX_LIMIT: Duration = Duration::from_secs(60);
/// How often it is looked at meanwhile.
const INBOX_LOOK: Duration = Duration::from_millis(50);
/// How the reason of a webhook begins that tells of other money than is recorded.
const MONEY_DIFFERS: &str = "money_differs";

/// What is listed of Stripe.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Sessions,
    Invoices,
    Refunds,
    CreditNotes,
    Disputes,
}

impl Listed {
    /// The name in findings.
    fn as_str(self) -> &'static str {
        match self {
            Self::Sessions => "checkout_sessions",
            Self::Invoices => "invoices",
            Self::Refunds => "refunds",
            Self::CreditNotes => "credit_notes",
            Self::Disputes => "disputes",
        }
    }

    /// Where Stripe would list it; nothing of what the ledger alone knows.
    fn with(subject: &Subject) -> Option<Self> {
        match subject {
            Subject::Session(_) => Some(Self::Sessions),
            Subject::Invoice(..) => Some(Self::Invoices),
            Subject::Refund(..) => Some(Self::Refunds),
            Subject::CreditNote(..) => Some(Self::CreditNotes),
            Subject::Dispute(..) => Some(Self::Disputes),
            Subject::Order(_) => None,
        }
    }
}

/// What came of a question.
enum Told<T> {
    Answer(T),
    /// The ledger's key may not ask.
    Forbidden,
}

/// A comparison under way.
struct Comparison<'a> {
    turn: &'a Turn<'a>,
    client: &'a StripeClient,
    run: &'a Run,
    counts: &'a mut RunCounts,
    seen: Seen,
    /// What the ledger's key may not read.
    forbidden: Vec<(Listed, CallError)>,
}

impl Turn<'_> {
    /// Compares what the run is for, or what is due.
    pub(super) async fn compare(&self, run: &Run, counts: &mut RunCounts) -> Result<(), Trouble> {
        let access = self.reconciler.clients.of(self.id()).await?;
        let begun = self.standing().await?;
        let asked_since = match run.since {
            Some(since) => since,
            None => self.due_since(begun.compared_until, begun.now).await?,
        };
        // What was long before the ledger is none of its business.
        let oldest = before(self.ledger.created_at, LOOK_BACK);
        let since = asked_since.max(oldest);
        let invoices_since = before(since, INVOICES_LOOK_BACK).max(oldest);
        let client = &access.client;
        let mut comparison =
            Comparison { turn: self, client, run, counts, seen: Seen::default(), forbidden: Vec::new() };
        let last = run.until.unwrap_or(begun.now);
        let mut from = since;
        loop {
            let to = from.plus(CHUNK);
            let is_last = to >= last;
            // What is later than now, by a clock that was moved on, belongs to what is up to now.
            let made = MadeIn { since: from, until: if is_last { run.until } else { Some(to) } };
            let (invoices_since, disputes_since) = match from == since {
                true => (invoices_since, before(since, DISPUTES_LOOK_BACK)),
                false => (from, from),
            };
            for (what, since) in [
                (Listed::Sessions, made.since),
                (Listed::Invoices, invoices_since),
                (Listed::Refunds, made.since),
                (Listed::CreditNotes, made.since),
                (Listed::Disputes, disputes_since),
            ] {
                comparison.compare_if_allowed(what, MadeIn { since, ..made }).await?;
            }
            comparison.compare_recorded(made).await?;
            let done = to.since(since).whole_seconds().saturating_mul(1_000);
            comparison.counts.permille = (done / last.since(since).whole_seconds().max(1)).min(999);
            if is_last {
                break;
            }
            from = to;
        }
        comparison.compare_webhooks().await?;
        comparison.look_again(begun.now, asked_since).await?;
        if let Some((what, error)) = comparison.forbidden.into_iter().next() {
            return Err(Trouble::Forbidden { what: what.as_str(), error });
        }
        if run.since.is_none() && run.until.is_none() {
            let moved = Moved::Compared(begun.now, AGAIN);
            if !turn::advance(&*self.connection().await?, self.id(), self.fence, moved).await? {
                return Err(Stopped::LeaseLost.into());
            }
        }
        Ok(())
    }

    /// From when on it is time to compare: what Stripe's events can no longer tell included.
    async fn due_since(
        &self,
        compared_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Timestamp, Stopped> {
        let due = match compared_until {
            Some(compared_until) => before(compared_until, LOOK_BACK),
            None => before(self.ledger.created_at, LOOK_BACK).max(before(now, FIRST_LOOK_BACK)),
        };
        let filter = FindingFilter { kind: Some(FindingKind::EventsMissed), state: Some(FindingState::Open) };
        let missed =
            findings::list_findings(&*self.connection().await?, self.id(), filter, None, PAGE).await?;
        let missed = missed.iter().filter_map(|finding| finding.difference.details.since).min();
        Ok(missed.map_or(due, |missed| before(missed, CHUNK).min(due)))
    }

    /// Waits until the work on everything that is in the inbox now is done; says whether it is.
    pub(super) async fn inbox_rests(&self) -> Result<bool, Stopped> {
        let up_to = self.standing().await?.now;
        let begun = Instant::now();
        while !inbox::is_at_rest(&*self.connection().await?, self.id(), up_to).await? {
            if begun.elapsed() > INBOX_LIMIT {
                return Ok(false);
            }
            sleep(INBOX_LOOK).await;
        }
        Ok(true)
    }
}

impl Comparison<'_> {
    /// What Stripe made in a time, as far as the key may read it.
    async fn compare_if_allowed(&mut self, what: Listed, made: MadeIn) -> Result<(), Trouble> {
        if self.is_forbidden(what) {
            return Ok(());
        }
        let compared = self.compare_listed(what, made).await;
        self.go_on(what, compared).await?;
        Ok(())
    }

    fn is_forbidden(&self, what: Listed) -> bool {
        self.forbidden.iter().any(|(known, _)| *known == what)
    }

    /// Goes on without what the key may not read, of which is told once.
    async fn go_on<T>(&mut self, of: Listed, told: Result<T, Trouble>) -> Result<Told<T>, Trouble> {
        match told {
            Err(Trouble::Call(error)) if error.is_forbidden() => {
                if !self.is_forbidden(of) {
                    let trouble = Trouble::Forbidden { what: of.as_str(), error: error.clone() };
                    self.turn.tell_forbidden(of.as_str(), &trouble, self.counts).await?;
                    self.forbidden.push((of, error));
                }
                Ok(Told::Forbidden)
            }
            told => told.map(Told::Answer),
        }
    }

    /// Whether Stripe and the ledger disagree about one thing, as far as the key may read it.
    async fn examine(&mut self, subject: &Subject) -> Result<Told<Option<Difference>>, Trouble> {
        let Some(of) = Listed::with(subject) else {
            return Ok(Told::Answer(self.turn.examine(self.client, subject).await?));
        };
        if self.is_forbidden(of) {
            return Ok(Told::Forbidden);
        }
        let examined = self.turn.examine(self.client, subject).await;
        self.go_on(of, examined).await
    }

    /// What Stripe made in a time.
    async fn compare_listed(&mut self, what: Listed, made: MadeIn) -> Result<(), Trouble> {
        let mut after = None;
        loop {
            let (client, behind) = (self.client, after.as_ref());
            let page = match what {
                Listed::Sessions => patiently(|| client.list_completed_sessions(made, behind)).await?,
                Listed::Invoices => patiently(|| client.list_paid_invoices(made, behind)).await?,
                Listed::Refunds => patiently(|| client.list_refunds_made(made, behind)).await?,
                Listed::CreditNotes => patiently(|| client.list_credit_notes_made(made, behind)).await?,
                Listed::Disputes => patiently(|| client.list_disputes_made(made, behind)).await?,
            };
            let differences = match what {
                Listed::Sessions => self.turn.compare_sessions(client, &page.objects).await?,
                Listed::Invoices => self.turn.compare_invoices(client, &page.objects).await?,
                Listed::Refunds | Listed::CreditNotes | Listed::Disputes => {
                    self.turn.compare_facts(client, &page.objects).await?
                }
            };
            let count = i64::try_from(page.objects.len()).unwrap_or(i64::MAX);
            match what {
                Listed::Sessions => self.counts.sessions += count,
                Listed::Invoices => self.counts.invoices += count,
                // A note is a refund by another way.
                Listed::Refunds | Listed::CreditNotes => self.counts.refunds += count,
                Listed::Disputes => self.counts.disputes += count,
            }
            page.objects.iter().for_each(|object| self.seen.note(object.id().as_str()));
            self.confirm(differences).await?;
            self.turn.tell_progress(self.run, self.counts).await?;
            after = page.next();
            if after.is_none() {
                return Ok(());
            }
        }
    }

    /// What the ledger recorded in a time and Stripe has not listed.
    async fn compare_recorded(&mut self, made: MadeIn) -> Result<(), Trouble> {
        let connection = self.turn.connection().await?;
        let mut after = recorded::find_end(&connection, self.turn.id(), Some(made.since)).await?;
        let until = recorded::find_end(&connection, self.turn.id(), made.until).await?;
        drop(connection);
        while after < until {
            let to = Position(after.0.saturating_add(POSITIONS)).min(until);
            let connection = self.turn.connection().await?;
            let facts = recorded::list_facts(&connection, self.turn.id(), after, to).await?;
            drop(connection);
            for subject in facts.iter().filter_map(subject_of) {
                self.counts.recorded += 1;
                let name = name_of(&subject);
                if !self.seen.has(&name) {
                    self.seen.note(&name);
                    if let Told::Answer(Some(difference)) = self.examine(&subject).await? {
                        self.confirm(vec![difference]).await?;
                    }
                }
            }
            self.turn.tell_progress(self.run, self.counts).await?;
            after = to;
        }
        Ok(())
    }

    /// Records differences that are still there when what Stripe has told meanwhile is taken in.
    async fn confirm(&mut self, differences: Vec<Difference>) -> Result<(), Trouble> {
        if differences.is_empty() {
            return Ok(());
        }
        self.turn.take_in_events(self.run, self.counts).await?;
        self.turn.inbox_rests().await?;
        for difference in differences {
            let Some(subject) = Subject::of(&difference) else { continue };
            if let Told::Answer(Some(difference)) = self.examine(&subject).await? {
                self.record(difference).await?;
            }
        }
        Ok(())
    }

    async fn record(&mut self, difference: Difference) -> Result<(), Trouble> {
        let finding = self.turn.record(&difference, self.counts).await?;
        let is_open = finding.state == FindingState::Open;
        if self.run.repairs && is_open && finding.difference.kind.is_told_by_stripe() {
            self.turn.repair_at_once(self.client, finding, self.run, self.counts).await?;
        }
        Ok(())
    }

    /// Webhooks that told of other money than was recorded before.
    async fn compare_webhooks(&mut self) -> Result<(), Trouble> {
        let mut cursor = None;
        loop {
            let connection = self.turn.connection().await?;
            let filter = InboxFilter { status: Some(InboxStatus::Quarantined), ..InboxFilter::default() };
            let page = inbox::list_inbox(&connection, self.turn.id(), &filter, cursor.as_ref(), PAGE).await?;
            drop(connection);
            for entry in &page.entries {
                let reason = entry.reason.as_deref().unwrap_or_default();
                if reason.starts_with(MONEY_DIFFERS) {
                    self.compare_webhook(entry.event_id.as_str(), reason).await?;
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    /// If Stripe says the same by now, the webhook alone differs, and is told.
    async fn compare_webhook(&mut self, event: &str, reason: &str) -> Result<(), Trouble> {
        let connection = self.turn.connection().await?;
        let stored = inbox::find_webhook(&connection, self.turn.id(), event).await?;
        drop(connection);
        let body = stored.and_then(|(_, body)| body);
        let subject = body.and_then(|body| subject_of_webhook(&body));
        let difference = match subject {
            Some(subject) => match self.examine(&subject).await? {
                Told::Answer(difference) => difference,
                Told::Forbidden => return Ok(()),
            },
            None => None,
        };
        let difference = difference.unwrap_or_else(|| Difference {
            kind: FindingKind::AmountDiffers,
            object: event.to_owned(),
            details: Details::default(),
            reason: Some(reason.to_owned()),
        });
        self.record(difference).await
    }

    /// Looks again at what was open before this comparison began and was not met by it.
    async fn look_again(&mut self, begun: Timestamp, since: Timestamp) -> Result<(), Trouble> {
        let mut before = None;
        loop {
            let connection = self.turn.connection().await?;
            let filter = FindingFilter { kind: None, state: Some(FindingState::Open) };
            let page = findings::list_findings(&connection, self.turn.id(), filter, before, PAGE).await?;
            drop(connection);
            for finding in page.iter().filter(|finding| finding.seen_at < begun) {
                if !self.is_still_there(finding, since).await? {
                    let connection = self.turn.connection().await?;
                    findings::settle(&connection, self.turn.id(), finding.id, &Settled::Vanished).await?;
                    self.counts.vanished += 1;
                }
            }
            let Some(last) = page.last().filter(|_| i64::try_from(page.len()) == Ok(PAGE)) else {
                return Ok(());
            };
            before = Some(last.id);
        }
    }

    async fn is_still_there(&mut self, finding: &Finding, since: Timestamp) -> Result<bool, Trouble> {
        let old = &finding.difference;
        match old.kind {
            FindingKind::EventsNotRead => return Ok(false),
            FindingKind::EventsMissed => {
                let is_covered = old.details.since.is_some_and(|missed| since <= missed);
                let ends_before = self.run.until.is_some() && self.run.until < old.details.until;
                return Ok(!is_covered || ends_before);
            }
            _ => {}
        }
        let Some(subject) = Subject::of(old) else { return Ok(self.is_still_put_aside(&old.object).await?) };
        let difference = match self.examine(&subject).await? {
            Told::Answer(Some(difference)) => difference,
            Told::Answer(None) => return Ok(false),
            Told::Forbidden => return Ok(true),
        };
        let is_same = (difference.kind, &difference.object) == (old.kind, &old.object);
        self.record(difference).await?;
        Ok(is_same)
    }

    /// Whether a webhook still tells of other money.
    async fn is_still_put_aside(&self, event: &str) -> Result<bool, Stopped> {
        let connection = self.turn.connection().await?;
        let stored = inbox::find_webhook(&connection, self.turn.id(), event).await?;
        let reason =
            stored.and_then(|(entry, _)| entry.reason.filter(|_| entry.status == InboxStatus::Quarantined));
        Ok(reason.is_some_and(|reason| reason.starts_with(MONEY_DIFFERS)))
    }
}

/// What an event of the ledger's tells of something that Stripe has as well.
fn subject_of(event: &Event) -> Option<Subject> {
    match &event.body {
        EventBody::CreditsPurchased(bought) => match &bought.source {
            PurchaseSource::CheckoutSession(session) => Some(Subject::Session(session.clone())),
            PurchaseSource::InvoiceLine(line) => Some(subject_of_line(line)),
            PurchaseSource::External => None,
        },
        EventBody::CreditsGranted(granted) => match &granted.source {
            GrantSource::InvoiceLine(line) | GrantSource::Trial(line) => Some(subject_of_line(line)),
            GrantSource::Requested | GrantSource::FreeCheckoutSession(_) | GrantSource::SignUp => None,
        },
        EventBody::PurchaseClawed(moved) => subject_of_move(&moved.0),
        EventBody::PurchaseRestored(moved) => subject_of_move(&moved.0),
        EventBody::PaymentNoted(noted) => subject_of_fact(&noted.fact, Some(&noted.payment)),
        EventBody::OrderPaid(paid) if paid.again => Some(Subject::Order(paid.order)),
        _ => None,
    }
}

fn subject_of_line(line: &InvoiceLine) -> Subject {
    Subject::Invoice(line.invoice.clone(), Some(line.line.clone()))
}

fn subject_of_move(moved: &TargetMoved) -> Option<Subject> {
    match &moved.cause {
        TargetCause::Fact(fact) => subject_of_fact(fact, moved.payment.as_ref()),
        _ => None,
    }
}

fn subject_of_fact(fact: &PaymentFact, payment: Option<&PaymentReference>) -> Option<Subject> {
    // What was paid outside of Stripe went back outside of Stripe.
    let payment = payment.filter(|payment| matches!(payment, PaymentReference::Stripe(_)))?;
    match fact {
        PaymentFact::Refund { refund, .. } if !refund.as_str().starts_with(TAKEN_BACK) => {
            Some(Subject::Refund(refund.clone(), Some(payment.clone())))
        }
        PaymentFact::CreditNote { note, .. } => {
            Some(Subject::CreditNote(note.clone(), Some(payment.clone())))
        }
        PaymentFact::Dispute { dispute, .. } => {
            Some(Subject::Dispute(dispute.clone(), Some(payment.clone())))
        }
        _ => None,
    }
}

fn subject_of_webhook(body: &[u8]) -> Option<Subject> {
    let event = stripe::Event::parse(body).ok()?;
    let id = match event.payload {
        Payload::Snapshot(object) => {
            let kind = object.get("object")?.as_str()?.to_owned();
            StripeObject::read(&kind, object).ok()?.id().clone()
        }
        Payload::Thin(id) => id,
    };
    Subject::named(id, None)
}

fn name_of(subject: &Subject) -> String {
    match subject {
        Subject::Session(id)
        | Subject::Invoice(id, _)
        | Subject::Refund(id, _)
        | Subject::CreditNote(id, _)
        | Subject::Dispute(id, _) => id.to_string(),
        Subject::Order(order) => order.to_string(),
    }
}

/// Ids of what was compared, the older half of which is forgotten when there are too many. Hashes are enough: what is taken
/// for another by one chance in billions is compared the next time.
#[derive(Default)]
struct Seen {
    hasher: RandomState,
    newer: HashSet<u64>,
    older: HashSet<u64>,
}

impl Seen {
    fn note(&mut self, id: &str) {
        if self.newer.len() >= REMEMBERED / 2 {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(self.hasher.hash_one(id));
    }

    fn has(&self, id: &str) -> bool {
        let hash = self.hasher.hash_one(id);
        self.newer.contains(&hash) || self.older.contains(&hash)
    }
}
