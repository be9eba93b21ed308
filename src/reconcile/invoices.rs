//! Whether Stripe and the ledger agree about paid invoices of subscriptions.
//!
//! The ledger records an invoice line by line, each under a key of its own, and what was paid for all of it with each line
//! that was paid for. So nothing is missing if every line is recorded that grants something, and the money is right if each
//! recorded line names what Stripe says was paid for the invoice. The shares of the lines are not compared: they depend on
//! which prices were the ledger's when the invoice was told.
//!
//! Invariants:
//! - what a line is, is judged as the inbox would, and only if the ledger does not have it or has it for nothing: an invoice
//!   whose lines are all there costs no question beyond its page;
//! - a line that rightly granted nothing, and so left no trace, is not missing.

use std::{borrow::Cow, collections::HashMap};

use serde_json::Value;

use super::{
    Stopped,
    examine::{INVOICE_PAID, found},
    trouble::{Trouble, patiently},
    turn::Turn,
};
use crate::{
    domain::{
        Command, Event, EventBody,
        amount::Currency,
        command::{RecordInvoiceLine, SoldLine, Subscriber},
        event::{GrantSource, PurchaseSource},
        ids::{AccountId, Key, Namespace, PaymentReference, PurchaseId, StripeId},
        subscription::InvoiceLine,
    },
    inbox::{Holder, Judgement, find_holder},
    store::{
        configuration::{Configuration, load_configuration},
        reads::accounts::find_account,
        reconciliation::{
            findings::{Details, Difference, FindingKind, Side},
            recorded,
        },
    },
    stripe::{
        self, StripeObject,
        client::{CallError, StripeClient},
    },
};

impl Turn<'_> {
    /// Whether Stripe and the ledger disagree about one invoice, of which the ledger may have recorded `line`.
    pub(super) async fn examine_invoice(
        &self,
        client: &StripeClient,
        id: &StripeId,
        line: Option<&StripeId>,
    ) -> Result<Option<Difference>, Trouble> {
        if let Some(invoice) = found(patiently(|| client.fetch_invoice(id)).await)? {
            return Ok(self.compare_invoices(client, &[invoice]).await?.pop());
        }
        let keys: Vec<Key> = line.and_then(|line| line_key(id, line)).into_iter().collect();
        let recorded = recorded::find_commands(&*self.connection().await?, self.id(), &keys).await?;
        let billed = recorded.values().find_map(|events| Billed::of(events));
        Ok(self.credited_not_paid(id, None, billed.as_ref()).await?)
    }

    /// Differences about invoices that Stripe has, listed the newest first; those of older ones come first, so that whoever
    /// repairs them does it in their order.
    pub(super) async fn compare_invoices(
        &self,
        client: &StripeClient,
        objects: &[StripeObject],
    ) -> Result<Vec<Difference>, Trouble> {
        let mut invoices = Vec::new();
        for object in objects {
            invoices.extend(Invoice::read(client, object).await?);
        }
        let keys: Vec<Key> = invoices.iter().flat_map(Invoice::keys).collect();
        let connection = self.connection().await?;
        let recorded = recorded::find_commands(&connection, self.id(), &keys).await?;
        let configuration = load_configuration(&connection, self.id()).await?;
        drop(connection);
        let mut differences = Vec::new();
        for invoice in invoices.iter().rev() {
            differences.extend(self.compare_invoice(client, invoice, &recorded, &configuration).await?);
        }
        Ok(differences)
    }

    async fn compare_invoice(
        &self,
        client: &StripeClient,
        invoice: &Invoice<'_>,
        recorded: &HashMap<Key, Vec<Event>>,
        configuration: &Configuration,
    ) -> Result<Option<Difference>, Trouble> {
        let keys = invoice.keys().filter(|key| recorded.contains_key(key));
        let known: HashMap<Key, Option<Billed>> =
            keys.map(|key| (key.clone(), Billed::of(&recorded[&key]))).collect();
        let billed = || known.values().flatten();
        if !invoice.is_paid {
            let first = billed().min_by_key(|billed| &billed.line);
            return Ok(self.credited_not_paid(invoice.id(), Some(invoice.told()), first).await?);
        }
        let is_doubtful = billed().any(|billed| billed.is_for_nothing() && invoice.side.amount != Some(0));
        if known.len() < invoice.lines.len() || is_doubtful {
            let difference = self.judged_otherwise(client, invoice, &known, configuration).await?;
            if difference.is_some() {
                return Ok(difference);
            }
        }
        let other = billed().find(|billed| billed.side.as_ref().is_some_and(|side| !invoice.agrees(side)));
        Ok(other.map(|billed| invoice.difference(FindingKind::AmountDiffers, billed.details())))
    }

    /// Whether an invoice that is paid should have left more in the ledger than it has.
    async fn judged_otherwise(
        &self,
        client: &StripeClient,
        invoice: &Invoice<'_>,
        known: &HashMap<Key, Option<Billed>>,
        configuration: &Configuration,
    ) -> Result<Option<Difference>, Trouble> {
        let holder = self.holder_of(invoice).await?;
        let judgement = self.judge_invoice(client, invoice, configuration, holder.as_ref()).await?;
        let missing = |line: Option<StripeId>, payment: Option<StripeId>, reason: Option<String>| {
            let payment = payment.map(PaymentReference::Stripe);
            let details = Details { line, payment, ..Details::default() };
            Difference { reason, ..invoice.difference(FindingKind::PaidNotCredited, details) }
        };
        let commands = match judgement {
            Judgement::Ignored(_) => return Ok(None),
            // What cannot be read is another product's, as far as anything tells.
            Judgement::Quarantined(reason) if holder.is_none() && reason.starts_with(NONSENSE) => {
                return Ok(None);
            }
            Judgement::Quarantined(reason) => return Ok(Some(missing(None, None, Some(reason)))),
            Judgement::Asks(needs) => {
                return Ok(Some(missing(None, None, Some(format!("needs_stripe: {needs}")))));
            }
            Judgement::Commands(commands) => lines_of(commands),
        };
        // Changes are recorded under the first of their lines, and which that is depends on the prices known then.
        let is_under_another = known.keys().any(|key| !commands.iter().any(|(named, _)| named == key));
        for (key, line) in &commands {
            match known.get(key) {
                None => {
                    let grants = match &line.sold {
                        SoldLine::Changes { .. } => !is_under_another,
                        SoldLine::Period { .. } => self.grants(line, configuration, holder.as_ref()).await?,
                    };
                    if grants {
                        let (line, payment) = (line.line.clone(), line.payment_intent.clone());
                        return Ok(Some(missing(Some(line), payment, None)));
                    }
                }
                Some(Some(billed)) if billed.is_for_nothing() && line.money.gross > 0 => {
                    return Ok(Some(invoice.difference(FindingKind::AmountDiffers, billed.details())));
                }
                Some(_) => {}
            }
        }
        Ok(None)
    }

    /// Whether a line for a whole period grants anything: one of price 0 does if the ledger grants something for a trial and
    /// the account has had none.
    async fn grants(
        &self,
        line: &RecordInvoiceLine,
        configuration: &Configuration,
        holder: Option<&Holder>,
    ) -> Result<bool, Stopped> {
        // A price that is known grants something.
        if !matches!(line.sold, SoldLine::Period { is_free: true, .. }) {
            return Ok(true);
        }
        if configuration.settings.subscriptions.trial_credits.is_empty() {
            return Ok(false);
        }
        let account = match &line.subscriber {
            Subscriber::Named(account) => Some(account),
            Subscriber::Owner(_) => holder.map(|holder| &holder.account),
        };
        match account {
            Some(account) => Ok(!self.had_trial(account).await?),
            None => Ok(true),
        }
    }

    async fn had_trial(&self, account: &AccountId) -> Result<bool, Stopped> {
        let (_, found) = find_account(&self.reconciler.database, self.id(), account).await?;
        let account = found.and_then(|found| found.working_set.accounts.get(&found.row.number).cloned());
        Ok(account.is_some_and(|account| account.had_trial))
    }

    async fn holder_of(&self, invoice: &Invoice<'_>) -> Result<Option<Holder>, Stopped> {
        let (subscription, customer) = (Some(&invoice.subscription), invoice.customer.as_ref());
        Ok(find_holder(&self.reconciler.database, self.id(), subscription, customer).await?)
    }

    async fn judge_invoice(
        &self,
        client: &StripeClient,
        invoice: &Invoice<'_>,
        configuration: &Configuration,
        holder: Option<&Holder>,
    ) -> Result<Judgement, Trouble> {
        let judgement = self.judge_as(&invoice.object, INVOICE_PAID, configuration, holder);
        if !matches!(judgement, Judgement::Asks(_)) {
            return Ok(judgement);
        }
        let whole = patiently(|| client.fetch_invoice(invoice.id())).await?;
        Ok(self.judge_as(&whole, INVOICE_PAID, configuration, holder))
    }

    /// What the ledger has credited for an invoice that is not paid, unless it was taken back since.
    async fn credited_not_paid(
        &self,
        id: &StripeId,
        at_stripe: Option<Side>,
        billed: Option<&Billed>,
    ) -> Result<Option<Difference>, Stopped> {
        let Some(billed) = billed else { return Ok(None) };
        if let Some(payment) = &billed.payment
            && self.is_given_back(payment).await?
        {
            return Ok(None);
        }
        let details = Details { at_stripe, ..billed.details() };
        Ok(Some(Difference {
            kind: FindingKind::CreditedNotPaid,
            object: id.to_string(),
            details,
            reason: None,
        }))
    }
}

/// How the inbox says of something that it contradicts itself.
const NONSENSE: &str = "nonsense:";

/// An invoice of a subscription as Stripe has it.
struct Invoice<'a> {
    object: Cow<'a, StripeObject>,
    subscription: StripeId,
    customer: Option<StripeId>,
    lines: Vec<StripeId>,
    is_paid: bool,
    /// What was paid for it.
    paid: Option<i64>,
    /// What it came to; if nothing was paid, nothing.
    side: Side,
}

impl<'a> Invoice<'a> {
    /// Reads an invoice with all of its lines; none if it is of no subscription.
    async fn read(client: &StripeClient, object: &'a StripeObject) -> Result<Option<Self>, CallError> {
        let Some(subscription) = stripe::subscription_of(object) else { return Ok(None) };
        let shows_all =
            object.json().pointer("/lines/has_more").and_then(Value::as_bool).is_some_and(|more| !more);
        let object = if shows_all {
            Cow::Borrowed(object)
        } else {
            Cow::Owned(patiently(|| client.fetch_invoice(object.id())).await?)
        };
        Ok(Some(Self::of(object, subscription)))
    }

    fn of(object: Cow<'a, StripeObject>, subscription: StripeId) -> Self {
        let json = object.json();
        let text = |value: &Value| value.as_str().and_then(|id| StripeId::parse(id).ok());
        let lines = json.pointer("/lines/data").and_then(Value::as_array);
        let lines = lines.into_iter().flatten().filter_map(|line| text(&line["id"])).collect();
        // Expanded or not.
        let customer = text(&json["customer"]).or_else(|| text(&json["customer"]["id"]));
        let is_paid = json["status"] == "paid";
        let paid = json["amount_paid"].as_i64();
        let amount = match paid {
            Some(1..) if is_paid => stripe::came_to(&object),
            paid => paid,
        };
        let currency = json["currency"].as_str().and_then(Currency::parse);
        let side = Side { amount, currency, status: None };
        Self { subscription, customer, lines, is_paid, paid, side, object }
    }

    /// Whether the ledger has recorded it so. Older events name what was paid, without what came from the customer's balance.
    fn agrees(&self, recorded: &Side) -> bool {
        *recorded == self.side || *recorded == Side { amount: self.paid, ..self.side.clone() }
    }

    fn id(&self) -> &StripeId {
        self.object.id()
    }

    /// The keys under which its lines are recorded.
    fn keys(&self) -> impl Iterator<Item = Key> {
        self.lines.iter().filter_map(|line| line_key(self.id(), line))
    }

    /// What Stripe has, its status included.
    fn told(&self) -> Side {
        let status = self.object.json()["status"].as_str().map(str::to_owned);
        Side { status, ..self.side.clone() }
    }

    fn difference(&self, kind: FindingKind, details: Details) -> Difference {
        let details = Details { at_stripe: Some(self.told()), ..details };
        Difference { kind, object: self.id().to_string(), details, reason: None }
    }
}

/// A line of an invoice that the ledger has credited.
#[derive(Clone, PartialEq, Debug)]
struct Billed {
    line: StripeId,
    /// What the whole invoice came to; none if the line was for nothing.
    side: Option<Side>,
    is_trial: bool,
    payment: Option<PaymentReference>,
    purchase: Option<PurchaseId>,
}

impl Billed {
    fn of(events: &[Event]) -> Option<Self> {
        let for_nothing = |line: &InvoiceLine, is_trial| Self {
            line: line.line.clone(),
            side: None,
            is_trial,
            payment: None,
            purchase: None,
        };
        events.iter().find_map(|event| match &event.body {
            EventBody::CreditsPurchased(bought) => {
                let PurchaseSource::InvoiceLine(line) = &bought.source else { return None };
                let paid = bought.paid_with.unwrap_or(bought.money);
                let side =
                    Side { amount: Some(paid.gross), currency: Some(paid.currency), ..Side::default() };
                Some(Self {
                    line: line.line.clone(),
                    side: Some(side),
                    is_trial: false,
                    payment: bought.payment.clone(),
                    purchase: Some(bought.purchase),
                })
            }
            EventBody::CreditsGranted(granted) => match &granted.source {
                GrantSource::InvoiceLine(line) => Some(for_nothing(line, false)),
                GrantSource::Trial(line) => Some(for_nothing(line, true)),
                _ => None,
            },
            _ => None,
        })
    }

    /// Whether its price was more than zero, and nothing had to be paid for it.
    fn is_for_nothing(&self) -> bool {
        self.side.is_none() && !self.is_trial
    }

    fn details(&self) -> Details {
        let nothing = || Side { amount: Some(0), ..Side::default() };
        Details {
            in_ledger: Some(self.side.clone().unwrap_or_else(nothing)),
            payment: self.payment.clone(),
            line: Some(self.line.clone()),
            purchase: self.purchase,
            ..Details::default()
        }
    }
}

fn lines_of(commands: Vec<(Option<Key>, Command)>) -> Vec<(Key, RecordInvoiceLine)> {
    let line = |(key, command)| match (key, command) {
        (Some(key), Command::RecordInvoiceLine(line)) => Some((key, line)),
        _ => None,
    };
    commands.into_iter().filter_map(line).collect()
}

fn line_key(invoice: &StripeId, line: &StripeId) -> Option<Key> {
    Key::new(Namespace::Stripe, &format!("invoice:{invoice}:{line}")).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::{
        amount::PaidMoney,
        event::{CreditsGranted, CreditsPurchased},
        ids::{Actor, LotId, Position, Seed},
        subscription::Period,
        time::Timestamp,
    };

    fn id(text: &str) -> StripeId {
        StripeId::parse(text).expect("an id")
    }

    fn eur(amount: i64) -> Side {
        Side { amount: Some(amount), currency: Currency::parse("eur"), ..Side::default() }
    }

    fn line() -> InvoiceLine {
        let moment = Timestamp::default();
        InvoiceLine {
            invoice: id("in_1"),
            line: id("il_1"),
            subscription: id("sub_1"),
            period: Period { start: moment, end: moment },
            ends_at: moment,
            prorated: false,
        }
    }

    fn event(body: impl Into<EventBody>) -> Event {
        Event {
            position: Position(1),
            command: Position(1),
            account: None,
            unit: None,
            amount: 0,
            balance: None,
            recorded_at: Timestamp::default(),
            effective_at: None,
            actor: Actor::Stripe,
            key: None,
            note_hash: None,
            body: body.into(),
        }
    }

    fn lot() -> LotId {
        LotId::new(Position(1), 0, &Seed([0; 16]))
    }

    fn purchased(source: PurchaseSource, paid_with: Option<i64>) -> Event {
        let money = |gross| PaidMoney::new(gross, 0, Currency::parse("eur").expect("a currency"));
        event(CreditsPurchased {
            purchase: PurchaseId::new(Position(1), 0, &Seed([0; 16])),
            lot: lot(),
            source,
            payment: PaymentReference::parse("pi_1"),
            price: None,
            quantity: None,
            money: money(300).expect("money"),
            paid_with: paid_with.and_then(money),
            cost: 300,
            granted: 5,
            expires_at: None,
            priority: 50,
        })
    }

    fn granted(source: GrantSource) -> Event {
        event(CreditsGranted { lot: lot(), source, granted: 5, expires_at: None, priority: 50 })
    }

    #[test]
    fn what_is_recorded_with_a_line_tells_what_was_paid_for_all_of_its_invoice() {
        let alone = Billed::of(&[purchased(PurchaseSource::InvoiceLine(line()), None)]).expect("a line");
        assert_eq!((alone.side, alone.line, alone.is_trial), (Some(eur(300)), id("il_1"), false));
        let one_of_two =
            [granted(GrantSource::Requested), purchased(PurchaseSource::InvoiceLine(line()), Some(900))];
        assert_eq!(Billed::of(&one_of_two).expect("a line").side, Some(eur(900)));
        assert_eq!(Billed::of(&[purchased(PurchaseSource::External, None)]), None);
    }

    #[test]
    fn what_the_balance_paid_is_part_of_what_an_invoice_came_to_except_in_older_events() {
        let invoice = |status: &str, paid: i64| {
            let json = json!({"id": "in_1", "object": "invoice", "status": status, "amount_paid": paid, "currency": "eur",
                "total": 1_000, "pre_payment_credit_notes_amount": 100, "lines": {"data": []}});
            let object = StripeObject::read("invoice", json).expect("an invoice");
            Invoice::of(Cow::Owned(object), id("sub_1"))
        };
        let half = invoice("paid", 500);
        assert_eq!(half.side, eur(900));
        let agreed: Vec<i64> =
            [900, 500, 1_000, 400, 0].into_iter().filter(|sum| half.agrees(&eur(*sum))).collect();
        assert_eq!(agreed, [900, 500]);
        assert_eq!((invoice("paid", 0).side, invoice("open", 0).side), (eur(0), eur(0)));
        assert_eq!(invoice("paid", 1_500).side, eur(1_500), "with what was owed from before");
    }

    #[test]
    fn a_trial_is_no_line_that_was_for_nothing() {
        let trial = Billed::of(&[granted(GrantSource::Trial(line()))]).expect("a line");
        let free = Billed::of(&[granted(GrantSource::InvoiceLine(line()))]).expect("a line");
        assert_eq!((trial.is_for_nothing(), free.is_for_nothing()), (false, true));
        assert_eq!(free.details().in_ledger.and_then(|side| side.amount), Some(0));
    }

    #[test]
    fn an_invoice_is_read_in_either_shape_and_one_of_no_subscription_is_not() {
        let read = |of: Value| {
            let mut json = json!({"id": "in_1", "object": "invoice", "status": "paid", "amount_paid": 300,
                "currency": "eur", "customer": {"id": "cus_1"},
                "lines": {"data": [{"id": "il_1"}, {"id": "il_2"}], "has_more": false}});
            json.as_object_mut().expect("an object").extend(of.as_object().expect("an object").clone());
            let object = StripeObject::read("invoice", json).expect("an invoice");
            let subscription = stripe::subscription_of(&object)?;
            let invoice = Invoice::of(Cow::Owned(object), subscription);
            assert_eq!(
                (invoice.is_paid, &invoice.side, &invoice.customer),
                (true, &eur(300), &Some(id("cus_1")))
            );
            Some(invoice.keys().map(|key| key.text().to_owned()).collect::<Vec<String>>())
        };
        let expected = Some(["invoice:in_1:il_1", "invoice:in_1:il_2"].map(str::to_owned).to_vec());
        let now = json!({"parent": {"subscription_details": {"subscription": "sub_1"}}});
        assert_eq!(read(now), expected);
        assert_eq!(read(json!({"subscription": "sub_1"})), expected);
        assert_eq!(read(json!({"parent": null, "subscription": null})), None);
    }
}
