//! Links by which a price can be bought for an account: make, list, read, revoke. What buyers see of them is in `web`.

use poem_openapi::{Object, OpenApi};
use serde::Deserialize;
use serde_json::Value;

use super::{
    answers::{Changed, Created, Found, Written},
    auth::{Authorised, Billing, Read},
    error::{ApiError, Failure, Reading, Writing},
    idempotency::{IdempotencyKey, fingerprint},
    notes,
    params::{Path, Query},
    payload::Json,
    tags::Tag,
    wire::{Address, Cursor, Limit, Locale, Metadata, Nullable},
};
use crate::{
    domain::{
        Command, EventBody,
        amount::Amount,
        command::{CreateCheckoutLink, RevokeCheckoutLink},
        ids::{AccountId, CheckoutLinkId, PriceId},
        order::OrderDetails,
        time::Timestamp,
    },
    service::{Caller, LinkRow, Service},
};

/// A link to be made.
#[derive(Clone, Debug, Object, Deserialize)]
#[serde(deny_unknown_fields)]
#[oai(deny_unknown_fields)]
pub struct NewCheckoutLink {
    /// Who gets what is bought.
    pub account_id: AccountId,
    /// What can be bought.
    pub price_id: PriceId,
    /// How many of it at once, 1 to 10,000; 1 if absent.
    pub quantity: Option<Amount>,
    /// The language of the pages; what the buyer's browser asks for if absent.
    pub locale: Option<Locale>,
    /// Where the buyer goes after payment; the ledger's own address if absent, or else a page that says thank you. Its host
    /// must be allowed. `{LOCALE}`, `{ORDER_ID}` and `{CHECKOUT_SESSION_ID}` are filled in.
    pub success_url: Option<Address>,
    /// Where the buyer goes who turns back; likewise.
    pub cancel_url: Option<Address>,
    /// When it stops working; never if absent.
    pub expires_at: Option<Timestamp>,
    /// Your own keys and values.
    pub metadata: Option<Metadata>,
}

/// A link that was made.
#[derive(Clone, Debug, Object)]
pub struct CreatedCheckoutLink {
    /// Which link.
    pub link_id: CheckoutLinkId,
    /// Where it leads: whoever has this address can buy, for this account alone, and learns nothing of it.
    pub url: String,
    /// Who gets what is bought.
    pub account_id: AccountId,
    /// What can be bought.
    pub price_id: PriceId,
    /// How many of it at once.
    pub quantity: Amount,
    /// When it stops working; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// The position of the event.
    pub position: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A link by which a price can be bought for an account.
#[derive(Clone, Debug, Object)]
pub struct CheckoutLink {
    /// Which link.
    pub link_id: CheckoutLinkId,
    /// Where it leads; `null` if the service does not know where its pages are found.
    pub url: Nullable<String>,
    /// Who gets what is bought.
    pub account_id: AccountId,
    /// What can be bought.
    pub price_id: PriceId,
    /// How many of it at once.
    pub quantity: Amount,
    /// The language of the pages; `null` for what the buyer's browser asks for.
    pub locale: Nullable<String>,
    /// Where the buyer goes after payment; `null` for where the ledger says, or else a page that says thank you.
    pub success_url: Nullable<String>,
    /// Where the buyer goes who turns back; likewise.
    pub cancel_url: Nullable<String>,
    /// How many orders were placed by it.
    pub orders: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working; `null` if it does not.
    pub expires_at: Nullable<Timestamp>,
    /// When it was revoked; `null` if it was not.
    pub revoked_at: Nullable<Timestamp>,
}

impl CheckoutLink {
    fn of(service: &Service, caller: &Caller, row: LinkRow) -> Self {
        let LinkRow { link, account, details, created_at, revoked_at, orders, .. } = row;
        Self {
            link_id: link.id,
            url: Nullable(service.link_url(&caller.slug, link.id).ok()),
            account_id: account,
            price_id: link.price,
            quantity: link.quantity,
            locale: Nullable(details.locale),
            success_url: Nullable(details.success_url),
            cancel_url: Nullable(details.cancel_url),
            orders,
            created_at,
            expires_at: Nullable(link.expires_at),
            revoked_at: Nullable(revoked_at),
        }
    }
}

/// A page of links.
#[derive(Clone, Debug, Object)]
pub struct CheckoutLinkList {
    /// The links, newest first, revoked ones included.
    pub items: Vec<CheckoutLink>,
    /// Where the next page begins; `null` on the last one.
    pub next_cursor: Nullable<Cursor>,
}

/// A link that was revoked.
#[derive(Clone, Debug, Object)]
pub struct RevokedCheckoutLink {
    /// Which link.
    pub link_id: CheckoutLinkId,
    /// The position of the event.
    pub position: i64,
    /// When it was revoked.
    pub revoked_at: Timestamp,
}

/// The resource.
pub struct CheckoutLinks;

#[OpenApi(tag = "Tag::Orders")]
impl CheckoutLinks {
    /// Make a checkout link
    ///
    /// The address of a page of ours where one price can be bought for one account, as often as somebody likes, without an
    /// API key: for `<a href>` or `<form action method="post">` in a shop's page. What it costs and grants is what the price
    /// says when it is followed.
    #[oai(path = "/v1/checkout-links", method = "post", operation_id = "create_checkout_link")]
    async fn create(
        &self,
        caller: Authorised<Billing>,
        /// Marks repeats of this request: they are answered as it was, and no second link is made.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<NewCheckoutLink>,
    ) -> Result<Created<CreatedCheckoutLink>, Failure<Writing>> {
        let print = fingerprint("POST /v1/checkout-links", &[], &body.sent);
        let new = body.content;
        // A link that cannot be written down is not made.
        caller.service.link_url(&caller.caller.slug, CheckoutLinkId::from_bits(0))?;
        let account_id = new.account_id;
        let command = Command::CreateCheckoutLink(CreateCheckoutLink {
            account: account_id.clone(),
            price: new.price_id,
            quantity: new.quantity.unwrap_or(Amount::ONE),
            expires_at: new.expires_at,
            details: OrderDetails {
                locale: new.locale.map(|locale| locale.0),
                success_url: new.success_url.map(|address| address.0),
                cancel_url: new.cancel_url.map(|address| address.0),
            },
            note: notes::note(None, new.metadata),
        });
        let accepted = caller.submit(command, Some(key.0), print).await?;
        let (event, created) = Written::of(&accepted).find(|body| match body {
            EventBody::CheckoutLinkCreated(created) => Some(created),
            _ => None,
        })?;
        let answer = CreatedCheckoutLink {
            link_id: created.link,
            url: caller.service.link_url(&caller.caller.slug, created.link)?,
            account_id,
            price_id: created.price.clone(),
            quantity: created.quantity,
            expires_at: Nullable(created.expires_at),
            position: event.position.0,
            created_at: event.recorded_at,
        };
        Ok(Created::new(&accepted, answer))
    }

    /// List checkout links
    #[oai(path = "/v1/checkout-links", method = "get", operation_id = "list_checkout_links")]
    async fn list(
        &self,
        caller: Authorised<Read>,
        /// Only links of this account.
        account_id: Query<AccountId>,
        /// How many at most; 50 if absent.
        limit: Query<Limit>,
        /// The `next_cursor` of the page before.
        cursor: Query<Cursor>,
    ) -> Result<Found<CheckoutLinkList>, Failure<Reading>> {
        let before: Option<CheckoutLinkId> = cursor.0.map(|cursor| cursor.place()).transpose()?;
        let (service, limit) = (&caller.service, limit.0.unwrap_or_default().into());
        let page = service.links(&caller.caller, account_id.0.as_ref(), before, limit).await?;
        let item = |row| CheckoutLink::of(service, &caller.caller, row);
        Ok(Found(CheckoutLinkList {
            items: page.links.into_iter().map(item).collect(),
            next_cursor: Nullable(page.next.map(|link| Cursor::of(&link))),
        }))
    }

    /// Read a checkout link
    #[oai(path = "/v1/checkout-links/:link", method = "get", operation_id = "read_checkout_link")]
    async fn read(
        &self,
        caller: Authorised<Read>,
        /// The link.
        link: Path<CheckoutLinkId>,
    ) -> Result<Found<CheckoutLink>, Failure<Reading>> {
        let row = caller.service.link(&caller.caller, link.0).await?;
        Ok(Found(CheckoutLink::of(&caller.service, &caller.caller, row)))
    }

    /// Revoke a checkout link
    ///
    /// Its page stops working at once. Whoever is at Stripe's page already can still pay there.
    #[oai(path = "/v1/checkout-links/:link", method = "delete", operation_id = "revoke_checkout_link")]
    async fn revoke(
        &self,
        caller: Authorised<Billing>,
        /// The link.
        link: Path<CheckoutLinkId>,
    ) -> Result<Changed<RevokedCheckoutLink>, Failure<Writing>> {
        let name = link.0.to_string();
        let print = fingerprint("DELETE /v1/checkout-links/{link}", &[&name], &Value::Null);
        let command = Command::RevokeCheckoutLink(RevokeCheckoutLink { link: link.0 });
        let accepted = caller.submit(command, None, print).await?;
        let (position, revoked_at) = Written::of(&accepted).end().ok_or_else(ApiError::internal)?;
        Ok(Changed::new(&accepted, RevokedCheckoutLink { link_id: link.0, position, revoked_at }))
    }
}
