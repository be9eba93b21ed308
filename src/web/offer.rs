//! What can be bought by a link, and what its button does.

use askama::Template;

use super::{STYLE, Shown, Texts, Visit, money, rendered};
use crate::{
    api::error::ApiError,
    domain::{
        listing::{Interval, Period, PriceMode},
        order::SoldCredits,
        settings::LedgerMode,
    },
    service::Offer,
};

#[derive(Template)]
#[template(path = "web/offer.html")]
struct OfferPage {
    texts: &'static Texts,
    style: &'static str,
    is_test: bool,
    name: String,
    quantity: i64,
    total: String,
    /// How often that is paid, if not once.
    every: Option<String>,
    grants: Vec<Grant>,
    /// How many orders the link had when the form was shown: sent again, it leads to what it led to before.
    visit: i64,
}

struct Grant {
    amount: String,
    unit: String,
    expires_days: Option<u32>,
}

pub(super) async fn show(visit: &Visit<'_>) -> Result<Shown, ApiError> {
    let offer = visit.service.offer(visit.shopper).await?;
    let texts = visit.texts;
    let page = OfferPage {
        texts,
        style: STYLE,
        is_test: visit.shopper.mode() == LedgerMode::Test,
        quantity: offer.sale.quantity,
        total: money::written(offer.sale.subtotal, offer.sale.currency, texts),
        every: match offer.sale.mode {
            PriceMode::OneTime => None,
            PriceMode::Recurring(period) => Some(every(period, texts)),
        },
        grants: offer.sale.sold.iter().map(|sold| grant(sold, &offer, texts)).collect(),
        visit: visit.shopper.visit(),
        name: offer.name,
    };
    Ok(Shown::Page(rendered(&page)))
}

fn grant(sold: &SoldCredits, offer: &Offer, texts: &Texts) -> Grant {
    let scale = offer.scale(&sold.unit);
    let amount = money::decimal(sold.amount.get(), scale, texts);
    // What a subscription grants lives by its periods.
    let expires_days = sold.expires_days.filter(|_| offer.sale.mode == PriceMode::OneTime);
    Grant { amount, unit: sold.unit.as_str().replace('_', " "), expires_days }
}

/// How often something is paid.
fn every(period: Period, texts: &Texts) -> String {
    let (one, many) = match period.interval {
        Interval::Day => texts.every_day,
        Interval::Week => texts.every_week,
        Interval::Month => texts.every_month,
        Interval::Year => texts.every_year,
    };
    if period.count == 1 { one.to_owned() } else { format!("{} {} {many}", texts.every, period.count) }
}

/// The button was pressed, here or in a shop's own page.
pub(super) async fn buy(visit: &Visit<'_>, form: &[u8]) -> Result<Shown, ApiError> {
    let before = form_field(form, "visit").and_then(|text| text.parse().ok());
    let row = visit.service.buy(visit.shopper, before, visit.texts.language, visit.request_id).await?;
    visit.way_on(row, true)
}

/// A field of a form whose value needs no escapes.
fn form_field<'a>(form: &'a [u8], name: &str) -> Option<&'a str> {
    let mut fields = std::str::from_utf8(form).ok()?.split('&');
    fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::{
        super::texts::{ENGLISH, GERMAN},
        *,
    };

    #[test]
    fn it_is_said_how_often_a_subscription_is_paid() {
        for (count, interval, english, german) in [
            (1, Interval::Month, "every month", "jeden Monat"),
            (3, Interval::Month, "every 3 months", "alle 3 Monate"),
            (1, Interval::Year, "every year", "jedes Jahr"),
            (2, Interval::Week, "every 2 weeks", "alle 2 Wochen"),
            (1, Interval::Day, "every day", "jeden Tag"),
        ] {
            let period = Period { count, interval };
            assert_eq!(every(period, &ENGLISH), english);
            assert_eq!(every(period, &GERMAN), german);
        }
    }

    #[test]
    fn a_field_is_found_among_others_of_a_shop() {
        assert_eq!(form_field(b"shop=1&visit=7", "visit"), Some("7"));
        assert_eq!(form_field(b"visit=", "visit"), Some(""));
        assert_eq!(form_field(b"visits=7&a.visit=8", "visit"), None);
        assert_eq!(form_field(b"", "visit"), None);
        assert_eq!(form_field(b"visit=\xff", "visit"), None);
    }
}
