//! Where Stripe leads back to when the buyer turned back, and nobody says otherwise.

use askama::Template;

use super::{STYLE, Shown, Texts, Visit, rendered};

#[derive(Template)]
#[template(path = "web/cancelled.html")]
struct CancelledPage {
    texts: &'static Texts,
    style: &'static str,
    again: String,
}

pub(super) fn show(visit: &Visit<'_>) -> Shown {
    let again = visit.path.clone();
    Shown::Page(rendered(&CancelledPage { texts: visit.texts, style: STYLE, again }))
}
