//! An account's history in German: the same words for the same events, in the projection and over HTTP.

use std::collections::BTreeSet;

use crate::{
    api_support::{Answer, Requests},
    projector_history::all_stories,
    projector_support::{ACCOUNT, Place},
    support::app::TestApp,
};
use reqwest::Method;

/// What is said in English, and what in German.
const WORDS: &[(&str, &str)] = &[
    ("Account opened", "Konto eröffnet"),
    ("Account details changed: email, metadata", "Kontodaten geändert: E-Mail, eigene Angaben"),
    ("Personal data erased", "Personenbezogene Daten gelöscht"),
    ("Account frozen", "Konto gesperrt"),
    ("Account frozen: a payment is disputed", "Konto gesperrt: eine Zahlung wird bestritten"),
    ("Account frozen: the card's network warns of fraud", "Konto gesperrt: das Kartennetz warnt vor Betrug"),
    (
        "Took no credits back: the card's network warns of fraud",
        "Nicht zurückgenommen: credits, das Kartennetz warnt vor Betrug",
    ),
    ("Account unfrozen", "Konto entsperrt"),
    ("Account closed", "Konto geschlossen"),
    ("Bought credits for EUR 20.00 (price_pro × 2)", "Gekauft: credits für EUR 20,00 (price_pro × 2)"),
    ("Bought credits for USD 0.05", "Gekauft: credits für USD 0,05"),
    ("Bought credits for JPY 2000", "Gekauft: credits für JPY 2000"),
    ("Bought credits for KWD 2.000", "Gekauft: credits für KWD 2,000"),
    ("Granted credits", "Gutgeschrieben: credits"),
    ("Granted credits by a checkout at no charge", "Gutgeschrieben nach kostenlosem Checkout: credits"),
    ("Granted credits to a new account", "Gutgeschrieben zur Eröffnung: credits"),
    ("Sent credits to another account", "An ein anderes Konto gesendet: credits"),
    ("Received credits from another account", "Von einem anderen Konto erhalten: credits"),
    ("Spent credits on job_match", "Verbraucht: credits für job_match"),
    ("Spent credits on job_match × 3", "Verbraucht: credits für job_match × 3"),
    ("Spent credits, overdrawing the account", "Verbraucht: credits, das Konto ist damit überzogen"),
    ("Set credits aside for a job", "Für einen Auftrag zurückgelegt: credits"),
    ("Charged for a job", "Für einen Auftrag abgerechnet"),
    ("Released what was set aside for a job", "Für einen Auftrag Zurückgelegtes wieder frei"),
    (
        "Released what was set aside for a job: its time ran out",
        "Für einen Auftrag Zurückgelegtes wieder frei: seine Zeit ist abgelaufen",
    ),
    ("Expired credits", "Verfallen: credits"),
    ("Added credits by hand", "Von Hand hinzugefügt: credits"),
    ("Removed credits by hand", "Von Hand entfernt: credits"),
    ("Took credits back: a refund succeeded", "Zurückgenommen: credits, eine Erstattung ist erfolgt"),
    ("Took credits back: the payment was refunded", "Zurückgenommen: credits, die Zahlung wurde erstattet"),
    (
        "Took no credits back: a dispute was lost",
        "Nicht zurückgenommen: credits, ein Zahlungsstreit wurde verloren",
    ),
    (
        "Took credits back: the payment was refunded or disputed early",
        "Zurückgenommen: credits, die Zahlung wurde früh erstattet oder bestritten",
    ),
    (
        "Took credits back: credits of a refunded payment came back",
        "Zurückgenommen: credits, Credits einer erstatteten Zahlung kamen zurück",
    ),
    (
        "Took credits back: a credit note was issued",
        "Zurückgenommen: credits, eine Gutschrift wurde ausgestellt",
    ),
    (
        "Gave credits back: a credit note was voided",
        "Zurückgegeben: credits, eine Gutschrift wurde storniert",
    ),
    ("Gave credits back: a refund failed", "Zurückgegeben: credits, eine Erstattung ist gescheitert"),
    (
        "Gave no credits back: a dispute was won",
        "Nicht zurückgegeben: credits, ein Zahlungsstreit wurde gewonnen",
    ),
    ("Paid off debt of credits", "Schulden beglichen: credits"),
    ("Overdraft limit of credits changed", "Überziehungsrahmen geändert: credits"),
    ("Overdraft of credits no longer allowed", "Überziehen nicht mehr erlaubt: credits"),
    ("Linked to a customer at Stripe", "Mit einem Kunden bei Stripe verknüpft"),
    ("Customer at Stripe is gone", "Kunde bei Stripe gelöscht"),
    ("Began a checkout (price_pro × 2)", "Checkout begonnen (price_pro × 2)"),
    ("Made a link to buy (price_pro × 2)", "Link zum Kaufen erstellt (price_pro × 2)"),
    ("Revoked a link to buy", "Link zum Kaufen widerrufen"),
    ("Checkout is ready to be paid", "Checkout kann bezahlt werden"),
    ("Checkout was paid", "Checkout wurde bezahlt"),
    ("Checkout was paid once more", "Checkout wurde noch einmal bezahlt"),
    ("Checkout was not paid in time", "Checkout wurde nicht rechtzeitig bezahlt"),
    ("Checkout failed: its payment did not arrive", "Checkout gescheitert: die Zahlung ging nicht ein"),
    ("Checkout failed: Stripe refused it", "Checkout gescheitert: Stripe hat ihn abgelehnt"),
    ("Checkout failed: it was given up", "Checkout gescheitert: er wurde aufgegeben"),
    ("Asked for a refund of EUR 2.50", "Erstattung von EUR 2,50 erbeten"),
    ("Refund refused: the money has gone back already", "Erstattung abgelehnt: das Geld ging schon zurück"),
    ("Refund refused: the payment is disputed", "Erstattung abgelehnt: die Zahlung wird bestritten"),
    (
        "Refund refused: the balance at Stripe does not cover it",
        "Erstattung abgelehnt: das Guthaben bei Stripe reicht nicht aus",
    ),
    ("Refund refused: Stripe does not do it", "Erstattung abgelehnt: Stripe führt sie nicht aus"),
    ("Refund refused: it was given up", "Erstattung abgelehnt: sie wurde aufgegeben"),
    ("Took credits back: a refund was asked for", "Zurückgenommen: credits, eine Erstattung wurde erbeten"),
    ("Gave credits back: a refund was refused", "Zurückgegeben: credits, eine Erstattung wurde abgelehnt"),
    ("Subscription started", "Abonnement begonnen"),
    ("Granted credits for a trial", "Gutgeschrieben zur Probe: credits"),
    (
        "Granted credits by a subscription at no charge",
        "Gutgeschrieben durch kostenloses Abonnement: credits",
    ),
    ("Subscription changed", "Abonnement geändert"),
    ("Subscription changed: it ends with its period", "Abonnement geändert: es endet mit dem Zeitraum"),
    ("Subscription payment is overdue", "Zahlung des Abonnements ist überfällig"),
    ("Subscription is not paid", "Abonnement ist nicht bezahlt"),
    ("Subscription changed within its period", "Abonnement während des Zeitraums geändert"),
    ("Moved credits into the next period", "In den nächsten Zeitraum übernommen: credits"),
    ("Subscription ended", "Abonnement beendet"),
    ("Asked to end the subscription at once", "Sofortiges Ende des Abonnements erbeten"),
    ("Asked to end the subscription with its period", "Ende des Abonnements mit dem Zeitraum erbeten"),
    ("Asked to let the subscription go on", "Fortsetzung des Abonnements erbeten"),
    ("Asked to change the subscription to price_plus × 2", "Wechsel des Abonnements erbeten: price_plus × 2"),
    ("Change of subscription made", "Änderung des Abonnements ausgeführt"),
    ("Change of subscription refused: it has ended", "Änderung des Abonnements abgelehnt: es ist beendet"),
    (
        "Change of subscription refused: it was not paid",
        "Änderung des Abonnements abgelehnt: sie wurde nicht bezahlt",
    ),
    (
        "Change of subscription refused: the price is not subscribed to any more",
        "Änderung des Abonnements abgelehnt: der Preis ist nicht mehr Teil davon",
    ),
    (
        "Change of subscription refused: Stripe does not make it",
        "Änderung des Abonnements abgelehnt: Stripe führt sie nicht aus",
    ),
    (
        "Change of subscription refused: it was given up",
        "Änderung des Abonnements abgelehnt: sie wurde aufgegeben",
    ),
];

#[tokio::test]
async fn history_says_in_german_what_it_says_in_english() {
    let place = Place::new().await;
    let mut book = place.book("words").await;
    book.write(&all_stories().into_iter().map(|(fact, _)| fact).collect::<Vec<_>>()).await;
    place.fold(&book, "history").await;
    let told = place.history(&book, ACCOUNT).await;
    let said: BTreeSet<(&str, &str)> =
        told.iter().map(|entry| (entry.description.as_str(), entry.description_de.as_str())).collect();
    assert_eq!(said, WORDS.iter().copied().collect());
}

#[tokio::test]
async fn history_is_told_in_the_language_that_is_asked_for() {
    let app = TestApp::start().await;
    app.account_with("ada", 5).await;
    let body = serde_json::json!({"unit": "credits", "amount": 1, "reason": "more"});
    let granted = app.keyed("/v1/accounts/ada/grants", "more", &body).await;
    let token = granted.header("X-Position-Token").expect("a token").to_owned();
    for (query, accepted, first) in [
        ("", None, "Granted credits"),
        ("&locale=de-AT", None, "Gutgeschrieben: credits"),
        ("", Some("de-DE, de;q=0.9, en;q=0.8"), "Gutgeschrieben: credits"),
        ("&locale=en", Some("de"), "Granted credits"),
        ("&locale=fr", Some("de"), "Granted credits"),
    ] {
        let path = format!("/v1/accounts/ada/history?min_position={token}{query}");
        let mut request = app.request(Method::GET, &path);
        if let Some(accepted) = accepted {
            request = request.header("Accept-Language", accepted);
        }
        let answer = Answer::of(request.send().await.expect("an answer")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["items"][0]["description"], first, "{query} {accepted:?}");
    }
    let refused = app.send(Method::GET, "/v1/accounts/ada/history?locale=%20", None).await;
    assert_eq!((refused.status, refused.field().as_str()), (400, "locale"), "{refused:?}");
}
