//! Credit notes at the simulated Stripe: on paid invoices and on open ones.

use serde_json::{Value, json};

use crate::{
    simulator_subscriptions::{advance, invoices, subscribe},
    support::simulator::{Receiver, TestSimulator, id},
};

const CARD: &str = "4242424242424242";
const DECLINED_LATER: &str = "4000000000000341";

/// A customer who has paid an invoice of EUR 20.00; its id.
async fn paid(stripe: &TestSimulator) -> (String, String) {
    let (customer, session) = subscribe(stripe, CARD, "").await;
    (customer, session["invoice"].as_str().expect("an invoice").to_owned())
}

/// A customer with an invoice of EUR 20.00 that is open.
async fn unpaid(stripe: &TestSimulator) -> (String, String) {
    let (customer, _) = subscribe(stripe, CARD, "").await;
    stripe.control(&format!("customers/{customer}/card"), json!({"card": DECLINED_LATER})).await;
    advance(stripe, 32).await;
    let invoice = invoices(stripe, &customer).await.pop().expect("an invoice");
    assert_eq!(invoice["status"], "open");
    (customer, id(&invoice))
}

async fn balance(stripe: &TestSimulator, customer: &str) -> Value {
    stripe.get(&format!("/v1/customers/{customer}")).await.ok()["balance"].clone()
}

/// What was credited of an invoice before payment and after it, and what is due.
async fn credited(stripe: &TestSimulator, invoice: &str) -> [Value; 3] {
    let invoice = stripe.get(&format!("/v1/invoices/{invoice}")).await.ok();
    ["pre_payment_credit_notes_amount", "post_payment_credit_notes_amount", "amount_due"]
        .map(|name| invoice[name].clone())
}

#[tokio::test]
async fn a_note_on_a_paid_invoice_goes_to_the_balance_to_a_refund_and_elsewhere() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let (customer, invoice) = paid(&stripe).await;
    let form = format!(
        "invoice={invoice}&amount=1000&credit_amount=500&refund_amount=300&out_of_band_amount=200\
         &reason=order_change&memo=Sorry&metadata[a]=b&expand[]=customer_balance_transaction&expand[]=refunds.refund"
    );
    let note = stripe.post("/v1/credit_notes", &form).await.ok();
    assert_eq!((&note["status"], &note["type"]), (&json!("issued"), &json!("post_payment")));
    assert_eq!((&note["post_payment_amount"], &note["pre_payment_amount"]), (&json!(1_000), &json!(0)));
    assert_eq!((&note["out_of_band_amount"], &note["metadata"]), (&json!(200), &json!({"a": "b"})));
    assert_eq!(note["customer_balance_transaction"]["amount"], -500);
    assert_eq!(note["refunds"][0]["amount_refunded"], 300);
    assert_eq!(note["refunds"][0]["refund"]["status"], "succeeded");
    assert_eq!(balance(&stripe, &customer).await, -500);
    assert_eq!(credited(&stripe, &invoice).await, [0, 1_000, 2_000]);
    let told = receiver.wait_for("credit_note.created").await;
    assert_eq!(told.event["data"]["object"]["invoice"], invoice.as_str());
    let listed =
        stripe.get(&format!("/v1/credit_notes?invoice={invoice}&expand[]=data.invoice.payments")).await.ok();
    assert_eq!(listed["data"][0]["invoice"]["payments"]["data"][0]["status"], "paid");
    assert_eq!(stripe.get("/v1/credit_notes?invoice=in_other").await.ok()["data"], json!([]));
    let lines = stripe.get(&format!("/v1/credit_notes/{}/lines", id(&note))).await.ok();
    assert_eq!(lines["data"][0]["amount"], 1_000);
    let changed = stripe.post(&format!("/v1/credit_notes/{}", id(&note)), "memo=Very+sorry").await.ok();
    assert_eq!(changed["memo"], "Very sorry");
    receiver.wait_for("credit_note.updated").await;
}

#[tokio::test]
async fn what_a_note_gives_back_has_to_add_up_to_what_was_paid() {
    let stripe = TestSimulator::start().await;
    let (_, invoice) = paid(&stripe).await;
    for (form, param, code) in [
        ("amount=500", "", ""),
        ("amount=500&credit_amount=400", "", ""),
        ("amount=500&credit_amount=-1", "credit_amount", "parameter_invalid_integer"),
        ("amount=2001&credit_amount=2001", "amount", ""),
        ("amount=0&credit_amount=0", "amount", "parameter_invalid_integer"),
        ("credit_amount=500", "", ""),
        ("amount=500&credit_amount=500&surprise=1", "surprise", "parameter_unknown"),
        ("amount=500&credit_amount=500&reason=whim", "reason", ""),
        ("amount=500&refunds[0][refund]=re_none", "refunds[0][refund]", "resource_missing"),
    ] {
        let answer = stripe.post("/v1/credit_notes", &format!("invoice={invoice}&{form}")).await;
        assert_eq!(answer.status, 400, "{form}: {}", answer.body);
        assert_eq!(answer.body["error"]["type"], "invalid_request_error", "{form}");
        assert_eq!(answer.code(), code, "{form}: {}", answer.body);
        if !param.is_empty() {
            assert_eq!(answer.body["error"]["param"], param, "{form}");
        }
    }
    assert_eq!(stripe.post("/v1/credit_notes", "invoice=in_none&amount=1").await.code(), "resource_missing");
    assert_eq!(stripe.post("/v1/credit_notes", "amount=1").await.code(), "parameter_missing");
    assert_eq!(stripe.objects("credit_note").await, [] as [Value; 0]);
    assert_eq!(stripe.objects("refund").await, [] as [Value; 0]);
}

#[tokio::test]
async fn a_note_names_refunds_of_its_invoice_that_were_made_before() {
    let stripe = TestSimulator::start().await;
    let (_, invoice) = paid(&stripe).await;
    let payment = stripe.objects("invoice_payment").await.pop().expect("a payment");
    let intent = payment["payment"]["payment_intent"].as_str().expect("an intent");
    let refund = id(&stripe.post("/v1/refunds", &format!("payment_intent={intent}&amount=700")).await.ok());
    let form = format!(
        "invoice={invoice}&refunds[0][refund]={refund}&refunds[0][amount_refunded]=600&credit_amount=400\
         &lines[0][type]=custom_line_item&lines[0][quantity]=2&lines[0][unit_amount]=500"
    );
    let note = stripe.post("/v1/credit_notes", &form).await.ok();
    assert_eq!((&note["amount"], &note["refunds"][0]["refund"]), (&json!(1_000), &json!(refund)));
    assert_eq!(note["refunds"][0]["amount_refunded"], 600);
    assert_eq!(stripe.objects("refund").await.len(), 1);
}

#[tokio::test]
async fn a_note_on_an_open_invoice_lowers_what_is_due_until_it_is_void() {
    let receiver = Receiver::start().await;
    let stripe = TestSimulator::start_for(&receiver).await;
    let (customer, invoice) = unpaid(&stripe).await;
    let note = stripe.post("/v1/credit_notes", &format!("invoice={invoice}&amount=500")).await.ok();
    assert_eq!((&note["type"], &note["pre_payment_amount"]), (&json!("pre_payment"), &json!(500)));
    assert_eq!(credited(&stripe, &invoice).await, [500, 0, 1_500]);
    let void = format!("/v1/credit_notes/{}/void", id(&note));
    assert_eq!(stripe.post(&void, "").await.ok()["status"], "void");
    receiver.wait_for("credit_note.voided").await;
    assert_eq!(credited(&stripe, &invoice).await, [0, 0, 2_000]);
    assert_eq!(stripe.post(&void, "").await.status, 400);
    stripe.post("/v1/credit_notes", &format!("invoice={invoice}&amount=500")).await.ok();
    stripe.control(&format!("invoices/{invoice}/pay"), json!({})).await;
    let paid = stripe.get(&format!("/v1/invoices/{invoice}")).await.ok();
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(1_500)));
    let charged = stripe.objects("charge").await.pop().expect("a charge");
    assert_eq!((&charged["amount"], &charged["status"]), (&json!(1_500), &json!("succeeded")));
    assert_eq!(balance(&stripe, &customer).await, 0);
}

#[tokio::test]
async fn a_note_of_all_that_is_due_pays_the_invoice() {
    let stripe = TestSimulator::start().await;
    let (_, invoice) = unpaid(&stripe).await;
    stripe.post("/v1/credit_notes", &format!("invoice={invoice}&amount=2000")).await.ok();
    let paid = stripe.get(&format!("/v1/invoices/{invoice}")).await.ok();
    assert_eq!((&paid["status"], &paid["amount_paid"]), (&json!("paid"), &json!(0)));
}

#[tokio::test]
async fn a_note_on_a_paid_invoice_is_voided_by_nobody_but_the_control_api() {
    let stripe = TestSimulator::start().await;
    let (customer, invoice) = paid(&stripe).await;
    let form = format!("invoice={invoice}&amount=500&credit_amount=400&out_of_band_amount=100");
    let note = id(&stripe.post("/v1/credit_notes", &form).await.ok());
    assert_eq!(balance(&stripe, &customer).await, -400);
    let refused = stripe.post(&format!("/v1/credit_notes/{note}/void"), "").await;
    assert_eq!(refused.status, 400, "{}", refused.body);
    let void = stripe.control(&format!("credit_notes/{note}/void"), json!({})).await;
    assert_eq!(void["status"], "void");
    assert_eq!(balance(&stripe, &customer).await, 0);
    assert_eq!(credited(&stripe, &invoice).await, [0, 0, 2_000]);
    let form = format!("invoice={invoice}&amount=500&refund_amount=500");
    let refunded = id(&stripe.post("/v1/credit_notes", &form).await.ok());
    let refused =
        stripe.try_control(reqwest::Method::POST, &format!("credit_notes/{refunded}/void"), json!({})).await;
    assert_eq!(refused.status, 400);
}
