//! Looks for what an effect may have made already, before it is made again.
//!
//! Lists are read, not Stripe's search, which lags behind: what is not in a list is not there.
//!
//! Invariant: "there is none" is said only after the whole list was read.

use super::{CallCause, CallError, StripeClient, answer::doubtful, origin, unusable};
use crate::{
    domain::{
        ids::{EffectId, StripeId},
        time::{Span, Timestamp},
    },
    stripe::object::{CheckoutSession, Customer, Page, Refund, StripeObject},
};

/// How many pages of a hundred are looked through.
const MOST_PAGES: usize = 100;
/// How far Stripe's clock may lie behind ours.
const CLOCKS_DIFFER_BY: Span = Span::seconds(-600);

impl StripeClient {
    /// The customer that an effect has made, at `since` or later by Stripe's clock (give or take ten minutes).
    ///
    /// # Errors
    /// [`CallError`]; whether there is one is not known then.
    pub async fn find_customer(
        &self,
        effect: EffectId,
        since: Timestamp,
    ) -> Result<Option<Customer>, CallError> {
        let since = since.plus(CLOCKS_DIFFER_BY);
        let list = |after: Option<StripeId>| async move { self.list_customers(since, after.as_ref()).await };
        let found = find(effect, list).await?;
        found.map(Customer::of).transpose().map_err(|nonsense| unusable(&nonsense, false))
    }

    /// The checkout session that an effect has made for a customer.
    ///
    /// # Errors
    /// [`CallError`]; whether there is one is not known then.
    pub async fn find_checkout_session(
        &self,
        effect: EffectId,
        customer: &StripeId,
    ) -> Result<Option<CheckoutSession>, CallError> {
        let list = |after: Option<StripeId>| async move {
            self.list_checkout_sessions(customer, after.as_ref()).await
        };
        let found = find(effect, list).await?;
        found.map(CheckoutSession::of).transpose().map_err(|nonsense| unusable(&nonsense, false))
    }

    /// The refund that an effect has made of a payment.
    ///
    /// # Errors
    /// [`CallError`]; whether there is one is not known then.
    pub async fn find_refund(
        &self,
        effect: EffectId,
        payment: &StripeId,
    ) -> Result<Option<Refund>, CallError> {
        let list = |after: Option<StripeId>| async move { self.list_refunds(payment, after.as_ref()).await };
        let found = find(effect, list).await?;
        found.map(Refund::of).transpose().map_err(|nonsense| unusable(&nonsense, false))
    }
}

/// Reads pages until one holds the object that carries the effect's mark.
async fn find<Listed: Future<Output = Result<Page, CallError>>>(
    effect: EffectId,
    list: impl Fn(Option<StripeId>) -> Listed,
) -> Result<Option<StripeObject>, CallError> {
    let mark = effect.to_string();
    let mut after = None;
    for _ in 0..MOST_PAGES {
        let page = list(after).await?;
        after = page.next();
        let is_ours = |object: &StripeObject| object.metadata(origin::EFFECT) == Some(&*mark);
        if let Some(found) = page.objects.into_iter().find(is_ours) {
            return Ok(Some(found));
        }
        if after.is_none() {
            return Ok(None);
        }
    }
    Err(doubtful(CallCause::TooMany, true))
}
