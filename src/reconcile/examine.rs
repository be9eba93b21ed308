//! Whether Stripe and the ledger agree about one thing, or about a page of things.
//!
//! Invariants:
//! - what is ours is judged as the inbox would: what it ignores is no difference;
//! - a thing is asked of Stripe and of the ledger at about the same time, the ledger last: what is on its way when a
//!   difference shows is looked at again by whoever records it.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    Stopped,
    trouble::{Trouble, patiently},
    turn::Turn,
};
use crate::{
    domain::{
        Command, Event, EventBody,
        amount::Currency,
        ids::{Key, Namespace, OrderId, PaymentReference, PurchaseId, StripeId},
        payment::{DisputeStatus, Payment, PaymentFact, RefundStatus},
        settings::LedgerMode,
    },
    inbox::{Holder, Judgement, judge},
    store::{
        configuration::{Configuration, load_configuration},
        reconciliation::{
            findings::{Details, Difference, FindingKind, Side},
            recorded,
        },
    },
    stripe::{
        self, Fact, NoFact, StripeObject,
        client::{CallError, StripeClient, origin},
    },
    writer::system_clock,
};

/// How ids of refunds begin that the reconciliation recorded itself, to take back what nobody paid for.
pub(super) const TAKEN_BACK: &str = "reconciled_";

/// What Stripe and the ledger may disagree about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// A checkout session.
    Session(StripeId),
    /// An invoice of a subscription; and a line of it that the ledger has recorded, if one is known.
    Invoice(StripeId, Option<StripeId>),
    /// A refund of a payment.
    Refund(StripeId, Option<PaymentReference>),
    /// A credit note on an invoice that was paid.
    CreditNote(StripeId, Option<PaymentReference>),
    /// A dispute of a payment.
    Dispute(StripeId, Option<PaymentReference>),
    /// An order that was paid more than once.
    Order(OrderId),
}

impl Subject {
    /// What a difference is about.
    pub(super) fn of(difference: &Difference) -> Option<Self> {
        let id = StripeId::parse(&difference.object);
        let payment = || difference.details.payment.clone();
        match difference.kind {
            FindingKind::PaidNotCredited | FindingKind::CreditedNotPaid => match Self::named(id.ok()?, None)?
            {
                Self::Invoice(id, _) => Some(Self::Invoice(id, difference.details.line.clone())),
                sold => Some(sold),
            },
            FindingKind::RefundNotRecorded | FindingKind::RefundUnknownAtStripe => {
                let id = id.ok()?;
                // Notes are refunds by another way.
                Some(match Self::named(id.clone(), payment()) {
                    Some(note @ Self::CreditNote(..)) => note,
                    _ => Self::Refund(id, payment()),
                })
            }
            FindingKind::DisputeNotRecorded | FindingKind::DisputeUnknownAtStripe => {
                Some(Self::Dispute(id.ok()?, payment()))
            }
            FindingKind::OrderPaidTwice => OrderId::parse(&difference.object).map(Self::Order),
            FindingKind::AmountDiffers => Self::named(id.ok()?, payment()),
            FindingKind::EventsMissed | FindingKind::EventsNotRead => None,
        }
    }

    /// What Stripe's ids of its kind begin with.
    pub(super) fn named(id: StripeId, payment: Option<PaymentReference>) -> Option<Self> {
        match id.as_str().split('_').next()? {
            "cs" => Some(Self::Session(id)),
            "in" => Some(Self::Invoice(id, None)),
            "re" | "pyr" => Some(Self::Refund(id, payment)),
            "cn" => Some(Self::CreditNote(id, payment)),
            "dp" | "du" | "pdp" => Some(Self::Dispute(id, payment)),
            _ => None,
        }
    }
}

impl Turn<'_> {
    /// Whether Stripe and the ledger disagree about one thing, both asked now.
    pub(super) async fn examine(
        &self,
        client: &StripeClient,
        subject: &Subject,
    ) -> Result<Option<Difference>, Trouble> {
        match subject {
            Subject::Session(id) => {
                let session = patiently(|| client.fetch_checkout_session(id)).await;
                match found(session.map(|session| session.object))? {
                    Some(session) => Ok(self.compare_sessions(client, &[session]).await?.pop()),
                    None => Ok(self.absent_session(id).await?),
                }
            }
            Subject::Invoice(id, line) => self.examine_invoice(client, id, line.as_ref()).await,
            Subject::Refund(id, payment) => {
                let refund = patiently(|| client.fetch_refund(id)).await;
                match found(refund.map(|refund| refund.object))? {
                    Some(refund) => Ok(self.compare_facts(client, &[refund]).await?.pop()),
                    None => Ok(self.absent_refund(id, payment.as_ref()).await?),
                }
            }
            Subject::CreditNote(id, payment) => {
                match found(patiently(|| client.fetch_credit_note(id)).await)? {
                    Some(note) => Ok(self.compare_facts(client, &[note]).await?.pop()),
                    None => Ok(self.absent_refund(id, payment.as_ref()).await?),
                }
            }
            Subject::Dispute(id, payment) => match found(patiently(|| client.fetch_dispute(id)).await)? {
                Some(dispute) => Ok(self.compare_facts(client, &[dispute]).await?.pop()),
                None => Ok(self.absent_dispute(id, payment.as_ref()).await?),
            },
            Subject::Order(order) => Ok(self.order_paid_twice(*order).await?),
        }
    }

    /// Differences about sessions that Stripe has.
    pub(super) async fn compare_sessions(
        &self,
        client: &StripeClient,
        sessions: &[StripeObject],
    ) -> Result<Vec<Difference>, Trouble> {
        let sales: Vec<Sale> = sessions.iter().filter_map(Sale::of).collect();
        let keys: Vec<Key> = sales.iter().filter_map(|sale| session_key(sale.object.id())).collect();
        let recorded = recorded::find_commands(&*self.connection().await?, self.id(), &keys).await?;
        let mut differences = Vec::new();
        for sale in &sales {
            let key = session_key(sale.object.id());
            let difference = match key.and_then(|key| recorded.get(&key)) {
                Some(events) => self.recorded_otherwise(sale, events).await?,
                None => self.not_recorded(client, sale).await?,
            };
            differences.extend(difference);
        }
        Ok(differences)
    }

    /// A sale that the ledger has: paid, and with the same money?
    async fn recorded_otherwise(
        &self,
        sale: &Sale<'_>,
        events: &[Event],
    ) -> Result<Option<Difference>, Stopped> {
        let Some(bought) = Recorded::of(events) else { return Ok(None) };
        if !sale.is_paid && self.was_taken_back(&bought).await? {
            return Ok(None);
        }
        let kind = match (sale.is_paid, sale.side == bought.side) {
            (true, true) => return Ok(None),
            (true, false) => FindingKind::AmountDiffers,
            (false, _) => FindingKind::CreditedNotPaid,
        };
        let details = Details { at_stripe: Some(sale.told()), ..bought.details() };
        let object = sale.object.id().to_string();
        Ok(Some(Difference { kind, object, details, reason: None }))
    }

    /// A sale that the ledger does not have: is it the ledger's?
    async fn not_recorded(
        &self,
        client: &StripeClient,
        sale: &Sale<'_>,
    ) -> Result<Option<Difference>, Trouble> {
        if !sale.is_paid {
            return Ok(None);
        }
        let reason = match self.judge(client, sale.object, SESSION_COMPLETED).await? {
            Judgement::Ignored(_) => return Ok(None),
            Judgement::Commands(commands) if !commands.iter().any(is_purchase) => return Ok(None),
            Judgement::Commands(_) => None,
            Judgement::Quarantined(reason) => Some(reason),
            Judgement::Asks(needs) => Some(format!("needs_stripe: {needs}")),
        };
        let json = sale.object.json();
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        let order = sale.object.metadata(origin::ORDER).and_then(OrderId::parse);
        let payment = text("payment_intent").and_then(PaymentReference::parse);
        let details = Details { at_stripe: Some(sale.told()), payment, order, ..Details::default() };
        let object = sale.object.id().to_string();
        Ok(Some(Difference { kind: FindingKind::PaidNotCredited, object, details, reason }))
    }

    /// What the inbox would make of an object, once Stripe has told what it leaves open.
    async fn judge(
        &self,
        client: &StripeClient,
        object: &StripeObject,
        kind: &str,
    ) -> Result<Judgement, Trouble> {
        let configuration = load_configuration(&*self.connection().await?, self.id()).await?;
        let judgement = self.judge_as(object, kind, &configuration, None);
        if !matches!(judgement, Judgement::Asks(_)) {
            return Ok(judgement);
        }
        let whole = patiently(|| client.fetch_checkout_session(object.id())).await?;
        Ok(self.judge_as(&whole.object, kind, &configuration, None))
    }

    /// What the inbox would make of an object by what it says itself.
    pub(super) fn judge_as(
        &self,
        object: &StripeObject,
        kind: &str,
        configuration: &Configuration,
        holder: Option<&Holder>,
    ) -> Judgement {
        match stripe::Event::parse(&self.body_about(object.json(), object.id(), kind)) {
            Ok(event) => judge(self.ledger, configuration, &event, holder),
            Err(nonsense) => Judgement::Quarantined(format!("nonsense: {nonsense}")),
        }
    }

    /// Differences about refunds, credit notes and disputes that Stripe has.
    pub(super) async fn compare_facts(
        &self,
        client: &StripeClient,
        objects: &[StripeObject],
    ) -> Result<Vec<Difference>, Trouble> {
        let mut told: Vec<(PaymentReference, PaymentFact)> = Vec::new();
        for object in objects {
            // The list brings notes with their invoices and what was paid on those, so that hardly one has to be asked for.
            let fact = match self.fact_of(object) {
                Err(NoFact::NeedsStripe(needs)) if object.kind() == Some(CREDIT_NOTE) => {
                    let whole = found(patiently(|| client.fetch_credit_note(&needs.id)).await)?;
                    whole.map(|whole| self.fact_of(&whole))
                }
                fact => Some(fact),
            };
            // What cannot be read is quarantined in the inbox, where it is told.
            if let Some(Ok(Fact::PaymentReport(report))) = fact {
                let payment = PaymentReference::Stripe(report.payment_intent);
                told.extend(report.facts.into_iter().map(|fact| (payment.clone(), fact)));
            }
        }
        let payments: Vec<PaymentReference> = told.iter().map(|(payment, _)| payment.clone()).collect();
        let payments = recorded::find_payments(&*self.connection().await?, self.id(), &payments).await?;
        Ok(told.iter().filter_map(|(name, fact)| differs(payments.get(name)?, fact)).collect())
    }

    /// What the inbox would read of a refund, a credit note or a dispute.
    fn fact_of(&self, object: &StripeObject) -> Result<Fact, NoFact> {
        let kind = match object.kind() {
            Some("refund") => REFUND_UPDATED,
            Some(CREDIT_NOTE) => CREDIT_NOTE_UPDATED,
            _ => DISPUTE_UPDATED,
        };
        let event = stripe::Event::parse(&self.body_about(object.json(), object.id(), kind))?;
        stripe::extract(&event)
    }

    /// A session that Stripe does not have.
    async fn absent_session(&self, id: &StripeId) -> Result<Option<Difference>, Stopped> {
        let Some(key) = session_key(id) else { return Ok(None) };
        let recorded = recorded::find_commands(&*self.connection().await?, self.id(), &[key]).await?;
        let Some(bought) = recorded.values().next().and_then(|events| Recorded::of(events)) else {
            return Ok(None);
        };
        if self.was_taken_back(&bought).await? {
            return Ok(None);
        }
        let (details, object) = (bought.details(), id.to_string());
        Ok(Some(Difference { kind: FindingKind::CreditedNotPaid, object, details, reason: None }))
    }

    /// Whether nothing is left of a purchase, so that it is no matter who has paid for it.
    async fn was_taken_back(&self, bought: &Recorded) -> Result<bool, Stopped> {
        let Some(reference) = bought.payment.clone() else { return Ok(bought.side.amount == Some(0)) };
        self.is_given_back(&reference).await
    }

    /// Whether all of a payment's money went back for good.
    pub(super) async fn is_given_back(&self, reference: &PaymentReference) -> Result<bool, Stopped> {
        let payment = self.payment(reference).await?;
        Ok(payment.is_some_and(|payment| is_given_back(&payment)))
    }

    async fn absent_refund(
        &self,
        id: &StripeId,
        payment: Option<&PaymentReference>,
    ) -> Result<Option<Difference>, Stopped> {
        let Some(reference) = payment else { return Ok(None) };
        let payment = self.payment(reference).await?;
        let known =
            payment.and_then(|payment| payment.refunds.get(id).or(payment.credit_notes.get(id)).copied());
        let Some((status @ (RefundStatus::Pending | RefundStatus::Succeeded), amount, currency)) = known
        else {
            return Ok(None);
        };
        let side =
            Side { amount: Some(amount), currency: Some(currency), status: Some(status.as_str().to_owned()) };
        Ok(Some(unknown(FindingKind::RefundUnknownAtStripe, id, reference, side)))
    }

    async fn absent_dispute(
        &self,
        id: &StripeId,
        payment: Option<&PaymentReference>,
    ) -> Result<Option<Difference>, Stopped> {
        let Some(reference) = payment else { return Ok(None) };
        let payment = self.payment(reference).await?;
        let known = payment.and_then(|payment| payment.disputes.get(id).copied());
        let Some((status @ (DisputeStatus::Open | DisputeStatus::Lost), amount, currency)) = known else {
            return Ok(None);
        };
        let side =
            Side { amount: Some(amount), currency: Some(currency), status: Some(status.as_str().to_owned()) };
        Ok(Some(unknown(FindingKind::DisputeUnknownAtStripe, id, reference, side)))
    }

    async fn order_paid_twice(&self, order: OrderId) -> Result<Option<Difference>, Stopped> {
        let payments = recorded::payments_of_order(&*self.connection().await?, self.id(), order).await?;
        let kept: Vec<&Payment> = payments.iter().filter(|payment| !is_given_back(payment)).collect();
        let Some(last) = kept.last().filter(|_| kept.len() > 1) else { return Ok(None) };
        let details =
            Details { payment: Some(last.reference.clone()), order: Some(order), ..Details::default() };
        let kind = FindingKind::OrderPaidTwice;
        Ok(Some(Difference { kind, object: order.to_string(), details, reason: None }))
    }

    /// What a webhook would hold that tells how an object is.
    pub(super) fn body_about(&self, object: &Value, id: &StripeId, kind: &str) -> Vec<u8> {
        let is_live = object.get("livemode").and_then(Value::as_bool);
        let is_live = is_live.unwrap_or(self.ledger.mode == LedgerMode::Live);
        stripe::event_about(&event_of(id), kind, object, is_live, system_clock())
    }

    pub(super) async fn payment(&self, reference: &PaymentReference) -> Result<Option<Payment>, Stopped> {
        let references = [reference.clone()];
        let found = recorded::find_payments(&*self.connection().await?, self.id(), &references).await?;
        Ok(HashMap::into_values(found).next())
    }
}

/// What Stripe calls a credit note.
const CREDIT_NOTE: &str = "credit_note";

/// How the inbox is told how sessions, invoices, refunds, credit notes and disputes are.
pub(super) const SESSION_COMPLETED: &str = "checkout.session.completed";
pub(super) const INVOICE_PAID: &str = "invoice.paid";
pub(super) const REFUND_UPDATED: &str = "refund.updated";
pub(super) const CREDIT_NOTE_UPDATED: &str = "credit_note.updated";
pub(super) const DISPUTE_UPDATED: &str = "charge.dispute.updated";

/// A session as Stripe has it.
struct Sale<'a> {
    object: &'a StripeObject,
    is_paid: bool,
    status: &'a str,
    side: Side,
}

impl<'a> Sale<'a> {
    /// None for a session that sells nothing by itself: its money comes with invoices, or never.
    fn of(object: &'a StripeObject) -> Option<Self> {
        let json = object.json();
        let text = |name: &str| json.get(name).and_then(Value::as_str);
        if !matches!(text("mode"), None | Some("payment")) {
            return None;
        }
        let status = text("payment_status").unwrap_or_default();
        let side = Side {
            amount: json.get("amount_total").and_then(Value::as_i64),
            currency: text("currency").and_then(Currency::parse),
            status: None,
        };
        let is_paid = matches!(status, "paid" | "no_payment_required");
        Some(Self { object, is_paid, status, side })
    }

    /// What Stripe has, its status included.
    fn told(&self) -> Side {
        Side { status: Some(self.status.to_owned()), ..self.side.clone() }
    }
}

/// A purchase as the ledger has it.
struct Recorded {
    side: Side,
    payment: Option<PaymentReference>,
    purchase: Option<PurchaseId>,
}

impl Recorded {
    fn of(events: &[Event]) -> Option<Self> {
        events.iter().find_map(|event| match &event.body {
            EventBody::CreditsPurchased(bought) => Some(Self {
                side: Side {
                    amount: Some(bought.money.gross),
                    currency: Some(bought.money.currency),
                    status: None,
                },
                payment: bought.payment.clone(),
                purchase: Some(bought.purchase),
            }),
            _ => None,
        })
    }

    fn details(&self) -> Details {
        Details {
            in_ledger: Some(self.side.clone()),
            payment: self.payment.clone(),
            purchase: self.purchase,
            ..Details::default()
        }
    }
}

/// Whether what Stripe tells of a payment that bought something is not what is known of it.
fn differs(payment: &Payment, fact: &PaymentFact) -> Option<Difference> {
    if payment.purchases.is_empty() {
        return None;
    }
    let (id, status, known, kind) = match fact {
        PaymentFact::Refund { refund, status, .. } => {
            let known = payment.refunds.get(refund);
            let known = known.map(|(status, amount, currency)| (status.as_str(), *amount, *currency));
            (refund, status.as_str(), known, FindingKind::RefundNotRecorded)
        }
        PaymentFact::Dispute { dispute, status, .. } => {
            let known = payment.disputes.get(dispute);
            let known = known.map(|(status, amount, currency)| (status.as_str(), *amount, *currency));
            (dispute, status.as_str(), known, FindingKind::DisputeNotRecorded)
        }
        PaymentFact::CreditNote { note, status, .. } => {
            let known = payment.credit_notes.get(note);
            let known = known.map(|(status, amount, currency)| (status.as_str(), *amount, *currency));
            (note, status.as_str(), known, FindingKind::RefundNotRecorded)
        }
        PaymentFact::ChargeRefunded { .. } | PaymentFact::FraudWarning { .. } => return None,
    };
    let is_known = known
        .is_some_and(|(_, amount, currency)| (amount, Some(currency)) == (fact.amount(), fact.currency()));
    let kind = match (payment.knows(fact), is_known) {
        (true, true) => return None,
        (true, false) => FindingKind::AmountDiffers,
        (false, _) => kind,
    };
    let side = |amount, currency, status: &str| Side {
        amount: Some(amount),
        currency,
        status: Some(status.to_owned()),
    };
    let details = Details {
        at_stripe: Some(side(fact.amount(), fact.currency(), status)),
        in_ledger: known.map(|(status, amount, currency)| side(amount, Some(currency), status)),
        payment: Some(payment.reference.clone()),
        purchase: payment.purchases.first().copied(),
        ..Details::default()
    };
    Some(Difference { kind, object: id.to_string(), details, reason: None })
}

/// Whether all of the money went back for good.
fn is_given_back(payment: &Payment) -> bool {
    payment.money.is_some_and(|money| payment.money_back(false).taken >= money.gross)
}

fn unknown(kind: FindingKind, id: &StripeId, payment: &PaymentReference, side: Side) -> Difference {
    let details = Details { in_ledger: Some(side), payment: Some(payment.clone()), ..Details::default() };
    Difference { kind, object: id.to_string(), details, reason: None }
}

fn is_purchase((_, command): &(Option<Key>, Command)) -> bool {
    matches!(command, Command::RecordPurchase(_))
}

/// The id of what the inbox is told of an object.
pub(super) fn event_of(object: &StripeId) -> String {
    format!("evt_reconciled_{object}")
}

pub(super) fn session_key(session: &StripeId) -> Option<Key> {
    Key::new(Namespace::Stripe, &format!("checkout_session:{session}")).ok()
}

/// None if Stripe has no such thing.
pub(super) fn found(answer: Result<StripeObject, CallError>) -> Result<Option<StripeObject>, CallError> {
    match answer {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_missing_object() => Ok(None),
        Err(error) => Err(error),
    }
}
