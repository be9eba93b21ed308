//! Stripe's customer portal, where customers look after their cards, invoices and subscriptions.

use serde_json::Value;
use stripe_billing::{BillingPortalSessionLocale, billing_portal_session::CreateBillingPortalSession};
use stripe_client_core::StripeRequest as _;

use super::{CallError, StripeClient, garbled};
use crate::domain::ids::StripeId;

/// A way into the portal to be made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewPortalSession {
    /// Whose.
    pub customer: StripeId,
    /// Where the portal leads back to.
    pub return_url: Option<String>,
    /// The language of the portal, a language tag; one that it does not speak is left to the browser.
    pub locale: Option<String>,
}

impl StripeClient {
    /// Makes a way into the portal, which is good for minutes: its address. It needs no key: one too many harms nobody.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn create_portal_session(&self, new: &NewPortalSession) -> Result<String, CallError> {
        let mut request = CreateBillingPortalSession::new().customer(new.customer.as_str());
        if let Some(url) = &new.return_url {
            request = request.return_url(url);
        }
        if let Some(locale) = &new.locale {
            request = request.locale(portal_locale(locale));
        }
        let answer = self.call(request.build(), None).await?;
        let url = answer.get("url").and_then(Value::as_str).map(str::to_owned);
        url.ok_or_else(|| garbled("a portal session has no url".to_owned(), false))
    }
}

/// The language of the portal that comes closest to a language tag: `de` for `de-AT`.
fn portal_locale(tag: &str) -> BillingPortalSessionLocale {
    let known = |tag: &str| match tag.parse() {
        Ok(BillingPortalSessionLocale::Unknown(_)) | Err(_) => None,
        Ok(locale) => Some(locale),
    };
    let language = tag.split(['-', '_']).next().unwrap_or_default();
    known(tag).or_else(|| known(language)).unwrap_or(BillingPortalSessionLocale::Auto)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_portal_speaks_the_closest_language_that_it_knows() {
        for (tag, expected) in
            [("de", "de"), ("de-AT", "de"), ("en-GB", "en-GB"), ("tlh", "auto"), ("", "auto")]
        {
            assert_eq!(portal_locale(tag).as_str(), expected, "{tag}");
        }
    }
}
