//! Subscriptions and their invoices: what we ask Stripe for.

use serde::Serialize;
use serde_json::{Value, json};
use stripe_billing::{
    credit_note::RetrieveCreditNote, invoice::RetrieveInvoice, subscription::RetrieveSubscription,
};
use stripe_client_core::{RequestBuilder, StripeMethod};

use super::{CallCause, CallError, StripeClient, answer::doubtful, in_path, read_one, unusable};
use crate::{
    domain::ids::StripeId,
    stripe::object::{Page, StripeObject},
};

/// How many objects a page has: as many as Stripe gives.
const PAGE: i64 = 100;
/// How many pages of lines an invoice may have.
const LINE_PAGES: usize = 20;

/// Which page of a list is asked for.
#[derive(Serialize)]
struct PageQuery<'a> {
    limit: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    invoice: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starting_after: Option<&'a str>,
}

impl StripeClient {
    /// A subscription.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_subscription(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        self.fetch("subscription", &RetrieveSubscription::new(in_path(id))).await
    }

    /// A payment of an invoice.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_invoice_payment(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        let path = format!("/invoice_payments/{}", in_path(id));
        read_one("invoice_payment", self.call(RequestBuilder::new(StripeMethod::Get, path), None).await?)
    }

    /// An invoice with all of its lines, and with its payments under `payments`, as Stripe shows them where it is asked to.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_invoice(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        let mut json = self.fetch("invoice", &RetrieveInvoice::new(in_path(id))).await?.into_json();
        self.complete_lines(id, &mut json).await?;
        json["payments"] = self.payments_of(id).await?;
        StripeObject::read("invoice", json).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// A credit note with its invoice under `invoice`, and that one with its payments, as Stripe shows them where it is asked
    /// to.
    ///
    /// # Errors
    /// [`CallError`]; permanent if there is none.
    pub async fn fetch_credit_note(&self, id: &StripeId) -> Result<StripeObject, CallError> {
        let request = RetrieveCreditNote::new(in_path(id)).expand(vec!["invoice".to_owned()]);
        let mut json = self.fetch("credit_note", &request).await?.into_json();
        let invoice = json.pointer("/invoice/id").and_then(Value::as_str);
        if let Some(invoice) = invoice.and_then(|id| StripeId::parse(id).ok()) {
            json["invoice"]["payments"] = self.payments_of(&invoice).await?;
        }
        StripeObject::read("credit_note", json).map_err(|nonsense| unusable(&nonsense, false))
    }

    /// What was paid on an invoice, as a list.
    async fn payments_of(&self, invoice: &StripeId) -> Result<Value, CallError> {
        let query = PageQuery { limit: PAGE, invoice: Some(invoice.as_str()), starting_after: None };
        let payments = self.page("invoice_payment", "/invoice_payments".to_owned(), &query).await?;
        Ok(json!({
            "object": "list",
            "has_more": payments.has_more,
            "data": payments.objects.into_iter().map(StripeObject::into_json).collect::<Vec<Value>>(),
        }))
    }

    /// Fetches the lines behind those that came with an invoice.
    async fn complete_lines(&self, id: &StripeId, invoice: &mut Value) -> Result<(), CallError> {
        let Some(list) = invoice.get_mut("lines").filter(|list| !list.is_null()) else { return Ok(()) };
        let mut page = Page::read("line_item", list).map_err(|nonsense| unusable(&nonsense, false))?;
        let mut lines = std::mem::take(&mut page.objects);
        for _ in 0..LINE_PAGES {
            let Some(last) = lines.last().filter(|_| page.has_more).map(|line| line.id().clone()) else {
                list["data"] = lines.into_iter().map(StripeObject::into_json).collect();
                list["has_more"] = Value::Bool(false);
                return Ok(());
            };
            let query = PageQuery { limit: PAGE, invoice: None, starting_after: Some(last.as_str()) };
            page = self.page("line_item", format!("/invoices/{}/lines", in_path(id)), &query).await?;
            lines.append(&mut page.objects);
        }
        Err(doubtful(CallCause::TooMany, false))
    }

    async fn page(&self, kind: &str, path: String, query: &PageQuery<'_>) -> Result<Page, CallError> {
        let request = RequestBuilder::new(StripeMethod::Get, path).query(query);
        let answer = self.call(request, None).await?;
        Page::read(kind, &answer).map_err(|nonsense| unusable(&nonsense, false))
    }
}
