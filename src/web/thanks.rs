//! Where Stripe leads back to after payment, when nobody says otherwise.
//!
//! The buyer is often here before Stripe's webhook is: the page looks again by itself, for half a minute.

use askama::Template;

use super::{STYLE, Shown, Texts, Visit, rendered};
use crate::{
    api::error::ApiError,
    domain::{ids::OrderId, order::OrderStatus},
};

/// How often the page looks again; a payment that takes longer may take days.
const MOST_LOOKS: u32 = 10;

#[derive(Template)]
#[template(path = "web/thanks.html")]
struct ThanksPage {
    texts: &'static Texts,
    style: &'static str,
    heading: &'static str,
    message: &'static str,
    /// Where the page looks again.
    next: Option<String>,
    /// Where something can be bought again.
    again: String,
}

pub(super) async fn show(visit: &Visit<'_>, order: OrderId, query: Option<&str>) -> Result<Shown, ApiError> {
    let row = visit.service.order_by_link(visit.shopper, order).await?;
    let texts = visit.texts;
    let looks = query.and_then(|query| query.strip_prefix("look=")?.parse().ok()).unwrap_or(0_u32);
    let (heading, message, is_open) = match row.order.status {
        OrderStatus::Paid => (texts.paid, texts.paid_explained, false),
        OrderStatus::Placed => (texts.thanks, texts.thanks_explained, true),
        OrderStatus::Expired | OrderStatus::Failed => (texts.unpaid, texts.unpaid_explained, false),
    };
    let next =
        (is_open && looks < MOST_LOOKS).then(|| format!("{}/thanks/{order}?look={}", visit.path, looks + 1));
    let again = visit.path.clone();
    Ok(Shown::Page(rendered(&ThanksPage { texts, style: STYLE, heading, message, next, again })))
}
