//! What the pages say, in English and German, and how money is written.

use serde_json::Value;

use super::super::cards::Decline;

/// All texts in one language.
pub(super) struct Texts {
    pub language: &'static str,
    pub test_mode: &'static str,
    pub order: &'static str,
    pub discount: &'static str,
    pub tax: &'static str,
    pub tax_later: &'static str,
    pub total: &'static str,
    pub back: &'static str,
    pub details: &'static str,
    pub email: &'static str,
    pub name: &'static str,
    pub country: &'static str,
    pub tax_id: &'static str,
    pub code: &'static str,
    pub apply: &'static str,
    pub method: &'static str,
    pub card: &'static str,
    pub debit: &'static str,
    pub card_number: &'static str,
    pub expiry: &'static str,
    pub security_code: &'static str,
    pub iban: &'static str,
    pub debit_is_slow: &'static str,
    pub pay: &'static str,
    pub finish: &'static str,
    pub test_cards: &'static str,
    pub succeeds: &'static str,
    pub declined: &'static str,
    pub insufficient: &'static str,
    pub asks: &'static str,
    pub disputed: &'static str,
    pub slow_refunds: &'static str,
    pub bank_asks: &'static str,
    pub bank_explains: &'static str,
    pub confirm: &'static str,
    pub refuse: &'static str,
    pub not_found: &'static str,
    pub not_found_explained: &'static str,
    pub complete: &'static str,
    pub complete_explained: &'static str,
    pub expired: &'static str,
    pub expired_explained: &'static str,
    pub email_missing: &'static str,
    pub card_unknown: &'static str,
    pub expiry_wrong: &'static str,
    pub security_code_wrong: &'static str,
    pub iban_missing: &'static str,
    pub country_missing: &'static str,
    pub total_changed: &'static str,
    pub code_unusable: &'static str,
    pub not_authenticated: &'static str,
    pub subscriptions: &'static str,
    pub no_subscriptions: &'static str,
    pub cancel: &'static str,
    pub ends: &'static str,
    /// By Stripe's code of why a card was declined; the last is for all others.
    pub declines: [(&'static str, &'static str); 4],
}

pub(super) const ENGLISH: Texts = Texts {
    language: "en",
    test_mode: "Simulator – no money moves here.",
    order: "Your order",
    discount: "Discount",
    tax: "Tax",
    tax_later: "Worked out from your country",
    total: "Total",
    back: "Back to the shop",
    details: "Payment details",
    email: "Email",
    name: "Name",
    country: "Country",
    tax_id: "VAT number (optional)",
    code: "Promotion code",
    apply: "Apply",
    method: "Payment method",
    card: "Card",
    debit: "SEPA Direct Debit",
    card_number: "Card number",
    expiry: "Expires (MM / YY)",
    security_code: "Security code",
    iban: "IBAN",
    debit_is_slow: "A direct debit arrives days later, or not at all.",
    pay: "Pay",
    finish: "Complete order",
    test_cards: "Cards to try",
    succeeds: "succeeds",
    declined: "is declined",
    insufficient: "has insufficient funds",
    asks: "asks for confirmation",
    disputed: "succeeds, is disputed",
    slow_refunds: "refunds stay pending",
    bank_asks: "Your bank asks: is it you?",
    bank_explains: "In real life your bank would now ask you to confirm this payment.",
    confirm: "Confirm",
    refuse: "Refuse",
    not_found: "There is nothing to pay here",
    not_found_explained: "The link is wrong, or the simulator has been reset since.",
    complete: "This order is complete",
    complete_explained: "There is nothing left to do here.",
    expired: "This order has expired",
    expired_explained: "Start again in the shop.",
    email_missing: "Please enter your email address.",
    card_unknown: "Your card number is invalid. Only test cards are taken here.",
    expiry_wrong: "Your card's expiry date is invalid or in the past.",
    security_code_wrong: "Your card's security code is incomplete.",
    iban_missing: "Please enter an IBAN.",
    country_missing: "Please choose your country.",
    total_changed: "The total has changed. Please check it and pay again.",
    code_unusable: "This promotion code cannot be used:",
    not_authenticated: "We are unable to authenticate your payment method. Please choose a different payment method and try again.",
    subscriptions: "Your subscriptions",
    no_subscriptions: "There are none.",
    cancel: "Cancel at the end of the period",
    ends: "Ends with the current period",
    declines: [
        ("insufficient_funds", "Your card has insufficient funds."),
        ("expired_card", "Your card has expired."),
        ("incorrect_cvc", "Your card's security code is incorrect."),
        ("", "Your card was declined."),
    ],
};

pub(super) const GERMAN: Texts = Texts {
    language: "de",
    test_mode: "Simulator – hier fließt kein Geld.",
    order: "Ihre Bestellung",
    discount: "Rabatt",
    tax: "Steuer",
    tax_later: "Ergibt sich aus Ihrem Land",
    total: "Gesamtbetrag",
    back: "Zurück zum Shop",
    details: "Zahlungsdaten",
    email: "E-Mail",
    name: "Name",
    country: "Land",
    tax_id: "USt-IdNr. (freiwillig)",
    code: "Gutscheincode",
    apply: "Einlösen",
    method: "Zahlungsart",
    card: "Karte",
    debit: "SEPA-Lastschrift",
    card_number: "Kartennummer",
    expiry: "Gültig bis (MM/JJ)",
    security_code: "Prüfziffer",
    iban: "IBAN",
    debit_is_slow: "Eine Lastschrift kommt erst Tage später an, oder gar nicht.",
    pay: "Bezahlen:",
    finish: "Bestellung abschließen",
    test_cards: "Karten zum Ausprobieren",
    succeeds: "gelingt",
    declined: "wird abgelehnt",
    insufficient: "ist nicht gedeckt",
    asks: "verlangt eine Bestätigung",
    disputed: "gelingt, wird angefochten",
    slow_refunds: "Erstattungen dauern",
    bank_asks: "Ihre Bank fragt: Sind Sie es?",
    bank_explains: "Im wirklichen Leben würde Ihre Bank Sie nun bitten, diese Zahlung zu bestätigen.",
    confirm: "Bestätigen",
    refuse: "Ablehnen",
    not_found: "Hier gibt es nichts zu bezahlen",
    not_found_explained: "Der Link ist falsch, oder der Simulator wurde inzwischen zurückgesetzt.",
    complete: "Diese Bestellung ist abgeschlossen",
    complete_explained: "Hier ist nichts mehr zu tun.",
    expired: "Diese Bestellung ist abgelaufen",
    expired_explained: "Bitte beginnen Sie im Shop von vorn.",
    email_missing: "Bitte geben Sie Ihre E-Mail-Adresse an.",
    card_unknown: "Die Kartennummer ist ungültig. Hier gelten nur Testkarten.",
    expiry_wrong: "Das Ablaufdatum der Karte ist ungültig oder liegt in der Vergangenheit.",
    security_code_wrong: "Die Prüfziffer der Karte ist unvollständig.",
    iban_missing: "Bitte geben Sie eine IBAN an.",
    country_missing: "Bitte wählen Sie Ihr Land.",
    total_changed: "Der Gesamtbetrag hat sich geändert. Bitte prüfen Sie ihn und bezahlen Sie noch einmal.",
    code_unusable: "Dieser Gutscheincode lässt sich nicht einlösen:",
    not_authenticated: "Die Zahlung wurde nicht bestätigt. Bitte wählen Sie eine andere Zahlungsart.",
    subscriptions: "Ihre Abonnements",
    no_subscriptions: "Es gibt keine.",
    cancel: "Zum Ende des Zeitraums kündigen",
    ends: "Endet mit dem laufenden Zeitraum",
    declines: [
        ("insufficient_funds", "Die Karte ist nicht gedeckt."),
        ("expired_card", "Die Karte ist abgelaufen."),
        ("incorrect_cvc", "Die Prüfziffer der Karte ist falsch."),
        ("", "Die Karte wurde abgelehnt."),
    ],
};

impl Texts {
    /// The session's language, or what the browser prefers if the session leaves it open.
    pub(super) fn of(session: &Value, accept_language: &str) -> &'static Self {
        let language = match session["locale"].as_str() {
            None | Some("auto") => accept_language,
            Some(locale) => locale,
        };
        if language.to_ascii_lowercase().starts_with("de") { &GERMAN } else { &ENGLISH }
    }

    /// Why a card was declined.
    pub(super) fn decline(&self, why: &Decline) -> &'static str {
        let code = why.decline_code.unwrap_or(why.code);
        let known = self.declines.iter().find(|(known, _)| *known == code);
        known.unwrap_or(&self.declines[self.declines.len() - 1]).1
    }

    /// An amount, in the currency's smallest part, as people of the language write it.
    pub(super) fn money(&self, amount: &Value, currency: &Value) -> String {
        let amount = amount.as_i64().unwrap_or_default();
        let currency = currency.as_str().unwrap_or_default();
        let number = if is_without_parts(currency) {
            grouped(amount.unsigned_abs(), self.language)
        } else {
            let mark = if self.language == "de" { ',' } else { '.' };
            format!(
                "{}{mark}{:02}",
                grouped(amount.unsigned_abs() / 100, self.language),
                amount.unsigned_abs() % 100
            )
        };
        let sign = if amount < 0 { "−" } else { "" };
        let symbol = match currency {
            "eur" => "€".to_owned(),
            "usd" => "$".to_owned(),
            "gbp" => "£".to_owned(),
            other => other.to_ascii_uppercase(),
        };
        let is_code = symbol.len() > 2 && symbol.is_ascii();
        match (self.language, is_code) {
            ("de", _) => format!("{sign}{number}\u{a0}{symbol}"),
            (_, true) => format!("{sign}{symbol}\u{a0}{number}"),
            (_, false) => format!("{sign}{symbol}{number}"),
        }
    }
}

fn is_without_parts(currency: &str) -> bool {
    const WITHOUT: &[&str] = &[
        "bif", "clp", "djf", "gnf", "jpy", "kmf", "krw", "mga", "pyg", "rwf", "vnd", "vuv", "xaf", "xof",
        "xpf",
    ];
    WITHOUT.contains(&currency)
}

fn grouped(number: u64, language: &str) -> String {
    let mark = if language == "de" { '.' } else { ',' };
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(mark);
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn money_is_written_as_people_of_the_language_do() {
        let written =
            |texts: &Texts, amount: i64, currency: &str| texts.money(&json!(amount), &json!(currency));
        assert_eq!(written(&ENGLISH, 123_456, "eur"), "€1,234.56");
        assert_eq!(written(&GERMAN, 123_456, "eur"), "1.234,56\u{a0}€");
        assert_eq!(written(&ENGLISH, 800, "jpy"), "JPY\u{a0}800");
        assert_eq!(written(&GERMAN, 5, "chf"), "0,05\u{a0}CHF");
    }

    #[test]
    fn the_sessions_language_comes_before_the_browsers() {
        assert_eq!(Texts::of(&json!({ "locale": "de" }), "en-GB,en").language, "de");
        assert_eq!(Texts::of(&json!({ "locale": "auto" }), "de-AT,de;q=0.9").language, "de");
        assert_eq!(Texts::of(&json!({ "locale": null }), "").language, "en");
        assert_eq!(Texts::of(&json!({ "locale": "fr" }), "de").language, "en");
    }
}
