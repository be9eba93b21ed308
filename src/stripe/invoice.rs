//! Paid invoices of subscriptions: `invoice.paid`, `invoice.payment_succeeded` and `invoice_payment.paid`.
//!
//! Invoices have two shapes. Since 2025-03-31 they say what they belong to in `parent`, a line says its price in `pricing`,
//! and payments are listed apart; before, all of that stood in the invoice and its lines themselves.
//!
//! Invariants:
//! - an invoice of no subscription grants nothing: its checkout session does;
//! - no line is left out: if the body does not list all of them, Stripe is asked.

use serde_json::Value;

use super::{
    fact::{Fact, InvoicedLine, PaidInvoice},
    fields::Fields,
    metadata,
    no_fact::{Ignored, NeedsStripe, NoFact, Nonsense, Problem},
};
use crate::domain::{
    amount::{Amount, Currency, PaidMoney, proportion},
    ids::{PriceId, StripeId},
    subscription::Period,
    time::Timestamp,
};

/// What Stripe calls the object.
pub(super) const KIND: &str = "invoice";

/// What Stripe calls a payment of an invoice.
pub(super) const PAYMENT: &str = "invoice_payment";

/// Reads a payment of an invoice: it names the invoice, which has to be fetched, unless it was.
pub(super) fn payment(object: &Fields<'_>) -> Result<Fact, NoFact> {
    if object.text("object")? != Some(PAYMENT) {
        return match is_paid(object)? {
            true => paid(object),
            false => Err(Ignored::NotPaidYet.into()),
        };
    }
    let invoice = object.id("invoice")?.ok_or_else(|| object.nonsense("invoice", Problem::Missing))?;
    Err(NeedsStripe { kind: KIND, id: invoice, missing: "lines" }.into())
}

/// Reads a paid invoice.
pub(super) fn paid(invoice: &Fields<'_>) -> Result<Fact, NoFact> {
    invoice.expect_kind(KIND)?;
    let id = invoice.own_id()?;
    let Some(subscription) = subscription(invoice)? else {
        return Err(Ignored::NoSubscription.into());
    };
    if !is_paid(invoice)? {
        return Err(invoice.nonsense("status", Problem::Contradicts("type")).into());
    }
    let needs = |missing| NoFact::from(NeedsStripe { kind: KIND, id: id.clone(), missing });
    let list = invoice.object("lines")?.ok_or_else(|| needs("lines"))?;
    if list.flag("has_more")? == Some(true) {
        return Err(needs("lines"));
    }
    let lines = list.objects("data")?.ok_or_else(|| needs("lines"))?;
    let (money, came_to) = money(invoice)?.ok_or_else(|| needs("amount_paid"))?;
    let payment_intent = match money.gross {
        0 => None,
        gross => payment_intent(invoice, gross)?.ok_or_else(|| needs("payments"))?,
    };
    let marks = marks(invoice, &lines)?;
    let (account, order) = match &marks {
        Some(marks) => (metadata::subscriber(marks)?, metadata::order_of(marks)?),
        None => (None, None),
    };
    let read = |line: &Fields<'_>| read_line(line, &subscription);
    Ok(Fact::InvoicePaid(PaidInvoice {
        customer: invoice.id("customer")?,
        is_change: invoice.text("billing_reason")? == Some("subscription_update"),
        lines: lines.iter().map(read).collect::<Result<_, _>>()?,
        invoice: id,
        subscription,
        account,
        order,
        payment_intent,
        money,
        came_to,
    }))
}

/// What the next invoice would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreviewedInvoice {
    /// What everything comes to, signed, with taxes, in the smallest part of the currency.
    pub total: i64,
    /// What would be charged: not what the customer's balance covers.
    pub amount_due: i64,
    /// The currency.
    pub currency: Currency,
    /// All of its lines.
    pub lines: Vec<InvoicedLine>,
}

/// Reads an invoice that is not drawn up.
pub(super) fn previewed(invoice: &Fields<'_>, subscription: &StripeId) -> Result<PreviewedInvoice, NoFact> {
    let missing = |name| invoice.nonsense(name, Problem::Missing);
    let list = invoice.object("lines")?.ok_or_else(|| missing("lines"))?;
    if list.flag("has_more")? == Some(true) {
        // A preview of so many lines cannot be read on: it has no id that stays.
        return Err(list.nonsense("has_more", Problem::OutOfRange).into());
    }
    let lines = list.objects("data")?.ok_or_else(|| missing("lines"))?;
    Ok(PreviewedInvoice {
        total: invoice.signed("total")?.ok_or_else(|| missing("total"))?,
        amount_due: invoice.count("amount_due")?.ok_or_else(|| missing("amount_due"))?,
        currency: invoice.currency()?.ok_or_else(|| missing("currency"))?,
        lines: lines.iter().map(|line| read_line(line, subscription)).collect::<Result<_, _>>()?,
    })
}

impl PreviewedInvoice {
    /// Whether it is for a change that begins a new period before the old one is over.
    pub fn begins_period(&self) -> bool {
        let given_back = || self.lines.iter().filter(|line| line.prorated && line.amount < 0);
        let whole = self.lines.iter().filter(|line| !line.prorated && line.amount > 0);
        whole.into_iter().any(|whole| given_back().any(|back| back.period.end > whole.period.start))
    }
}

fn is_paid(invoice: &Fields<'_>) -> Result<bool, Nonsense> {
    Ok(match invoice.text("status")? {
        Some(status) => status == "paid",
        None => invoice.flag("paid")? == Some(true),
    })
}

/// The subscription that an invoice is of.
pub(super) fn subscription(invoice: &Fields<'_>) -> Result<Option<StripeId>, Nonsense> {
    if let Some(parent) = invoice.object("parent")?
        && let Some(details) = parent.object("subscription_details")?
    {
        return details.id("subscription");
    }
    invoice.id("subscription")
}

/// The metadata of the subscription as it was when the invoice was made. Old invoices show it with their lines only.
fn marks<'body>(invoice: &Fields<'body>, lines: &[Fields<'body>]) -> Result<Option<Fields<'body>>, Nonsense> {
    let parent = invoice.object("parent")?;
    let of_parent = parent.map(|parent| parent.object("subscription_details")).transpose()?.flatten();
    let details = match of_parent {
        Some(details) => Some(details),
        None => invoice.object("subscription_details")?,
    };
    let marks = details.map(|details| details.object("metadata")).transpose()?.flatten();
    match (marks, lines.first()) {
        (Some(marks), _) => Ok(Some(marks)),
        (None, Some(line)) => line.object("metadata"),
        (None, None) => Ok(None),
    }
}

/// What was paid, and what the invoice came to. What was taken from the customer's balance was paid before, and is in the
/// latter only.
fn money(invoice: &Fields<'_>) -> Result<Option<(PaidMoney, PaidMoney)>, Nonsense> {
    let (Some(paid), Some(currency)) = (invoice.count("amount_paid")?, invoice.currency()?) else {
        return Ok(None);
    };
    let total = invoice.signed("total")?.unwrap_or(paid);
    let tax = tax(invoice)?;
    let with_tax = |name: &str, gross: i64| {
        let tax = if gross < total { proportion(tax, gross, total) } else { tax.min(gross) };
        let contradiction = || invoice.nonsense(name, Problem::OutOfRange);
        PaidMoney::new(gross, tax.max(0), currency).ok_or_else(contradiction)
    };
    Ok(Some((with_tax("amount_paid", paid)?, with_tax("total", came_to(invoice, paid)?)?)))
}

/// What a paid invoice came to, with taxes, however it was paid: `paid` of it, and the rest from the customer's balance.
/// Credit notes lowered it as long as it was not paid, and no longer.
pub(super) fn came_to(invoice: &Fields<'_>, paid: i64) -> Result<i64, Nonsense> {
    let total = invoice.signed("total")?.unwrap_or(paid);
    let lowered = invoice.count("pre_payment_credit_notes_amount")?.unwrap_or(0);
    // What the customer owed from before is paid with it.
    Ok(total.saturating_sub(lowered).max(paid))
}

fn tax(invoice: &Fields<'_>) -> Result<i64, Nonsense> {
    for name in ["total_taxes", "total_tax_amounts"] {
        if let Some(taxes) = invoice.objects(name)? {
            return taxes
                .iter()
                .try_fold(0_i64, |sum, tax| Ok(sum.saturating_add(tax.signed("amount")?.unwrap_or(0))));
        }
    }
    Ok(invoice.signed("tax")?.unwrap_or(0))
}

/// The payment intent that paid the invoice: `None` if the body does not tell, `Some(None)` if there is none.
#[expect(clippy::option_option, reason = "that it is not told is not that there is none")]
pub(super) fn payment_intent(invoice: &Fields<'_>, gross: i64) -> Result<Option<Option<StripeId>>, Nonsense> {
    if let Some(intent) = invoice.id("payment_intent")? {
        return Ok(Some(Some(intent)));
    }
    let off_stripe = invoice.count("amount_paid_off_stripe")?.unwrap_or(0);
    if invoice.flag("paid_out_of_band")? == Some(true) || off_stripe >= gross {
        return Ok(Some(None));
    }
    let Some(list) = invoice.object("payments")? else { return Ok(None) };
    let mut found: Option<StripeId> = None;
    for payment in list.objects("data")?.unwrap_or_default() {
        if payment.text("status")?.is_some_and(|status| status != "paid") {
            continue;
        }
        let Some(paid_by) = payment.object("payment")? else { continue };
        let Some(intent) = paid_by.id("payment_intent")? else { continue };
        if found.as_ref().is_some_and(|other| *other != intent) {
            // Which of them a later refund takes back could not be told.
            return Err(invoice.nonsense("payments", Problem::Contradicts("amount_paid")));
        }
        found = Some(intent);
    }
    Ok(Some(found))
}

fn read_line(line: &Fields<'_>, subscription: &StripeId) -> Result<InvoicedLine, Nonsense> {
    let details = part(line)?;
    let of = match &details {
        Some(details) => details.id("subscription")?,
        None => line.id("subscription")?,
    };
    let prorated = match &details {
        Some(details) => details.flag("proration")?,
        None => line.flag("proration")?,
    };
    let quantity = match line.count("quantity")? {
        None => Some(Amount::ONE),
        Some(quantity) => Amount::new(quantity),
    };
    Ok(InvoicedLine {
        line: line.own_id()?,
        price: price(line)?.filter(|_| of.as_ref() == Some(subscription)),
        quantity,
        amount: line.signed("amount")?.ok_or_else(|| line.nonsense("amount", Problem::Missing))?,
        period: period(line)?,
        prorated: prorated == Some(true),
    })
}

/// What of a subscription the line is for, in the newer shape.
fn part<'body>(line: &Fields<'body>) -> Result<Option<Fields<'body>>, Nonsense> {
    let Some(parent) = line.object("parent")? else { return Ok(None) };
    match parent.object("subscription_item_details")? {
        Some(details) => Ok(Some(details)),
        None => parent.object("invoice_item_details"),
    }
}

fn price(line: &Fields<'_>) -> Result<Option<PriceId>, Nonsense> {
    let details = line.object("pricing")?.map(|pricing| pricing.object("price_details")).transpose()?;
    let id = match details.flatten() {
        Some(details) => details.id("price")?,
        None => line.id("price")?.or(line.id("plan")?),
    };
    // What cannot be the id of a price is none of ours.
    Ok(id.and_then(|id| PriceId::parse(id.as_str()).ok()))
}

fn period(line: &Fields<'_>) -> Result<Period, Nonsense> {
    let missing = || line.nonsense("period", Problem::Missing);
    let period = line.object("period")?.ok_or_else(missing)?;
    let moment = |name: &str| -> Result<Timestamp, Nonsense> {
        let seconds = period.count(name)?.ok_or_else(|| period.nonsense(name, Problem::Missing))?;
        Timestamp::from_unix_seconds(seconds).ok_or_else(|| period.nonsense(name, Problem::OutOfRange))
    };
    Ok(Period { start: moment("start")?, end: moment("end")? })
}

/// The metadata of the subscription that an invoice is of, wherever it stands.
pub(super) fn marks_of(invoice: &Value) -> Option<&Value> {
    let paths =
        ["/parent/subscription_details/metadata", "/subscription_details/metadata", "/lines/data/0/metadata"];
    paths.into_iter().find_map(|path| invoice.pointer(path).filter(|marks| marks.is_object()))
}
