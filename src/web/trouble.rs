//! Everything that can go wrong, in words that help a buyer and tell nothing of the account.

use askama::Template;
use poem::Response;

use super::{STYLE, Texts, rendered};
use crate::api::error::{ApiError, Code};

#[derive(Template)]
#[template(path = "web/trouble.html")]
struct TroublePage<'a> {
    texts: &'static Texts,
    style: &'static str,
    heading: &'static str,
    message: &'static str,
    /// Where it can be tried again, if that may help.
    again: Option<&'a str>,
}

/// The page for a failure.
pub(super) fn answer(error: ApiError, texts: &'static Texts, path: &str) -> Response {
    if error.is_ours() {
        tracing::warn!(code = error.code(), "a page could not be shown");
    } else {
        tracing::info!(code = error.code(), "a page was refused");
    }
    error.into_page(|code| {
        let ((heading, message), may_help) = words(code, texts);
        let again = may_help.then(|| offer_path(path));
        rendered(&TroublePage { texts, style: STYLE, heading, message, again })
    })
}

/// What is said, and whether trying again may help.
fn words(code: Code, texts: &Texts) -> ((&'static str, &'static str), bool) {
    match code {
        Code::CheckoutLinkNotFound | Code::OrderNotFound | Code::NotFound => (texts.no_link, false),
        Code::AccountFrozen | Code::AccountClosed | Code::AccountNotFound => (texts.not_for_now, false),
        Code::PriceInactive | Code::UnknownPrice | Code::InvalidRequest => (texts.not_on_sale, false),
        Code::AmountTooLarge => (texts.not_on_sale, false),
        Code::StripeRefused | Code::StripeNotConfigured | Code::PublicUrlNotConfigured => {
            (texts.no_payment, true)
        }
        Code::MethodNotAllowed | Code::BodyTooLarge => (texts.not_so, true),
        _ => (texts.later, true),
    }
}

/// The link's own page, of the path of any page of the link.
fn offer_path(path: &str) -> &str {
    let end = path.match_indices('/').nth(3).map_or(path.len(), |(place, _)| place);
    path.get(..end).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_went_wrong_is_tried_again_at_the_offer() {
        assert_eq!(offer_path("/buy/demo/lnk_1"), "/buy/demo/lnk_1");
        assert_eq!(offer_path("/buy/demo/lnk_1/wait/ord_1"), "/buy/demo/lnk_1");
        assert_eq!(offer_path("/buy"), "/buy");
    }
}
