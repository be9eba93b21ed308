//! Stripe is slow, or has its page where a form cannot lead: this page goes there by itself.

use askama::Template;

use super::{STYLE, Shown, Texts, Visit, rendered};
use crate::{api::error::ApiError, domain::ids::OrderId};

#[derive(Template)]
#[template(path = "web/wait.html")]
struct WaitPage {
    texts: &'static Texts,
    style: &'static str,
    next: String,
}

pub(super) async fn show(visit: &Visit<'_>, order: OrderId) -> Result<Shown, ApiError> {
    let row = visit.service.await_order_by_link(visit.shopper, order).await?;
    visit.way_on(row, false)
}

pub(super) fn page(visit: &Visit<'_>, order: OrderId) -> Shown {
    let next = format!("{}/wait/{order}", visit.path);
    Shown::Waiting(rendered(&WaitPage { texts: visit.texts, style: STYLE, next }))
}
