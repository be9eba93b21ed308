//! What tests of the reconciliation share: the command, a busy day, and what the ledger should be after it.

use std::process::Output;

use counterfoil::{
    stripe::signature::{SigningSecret, sign},
    writer::system_clock,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    api_support::Requests,
    support::{process, shop::Shop, simulator::id, wait},
};

impl Shop {
    /// Runs `counterfoil reconcile` for the shop's ledger.
    pub async fn reconcile(&self, arguments: &[&str]) -> Output {
        let all = [&["reconcile", "--ledger", self.app.ledger.slug.as_str()], arguments].concat();
        process::output(self.command_line(&all)).await
    }

    /// The same, which must find nothing that is open.
    pub async fn reconciles(&self, arguments: &[&str]) {
        let output = self.reconcile(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
    }

    /// From now on Stripe's events tell nothing either: they are taken to have been read, however far
    /// its clock goes on.
    pub async fn events_are_forgotten(&self) {
        self.webhooks_are_lost().await;
        let superuser = self.app.database.superuser().await;
        let statement = "UPDATE reconciliation SET events_until = now() + interval '1000 days'";
        superuser.batch_execute(statement).await.expect("a row");
    }

    /// Compares, which must find exactly that.
    pub async fn compares(&self, expected: &[(&str, &str)]) -> Vec<Value> {
        let output = self.reconcile(&[]).await;
        assert_eq!(output.status.success(), expected.is_empty(), "{}", said(&output));
        let open = self.findings("open").await;
        let found: Vec<(&str, &str)> =
            open.iter().map(|(kind, object, _)| (kind.as_str(), object.as_str())).collect();
        assert_eq!(found, expected, "{}", said(&output));
        open.into_iter().map(|(.., finding)| finding).collect()
    }

    /// Has a finding repaired.
    pub async fn repairs(&self, finding: &Value) {
        let (status, repaired) = self.decide(finding, "repair", "it is true").await;
        assert_eq!((status, &repaired["state"]), (200, &json!("repaired")), "{repaired}");
        let (status, again) = self.decide(finding, "repair", "it is true").await;
        assert_eq!((status, &again), (200, &repaired), "the same request again");
    }

    /// Posts an event as Stripe does, about something that Stripe does not have.
    pub async fn is_told(&self, kind: &str, object: Value) {
        let id = format!("evt_forged_{}", object["id"].as_str().expect("an id"));
        let body = json!({"id": id, "object": "event", "type": kind, "livemode": false,
            "created": system_clock().unix_seconds(), "data": {"object": object}})
        .to_string();
        let secret = SigningSecret::parse(&self.app.ledger.webhook_secret).expect("a secret");
        let signature = sign(body.as_bytes(), &secret, system_clock().unix_seconds());
        let url = format!("{}/webhooks/stripe/{}", self.app.url, self.app.ledger.slug);
        let answer = self.app.client.post(url).header("Stripe-Signature", signature).body(body).send().await;
        assert_eq!(answer.expect("an answer").status().as_u16(), 200);
        self.inbox_rests().await;
    }

    /// Has every event of Stripe's arrive after all.
    pub async fn every_webhook_arrives(&self) {
        self.no_more_faults().await;
        for event in self.stripe.objects("event").await {
            self.stripe.control(&format!("events/{}/resend", id(&event)), json!({})).await;
        }
        wait::until("webhooks to arrive", async || {
            let waiting = self.stripe.objects("delivery").await;
            waiting.is_empty().then_some(())
        })
        .await;
        self.inbox_rests().await;
    }

    /// Runs of the reconciliation, newest first.
    pub async fn runs(&self) -> Vec<Value> {
        self.app.get("/v1/reconciliation/runs").await["items"].as_array().expect("runs").clone()
    }

    /// Findings of a state: kind, object, and all of it.
    pub async fn findings(&self, state: &str) -> Vec<(String, String, Value)> {
        let list = self.app.get(&format!("/v1/reconciliation/findings?state={state}&limit=500")).await;
        let text = |finding: &Value, name: &str| finding[name].as_str().expect("a text").to_owned();
        let findings = list["items"].as_array().expect("findings");
        findings
            .iter()
            .map(|finding| (text(finding, "kind"), text(finding, "object"), finding.clone()))
            .collect()
    }

    /// No webhook comes any more.
    pub async fn webhooks_are_lost(&self) {
        self.fault(json!({"webhooks": "drop"})).await;
    }

    /// Something happens to a charge or a payment of which Stripe has it.
    pub async fn disputes(&self, payment: &str, order: Value) -> String {
        id(&self.stripe.control(&format!("charges/{payment}/dispute"), order).await)
    }

    /// Somebody gives money back in Stripe's dashboard; the refund.
    pub async fn gives_back(&self, payment: &str, cents: i64) -> String {
        let form = format!("payment_intent={payment}&amount={cents}");
        id(&self.stripe.post("/v1/refunds", &form).await.ok())
    }

    /// A day on which everything happens that concerns packs, none of which the ledger is told.
    pub async fn has_a_busy_day(&self) {
        self.webhooks_are_lost().await;
        let mut paid = Vec::new();
        for name in BUYERS {
            self.app.account_with(name, 0).await;
            let checkout = self.check_out(name, &format!("the pack of {name}")).await;
            let outcome = if name.starts_with("late") { "unpaid" } else { "paid" };
            let session = self.complete(&checkout, json!({"outcome": outcome})).await;
            paid.push((checkout, session["payment_intent"].as_str().expect("a payment").to_owned()));
        }
        let payment = |name: &str| {
            let index = BUYERS.iter().position(|buyer| *buyer == name).expect("a buyer");
            paid[index].clone()
        };
        for (name, result) in [("late-paid", "succeeded"), ("late-failed", "failed")] {
            self.at_page(&payment(name).0, "async_result", json!({"outcome": result})).await;
        }
        self.gives_back(&payment("refunded").1, 500).await;
        self.gives_back(&payment("in-parts").1, 100).await;
        self.gives_back(&payment("in-parts").1, 150).await;
        let failing = self.gives_back(&payment("refund-fails").1, 500).await;
        self.stripe.control(&format!("refunds/{failing}/fail"), json!({})).await;
        self.disputes(&payment("disputed").1, json!({})).await;
        for (name, outcome) in [("dispute-won", "won"), ("dispute-lost", "lost")] {
            let dispute = self.disputes(&payment(name).1, json!({})).await;
            self.stripe.control(&format!("disputes/{dispute}/close"), json!({"outcome": outcome})).await;
        }
    }

    /// What everybody has after that day: available, disputed, debt.
    pub async fn is_as_after_a_busy_day(&self) {
        for (name, expected) in BUYERS.iter().zip(AFTERWARDS) {
            assert_eq!(self.balance(name).await, expected, "{name}");
        }
    }

    /// Has the work of the reconciliation taken over at once, if whoever had it is gone.
    pub async fn leases_run_out(&self) {
        let superuser = self.app.database.superuser().await;
        let statement = "UPDATE reconciliation SET leased_until = now();
            UPDATE stripe_inbox SET claimed_until = now() WHERE claimed_until IS NOT NULL";
        superuser.batch_execute(statement).await.expect("tables of ours");
    }

    /// Decides of a finding.
    pub async fn decide(&self, finding: &Value, what: &str, reason: &str) -> (u16, Value) {
        let id = finding["finding_id"].as_str().expect("an id");
        let path = format!("/v1/reconciliation/findings/{id}/{what}");
        let decided = self.app.send(Method::POST, &path, Some(&json!({"reason": reason}))).await;
        (decided.status, decided.json())
    }
}

const BUYERS: [&str; 10] = [
    "paid",
    "late-paid",
    "late-failed",
    "refunded",
    "in-parts",
    "refund-fails",
    "disputed",
    "dispute-won",
    "dispute-lost",
    "another",
];

const AFTERWARDS: [(i64, i64, i64); 10] = [
    (100, 0, 0),
    (100, 0, 0),
    (0, 0, 0),
    (0, 0, 0),
    (50, 0, 0),
    (100, 0, 0),
    (0, 100, 0),
    (100, 0, 0),
    (0, 0, 0),
    (100, 0, 0),
];

/// What a command has said.
pub fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
