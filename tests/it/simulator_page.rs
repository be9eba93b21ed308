//! The hosted page, as a browser without script uses it: fetch, fill the form in, follow where it leads.

use reqwest::{Client, Response, redirect::Policy};
use serde_json::{Value, json};

use crate::support::simulator::{TestSimulator, id};

struct Browser {
    client: Client,
    url: String,
}

impl Browser {
    async fn open(session: &Value) -> Self {
        let client = Client::builder().redirect(Policy::none()).build().expect("a client");
        Self { client, url: session["url"].as_str().expect("a URL").to_owned() }
    }

    async fn page(&self) -> String {
        text(self.client.get(&self.url).send().await.expect("an answer"), 200).await
    }

    async fn submit(&self, fields: &[(&str, &str)]) -> Response {
        self.post(&self.url, fields).await
    }

    async fn post(&self, url: &str, fields: &[(&str, &str)]) -> Response {
        let body: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = self.client.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        request.body(body.join("&")).send().await.expect("an answer")
    }
}

async fn text(response: Response, status: u16) -> String {
    assert_eq!(response.status().as_u16(), status);
    assert!(
        response.headers()["content-security-policy"]
            .to_str()
            .expect("a policy")
            .contains("default-src 'none'")
    );
    response.text().await.expect("a page")
}

fn location(response: &Response) -> &str {
    assert_eq!(response.status().as_u16(), 303);
    response.headers()["location"].to_str().expect("an address")
}

const CARD: [(&str, &str); 6] = [
    ("email", "alice@example.com"),
    ("name", "Alice+A."),
    ("method", "card"),
    ("expiry", "12/34"),
    ("security_code", "123"),
    ("action", "pay"),
];

fn with_card(number: &str) -> Vec<(&str, &str)> {
    let mut fields = CARD.to_vec();
    fields.push(("card", number));
    fields
}

#[tokio::test]
async fn a_buyer_tries_cards_until_one_is_taken_and_returns_to_the_shop() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1250").await;
    let session = stripe
        .session(&price, "line_items[0][quantity]=2&cancel_url=https://shop.example/back&locale=en")
        .await;
    let browser = Browser::open(&session).await;
    let page = browser.page().await;
    for expected in [
        "<html lang=\"en\">",
        "Credits",
        "2 × €12.50",
        "€25.00",
        "https://shop.example/back",
        "name=\"email\"",
    ] {
        assert!(page.contains(expected), "{expected} is not on the page:\n{page}");
    }
    assert!(!page.contains("<script") && !page.contains("promotion_code"), "{page}");

    for (fields, said) in [
        (with_card("4000000000000002"), "Your card was declined."),
        (with_card("4000+0000+0000+9995"), "insufficient funds"),
        (with_card("1234"), "card number is invalid"),
        (vec![("action", "pay"), ("card", "4242424242424242")], "12/34"),
    ] {
        let page = text(browser.submit(&fields).await, 200).await;
        let said = if said == "12/34" { "expiry date" } else { said };
        assert!(page.contains("role=\"alert\"") && page.contains(said), "{said}: {page}");
    }
    let paid = browser.submit(&with_card("4242+4242+4242+4242")).await;
    assert_eq!(location(&paid), format!("https://shop.example/thanks?s={}", id(&session)));
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", id(&session))).await.ok();
    assert_eq!(session["payment_status"], "paid");
    assert_eq!(session["customer_details"]["email"], "alice@example.com");
    assert_eq!(session["customer_details"]["name"], "Alice A.");
    let page = browser.page().await;
    assert!(page.contains("This order is complete"), "{page}");
    let again = browser.submit(&with_card("4242424242424242")).await;
    assert!(text(again, 200).await.contains("This order is complete"));
    assert_eq!(stripe.objects("payment_intent").await.len(), 1);
}

#[tokio::test]
async fn the_bank_asks_and_takes_no_for_an_answer() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let session = stripe.session(&price, "").await;
    let browser = Browser::open(&session).await;
    for outcome in ["failed", "passed"] {
        let asked = browser.submit(&with_card("4000000000003220")).await;
        let challenge = format!("{}{}", stripe.url, location(&asked));
        let page = text(browser.client.get(&challenge).send().await.expect("an answer"), 200).await;
        assert!(page.contains("Your bank asks") && page.contains("€10.00"), "{page}");
        let answered = browser.post(&challenge, &[("outcome", outcome)]).await;
        if outcome == "failed" {
            assert!(text(answered, 200).await.contains("unable to authenticate"));
        } else {
            assert!(location(&answered).starts_with("https://shop.example/thanks"));
        }
    }
}

#[tokio::test]
async fn the_page_speaks_german_and_shows_discount_and_tax_before_it_takes_money() {
    let stripe = TestSimulator::start().await;
    stripe.post("/v1/coupons", "id=quarter&percent_off=25").await.ok();
    stripe
        .post("/v1/promotion_codes", "promotion[type]=coupon&promotion[coupon]=quarter&code=SAVE25")
        .await
        .ok();
    let price = stripe.price("unit_amount=100000").await;
    let more =
        "locale=de&allow_promotion_codes=true&automatic_tax[enabled]=true&tax_id_collection[enabled]=true";
    let session = stripe.session(&price, more).await;
    let browser = Browser::open(&session).await;
    let page = browser.page().await;
    assert!(
        page.contains("<html lang=\"de\">")
            && page.contains("1.000,00\u{a0}€")
            && page.contains("Gutscheincode"),
        "{page}"
    );
    let wrong = text(browser.submit(&[("action", "apply"), ("promotion_code", "NOPE")]).await, 200).await;
    assert!(wrong.contains("lässt sich nicht einlösen"), "{wrong}");
    let right = text(browser.submit(&[("action", "apply"), ("promotion_code", "save25")]).await, 200).await;
    assert!(right.contains("−250,00\u{a0}€") && right.contains("750,00\u{a0}€"), "{right}");

    let mut fields = with_card("4242424242424242");
    let without = text(browser.submit(&fields).await, 200).await;
    assert!(without.contains("Bitte wählen Sie Ihr Land."), "{without}");
    fields.push(("country", "DE"));
    let mut declined = with_card("4000000000009995");
    declined.push(("country", "DE"));
    let changed = text(browser.submit(&declined).await, 200).await;
    assert!(changed.contains("hat sich geändert") && changed.contains("892,50\u{a0}€"), "{changed}");
    assert!(text(browser.submit(&declined).await, 200).await.contains("Die Karte ist nicht gedeckt."));
    location(&browser.submit(&fields).await);
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", id(&session))).await.ok();
    assert_eq!((&session["amount_total"], &session["payment_status"]), (&json!(89_250), &json!("paid")));
}

#[tokio::test]
async fn a_direct_debit_completes_the_order_unpaid_and_a_free_order_needs_none() {
    let stripe = TestSimulator::start().await;
    let price = stripe.price("unit_amount=1000").await;
    let session = stripe.session(&price, "").await;
    let browser = Browser::open(&session).await;
    let mut fields = vec![("email", "a@example.com"), ("method", "sepa_debit"), ("action", "pay")];
    assert!(text(browser.submit(&fields).await, 200).await.contains("Please enter an IBAN."));
    fields.push(("iban", "DE89370400440532013000"));
    location(&browser.submit(&fields).await);
    let session = stripe.get(&format!("/v1/checkout/sessions/{}", id(&session))).await.ok();
    assert_eq!((&session["status"], &session["payment_status"]), (&json!("complete"), &json!("unpaid")));

    stripe.post("/v1/coupons", "id=all&percent_off=100").await.ok();
    let free = stripe.session(&price, "discounts[0][coupon]=all&customer_email=a@example.com").await;
    let browser = Browser::open(&free).await;
    let page = browser.page().await;
    assert!(page.contains("Complete order") && !page.contains("name=\"card\""), "{page}");
    location(&browser.submit(&[("action", "pay")]).await);
}

#[tokio::test]
async fn a_page_for_nothing_or_for_what_has_expired_says_so() {
    let stripe = TestSimulator::start().await;
    let nothing = stripe.client.get(format!("{}/pay/cs_none", stripe.url)).send().await.expect("an answer");
    assert!(text(nothing, 404).await.contains("There is nothing to pay here"));
    let price = stripe.price("unit_amount=1000").await;
    let session = stripe.session(&price, "").await;
    let browser = Browser::open(&session).await;
    stripe.control(&format!("checkout_sessions/{}/expire", id(&session)), json!({})).await;
    assert!(browser.page().await.contains("This order has expired"));
    let escaped = stripe.session(&price, "customer_email=%22%3E%3Cscript%3E@x.example").await;
    assert!(!Browser::open(&escaped).await.page().await.contains("<script"));
}
