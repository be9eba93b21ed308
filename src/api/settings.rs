//! How checkouts at Stripe look and where they lead back to.

use std::collections::BTreeSet;

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;

use super::{
    answers::{Changed, Found, Written},
    auth::{Admin, Authorised},
    error::{Failure, Reading, Writing},
    idempotency::{OptionalIdempotencyKey, fingerprint},
    payload::Json,
    tags::Tag,
    wire::{Address, Nullable, Reference},
};
use crate::domain::{Command, settings};

/// How checkouts look and where they lead back to. What is absent is switched off, or taken away.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewCheckoutSettings {
    /// Where buyers go after payment, unless an order says otherwise. `{LOCALE}`, `{ORDER_ID}` and
    /// `{CHECKOUT_SESSION_ID}` are filled in.
    pub success_url: Option<Address>,
    /// Where buyers go who turn back, unless an order says otherwise; filled in likewise.
    pub cancel_url: Option<Address>,
    /// The hosts that buyers may be led back to, without ports.
    pub redirect_hosts: Option<Vec<Reference>>,
    /// Whether Stripe computes tax and adds it.
    pub automatic_tax: Option<bool>,
    /// Whether buyers may give their tax id.
    pub collect_tax_ids: Option<bool>,
    /// Whether buyers may give promotion codes.
    pub promotion_codes: Option<bool>,
    /// Whether Stripe makes an invoice for each paid checkout.
    pub invoices: Option<bool>,
}

impl NewCheckoutSettings {
    fn into_settings(self) -> settings::CheckoutSettings {
        let hosts = self.redirect_hosts.into_iter().flatten();
        settings::CheckoutSettings {
            success_url: self.success_url.map(|address| address.0),
            cancel_url: self.cancel_url.map(|address| address.0),
            redirect_hosts: hosts.map(|host| host.0.to_ascii_lowercase()).collect::<BTreeSet<_>>(),
            automatic_tax: self.automatic_tax.unwrap_or_default(),
            collect_tax_ids: self.collect_tax_ids.unwrap_or_default(),
            promotion_codes: self.promotion_codes.unwrap_or_default(),
            invoices: self.invoices.unwrap_or_default(),
        }
    }
}

/// How checkouts look and where they lead back to.
#[derive(Clone, Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct CheckoutSettings {
    /// Where buyers go after payment, unless an order says otherwise.
    pub success_url: Nullable<String>,
    /// Where buyers go who turn back, unless an order says otherwise.
    pub cancel_url: Nullable<String>,
    /// The hosts that buyers may be led back to.
    pub redirect_hosts: Vec<String>,
    /// Whether Stripe computes tax and adds it.
    pub automatic_tax: bool,
    /// Whether buyers may give their tax id.
    pub collect_tax_ids: bool,
    /// Whether buyers may give promotion codes.
    pub promotion_codes: bool,
    /// Whether Stripe makes an invoice for each paid checkout.
    pub invoices: bool,
    /// In the answer to a write: the position of the command's last event; absent if nothing had to be changed, and elsewhere.
    pub position: Option<i64>,
}

impl From<settings::CheckoutSettings> for CheckoutSettings {
    fn from(checkout: settings::CheckoutSettings) -> Self {
        Self {
            success_url: Nullable(checkout.success_url),
            cancel_url: Nullable(checkout.cancel_url),
            redirect_hosts: checkout.redirect_hosts.into_iter().collect(),
            automatic_tax: checkout.automatic_tax,
            collect_tax_ids: checkout.collect_tax_ids,
            promotion_codes: checkout.promotion_codes,
            invoices: checkout.invoices,
            position: None,
        }
    }
}

/// The resource.
pub struct Settings;

#[OpenApi(tag = "Tag::Orders")]
impl Settings {
    /// Read the checkout settings
    #[oai(path = "/v1/settings/checkout", method = "get", operation_id = "read_checkout_settings")]
    async fn read(&self, caller: Authorised<Admin>) -> Result<Found<CheckoutSettings>, Failure<Reading>> {
        Ok(Found(caller.service.checkout_settings(&caller.caller).await?.into()))
    }

    /// Set the checkout settings
    ///
    /// All of them: what is absent is switched off.
    #[oai(path = "/v1/settings/checkout", method = "put", operation_id = "set_checkout_settings")]
    async fn set(
        &self,
        caller: Authorised<Admin>,
        /// Marks repeats of this request.
        #[oai(name = "Idempotency-Key")]
        key: OptionalIdempotencyKey,
        body: Json<NewCheckoutSettings>,
    ) -> Result<Changed<CheckoutSettings>, Failure<Writing>> {
        let print = fingerprint("PUT /v1/settings/checkout", &[], &body.sent);
        let checkout = body.content.into_settings();
        let accepted = caller.submit(Command::ConfigureCheckout(checkout.clone()), key.0, print).await?;
        let position = Written::of(&accepted).position();
        Ok(Changed::new(&accepted, CheckoutSettings { position, ..checkout.into() }))
    }
}
