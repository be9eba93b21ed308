//! What was made at Stripe in a time, page by page, the newest first.

use stripe_billing::{credit_note::ListCreditNote, invoice::ListInvoice};
use stripe_checkout::checkout_session::ListCheckoutSession;
use stripe_core::{dispute::ListDispute, refund::ListRefund};
use stripe_shared::{CheckoutSessionStatus, InvoiceStatus};

use super::{
    CallError, StripeClient,
    fetch::{PAGE, between},
};
use crate::{
    domain::{ids::StripeId, time::Timestamp},
    stripe::object::Page,
};

/// A time in which something was made, in whole seconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MadeIn {
    /// Its beginning, which belongs to it.
    pub since: Timestamp,
    /// Its end, which does not; none if it goes on.
    pub until: Option<Timestamp>,
}

impl StripeClient {
    /// A page of the sessions that were made in that time and are complete, behind the session `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_completed_sessions(
        &self,
        made: MadeIn,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListCheckoutSession::new()
            .created(between(Some(made.since), made.until))
            .status(CheckoutSessionStatus::Complete)
            .limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("checkout.session", &request).await
    }

    /// A page of the paid invoices that were made in that time, each with its payments, behind the invoice `after`. Of an
    /// invoice with many lines only the first come along.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_paid_invoices(
        &self,
        made: MadeIn,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListInvoice::new()
            .created(between(Some(made.since), made.until))
            .status(InvoiceStatus::Paid)
            .expand(vec!["data.payments".to_owned()])
            .limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("invoice", &request).await
    }

    /// A page of the refunds that were made in that time, behind the refund `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_refunds_made(&self, made: MadeIn, after: Option<&StripeId>) -> Result<Page, CallError> {
        let mut request = ListRefund::new().created(between(Some(made.since), made.until)).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("refund", &request).await
    }

    /// A page of the credit notes that were issued in that time, each with its invoice and that one's payments, behind the note
    /// `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_credit_notes_made(
        &self,
        made: MadeIn,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListCreditNote::new()
            .created(between(Some(made.since), made.until))
            .expand(vec!["data.invoice.payments".to_owned()])
            .limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("credit_note", &request).await
    }

    /// A page of the disputes that were made in that time, behind the dispute `after`.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn list_disputes_made(
        &self,
        made: MadeIn,
        after: Option<&StripeId>,
    ) -> Result<Page, CallError> {
        let mut request = ListDispute::new().created(between(Some(made.since), made.until)).limit(PAGE);
        if let Some(after) = after {
            request = request.starting_after(after.as_str());
        }
        self.list("dispute", &request).await
    }
}
