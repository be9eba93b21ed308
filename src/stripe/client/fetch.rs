//! What we ask Stripe for: single objects, and lists of them page by page.

use serde_json::Value;
use stripe_checkout::checkout_session::{
    ListCheckoutSession, ListLineItemsCheckoutSession, RetrieveCheckoutSession,
};
use stripe_client_core::StripeRequest;
use stripe_core::{
    charge::RetrieveCharge,
    customer::{ListCustomer, RetrieveCustomer},
    dispute::RetrieveDispute,
    event::{ListEvent, RetrieveEvent},
    payment_intent::RetrievePaymentIntent,
    refund::{ListRefund, RetrieveRefund},
};
use stripe_product::{
    price::{ListPrice, RetrievePrice},
    product::RetrieveProduct,
};
use stripe_types::{RangeBoundsTs, RangeQueryTs};

use super::{CallCause, CallError, StripeClient, answer::doubtful, in_path, unusable};
use crate::{
    domain::{
        ids::{PriceId, StripeId},
        time::Timestamp,
    },
    stripe::object::{CheckoutSession, Customer, Page, PricePage, Refund, StripeObject},
};

/// How many objects a page has: as many as Stripe gives.
pub(super) const PAGE: i64 = 100;
/// How many pages of line items a session may have; Stripe's own limit is one.
const LINE_ITEM_PAGES: usize = 10;

/// Which events are asked for.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct EventQuery<'a> {
    /// Only those of these types; Stripe takes up to 20. All of them if empty.
    pub types: &'a [&'a str],
    /// Only those that happened then or later.
    pub since: Option<Timestamp>,
    /// Only those that happened before then.
    pub until: Option<Timestamp>,
    /// The page of those directly before this event in Stripe's order, thus newer ones.
    pub newer_than: Option<&'a StripeId>,
    /// The page of those directly after this event in Stripe's order, thus older ones.
    pub older_than: Option<&'a StripeId>,
}

impl StripeClient {
    /// A customer, perhaps a deleted one.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_customer(&self, id: &StripeId) -> Result<Customer, CallError> {
        let object = self.fetch("customer", &RetrieveCustomer::new(in_path(id))).await?;
        Customer::of(object).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// A checkout session with all of its line items, which it lists under `line_items` as Stripe does.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_checkout_session(&self, id: &StripeId) -> Result<CheckoutSession, CallError> {
        let request = RetrieveCheckoutSession::new(in_path(id)).expand(vec!["line_items".to_owned()]);
        let mut json = self.fetch("checkout.session", &request).await?.into_json();
        self.complete_line_items(id, &mut json).await?;
        CheckoutSession::read(json).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// Fetches the line items behind those that came with a session.
    async fn complete_line_items(&self, id: &StripeId, session: &mut Value) -> Result<(), CallError> {
        let Some(list) = session.get_mut("line_items").filter(|list| !list.is_null()) else { return Ok(()) };
        let mut page = Page::read("item", list).map_err(|nonsense| unusable(&nonsense, false))?;
        let mut items = std::mem::take(&mut page.objects);
        for _ in 0..LINE_ITEM_PAGES {
            let Some(last) = items.last().filter(|_| page.has_more).map(|item| item.id().clone()) else {
                list["data"] = items.into_iter().map(StripeObject::into_json).collect();
                list["has_more"] = Value::Bool(false);
                return Ok(());
            };
            let request =
                ListLineItemsCheckoutSession::new(in_path(id)).limit(PAGE).starting_after(last.as_str());
            page = self.list("item", &request).await?;
            items.append(&mut page.objects);
        }
        Err(doubtful(CallCause::TooMany, false))
    }

    /// A refund.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_refund(&self, id: &StripeId) -> Result<Refund, CallError> {
        let object = self.fetch("refund", &RetrieveRefund::new(in_path(id))).await?;
        Refund::of(object).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// A charge.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_charge(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("charge", &RetrieveCharge::new(in_path(id))).await
    }

    /// A dispute.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_dispute(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("dispute", &RetrieveDispute::new(in_path(id))).await
    }

    /// A payment intent.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_payment_intent(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("payment_intent", &RetrievePaymentIntent::new(in_path(id))).await
    }

    /// A price with its whole product.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_price(&self, id: &PriceId) -> Result<StripeObject, CallError> {
        let request = RetrievePrice::new(id.as_str()).expand(vec!["product".to_owned()]);
        self.fetch("price", &request).await
    }

    /// A product.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_product(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("product", &RetrieveProduct::new(in_path(id))).await
    }

    /// An event, in the form that webhooks have.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none, or none any more.
    pub async fn fetch_event(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("event", &RetrieveEvent::new(in_path(id))).await
    }

    /// A page of all prices, active or not, each with its whole product, behind the price `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_prices(&self, after: Option<&str>) -> Result<PricePage, CallError> {
        let mut request = ListPrice::new().limit(PAGE).expand(vec!["data.product".to_owned()]);
        if let Some(after) = after {
            request = request.starting_after(after);
        }
        let answer = self.call(request.build(), None).await?;
        PricePage::read(&answer).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// A page of events, the newest first. Stripe keeps them for 30 days.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_events(&self, query: &EventQuery<'_>) -> Result<Page, CallError> {
        let mut request = ListEvent::new().limit(PAGE);
        if !query.types.is_empty() {
            request = request.types(query.types.iter().map(|kind| (*kind).to_owned()).collect::<Vec<_>>());
        }
        if query.since.is_some() || query.until.is_some() {
            request = request.created(between(query.since, query.until));
        }
        if let Some(event) = query.newer_than {
            request = request.ending_before(event.as_str());
        }
        if let Some(event) = query.older_than {
            request = request.starting_after(event.as_str());
        }
        self.list("event", &request).await
    }

    /// A page of the refunds of a payment, the newest first, behind the refund `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_refunds(
        &self,
        payment: &StripeId,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListRefund::new().payment_intent(payment.as_str()).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("refund", &request).await
    }

    /// A page of the checkout sessions of a customer, the newest first, behind the session `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_checkout_sessions(
        &self,
        customer: &StripeId,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListCheckoutSession::new().customer(customer.as_str()).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("checkout.session", &request).await
    }

    /// A page of the customers that were made at `since` or later, the newest first, behind the customer `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_customers(
        &self,
        since: Timestamp,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListCustomer::new().created(RangeQueryTs::gte(since.unix_seconds())).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("customer", &request).await
    }
}

/// What was made from `since` on and before `until`; Stripe knows whole seconds.
pub(super) fn between(since: Option<Timestamp>, until: Option<Timestamp>) -> RangeQueryTs {
    RangeQueryTs::Bounds(RangeBoundsTs {
        gte: since.map(Timestamp::unix_seconds),
        lt: until.map(Timestamp::unix_seconds),
        ..RangeBoundsTs::default()
    })
}
