//! The hosted pages: where a buyer pays, where the bank asks whether it is them, and where customers look after their
//! subscriptions.
//!
//! Plain forms, no script, nothing from elsewhere. What a buyer does here is what the control API can order in their
//! place: both call [`super::checkout`].

mod entry;
mod portal;
mod texts;

use std::sync::Arc;

use askama::Template;
use poem::{Request, Response, http::header};
use serde_json::Value;

use super::{
    answer,
    checkout::{self, Ended},
    form::Tree,
    store::Kind,
    world::{Cause, Shared, Transaction},
};
use entry::Entry;
use texts::Texts;

const LONGEST_BODY: usize = 64 * 1024;

/// The pages under `/pay` and `/portal`.
pub(super) struct Pages {
    pub shared: Arc<Shared>,
}

/// What a browser gets.
enum Shown {
    Page(String),
    NotFound(String),
    Elsewhere(String),
}

impl poem::Endpoint for Pages {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let body = request.take_body().into_bytes_limit(LONGEST_BODY).await.unwrap_or_default();
        let form = std::str::from_utf8(&body).ok().and_then(|text| Tree::parse(text).ok());
        let language = request.headers().get(header::ACCEPT_LANGUAGE);
        let language = language.and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let path = request.uri().path().to_owned();
        let segments: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
        let is_post = request.method() == poem::http::Method::POST;
        let shown = self.shared.transact(Cause::default(), |transaction| {
            Ok(match (segments.as_slice(), is_post, form) {
                (["pay", id], false, _) => show(transaction, id, &language, &Entry::default(), None),
                (["pay", id], true, Some(form)) => submit(transaction, id, &language, &Entry::read(&form)),
                (["pay", id, "challenge"], false, _) => challenge(transaction, id, &language),
                (["pay", id, "challenge"], true, Some(form)) => {
                    let has_passed = form.value("outcome") == "passed";
                    answer_challenge(transaction, id, &language, has_passed)
                }
                (["portal", id], false, _) => portal::show(transaction, id, &language),
                (["portal", id], true, Some(form)) => {
                    portal::cancel(transaction, id, form.value("cancel"));
                    Shown::Elsewhere(format!("/portal/{id}"))
                }
                _ => nothing(Texts::of(&Value::Null, &language)),
            })
        });
        Ok(match shown {
            Ok(Shown::Page(html)) => answer::page(html, true),
            Ok(Shown::NotFound(html)) => answer::page(html, false),
            Ok(Shown::Elsewhere(address)) => answer::redirect(&address),
            Err(failure) => failure.render("req_page").into_response(),
        })
    }
}

#[derive(Template)]
#[template(path = "stripe/pay.html")]
struct PayPage<'a> {
    texts: &'static Texts,
    error: Option<String>,
    lines: Vec<Line>,
    total: String,
    discount: Option<String>,
    code: Option<String>,
    tax: Option<String>,
    tax_needs_country: bool,
    cancel_url: Option<String>,
    email: String,
    is_email_fixed: bool,
    name: String,
    asks_country: bool,
    countries: &'static [(&'static str, &'static str)],
    country: String,
    asks_tax_id: bool,
    tax_id: &'a str,
    asks_code: bool,
    typed_code: &'a str,
    asks_payment: bool,
    offers_card: bool,
    offers_debit: bool,
    is_debit: bool,
    card: &'a str,
    expiry: &'a str,
    iban: &'a str,
}

struct Line {
    name: String,
    quantity: i64,
    unit: String,
    amount: String,
}

#[derive(Template)]
#[template(path = "stripe/challenge.html")]
struct ChallengePage {
    texts: &'static Texts,
    total: String,
}

#[derive(Template)]
#[template(path = "stripe/over.html")]
struct OverPage {
    texts: &'static Texts,
    heading: &'static str,
    message: &'static str,
    link: Option<String>,
}

const COUNTRIES: &[(&str, &str)] = &[
    ("AT", "Österreich"),
    ("BE", "België / Belgique"),
    ("CH", "Schweiz / Suisse"),
    ("DE", "Deutschland"),
    ("ES", "España"),
    ("FR", "France"),
    ("GB", "United Kingdom"),
    ("IE", "Ireland"),
    ("IT", "Italia"),
    ("NL", "Nederland"),
    ("PL", "Polska"),
    ("US", "United States"),
];

fn show(
    transaction: &mut Transaction<'_>,
    id: &str,
    language: &str,
    entry: &Entry,
    error: Option<String>,
) -> Shown {
    let session = transaction.peek(Kind::CheckoutSession, &id.into());
    let texts = Texts::of(&session, language);
    if session["status"] != "open" {
        return over(&session, texts);
    }
    let money = |amount: &Value| texts.money(amount, &session["currency"]);
    let hidden = transaction.hidden(id);
    let lines = hidden["lines"].as_array().into_iter().flatten().map(|line| Line {
        name: text(&line["description"]).to_owned(),
        quantity: line["quantity"].as_i64().unwrap_or(1),
        unit: money(&line["price"]["unit_amount"]),
        amount: money(&line["amount_subtotal"]),
    });
    let details = &session["customer_details"];
    let known = |name: &str| text(details.get(name).unwrap_or(&Value::Null)).to_owned();
    let is_positive = |amount: &Value| amount.as_i64().is_some_and(|amount| amount > 0);
    let totals = &session["total_details"];
    let offers = |method: &str| {
        session["payment_method_types"]
            .as_array()
            .is_some_and(|types| types.iter().any(|known| known == method))
    };
    let is_taxed = session["automatic_tax"]["enabled"] == true;
    let country = text(&details["address"]["country"]);
    let code = transaction.peek(Kind::PromotionCode, &session["discounts"][0]["promotion_code"]);
    let page = PayPage {
        texts,
        error,
        lines: lines.collect(),
        total: money(&session["amount_total"]),
        discount: is_positive(&totals["amount_discount"]).then(|| money(&totals["amount_discount"])),
        code: code["code"].as_str().map(str::to_owned),
        tax: is_positive(&totals["amount_tax"]).then(|| money(&totals["amount_tax"])),
        tax_needs_country: is_taxed && country.is_empty(),
        cancel_url: session["cancel_url"].as_str().map(|url| with_session(url, id)),
        email: entry.email.clone().unwrap_or_else(|| known("email")),
        is_email_fixed: session["customer"].is_string() && !known("email").is_empty(),
        name: entry.name.clone().unwrap_or_else(|| known("name")),
        asks_country: is_taxed || session["billing_address_collection"] == "required",
        countries: COUNTRIES,
        country: entry.country.clone().unwrap_or_else(|| country.to_owned()),
        asks_tax_id: session["tax_id_collection"]["enabled"] == true,
        tax_id: entry.tax_id.as_deref().unwrap_or_default(),
        asks_code: session["allow_promotion_codes"] == true,
        typed_code: &entry.promotion_code,
        asks_payment: is_positive(&session["amount_total"]) || session["mode"] == "subscription",
        offers_card: offers("card"),
        offers_debit: offers("sepa_debit"),
        is_debit: entry.is_debit || !offers("card"),
        card: &entry.card,
        expiry: &entry.expiry,
        iban: &entry.iban,
    };
    Shown::Page(rendered(&page))
}

fn over(session: &Value, texts: &'static Texts) -> Shown {
    let id = text(&session["id"]);
    let link = |name: &str| session[name].as_str().map(|url| with_session(url, id));
    match session["status"].as_str() {
        Some("complete") => {
            let (heading, message) = (texts.complete, texts.complete_explained);
            Shown::Page(rendered(&OverPage { texts, heading, message, link: link("success_url") }))
        }
        Some(_) => {
            let (heading, message) = (texts.expired, texts.expired_explained);
            Shown::Page(rendered(&OverPage { texts, heading, message, link: link("cancel_url") }))
        }
        None => nothing(texts),
    }
}

fn nothing(texts: &'static Texts) -> Shown {
    let (heading, message) = (texts.not_found, texts.not_found_explained);
    Shown::NotFound(rendered(&OverPage { texts, heading, message, link: None }))
}

fn submit(transaction: &mut Transaction<'_>, id: &str, language: &str, entry: &Entry) -> Shown {
    let before = transaction.peek(Kind::CheckoutSession, &id.into());
    if before["status"] != "open" {
        return over(&before, Texts::of(&before, language));
    }
    let texts = Texts::of(&before, language);
    let session = checkout::enter(transaction, id, &entry.entered(&before));
    if entry.applies_code {
        let applied = checkout::use_code(transaction, id, &entry.promotion_code);
        let error = applied.err().map(|why| format!("{} {why}", texts.code_unusable));
        return show(transaction, id, language, entry, error);
    }
    let method = match entry.method(&session, texts, transaction.now()) {
        Ok(method) => method,
        Err(error) => return show(transaction, id, language, entry, Some(error.to_owned())),
    };
    if session["amount_total"] != before["amount_total"] {
        return show(transaction, id, language, entry, Some(texts.total_changed.to_owned()));
    }
    let ended = checkout::pay(transaction, id, method, false);
    after(transaction, id, language, entry, ended)
}

fn after(
    transaction: &mut Transaction<'_>,
    id: &str,
    language: &str,
    entry: &Entry,
    ended: Result<Ended, answer::Failure>,
) -> Shown {
    match ended {
        Ok(Ended::Complete) => {
            let session = transaction.peek(Kind::CheckoutSession, &id.into());
            Shown::Elsewhere(with_session(text(&session["success_url"]), id))
        }
        Ok(Ended::Challenge) => Shown::Elsewhere(format!("/pay/{id}/challenge")),
        Ok(Ended::Declined(why)) => {
            let session = transaction.peek(Kind::CheckoutSession, &id.into());
            let error = Texts::of(&session, language).decline(why).to_owned();
            show(transaction, id, language, entry, Some(error))
        }
        Err(failure) => show(transaction, id, language, entry, Some(failure.message)),
    }
}

fn challenge(transaction: &mut Transaction<'_>, id: &str, language: &str) -> Shown {
    let session = transaction.peek(Kind::CheckoutSession, &id.into());
    let texts = Texts::of(&session, language);
    if session["status"] != "open" || !checkout::is_challenged(transaction, id) {
        return show(transaction, id, language, &Entry::default(), None);
    }
    let total = texts.money(&session["amount_total"], &session["currency"]);
    Shown::Page(rendered(&ChallengePage { texts, total }))
}

fn answer_challenge(transaction: &mut Transaction<'_>, id: &str, language: &str, has_passed: bool) -> Shown {
    match checkout::answer_challenge(transaction, id, has_passed) {
        Ok(Ended::Declined(_)) => {
            let session = transaction.peek(Kind::CheckoutSession, &id.into());
            let error = Texts::of(&session, language).not_authenticated.to_owned();
            show(transaction, id, language, &Entry::default(), Some(error))
        }
        ended => after(transaction, id, language, &Entry::default(), ended),
    }
}

/// Addresses may ask for the session's id.
fn with_session(address: &str, id: &str) -> String {
    address.replace("{CHECKOUT_SESSION_ID}", id)
}

fn rendered(page: &impl Template) -> String {
    page.render().unwrap_or_else(|error| {
        tracing::error!(%error, "a page cannot be rendered");
        String::new()
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
