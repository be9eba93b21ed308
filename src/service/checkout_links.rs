//! Links by which a price can be bought for an account: whoever has one can buy, without an API key.
//!
//! Invariants:
//! - a [`Shopper`] comes from a link that works, and reaches nothing but that link's offer and orders;
//! - a link has one order at a time that can be paid: whoever follows it again is led to the same page at Stripe, so that
//!   nobody fills Stripe with sessions, however often he asks. The key of an order is the link and the number of orders
//!   before it: requests that race agree on one, and a form that is sent twice leads to what it led to before.

use super::{Caller, NotFound, Outcome, Service, ServiceError, Submission, checkout::Patience};
use crate::{
    config::PUBLIC_URL,
    domain::{
        Command, EventBody, Rejection,
        command::FollowCheckoutLink,
        ids::{
            AccountId, Actor, CheckoutLinkId, Key, LedgerId, LedgerSlug, Namespace, OrderId, RequestId, Unit,
        },
        order::{Order, OrderDetails, OrderStatus},
        sale::Sale,
        settings::{LedgerMode, LedgerSettings},
        time::{Span, Timestamp},
    },
    store::reads::{
        self,
        catalogue::{find_price, read_settings},
        checkout_links::{LinkRow, find_link, list_links},
        orders::{OrderRow, find_order},
    },
};

/// A session that ends sooner is not worth being led to.
const SHORTEST_REST: Span = Span::seconds(60);

/// A page of links.
pub struct LinkPage {
    /// The links, newest first.
    pub links: Vec<LinkRow>,
    /// The link after which the next page begins, if there is one.
    pub next: Option<CheckoutLinkId>,
}

/// Somebody who came by a link that works.
pub struct Shopper {
    ledger: LedgerId,
    slug: LedgerSlug,
    mode: LedgerMode,
    row: LinkRow,
    now: Timestamp,
}

impl Shopper {
    /// The language that the link asks for.
    pub fn locale(&self) -> Option<&str> {
        self.row.details.locale.as_deref()
    }

    /// Whether the money of the ledger is real.
    pub fn mode(&self) -> LedgerMode {
        self.mode
    }

    /// How many orders were placed by the link before this visit.
    pub fn visit(&self) -> i64 {
        self.row.orders
    }
}

/// What can be bought by a link.
pub struct Offer {
    /// What it is called.
    pub name: String,
    /// What it costs and grants.
    pub sale: Sale,
    settings: LedgerSettings,
}

impl Offer {
    /// With how many decimal places amounts of a sold unit are shown.
    pub fn scale(&self, unit: &Unit) -> u8 {
        self.settings.units.get(unit).map_or(0, |unit| unit.scale)
    }
}

impl Service {
    /// The address of a link's page.
    ///
    /// # Errors
    /// [`ServiceError::NoPublicUrl`] if nobody has said where our pages are found.
    pub fn link_url(&self, ledger: &LedgerSlug, link: CheckoutLinkId) -> Result<String, ServiceError> {
        let url = self.public_url.as_ref().ok_or(ServiceError::NoPublicUrl { variable: PUBLIC_URL })?;
        Ok(format!("{}/buy/{ledger}/{link}", url.as_str()))
    }

    /// A link, revoked or not.
    ///
    /// # Errors
    /// [`NotFound::CheckoutLink`].
    pub async fn link(&self, caller: &Caller, link: CheckoutLinkId) -> Result<LinkRow, ServiceError> {
        let (_, row) = find_link(&self.database, caller.ledger, link).await?;
        row.ok_or(ServiceError::NotFound(NotFound::CheckoutLink))
    }

    /// A page of links, newest first, of those made before the link `before`.
    ///
    /// # Errors
    /// [`NotFound::Account`] if an account is named that there is not.
    pub async fn links(
        &self,
        caller: &Caller,
        account: Option<&AccountId>,
        before: Option<CheckoutLinkId>,
        limit: i64,
    ) -> Result<LinkPage, ServiceError> {
        let mut number = None;
        if let Some(account) = account {
            let (_, found) = reads::accounts::find_number(&self.database, caller.ledger, account).await?;
            number = Some(found.ok_or(ServiceError::NotFound(NotFound::Account))?);
        }
        let links = list_links(&self.database, caller.ledger, number, before, limit + 1).await?;
        let (links, next) = super::views::page(links, limit, |row| row.link.id);
        Ok(LinkPage { links, next })
    }

    /// Lets somebody in who has a link.
    ///
    /// # Errors
    /// [`NotFound::CheckoutLink`] unless it works; an unknown ledger is no different from an unknown link.
    pub async fn let_in(&self, ledger: &str, link: &str) -> Result<Shopper, ServiceError> {
        let nothing = || ServiceError::NotFound(NotFound::CheckoutLink);
        let slug = LedgerSlug::parse(ledger).map_err(|_| nothing())?;
        let link = CheckoutLinkId::parse(link).ok_or_else(nothing)?;
        let known = reads::keys::find_ledger(&self.database, &slug).await?.ok_or_else(nothing)?;
        let (ledger, mode) = (known.ledger, known.mode);
        let (moment, row) = find_link(&self.database, ledger, link).await?;
        let works = |row: &LinkRow| row.revoked_at.is_none() && !row.link.has_expired(moment.now);
        let row = row.filter(works).ok_or_else(nothing)?;
        Ok(Shopper { ledger, slug, mode, row, now: moment.now })
    }

    /// What can be bought now.
    ///
    /// # Errors
    /// [`ServiceError::Rejected`] if nothing can.
    pub async fn offer(&self, shopper: &Shopper) -> Result<Offer, ServiceError> {
        let refused = |rejection| ServiceError::Rejected { rejection, buy_url: None };
        let LinkRow { link, status, .. } = &shopper.row;
        status.check_open().map_err(refused)?;
        let price = find_price(&self.database, shopper.ledger, &link.price).await?;
        let price = price.ok_or_else(|| refused(Rejection::UnknownPrice { price: link.price.clone() }))?;
        let sale = Sale::of(&price, link.quantity, None).map_err(refused)?;
        let settings = read_settings(&self.database, shopper.ledger).await?;
        Ok(Offer { name: price.display_name, sale, settings })
    }

    /// The order that the visit leads to, as far as it has come within a moment: the one that can be paid already, or a new
    /// one. `visit` is what [`Shopper::visit`] was when the form was shown; without one it is now.
    ///
    /// # Errors
    /// As [`Self::offer`] and [`Service::submit`]; [`ServiceError::StripeRefused`] if Stripe will not make the page.
    pub async fn buy(
        &self,
        shopper: &Shopper,
        visit: Option<i64>,
        language: &str,
        request_id: &RequestId,
    ) -> Result<OrderRow, ServiceError> {
        let offer = self.offer(shopper).await?;
        if let Some(last) = shopper.row.last_order {
            let (_, row) = find_order(&self.database, shopper.ledger, last).await?;
            if let Some(row) = row.filter(|row| can_be_paid(&row.order, &offer.sale, shopper.now)) {
                return self.wait_for_session(shopper.ledger, row.order.id, Patience::OfBrowsers).await;
            }
        }
        let last = shopper.visit();
        let visit = visit.filter(|visit| (0..=last).contains(visit)).unwrap_or(last);
        let order = self.place(shopper, visit, &offer, language, request_id).await?;
        let is_good = order.status == OrderStatus::Paid || can_be_paid(&order, &offer.sale, shopper.now);
        let order = if is_good || visit == last {
            order
        } else {
            // The form is older than an order that came to nothing.
            self.place(shopper, last, &offer, language, request_id).await?
        };
        self.wait_for_session(shopper.ledger, order.id, Patience::OfBrowsers).await
    }

    /// An order that was placed by the link.
    ///
    /// # Errors
    /// [`NotFound::Order`] if it was not.
    pub async fn order_by_link(&self, shopper: &Shopper, order: OrderId) -> Result<OrderRow, ServiceError> {
        let (_, row) = find_order(&self.database, shopper.ledger, order).await?;
        let link = &shopper.row.link;
        let is_ours = |order: &Order| {
            (order.account, &order.price, order.quantity) == (link.account, &link.price, link.quantity.get())
        };
        row.filter(|row| is_ours(&row.order)).ok_or(ServiceError::NotFound(NotFound::Order))
    }

    /// The same, once it has a page where it can be paid, has ended, or a moment has passed.
    ///
    /// # Errors
    /// As [`Self::order_by_link`]; [`ServiceError::StripeRefused`] if Stripe will not make the page.
    pub async fn await_order_by_link(
        &self,
        shopper: &Shopper,
        order: OrderId,
    ) -> Result<OrderRow, ServiceError> {
        let row = self.order_by_link(shopper, order).await?;
        self.wait_for_session(shopper.ledger, row.order.id, Patience::OfBrowsers).await
    }

    /// The address of the ledger's Stripe, if it is another than Stripe's own and is known.
    pub async fn stripe_elsewhere(&self, shopper: &Shopper) -> Option<String> {
        let access = self.stripe.of(shopper.ledger).await.ok()?;
        access.client.base_url().elsewhere()
    }

    /// Places the order that follows `visit` others, or finds it placed.
    async fn place(
        &self,
        shopper: &Shopper,
        visit: i64,
        offer: &Offer,
        language: &str,
        request_id: &RequestId,
    ) -> Result<Order, ServiceError> {
        let link = shopper.row.link.id;
        let own_pages = format!("{}/", self.link_url(&shopper.slug, link)?);
        let command =
            FollowCheckoutLink { link, details: details(shopper, offer, language, &own_pages), own_pages };
        let key = Key::new(Namespace::System, &format!("checkout_link:{link}:{visit}"));
        let submission = Submission {
            command: Command::FollowCheckoutLink(command),
            key: Some(key.map_err(|_| ServiceError::NotFound(NotFound::CheckoutLink))?),
            fingerprint: None,
            actor: Actor::CheckoutLink(link),
            request_id: Some(request_id.clone()),
        };
        let accepted = match self.writers.submit(shopper.ledger, submission).await? {
            Outcome::Accepted(accepted) => accepted,
            Outcome::Rejected(rejection) => return Err(ServiceError::Rejected { rejection, buy_url: None }),
        };
        let placed = accepted.events.iter().find_map(|event| match &event.body {
            EventBody::OrderPlaced(placed) => Some(placed.order),
            _ => None,
        });
        let placed = placed.ok_or(ServiceError::NotFound(NotFound::Order))?;
        let (_, row) = find_order(&self.database, shopper.ledger, placed).await?;
        Ok(row.ok_or(ServiceError::NotFound(NotFound::Order))?.order)
    }
}

/// Language and addresses of an order: the link's, or the ledger's, or else the visitor's and pages of our own.
fn details(shopper: &Shopper, offer: &Offer, language: &str, own_pages: &str) -> OrderDetails {
    let (own, ledger) = (&shopper.row.details, &offer.settings.checkout);
    let address = |own: &Option<String>, ledger: &Option<String>, page: &str| match (own, ledger) {
        (Some(own), _) => Some(own.clone()),
        // The ledger's own is filled in when the session is made.
        (None, Some(_)) => None,
        (None, None) => Some(format!("{own_pages}{page}")),
    };
    OrderDetails {
        locale: own.locale.clone().or_else(|| Some(language.to_owned())),
        success_url: address(&own.success_url, &ledger.success_url, "thanks/{ORDER_ID}"),
        cancel_url: address(&own.cancel_url, &ledger.cancel_url, "cancelled"),
    }
}

/// Whether the order still sells what is offered, and has or gets a page where it can be paid.
fn can_be_paid(order: &Order, sale: &Sale, now: Timestamp) -> bool {
    let lasts = order.session_expires_at.is_none_or(|expires_at| expires_at > now.plus(SHORTEST_REST));
    order.status == OrderStatus::Placed && lasts && sale.is_of(order)
}
