//! What we have Stripe make: customers, checkout sessions, refunds. Each under the key of the effect that ordered it.

use stripe_checkout::checkout_session::{
    CreateCheckoutSession, CreateCheckoutSessionAutomaticTax, CreateCheckoutSessionCustomerUpdate,
    CreateCheckoutSessionCustomerUpdateAddress, CreateCheckoutSessionCustomerUpdateName,
    CreateCheckoutSessionInvoiceCreation, CreateCheckoutSessionInvoiceCreationInvoiceData,
    CreateCheckoutSessionLineItems, CreateCheckoutSessionPaymentIntentData,
    CreateCheckoutSessionSubscriptionData, CreateCheckoutSessionTaxIdCollection, ExpireCheckoutSession,
};
use stripe_client_core::StripeRequest as _;
use stripe_core::{
    customer::CreateCustomer,
    refund::{CreateRefund, CreateRefundReason},
};
use stripe_shared::{CheckoutSessionLocale, CheckoutSessionMode};

use super::{CallError, Origin, StripeClient, in_path, unusable};
use crate::{
    domain::{
        amount::Amount,
        ids::{PriceId, StripeId},
        time::Timestamp,
    },
    stripe::object::{CheckoutSession, Customer, Refund},
};

/// A customer to be made. Holds personal data.
#[derive(Clone)]
pub struct NewCustomer {
    /// Where it comes from.
    pub origin: Origin,
    /// Where Stripe sends receipts and invoices.
    pub email: Option<String>,
    /// What invoices are made out to.
    pub name: Option<String>,
    /// The language of its receipts and invoices, a language tag.
    pub locale: Option<String>,
}

/// What a checkout sells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckoutMode {
    /// Something that is paid for once.
    Payment,
    /// Something that renews itself.
    Subscription,
}

/// A checkout session to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewCheckoutSession {
    /// Where it comes from.
    pub origin: Origin,
    /// What kind of sale it is.
    pub mode: CheckoutMode,
    /// Who buys.
    pub customer: StripeId,
    /// What is sold.
    pub price: PriceId,
    /// How many of it.
    pub quantity: Amount,
    /// The language of the page, a language tag; one that the page does not speak is left to the browser.
    pub locale: Option<String>,
    /// Where the buyer goes after paying.
    pub success_url: String,
    /// Where the buyer goes who changes his mind.
    pub cancel_url: Option<String>,
    /// Whether Stripe computes taxes.
    pub automatic_tax: bool,
    /// Whether businesses may give their tax number.
    pub collect_tax_id: bool,
    /// Whether buyers may use promotion codes.
    pub allow_promotion_codes: bool,
    /// For how many days nothing has to be paid, if it is a subscription.
    pub trial_days: Option<u32>,
    /// Whether a payment gets an invoice; subscriptions have theirs in any case.
    pub create_invoice: bool,
    /// Until when the buyer may pay: 30 minutes to 24 hours from now. Stripe's own default if absent.
    pub expires_at: Option<Timestamp>,
}

/// Why money goes back, in Stripe's words.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RefundReason {
    /// Paid twice.
    Duplicate,
    /// The payment was a fraud; Stripe learns from it.
    Fraudulent,
    /// The buyer wants it.
    RequestedByCustomer,
}

impl RefundReason {
    /// Reads Stripe's name of it.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "duplicate" => Some(Self::Duplicate),
            "fraudulent" => Some(Self::Fraudulent),
            "requested_by_customer" => Some(Self::RequestedByCustomer),
            _ => None,
        }
    }
}

/// A refund to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewRefund {
    /// Where it comes from.
    pub origin: Origin,
    /// The payment whose money goes back, `pi_…`.
    pub payment: StripeId,
    /// How much of it, in the currency's smallest part; all that is left if absent.
    pub amount: Option<Amount>,
    /// Why.
    pub reason: Option<RefundReason>,
}

impl StripeClient {
    /// Makes a customer.
    ///
    /// # Errors
    /// [`CallError`]; if its class is unknown, [`Self::find_customer`] tells.
    pub async fn create_customer(&self, new: &NewCustomer) -> Result<Customer, CallError> {
        let mut request = CreateCustomer::new().metadata(new.origin.metadata());
        if let Some(email) = &new.email {
            request = request.email(email);
        }
        if let Some(name) = &new.name {
            request = request.name(name);
        }
        if let Some(locale) = &new.locale {
            request = request.preferred_locales(vec![locale.clone()]);
        }
        let answer = self.create(&request, new.origin.effect).await?;
        Customer::read(answer).map_err(|nonsense| unusable(&nonsense, true))
    }

    /// Makes a checkout session with a page of Stripe's.
    ///
    /// # Errors
    /// [`CallError`]; if its class is unknown, [`Self::find_checkout_session`] tells.
    pub async fn create_checkout_session(
        &self,
        new: &NewCheckoutSession,
    ) -> Result<CheckoutSession, CallError> {
        let answer = self.create(&checkout_session(new), new.origin.effect).await?;
        CheckoutSession::read(answer).map_err(|nonsense| unusable(&nonsense, true))
    }

    /// Makes a refund.
    ///
    /// # Errors
    /// [`CallError`]; if its class is unknown, [`Self::find_refund`] tells.
    pub async fn create_refund(&self, new: &NewRefund) -> Result<Refund, CallError> {
        let mut request =
            CreateRefund::new().payment_intent(new.payment.as_str()).metadata(new.origin.metadata());
        if let Some(amount) = new.amount {
            request = request.amount(amount.get());
        }
        if let Some(reason) = new.reason {
            request = request.reason(match reason {
                RefundReason::Duplicate => CreateRefundReason::Duplicate,
                RefundReason::Fraudulent => CreateRefundReason::Fraudulent,
                RefundReason::RequestedByCustomer => CreateRefundReason::RequestedByCustomer,
            });
        }
        let answer = self.create(&request, new.origin.effect).await?;
        Refund::read(answer).map_err(|nonsense| unusable(&nonsense, true))
    }

    /// Ends an open checkout session, so that nobody can pay it any more. It needs no key: it cannot happen twice.
    ///
    /// # Errors
    /// [`CallError`]; permanent if the session is not open.
    pub async fn expire_checkout_session(&self, session: &StripeId) -> Result<CheckoutSession, CallError> {
        let answer = self.call(ExpireCheckoutSession::new(in_path(session)).build(), None).await?;
        CheckoutSession::read(answer).map_err(|nonsense| unusable(&nonsense, true))
    }
}

fn checkout_session(new: &NewCheckoutSession) -> CreateCheckoutSession {
    let marks = new.origin.metadata();
    let mut metadata = marks.clone();
    metadata.insert("account_id".to_owned(), new.origin.account.to_string());
    metadata.extend(new.origin.order.map(|order| ("order_id".to_owned(), order.to_string())));
    metadata.insert("price_id".to_owned(), new.price.to_string());
    metadata.insert("quantity".to_owned(), new.quantity.get().to_string());

    let mut item = CreateCheckoutSessionLineItems::new();
    item.price = Some(new.price.to_string());
    item.quantity = Some(new.quantity.get().unsigned_abs());

    let mut request = CreateCheckoutSession::new()
        .client_reference_id(new.origin.account.as_str())
        .metadata(metadata)
        .customer(new.customer.as_str())
        .line_items(vec![item])
        .success_url(&new.success_url)
        .allow_promotion_codes(new.allow_promotion_codes);
    request = match new.mode {
        CheckoutMode::Payment => {
            let mut payment = CreateCheckoutSessionPaymentIntentData::new();
            payment.metadata = Some(marks.clone());
            let request = request.mode(CheckoutSessionMode::Payment).payment_intent_data(payment);
            if new.create_invoice { request.invoice_creation(invoice(marks)) } else { request }
        }
        CheckoutMode::Subscription => {
            let mut subscription = CreateCheckoutSessionSubscriptionData::new();
            subscription.metadata = Some(marks);
            subscription.trial_period_days = new.trial_days;
            request.mode(CheckoutSessionMode::Subscription).subscription_data(subscription)
        }
    };
    if let Some(url) = &new.cancel_url {
        request = request.cancel_url(url);
    }
    if let Some(moment) = new.expires_at {
        request = request.expires_at(moment.unix_seconds());
    }
    if let Some(locale) = &new.locale {
        request = request.locale(page_locale(locale));
    }
    with_taxes(request, new)
}

fn invoice(metadata: std::collections::HashMap<String, String>) -> CreateCheckoutSessionInvoiceCreation {
    let mut data = CreateCheckoutSessionInvoiceCreationInvoiceData::new();
    data.metadata = Some(metadata);
    let mut invoice = CreateCheckoutSessionInvoiceCreation::new(true);
    invoice.invoice_data = Some(data);
    invoice
}

/// For a customer who exists already Stripe wants to be told that it may keep what the page asks for.
fn with_taxes(mut request: CreateCheckoutSession, new: &NewCheckoutSession) -> CreateCheckoutSession {
    let mut update = CreateCheckoutSessionCustomerUpdate::new();
    if new.automatic_tax {
        request = request.automatic_tax(CreateCheckoutSessionAutomaticTax::new(true));
        update.address = Some(CreateCheckoutSessionCustomerUpdateAddress::Auto);
    }
    if new.collect_tax_id {
        request = request.tax_id_collection(CreateCheckoutSessionTaxIdCollection::new(true));
        update.name = Some(CreateCheckoutSessionCustomerUpdateName::Auto);
        update.address = Some(CreateCheckoutSessionCustomerUpdateAddress::Auto);
    }
    if update.address.is_some() { request.customer_update(update) } else { request }
}

/// The language of Stripe's page that comes closest to a language tag: `de` for `de-AT`.
fn page_locale(tag: &str) -> CheckoutSessionLocale {
    let known = |tag: &str| match tag.parse() {
        Ok(CheckoutSessionLocale::Unknown(_)) | Err(_) => None,
        Ok(locale) => Some(locale),
    };
    let language = tag.split(['-', '_']).next().unwrap_or_default();
    known(tag).or_else(|| known(language)).unwrap_or(CheckoutSessionLocale::Auto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_speaks_the_closest_language_that_it_knows() {
        for (tag, expected) in [
            ("de", "de"),
            ("de-AT", "de"),
            ("pt-BR", "pt-BR"),
            ("en_GB", "en"),
            ("en-GB", "en-GB"),
            ("tlh", "auto"),
            ("", "auto"),
        ] {
            assert_eq!(page_locale(tag).as_str(), expected, "{tag}");
        }
    }

    #[test]
    fn reasons_are_read_by_stripes_names() {
        assert_eq!(RefundReason::parse("duplicate"), Some(RefundReason::Duplicate));
        assert_eq!(RefundReason::parse("fraudulent"), Some(RefundReason::Fraudulent));
        assert_eq!(RefundReason::parse("requested_by_customer"), Some(RefundReason::RequestedByCustomer));
        assert_eq!(RefundReason::parse("too blue"), None);
    }
}
