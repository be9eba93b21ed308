//! Changes of subscriptions: what one would cost and grant, before somebody asks for it.

use super::{Caller, NotFound, Service, ServiceError};
use crate::{
    domain::{
        amount::Currency,
        catalogue::Catalogue,
        ids::{StripeId, Unit},
        invoice_worth::LineRules,
        rejection::Rejection,
        settings::SubscriptionRules,
        subscription::Subscription,
        subscription_change::{AskedChange, CancelAt, Proration, WantedChange},
        time::Timestamp,
    },
    store::reads::subscriptions::find_subscription,
    stripe::{self, InvoicedLine, PreviewedInvoice, client::SwitchedItem},
};

/// What a change comes to, as things are now. Nothing changes by asking.
pub struct ChangePreview {
    /// The change.
    pub change: WantedChange,
    /// The next invoice, if there is one.
    pub invoice: Option<InvoicePreview>,
    /// When the subscription ends, if that is what is asked for.
    pub ends_at: Option<Timestamp>,
    /// Until when credits of the subscription can be used then, if it has any.
    pub credits_until: Option<Timestamp>,
}

/// An invoice that is not drawn up, and what it grants once it is paid.
pub struct InvoicePreview {
    /// When it is drawn up.
    pub due_at: Timestamp,
    /// What everything comes to, signed: below zero the customer is given credit for later invoices.
    pub total: i64,
    /// What is charged.
    pub amount_due: i64,
    /// The currency of both, in its smallest part.
    pub currency: Currency,
    /// What it grants.
    pub grants: Vec<PreviewedGrant>,
}

/// Credits that an invoice would grant.
pub struct PreviewedGrant {
    /// Of which unit.
    pub unit: Unit,
    /// How many.
    pub amount: i64,
    /// When they would expire.
    pub expires_at: Timestamp,
}

/// What the ledger grants for lines of an invoice of a subscription.
struct Granting<'a> {
    subscription: &'a Subscription,
    catalogue: &'a Catalogue,
    rules: &'a SubscriptionRules,
    now: Timestamp,
}

impl Service {
    /// What a change of a subscription would come to. Stripe says what it costs.
    ///
    /// # Errors
    /// [`NotFound::Subscription`]; what [`AskedChange::resolve`] says; that Stripe is away or not set up.
    pub async fn preview_change(
        &self,
        caller: &Caller,
        id: &StripeId,
        change: &AskedChange,
    ) -> Result<ChangePreview, ServiceError> {
        let (moment, row) = find_subscription(&self.database, caller.ledger, id).await?;
        let subscription = row.ok_or(ServiceError::NotFound(NotFound::Subscription))?.subscription;
        let configuration = self.configuration(caller).await?;
        let wanted = change.resolve(&subscription, &configuration.catalogue)?;
        let mut preview = ChangePreview { change: wanted, invoice: None, ends_at: None, credits_until: None };
        match &preview.change {
            WantedChange::Resume {} => {}
            WantedChange::Cancel { at } => {
                let of_lots = subscription.lots.iter().map(|lot| lot.ends_at).max();
                preview.credits_until = of_lots.filter(|ends_at| *ends_at > moment.now);
                preview.ends_at = match at {
                    CancelAt::Now => Some(moment.now),
                    CancelAt::PeriodEnd => subscription.terms.period_end,
                };
            }
            WantedChange::Switch { proration, .. } => {
                let client = self.stripe.of(caller.ledger).await?.client;
                let at_stripe = client.find_subscription(id).await?;
                if at_stripe.has_ended() {
                    return Err(Rejection::SubscriptionEnded { subscription: id.clone() }.into());
                }
                let switched = SwitchedItem::of(&preview.change, &at_stripe).ok_or_else(|| {
                    let problem = "is not subscribed to at Stripe any more";
                    Rejection::InvalidConfiguration { field: "replaces", problem }
                })?;
                let invoice = client.preview_switch(id, &switched).await?;
                let at_once = *proration == Proration::Now || invoice.begins_period();
                let due_at = subscription.terms.period_end.filter(|_| !at_once).unwrap_or(moment.now);
                let granting = Granting {
                    subscription: &subscription,
                    catalogue: &configuration.catalogue,
                    rules: &configuration.settings.subscriptions,
                    now: due_at,
                };
                let grants = granting.of_invoice(&invoice)?;
                let PreviewedInvoice { total, amount_due, currency, .. } = invoice;
                preview.invoice = Some(InvoicePreview { due_at, total, amount_due, currency, grants });
            }
        }
        Ok(preview)
    }
}

impl Granting<'_> {
    fn of_invoice(&self, invoice: &PreviewedInvoice) -> Result<Vec<PreviewedGrant>, Rejection> {
        let is_ours = |line: &InvoicedLine| {
            let price = line.price.as_ref();
            price.is_some_and(|price| self.catalogue.prices.contains_key(price)) && line.quantity.is_some()
        };
        // A trial grants when it begins, and a switch begins none.
        let rules = LineRules { catalogue: self.catalogue, subscriptions: self.rules, had_trial: true };
        let mut grants = Vec::new();
        for entry in stripe::entries(&invoice.lines, invoice.begins_period(), is_ours) {
            let Some((line, sold)) = entry.sold() else { continue };
            let worth = rules.worth(Some(self.subscription), &sold, line.period.end)?;
            let expires_at = line.period.life(self.now, self.rules, true).expires_at;
            grants.extend(worth.grants.into_iter().map(|grant| PreviewedGrant {
                unit: grant.unit,
                amount: grant.amount.get(),
                expires_at,
            }));
        }
        Ok(grants)
    }
}
