//! The checkout session of an order: the page where it is paid.

use super::{Failed, Make, StripeEffects, cause, make, missing, origin};
use crate::{
    domain::{
        Command,
        amount::Amount,
        command::{RecordSession, UnlinkCustomer},
        ids::{OrderId, StripeId},
        order::OrderStatus,
    },
    outbox::{Class, Looked, Ordered, Performed, Report},
    store::reads::{
        catalogue::read_settings,
        orders::{OrderRow, find_order},
    },
    stripe::{
        CheckoutSession,
        client::{CallError, CheckoutMode, NewCheckoutSession, StripeClient},
    },
};

impl StripeEffects {
    pub(super) async fn create_session(
        &self,
        ordered: &Ordered,
        order: OrderId,
    ) -> Result<Performed, Failed> {
        let row = self.order(ordered, order).await?;
        if row.order.session.is_some() || row.order.status != OrderStatus::Placed {
            return Ok(Performed::Done(Vec::new()));
        }
        // There was one, or one was made before this effect: it is gone, or somebody gave it up. The account gets another.
        let Some(customer) = row.buyer.customer.clone() else { return Ok(made_anew(&row, None)) };
        let access = self.access(ordered.ledger).await?;
        let settings = read_settings(&self.database, ordered.ledger).await?.checkout;
        let quantity = Amount::new(row.order.quantity).ok_or_else(|| missing("no_quantity"))?;
        let success_url = address(row.details.success_url.as_ref(), settings.success_url.as_ref(), &row);
        let new = NewCheckoutSession {
            origin: origin(ordered, &access, row.buyer.account.clone(), Some(order), None),
            mode: match row.order.subscription {
                Some(_) => CheckoutMode::Subscription,
                None => CheckoutMode::Payment,
            },
            trial_days: row.order.subscription.and_then(|ordered| ordered.trial_days),
            customer: customer.clone(),
            price: row.order.price.clone(),
            quantity,
            locale: row.details.locale.clone().or_else(|| row.buyer.profile.locale.clone()),
            success_url: success_url.ok_or_else(|| missing("no_success_url"))?,
            cancel_url: address(row.details.cancel_url.as_ref(), settings.cancel_url.as_ref(), &row),
            automatic_tax: settings.automatic_tax,
            collect_tax_id: settings.collect_tax_ids,
            allow_promotion_codes: settings.promotion_codes,
            create_invoice: settings.invoices,
            expires_at: None,
        };
        match make(&access.client, &new).await {
            Ok(session) => Ok(Performed::Done(vec![recorded(order, session)?])),
            // Somebody deleted it at Stripe: the account gets another one, and this order its session behind it.
            Err(error) if is_missing_customer(&error) => Ok(made_anew(&row, Some(customer))),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn look_for_session(&self, ordered: &Ordered, order: OrderId) -> Result<Looked, Failed> {
        let row = self.order(ordered, order).await?;
        let Some(customer) = row.buyer.customer.filter(|_| row.order.session.is_none()) else {
            // Without a customer none can have been made; with a session nothing is left to do.
            let has_session = row.order.session.is_some();
            return Ok(if has_session { Looked::Found(Vec::new()) } else { Looked::Absent });
        };
        let access = self.access(ordered.ledger).await?;
        match access.client.find_checkout_session(ordered.id, &customer).await {
            Ok(Some(session)) => Ok(Looked::Found(vec![recorded(order, session)?])),
            Ok(None) => Ok(Looked::Absent),
            Err(error) if is_missing_customer(&error) => Ok(Looked::Absent),
            Err(error) => Err(error.into()),
        }
    }

    async fn order(&self, ordered: &Ordered, order: OrderId) -> Result<OrderRow, Failed> {
        find_order(&self.database, ordered.ledger, order).await?.1.ok_or_else(|| missing("no_order"))
    }
}

impl Make for NewCheckoutSession {
    type Made = CheckoutSession;

    async fn create(&self, client: &StripeClient) -> Result<CheckoutSession, CallError> {
        client.create_checkout_session(self).await
    }

    async fn find(&self, client: &StripeClient) -> Result<Option<CheckoutSession>, CallError> {
        client.find_checkout_session(self.origin.effect, &self.customer).await
    }
}

/// The account has no customer (any more), and the order gets its session behind another one.
fn made_anew(row: &OrderRow, gone: Option<StripeId>) -> Performed {
    let unlink = UnlinkCustomer { account: row.order.account, customer: gone, order: Some(row.order.id) };
    Performed::Done(vec![Report::of(Command::UnlinkCustomer(unlink))])
}

/// Where the buyer goes: what the order says, or else what the ledger says, with the language and the order filled in.
/// Stripe fills in the session.
fn address(order: Option<&String>, ledger: Option<&String>, row: &OrderRow) -> Option<String> {
    let locale = row.details.locale.as_ref().or(row.buyer.profile.locale.as_ref());
    let locale = locale.map_or("en", String::as_str);
    let address = order.or(ledger)?;
    Some(address.replace("{LOCALE}", locale).replace("{ORDER_ID}", &row.order.id.to_string()))
}

/// A session that was made. One that cannot be paid any more is told all the same; its end is told by its own webhook.
fn recorded(order: OrderId, session: CheckoutSession) -> Result<Report, Failed> {
    let unreadable = || Failed::Unknown(cause(Class::Unclear, "garbled_answer"), None);
    let expires_at = session.expires_at.ok_or_else(unreadable)?;
    let url = session.url.unwrap_or_default();
    Ok(Report::of(Command::RecordSession(RecordSession { order, session: session.id, url, expires_at })))
}

fn is_missing_customer(error: &CallError) -> bool {
    error.is_missing_object() && error.param() == Some("customer")
}
