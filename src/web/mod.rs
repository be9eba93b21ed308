//! Pages for buyers: one file and one template for each.
//!
//! A link (`/v1/checkout-links`) leads to its offer; the form there, or one in a shop's own page, leads on to Stripe's page
//! with a redirect; Stripe leads back to the shop, or to the pages here that say thank you.
//!
//! Invariants:
//! - no page runs a script, loads anything, can be framed, or is kept by anybody; none says whose account it is;
//! - there are no cookies and there is nobody who is signed in. Whoever makes a visitor's browser send the form needs the
//!   link, and has then done nothing that he could not do himself: a page is made where the visitor *can* pay. That is why
//!   forms of other sites are taken;
//! - statuses are those that the interface has for the same failures.
//!
//! | file | page |
//! | --- | --- |
//! | `offer` | what can be bought by a link, and what its button does |
//! | `wait` | Stripe is slow |
//! | `thanks`, `cancelled` | where Stripe leads back to when nobody says otherwise |
//! | `trouble` | everything that can go wrong |
//! | `texts`, `money` | what pages say in which language |

mod cancelled;
mod money;
mod offer;
mod texts;
mod thanks;
mod trouble;
mod wait;

use std::sync::{Arc, LazyLock};

use askama::Template;
use base64::{Engine, engine::general_purpose::STANDARD};
use poem::{
    Endpoint, EndpointExt, Request, Response,
    http::{HeaderName, HeaderValue, Method, header},
};
use sha2::{Digest, Sha256};

use self::texts::Texts;
use crate::{
    api::{
        Pages,
        error::{ApiError, ELSEWHERE, SHOWN},
    },
    domain::{
        ids::{OrderId, RequestId},
        order::OrderStatus,
    },
    service::{NotFound, OrderRow, Service, ServiceError, Shopper, StripeFailure},
};

/// How the paths of all pages begin.
const ROOT: &str = "/buy";
/// The paths, as metrics and logs name them.
const PLACES: &[&str] = &[
    "/buy/{ledger}/{link}",
    "/buy/{ledger}/{link}/wait/{order}",
    "/buy/{ledger}/{link}/thanks/{order}",
    "/buy/{ledger}/{link}/cancelled",
];
/// The largest form that is read, in bytes: ours has one short field, and a shop's may have some of its own.
const LONGEST_FORM: usize = 16 * 1024;
/// Where Stripe's own pages are.
const STRIPE: &str = "https://checkout.stripe.com";

/// The pages on these use cases.
pub fn pages(service: Arc<Service>) -> Pages {
    Pages { root: ROOT, places: PLACES, endpoint: Site { service }.boxed() }
}

struct Site {
    service: Arc<Service>,
}

/// What is shown to a browser.
enum Shown {
    /// A page.
    Page(String),
    /// A page while the work goes on.
    Waiting(String),
    /// Another address.
    Elsewhere(String),
}

/// A request, by whoever came with a link that works.
struct Visit<'a> {
    service: &'a Service,
    shopper: &'a Shopper,
    request_id: &'a RequestId,
    texts: &'static Texts,
    /// The path of the link's own page.
    path: String,
    /// The origins that the form may lead to.
    stripe: Vec<String>,
}

impl Endpoint for Site {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let accepted = request.header(header::ACCEPT_LANGUAGE).unwrap_or_default().to_owned();
        let mut texts = Texts::accepted(&accepted);
        let mut origins = vec![STRIPE.to_owned()];
        let response = match self.show(&mut request, &mut texts, &mut origins).await {
            Ok(Shown::Page(html)) => {
                Response::builder().status(SHOWN).content_type("text/html; charset=utf-8").body(html)
            }
            Ok(Shown::Waiting(html)) => Response::builder()
                .status(crate::api::error::BEGUN)
                .content_type("text/html; charset=utf-8")
                .body(html),
            Ok(Shown::Elsewhere(address)) => {
                Response::builder().status(ELSEWHERE).header(header::LOCATION, address).finish()
            }
            Err(error) => trouble::answer(error, texts, request.uri().path()),
        };
        Ok(guarded(response, &origins))
    }
}

impl Site {
    /// Finds out which page it is. `texts` and `origins` are those of the link as soon as that is known.
    async fn show(
        &self,
        request: &mut Request,
        texts: &mut &'static Texts,
        origins: &mut Vec<String>,
    ) -> Result<Shown, ApiError> {
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').skip(2).collect();
        let [ledger, link, page @ ..] = segments.as_slice() else { return Err(nothing_here()) };
        let is_post = request.method() == Method::POST;
        let is_offer = page.is_empty();
        let allowed = if is_offer { "GET, HEAD, POST" } else { "GET, HEAD" };
        let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
        let is_taken = is_read || (is_post && is_offer);
        if !is_taken {
            return Err(ApiError::method_not_allowed(Some(HeaderValue::from_static(allowed))));
        }
        let shopper = self.service.let_in(ledger, link).await?;
        if let Some(locale) = shopper.locale() {
            *texts = Texts::of(locale);
        }
        origins.extend(self.service.stripe_elsewhere(&shopper).await);
        let request_id = request.data::<RequestId>().cloned().unwrap_or_else(|| RequestId::from_bits(0));
        let visit = Visit {
            service: &self.service,
            shopper: &shopper,
            request_id: &request_id,
            texts,
            path: format!("{ROOT}/{ledger}/{link}"),
            stripe: origins.clone(),
        };
        match page {
            [] if is_post => {
                let form = request.take_body().into_bytes_limit(LONGEST_FORM).await;
                let form = form.map_err(|_| ApiError::body_too_large(LONGEST_FORM))?;
                offer::buy(&visit, &form).await
            }
            [] => offer::show(&visit).await,
            ["wait", order] => wait::show(&visit, order_id(order)?).await,
            ["thanks", order] => thanks::show(&visit, order_id(order)?, request.uri().query()).await,
            ["cancelled"] => Ok(cancelled::show(&visit)),
            _ => Err(nothing_here()),
        }
    }
}

impl Visit<'_> {
    /// The way on from an order: to Stripe, to a page that waits for Stripe, or to the end.
    fn way_on(&self, row: OrderRow, from_form: bool) -> Result<Shown, ApiError> {
        let order = row.order;
        match (order.status, row.session_url) {
            (OrderStatus::Paid, _) => Ok(Shown::Elsewhere(format!("{}/thanks/{}", self.path, order.id))),
            (OrderStatus::Placed, Some(url)) if !from_form || self.may_lead_to(&url) => {
                Ok(Shown::Elsewhere(url))
            }
            // A browser would refuse to follow the form there: a page of its own can lead there.
            (OrderStatus::Placed, _) => Ok(wait::page(self, order.id)),
            (OrderStatus::Expired | OrderStatus::Failed, _) => {
                Err(ServiceError::from(StripeFailure::Refused(String::new())).into())
            }
        }
    }

    /// Whether the page's policy lets its form lead there.
    fn may_lead_to(&self, url: &str) -> bool {
        self.stripe
            .iter()
            .any(|origin| url.strip_prefix(origin.as_str()).is_some_and(|rest| rest.starts_with('/')))
    }
}

fn order_id(text: &str) -> Result<OrderId, ApiError> {
    OrderId::parse(text).ok_or_else(nothing_here)
}

fn nothing_here() -> ApiError {
    ServiceError::NotFound(NotFound::CheckoutLink).into()
}

/// The one style sheet, which stands in every page.
const STYLE: &str = include_str!("../../templates/web/style.css");

/// The part of the policy that lets the style sheet, and nothing else, apply.
static STYLE_SOURCE: LazyLock<String> =
    LazyLock::new(|| format!("'sha256-{}'", STANDARD.encode(Sha256::digest(STYLE))));

/// What keeps pages to themselves. A form's redirects are held against `form-action` as well, so that Stripe is named.
fn guarded(mut response: Response, origins: &[String]) -> Response {
    let policy = format!(
        "default-src 'none'; style-src {}; form-action 'self' {}; base-uri 'none'; frame-ancestors 'none'",
        *STYLE_SOURCE,
        origins.join(" ")
    );
    let headers = response.headers_mut();
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (HeaderName::from_static("x-robots-tag"), "noindex"),
        (header::VARY, "Accept-Language"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn rendered(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        String::new()
    })
}
