//! Stripe's customer portal.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::Made,
    auth::{Authorised, Billing},
    error::{Failure, Selling},
    payload::Json,
    tags::Tag,
    wire::{Address, Locale},
};
use crate::domain::ids::AccountId;

/// Who is to be let into the portal.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewPortalSession {
    /// Whose cards, invoices and subscriptions.
    pub account_id: AccountId,
    /// Where the portal leads back to; nowhere if absent. Its host must be allowed, as for checkouts.
    pub return_url: Option<Address>,
    /// The language of the portal; the account's if absent.
    pub locale: Option<Locale>,
}

/// A way into the portal.
#[derive(Clone, Debug, Object)]
pub struct PortalSession {
    /// Where the customer is to be sent, at once: it is good for minutes, and whoever has it is let in.
    pub url: String,
}

/// The resource.
pub struct Portal;

#[OpenApi(tag = "Tag::Orders")]
impl Portal {
    /// Open the customer portal
    ///
    /// Answers with the address of Stripe's page where an account's customer looks after cards, invoices and subscriptions.
    /// Nothing is kept of it: ask for it when the customer presses the button, and send the browser there. An account has a
    /// customer since its first checkout, or since it was given one.
    #[oai(path = "/v1/portal-sessions", method = "post", operation_id = "create_portal_session")]
    async fn open(
        &self,
        caller: Authorised<Billing>,
        body: Json<NewPortalSession>,
    ) -> Result<Made<PortalSession>, Failure<Selling>> {
        let NewPortalSession { account_id, return_url, locale } = body.content;
        let (return_url, locale) = (return_url.map(|url| url.0), locale.map(|locale| locale.0));
        let url = caller.service.open_portal(&caller.caller, &account_id, return_url, locale).await?;
        Ok(Made(PortalSession { url }))
    }
}
