//! What the pages say, in English and German.

/// Two that belong together: a heading and its explanation, mostly.
type Words = (&'static str, &'static str);

/// All texts in one language.
pub(super) struct Texts {
    pub language: &'static str,
    pub decimal_mark: char,
    pub thousands_mark: char,
    pub symbol_leads: bool,
    pub test_mode: &'static str,
    pub you_buy: &'static str,
    pub you_get: &'static str,
    pub for_days: Words,
    pub price: &'static str,
    pub taxes: &'static str,
    /// Before a number of days, weeks, months or years.
    pub every: &'static str,
    /// Of one and of several.
    pub every_day: Words,
    pub every_week: Words,
    pub every_month: Words,
    pub every_year: Words,
    pub pay: &'static str,
    pub at_stripe: &'static str,
    pub wait: &'static str,
    pub wait_explained: &'static str,
    pub go_on: &'static str,
    pub paid: &'static str,
    pub paid_explained: &'static str,
    pub thanks: &'static str,
    pub thanks_explained: &'static str,
    pub unpaid: &'static str,
    pub unpaid_explained: &'static str,
    pub cancelled: &'static str,
    pub cancelled_explained: &'static str,
    pub back: &'static str,
    pub again: &'static str,
    pub no_link: Words,
    pub not_for_now: Words,
    pub not_on_sale: Words,
    pub no_payment: Words,
    pub not_so: Words,
    pub later: Words,
}

pub(super) const ENGLISH: Texts = Texts {
    language: "en",
    decimal_mark: '.',
    thousands_mark: ',',
    symbol_leads: true,
    test_mode: "Test mode – no real money is taken.",
    you_buy: "You are buying",
    you_get: "You get",
    for_days: ("valid for", "days"),
    price: "Price",
    taxes: "Tax and discounts, if any, are shown on the next page.",
    every: "every",
    every_day: ("every day", "days"),
    every_week: ("every week", "weeks"),
    every_month: ("every month", "months"),
    every_year: ("every year", "years"),
    pay: "Continue to payment",
    at_stripe: "You pay on Stripe’s page. No payment details are entered here.",
    wait: "One moment, please",
    wait_explained: "The payment page is being prepared. You will be taken there by itself. Nothing has been charged yet.",
    go_on: "Continue",
    paid: "Thank you – paid",
    paid_explained: "Your purchase has been credited. You can close this page.",
    thanks: "Thank you",
    thanks_explained: "Your payment is being confirmed. What you bought is credited as soon as it arrives; with some payment methods that takes a few days. You can close this page.",
    unpaid: "This was not paid",
    unpaid_explained: "The payment did not go through, and nothing was credited.",
    cancelled: "Nothing was bought",
    cancelled_explained: "You left the payment page. Nothing was charged.",
    back: "Back to the offer",
    again: "Buy again",
    no_link: (
        "This link does not work",
        "It may be mistyped, have expired or been withdrawn. Please ask for a new one where you got it.",
    ),
    not_for_now: (
        "Nothing can be bought here at the moment",
        "Nothing was charged. Please contact whoever gave you this link.",
    ),
    not_on_sale: (
        "This is no longer on sale",
        "Nothing was charged. Please ask for a new offer where you got this link.",
    ),
    no_payment: (
        "The payment page cannot be opened",
        "Nothing was charged. Please try again later, or contact whoever gave you this link.",
    ),
    not_so: ("That did not work", "Nothing was charged. Please start again."),
    later: ("Please try again in a moment", "We cannot be reached right now. Nothing was charged."),
};

pub(super) const GERMAN: Texts = Texts {
    language: "de",
    decimal_mark: ',',
    thousands_mark: '.',
    symbol_leads: false,
    test_mode: "Testmodus – es wird kein echtes Geld eingezogen.",
    you_buy: "Sie kaufen",
    you_get: "Sie erhalten",
    for_days: ("gültig für", "Tage"),
    price: "Preis",
    taxes: "Steuern und Rabatte sehen Sie gegebenenfalls auf der nächsten Seite.",
    every: "alle",
    every_day: ("jeden Tag", "Tage"),
    every_week: ("jede Woche", "Wochen"),
    every_month: ("jeden Monat", "Monate"),
    every_year: ("jedes Jahr", "Jahre"),
    pay: "Weiter zur Zahlung",
    at_stripe: "Sie bezahlen auf der Seite von Stripe. Hier werden keine Zahlungsdaten eingegeben.",
    wait: "Einen Moment bitte",
    wait_explained: "Die Zahlungsseite wird vorbereitet. Sie werden von selbst dorthin geleitet. Es wurde noch nichts berechnet.",
    go_on: "Weiter",
    paid: "Vielen Dank – bezahlt",
    paid_explained: "Ihr Kauf ist gutgeschrieben. Sie können diese Seite schließen.",
    thanks: "Vielen Dank",
    thanks_explained: "Ihre Zahlung wird bestätigt. Ihr Kauf wird gutgeschrieben, sobald sie da ist; bei manchen Zahlungsarten dauert das einige Tage. Sie können diese Seite schließen.",
    unpaid: "Das wurde nicht bezahlt",
    unpaid_explained: "Die Zahlung kam nicht zustande, und es wurde nichts gutgeschrieben.",
    cancelled: "Es wurde nichts gekauft",
    cancelled_explained: "Sie haben die Zahlungsseite verlassen. Es wurde nichts berechnet.",
    back: "Zurück zum Angebot",
    again: "Noch einmal kaufen",
    no_link: (
        "Dieser Link funktioniert nicht",
        "Er ist vielleicht falsch geschrieben, abgelaufen oder zurückgezogen. Bitte lassen Sie sich dort, wo Sie ihn bekommen haben, einen neuen geben.",
    ),
    not_for_now: (
        "Hier kann derzeit nichts gekauft werden",
        "Es wurde nichts berechnet. Bitte wenden Sie sich an die Stelle, von der Sie diesen Link haben.",
    ),
    not_on_sale: (
        "Dieses Angebot gibt es nicht mehr",
        "Es wurde nichts berechnet. Bitte fragen Sie dort, wo Sie diesen Link bekommen haben, nach einem neuen.",
    ),
    no_payment: (
        "Die Zahlungsseite lässt sich nicht öffnen",
        "Es wurde nichts berechnet. Bitte versuchen Sie es später noch einmal, oder wenden Sie sich an die Stelle, von der Sie diesen Link haben.",
    ),
    not_so: ("Das hat nicht geklappt", "Es wurde nichts berechnet. Bitte beginnen Sie noch einmal."),
    later: (
        "Bitte versuchen Sie es gleich noch einmal",
        "Wir sind gerade nicht erreichbar. Es wurde nichts berechnet.",
    ),
};

impl Texts {
    /// In the language of a locale, e.g. `de-AT`; in English if there is none in it.
    pub(super) fn of(locale: &str) -> &'static Self {
        Self::find(locale).unwrap_or(&ENGLISH)
    }

    /// In the language that a browser likes best (`Accept-Language`), of those that there are.
    pub(super) fn accepted(languages: &str) -> &'static Self {
        let liked = languages.split(',').filter_map(|language| {
            let (locale, quality) = language.split_once(';').unwrap_or((language, "q=1"));
            let quality: f32 = quality.trim().strip_prefix("q=")?.parse().ok()?;
            Some((Self::find(locale.trim())?, quality)).filter(|(_, quality)| *quality > 0.0)
        });
        // Of two that are liked alike, the one named first.
        let best = liked.reduce(|best, next| if next.1 > best.1 { next } else { best });
        best.map_or(&ENGLISH, |(texts, _)| texts)
    }

    fn find(locale: &str) -> Option<&'static Self> {
        let language = locale.split(['-', '_']).next().unwrap_or_default();
        [&ENGLISH, &GERMAN].into_iter().find(|texts| texts.language.eq_ignore_ascii_case(language))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_language_is_the_one_that_the_browser_likes_best() {
        for (accepted, language) in [
            ("", "en"),
            ("de", "de"),
            ("de-AT,de;q=0.9,en;q=0.8", "de"),
            ("en-GB,en;q=0.9,de;q=0.8", "en"),
            ("fr, de;q=0.7, en;q=0.3", "de"),
            ("fr", "en"),
            ("de;q=0, en;q=0.1", "en"),
            ("de;q=nonsense", "en"),
        ] {
            assert_eq!(Texts::accepted(accepted).language, language, "{accepted}");
        }
        assert_eq!(Texts::of("de_CH").language, "de");
        assert_eq!(Texts::of("ja").language, "en");
    }
}
