//! Links by which a price can be bought for an account: made and revoked over HTTP, followed as browsers do.

use futures_util::future::join_all;
use reqwest::{Client, Method, Response, redirect::Policy};
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{browser::Browser, shop::Shop, wait},
};

const LINKS: &str = "/v1/checkout-links";

/// Somebody with a link, without script and without an API key.
struct Visitor {
    client: Client,
}

impl Visitor {
    fn new() -> Self {
        Self { client: Client::builder().redirect(Policy::none()).build().expect("a client") }
    }

    async fn get(&self, url: &str) -> Response {
        self.client.get(url).send().await.expect("an answer")
    }

    async fn post(&self, url: &str, form: &str) -> Response {
        let request = self.client.post(url).header("Content-Type", "application/x-www-form-urlencoded");
        request.body(form.to_owned()).send().await.expect("an answer")
    }

    async fn page(&self, url: &str) -> String {
        page(self.get(url).await, 200).await
    }

    /// Presses the button of the page that was shown.
    async fn press(&self, url: &str, page: &str) -> String {
        let visit = page.split("name=\"visit\" value=\"").nth(1).expect("a form");
        let visit = visit.split('"').next().expect("a value");
        location(&self.post(url, &format!("visit={visit}")).await)
    }
}

/// The text of a page, which is guarded as all pages are.
async fn page(response: Response, status: u16) -> String {
    assert_eq!(response.status().as_u16(), status);
    let header = |name: &str| response.headers()[name].to_str().expect("text").to_owned();
    let policy = header("content-security-policy");
    for part in
        ["default-src 'none'", "form-action 'self' https://checkout.stripe.com", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(part), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(
        (header("cache-control"), header("referrer-policy")),
        ("no-store".into(), "no-referrer".into())
    );
    let text = response.text().await.expect("a page");
    assert!(!text.contains("<script") && !text.contains("alice"), "{text}");
    text
}

fn location(response: &Response) -> String {
    assert_eq!(response.status().as_u16(), 303);
    response.headers()["location"].to_str().expect("an address").to_owned()
}

async fn made(shop: &Shop, key: &str, more: Value) -> Value {
    let mut body = json!({"account_id": "alice", "price_id": "price_pack"});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let answer = shop.app.keyed(LINKS, key, &body).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn url(link: &Value) -> &str {
    link["url"].as_str().expect("an address")
}

/// A shop with the account `alice` and a link to a pack for her.
async fn shop_with_link() -> (Shop, Value) {
    let shop = Shop::open().await;
    shop.app.account_with("alice", 0).await;
    let link = made(&shop, "link", json!({})).await;
    (shop, link)
}

/// The buyer pays at the only page at Stripe that is open.
async fn pay(shop: &Shop) {
    let sessions = shop.stripe.objects("checkout.session").await;
    let open: Vec<&Value> = sessions.iter().filter(|session| session["status"] == "open").collect();
    let [session] = open.as_slice() else { panic!("{} open sessions", open.len()) };
    let path = format!("checkout_sessions/{}/complete", session["id"].as_str().expect("an id"));
    shop.stripe.control(&path, json!({"outcome": "paid"})).await;
}

#[tokio::test]
async fn a_link_is_made_once_for_each_key_listed_read_and_revoked() {
    let (shop, link) = shop_with_link().await;
    let expected = format!("{}/buy/test/{}", shop.app.url, link["link_id"].as_str().expect("an id"));
    assert_eq!(url(&link), expected);
    assert_eq!(made(&shop, "link", json!({})).await, link);
    shop.app.account_with("bob", 0).await;
    let de = json!({"account_id": "bob", "quantity": 3, "locale": "de", "success_url": "https://shop.example/ok",
        "expires_at": "2999-01-01T00:00:00Z"});
    let other = made(&shop, "other", de).await;
    let listed = shop.app.get(LINKS).await;
    let ids: Vec<&Value> =
        listed["items"].as_array().expect("links").iter().map(|link| &link["link_id"]).collect();
    assert_eq!(ids, [&other["link_id"], &link["link_id"]]);
    let first = shop.app.get(&format!("{LINKS}?limit=1")).await;
    let next = first["next_cursor"].as_str().expect("a cursor");
    let second = shop.app.get(&format!("{LINKS}?limit=1&cursor={next}")).await;
    assert_eq!((&second["items"][0]["link_id"], &second["next_cursor"]), (&link["link_id"], &Value::Null));
    let of_bob = shop.app.get(&format!("{LINKS}?account_id=bob")).await;
    assert_eq!(of_bob["items"].as_array().map(Vec::len), Some(1));
    let path = format!("{LINKS}/{}", other["link_id"].as_str().expect("an id"));
    let read = shop.app.get(&path).await;
    assert_eq!(read, of_bob["items"][0]);
    assert_eq!(
        (&read["quantity"], &read["locale"], &read["success_url"], &read["revoked_at"]),
        (&json!(3), &json!("de"), &json!("https://shop.example/ok"), &Value::Null)
    );
    let revoked = shop.app.send(Method::DELETE, &path, None).await;
    assert_eq!(revoked.status, 200, "{revoked:?}");
    let again = shop.app.send(Method::DELETE, &path, None).await;
    assert_eq!((again.status, again.code().as_str()), (404, "checkout_link_not_found"));
    assert_eq!(shop.app.get(&path).await["revoked_at"], revoked.json()["revoked_at"]);
    assert_eq!(shop.events("checkout_link.created").await.len(), 2);
    assert_eq!(shop.events("checkout_link.revoked").await.len(), 1);
    shop.verify().await;
}

#[tokio::test]
async fn what_no_link_can_be_for_is_refused_by_name() {
    let (shop, _) = shop_with_link().await;
    for (more, status, code, field) in [
        (json!({"account_id": "nobody"}), 404, "account_not_found", ""),
        (json!({"price_id": "price_none"}), 400, "unknown_price", "price_id"),
        (json!({"quantity": 10_001}), 400, "invalid_request", "quantity"),
        (json!({"quantity": 0}), 400, "invalid_request", "quantity"),
        (json!({"success_url": "https://evil.example"}), 400, "invalid_request", "success_url"),
        (json!({"expires_at": "2001-01-01T00:00:00Z"}), 400, "expiry_not_in_future", "expires_at"),
        (json!({"expire_at": null}), 400, "invalid_request", "expire_at"),
    ] {
        let mut body = json!({"account_id": "alice", "price_id": "price_pack"});
        body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        let refused = shop.app.keyed(LINKS, "refused", &body).await;
        let found = (refused.status, refused.code(), refused.field());
        assert_eq!(found, (status, code.to_owned(), field.to_owned()), "{body}");
    }
}

#[tokio::test]
async fn a_link_leads_to_stripe_and_back_with_credits_and_a_second_purchase_is_a_new_one() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let shown = visitor.page(url(&link)).await;
    for expected in ["<html lang=\"en\">", "Pack", "100 credits", "€5.00", "<form method=\"post\">"] {
        assert!(shown.contains(expected), "{expected} is not on the page:\n{shown}");
    }
    let at_stripe = visitor.press(url(&link), &shown).await;
    assert!(at_stripe.starts_with(&shop.stripe.url), "{at_stripe}");
    // Pressed twice, gone back and pressed again, come again by the link, sent by a shop's own form: one page at Stripe.
    assert_eq!(visitor.press(url(&link), &shown).await, at_stripe);
    let again = visitor.page(url(&link)).await;
    assert_eq!(visitor.press(url(&link), &again).await, at_stripe);
    assert_eq!(location(&visitor.post(url(&link), "item=1").await), at_stripe);
    pay(&shop).await;
    shop.settles_at("alice", (100, 0, 0)).await;

    // The old form leads to what it led to, and a new one to a new purchase.
    let paid = visitor.press(url(&link), &shown).await;
    assert!(paid.contains("/thanks/ord_"), "{paid}");
    let thanks = visitor.page(&format!("{}{paid}", shop.app.url)).await;
    assert!(thanks.contains("Thank you – paid") && !thanks.contains("http-equiv"), "{thanks}");
    let shown = visitor.page(url(&link)).await;
    assert_ne!(visitor.press(url(&link), &shown).await, at_stripe);
    pay(&shop).await;
    shop.settles_at("alice", (200, 0, 0)).await;
    assert_eq!(shop.at_stripe("checkout.session").await, 2);
    let orders = shop.app.get("/v1/orders?account_id=alice").await;
    assert_eq!(orders["items"].as_array().map(Vec::len), Some(2));
    let placed = shop.events("order.placed").await;
    let expected = format!("checkout_link:{}", link["link_id"].as_str().expect("an id"));
    assert!(placed.iter().all(|event| event["actor"] == expected.as_str()), "{placed:?}");
    let path = format!("{LINKS}/{}", link["link_id"].as_str().expect("an id"));
    assert_eq!(shop.app.get(&path).await["orders"], 2);
}

#[tokio::test]
async fn whoever_floods_a_link_gets_one_page_at_stripe() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let forms =
        ["", "visit=0", "visit=1", "visit=99999999999", "visit=-1", "visit=x", "visit=0&visit=1", "a=b"];
    let flood = (0..4).flat_map(|_| forms).map(|form| visitor.post(url(&link), form));
    let mut led_to: Vec<String> = Vec::new();
    for response in join_all(flood).await {
        if response.status().as_u16() == 303 {
            led_to.push(location(&response));
        } else {
            page(response, 202).await;
        }
    }
    led_to.sort();
    led_to.dedup();
    shop.outbox_empties().await;
    assert!(led_to.len() <= 1, "{led_to:?}");
    assert_eq!(shop.at_stripe("checkout.session").await, 1);
    // One that came to nothing is followed by one more, whichever form asks for it.
    let session = shop.stripe.objects("checkout.session").await[0]["id"].as_str().expect("an id").to_owned();
    shop.stripe.control(&format!("checkout_sessions/{session}/expire"), json!({})).await;
    wait::until("the order to expire", async || {
        let orders = shop.app.get("/v1/orders?status=expired").await;
        (orders["items"].as_array().map(Vec::len) == Some(1)).then_some(())
    })
    .await;
    for form in forms {
        visitor.post(url(&link), form).await;
    }
    shop.outbox_empties().await;
    assert_eq!(shop.at_stripe("checkout.session").await, 2);
}

#[tokio::test]
async fn an_order_whose_price_has_changed_is_not_led_to_any_more() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let before = location(&visitor.post(url(&link), "").await);
    shop.know("price_pack", 500, json!([{"unit": "credits", "amount": 150}])).await;
    let shown = visitor.page(url(&link)).await;
    assert!(shown.contains("€5.00") && shown.contains("150 credits"), "{shown}");
    assert_ne!(visitor.press(url(&link), &shown).await, before);
}

#[tokio::test]
async fn a_page_speaks_the_links_language_or_else_the_browsers() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let get = async |url: &str, languages: &str| {
        let request = visitor.client.get(url).header("Accept-Language", languages);
        page(request.send().await.expect("an answer"), 200).await
    };
    let german = get(url(&link), "de-AT,de;q=0.9,en;q=0.5").await;
    assert!(german.contains("<html lang=\"de\">") && german.contains("5,00\u{a0}€"), "{german}");
    let fixed = made(&shop, "fixed", json!({"locale": "de"})).await;
    assert!(get(url(&fixed), "en").await.contains("Weiter zur Zahlung"));
    // And so does Stripe's page.
    location(&visitor.post(url(&fixed), "").await);
    assert_eq!(shop.stripe.objects("checkout.session").await[0]["locale"], "de");
}

#[tokio::test]
async fn a_link_that_does_not_work_says_so_and_nothing_else() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let id = link["link_id"].as_str().expect("an id").to_owned();
    let expiring = made(&shop, "soon", json!({"expires_at": "2999-01-01T00:00:00Z"})).await;
    let superuser = shop.app.database.superuser().await;
    let expired =
        "UPDATE checkout_links SET expires_at = now() - interval '1 s' WHERE expires_at IS NOT NULL";
    superuser.batch_execute(expired).await.expect("a table of ours");
    let revoked = made(&shop, "revoked", json!({})).await;
    let path = format!("{LINKS}/{}", revoked["link_id"].as_str().expect("an id"));
    assert_eq!(shop.app.send(Method::DELETE, &path, None).await.status, 200);
    let base = &shop.app.url;
    let mut seen = Vec::new();
    for dead in [
        url(&expiring).to_owned(),
        url(&revoked).to_owned(),
        format!("{base}/buy/other/{id}"),
        format!("{base}/buy/test/lnk_0000000000000001000000000000000a"),
        format!("{base}/buy/test/{}", id.to_uppercase()),
        format!("{base}/buy/test/ord_{}", &id[4..]),
        format!("{base}/buy/test/%00"),
        format!("{base}/buy/te%27st/{id}"),
        format!("{base}/buy/test"),
        format!("{base}/buy"),
    ] {
        let got = page(visitor.get(&dead).await, 404).await;
        assert!(got.contains("This link does not work"), "{dead}: {got}");
        assert_eq!(page(visitor.post(&dead, "visit=0").await, 404).await, got);
        seen.push(got);
    }
    seen.dedup();
    assert_eq!(seen.len(), 1, "no two of them can be told apart");
    for nowhere in
        ["/wait/x", "/wait/ord_0000000000000001000000000000000a", "/thanks/", "/other", "/cancelled/x"]
    {
        page(visitor.get(&format!("{}{nowhere}", url(&link))).await, 404).await;
    }
    assert_eq!(shop.at_stripe("checkout.session").await, 0);
}

#[tokio::test]
async fn what_cannot_be_bought_now_is_told_kindly_with_the_status_that_it_has_everywhere() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    let both = async |status: u16, words: &str| {
        for response in [visitor.get(url(&link)).await, visitor.post(url(&link), "visit=0").await] {
            let text = page(response, status).await;
            assert!(text.contains(words), "{words}: {text}");
        }
    };
    let frozen = shop.app.keyed("/v1/accounts/alice/freeze", "freeze", &json!({"reason": "a check"})).await;
    assert_eq!(frozen.status, 200, "{frozen:?}");
    both(403, "Nothing can be bought here at the moment").await;
    shop.app.keyed("/v1/accounts/alice/unfreeze", "unfreeze", &json!({"reason": "all is well"})).await;
    let put = visitor.client.put(url(&link)).send().await.expect("an answer");
    assert_eq!(put.headers()["allow"], "GET, HEAD, POST");
    page(put, 405).await;
    let post = visitor.post(&format!("{}/cancelled", url(&link)), "").await;
    assert_eq!(post.headers()["allow"], "GET, HEAD");
    let long = visitor.post(url(&link), &"x".repeat(20_000)).await;
    page(long, 400).await;
    assert_eq!(visitor.client.head(url(&link)).send().await.expect("an answer").status().as_u16(), 200);
    page(visitor.get(&format!("{}?utm_source=mail", url(&link))).await, 200).await;

    let mut gone = json!({"display_name": "Pack", "money": {"amount": 500, "currency": "eur"},
        "grants": [{"unit": "credits", "amount": 100}], "active": false});
    let set = shop.app.send(Method::PUT, "/v1/prices/price_pack", Some(&gone)).await;
    assert_eq!(set.status, 200, "{set:?}");
    both(400, "This is no longer on sale").await;
    gone["active"] = true.into();
    shop.app.send(Method::PUT, "/v1/prices/price_pack", Some(&gone)).await;
    let closed = shop.app.keyed("/v1/accounts/alice/close", "close", &json!({"reason": "asked for"})).await;
    assert_eq!(closed.status, 200, "{closed:?}");
    both(403, "Nothing can be bought here at the moment").await;
}

#[tokio::test]
async fn while_stripe_is_slow_a_page_waits_for_it_and_goes_on_by_itself() {
    let (shop, link) = shop_with_link().await;
    let visitor = Visitor::new();
    shop.fault(json!({"api": "down"})).await;
    let waiting = page(visitor.post(url(&link), "").await, 202).await;
    let next = waiting.split("url=").nth(1).expect("a way on").split('"').next().expect("an address");
    let next = format!("{}{next}", shop.app.url);
    page(visitor.get(&next).await, 202).await;
    shop.no_more_faults().await;
    let at_stripe = wait::until("Stripe's page", async || {
        let response = visitor.get(&next).await;
        (response.status().as_u16() == 303).then(|| location(&response))
    })
    .await;
    assert!(at_stripe.starts_with(&shop.stripe.url), "{at_stripe}");
    assert_eq!(shop.at_stripe("checkout.session").await, 1);
}

#[tokio::test]
async fn a_real_browser_buys_by_a_link_and_by_a_form_in_a_shops_page() {
    let (shop, _) = shop_with_link().await;
    let browser = Browser::start().await;
    // Without an address of the shop's own, our pages are led back to.
    let set = shop.app.send(Method::PUT, "/v1/settings/checkout", Some(&json!({}))).await;
    assert_eq!(set.status, 200, "{set:?}");
    let link = made(&shop, "own pages", json!({"locale": "en"})).await;
    browser.go_to(url(&link)).await;
    browser.reads("Continue to payment").await;
    // The style sheet applies, so that the policy names it as it is.
    let width = browser.value("getComputedStyle(document.querySelector('main')).maxWidth").await;
    assert_eq!(width, "448px");
    browser.press("form button").await;
    browser.reads("Payment details").await;
    browser.value("history.back()").await;
    browser.reads("Continue to payment").await;
    browser.press("form button").await;
    browser.reads("Payment details").await;
    for (field, text) in [
        ("email", "a@example.com"),
        ("card", "4242424242424242"),
        ("expiry", "12/34"),
        ("security_code", "123"),
    ] {
        browser.fill_in(field, text).await;
    }
    browser.press("button.wide").await;
    browser.reads("Thank you – paid").await;
    shop.settles_at("alice", (100, 0, 0)).await;
    assert_eq!(shop.at_stripe("checkout.session").await, 1);

    let form = format!("<form action=\"{}\" method=\"post\"><button>Buy</button></form>", url(&link));
    browser.go_to("about:blank").await;
    browser.show(&form).await;
    browser.press("form button").await;
    browser.reads("Payment details").await;
    browser.value("document.querySelector('section a').click()").await;
    browser.reads("Nothing was bought").await;
    assert_eq!(shop.at_stripe("checkout.session").await, 2);
}
