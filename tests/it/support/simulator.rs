//! The simulated Stripe in a process of its own, and a receiver for its webhooks.
//!
//! Every answer is held against Stripe's specification, if that is on this machine.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
};

use poem::{Body, EndpointExt as _, Server, handler, http::HeaderMap, listener::TcpAcceptor, web::Data};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::{
    process::{self, Process},
    stripe_spec, wait,
};

/// The key that the simulator takes.
pub const API_KEY: &str = "sk_test_simulator";

/// What signs webhooks to a [`Receiver`].
pub const WEBHOOK_SECRET: &str = "whsec_simulator";

/// A running simulator.
pub struct TestSimulator {
    pub process: Process,
    /// `http://127.0.0.1:<port>`.
    pub url: String,
    pub client: Client,
    arguments: Vec<String>,
}

/// An answer: status, headers, JSON.
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// A header's value, empty if it is not there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The code of the error.
    pub fn code(&self) -> &str {
        self.body["error"]["code"].as_str().unwrap_or_default()
    }

    /// The body of a success.
    #[track_caller]
    pub fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body
    }
}

impl TestSimulator {
    /// Starts one that keeps nothing and sends nothing.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that sends its webhooks to a receiver.
    pub async fn start_for(receiver: &Receiver) -> Self {
        let arguments = ["--webhook-url", &receiver.url, "--webhook-secret", WEBHOOK_SECRET];
        Self::start_with(&arguments).await
    }

    /// Starts one with further arguments.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (process, url) = launch(&arguments).await;
        Self { process, url, client: Client::new(), arguments }
    }

    /// Kills it and starts it anew, at another port, with the same arguments.
    pub async fn restart(&mut self) {
        self.process.kill();
        (self.process, self.url) = launch(&self.arguments).await;
    }

    /// `GET /v1/…`.
    pub async fn get(&self, path: &str) -> Answer {
        let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(API_KEY);
        answer("GET", path, request.send().await.expect("an answer")).await
    }

    /// `POST /v1/…` with a form, such as `amount=5&metadata[a]=b`.
    pub async fn post(&self, path: &str, form: &str) -> Answer {
        self.send(Method::POST, path, form, &[]).await
    }

    /// `POST /v1/…` with an idempotency key.
    pub async fn post_with_key(&self, path: &str, key: &str, form: &str) -> Answer {
        self.send(Method::POST, path, form, &[("Idempotency-Key", key)]).await
    }

    /// Any request.
    pub async fn send(&self, method: Method, path: &str, form: &str, headers: &[(&str, &str)]) -> Answer {
        let response = self.try_send(method.clone(), path, form, headers).await.expect("an answer");
        answer(method.as_str(), path, response).await
    }

    /// Any request, which may get no answer.
    pub async fn try_send(
        &self,
        method: Method,
        path: &str,
        form: &str,
        headers: &[(&str, &str)],
    ) -> reqwest::Result<Response> {
        let mut request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(API_KEY);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let form = form.to_owned();
        request.header("Content-Type", "application/x-www-form-urlencoded").body(form).send().await
    }

    /// `POST /_control/…` with JSON, which must succeed.
    pub async fn control(&self, path: &str, order: Value) -> Value {
        let answer = self.try_control(Method::POST, path, order).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Any request to the control API.
    pub async fn try_control(&self, method: Method, path: &str, order: Value) -> Answer {
        let request = self.client.request(method, format!("{}/_control/{path}", self.url)).json(&order);
        let response = request.send().await.expect("an answer");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Answer { status, headers, body: response.json().await.expect("JSON") }
    }

    /// All objects of a kind that the simulator has.
    pub async fn objects(&self, kind: &str) -> Vec<Value> {
        let answer = self.try_control(Method::GET, &format!("state?kinds={kind}"), json!({})).await;
        answer.body["objects"][kind].as_array().cloned().expect("objects of a kind")
    }

    /// A price of so much, with a product.
    pub async fn price(&self, form: &str) -> String {
        let form = format!("currency=eur&product_data[name]=Credits&{form}");
        id(&self.post("/v1/prices", &form).await.ok())
    }

    /// An open session for one of a price, with a customer.
    pub async fn session(&self, price: &str, more: &str) -> Value {
        let form = format!(
            "mode=payment&success_url=https://shop.example/thanks?s={{CHECKOUT_SESSION_ID}}\
             &line_items[0][price]={price}&line_items[0][quantity]=1&{more}"
        );
        self.post("/v1/checkout/sessions", &form).await.ok()
    }

    /// A session that was paid with a card.
    pub async fn paid_session(&self, unit_amount: u32) -> Value {
        let price = self.price(&format!("unit_amount={unit_amount}")).await;
        let session = self.session(&price, "customer_email=alice@example.com").await;
        self.control(&format!("checkout_sessions/{}/complete", id(&session)), json!({ "outcome": "paid" }))
            .await
    }
}

/// The id of an object.
pub fn id(object: &Value) -> String {
    object["id"].as_str().expect("an id").to_owned()
}

async fn launch(arguments: &[String]) -> (Process, String) {
    let mut all: Vec<String> =
        ["stripe", "simulate", "--port", "0", "--api-key", API_KEY].map(str::to_owned).into();
    all.extend(arguments.iter().cloned());
    let process = Process::start(process::command(&all));
    let url = wait::until("the simulator to listen", async || {
        process.standard_output().lines().find(|line| line.starts_with("http://")).map(str::to_owned)
    })
    .await;
    (process, url)
}

async fn answer(method: &str, path: &str, response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let is_newest = headers.get("stripe-version").is_none_or(|version| version == "2026-09-30.endive");
    let body: Value = response.json().await.expect("JSON");
    if is_newest {
        stripe_spec::check_answer(method, path, status == 200, &body);
    }
    Answer { status, headers, body }
}

/// A webhook as it arrived.
#[derive(Clone, Debug)]
pub struct Received {
    pub body: Vec<u8>,
    pub signature: String,
    pub event: Value,
}

impl Received {
    /// The event's type.
    pub fn event_type(&self) -> &str {
        self.event["type"].as_str().expect("a type")
    }
}

/// Something that takes webhooks.
pub struct Receiver {
    pub url: String,
    inbox: Inbox,
    server: JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Inbox {
    received: Arc<Mutex<Vec<Received>>>,
    /// How the next ones are answered instead of 200.
    answers: Arc<Mutex<VecDeque<u16>>>,
}

impl Receiver {
    /// Starts to listen at a free port.
    pub async fn start() -> Self {
        let inbox = Inbox::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/hooks", listener.local_addr().expect("an address"));
        let acceptor = TcpAcceptor::from_tokio(listener).expect("an acceptor");
        let endpoint = receive.data(inbox.clone());
        let server = tokio::spawn(async move {
            // It ends with the test.
            let _ = Server::new_with_acceptor(acceptor).run(endpoint).await;
        });
        Self { url, inbox, server }
    }

    /// Answers the next webhooks with these statuses instead of 200.
    pub fn answer_next(&self, statuses: &[u16]) {
        self.inbox.answers.lock().expect("answers").extend(statuses);
    }

    /// All that has arrived.
    pub fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().expect("webhooks").clone()
    }

    /// Waits for a webhook of a type and returns the first.
    pub async fn wait_for(&self, event_type: &str) -> Received {
        wait::until(event_type, async || {
            self.received().into_iter().find(|received| received.event_type() == event_type)
        })
        .await
    }

    /// Waits until so many have arrived.
    pub async fn wait_for_count(&self, count: usize) -> Vec<Received> {
        wait::until("enough webhooks", async || Some(self.received()).filter(|all| all.len() >= count)).await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

#[handler]
async fn receive(inbox: Data<&Inbox>, headers: &HeaderMap, body: Body) -> poem::Response {
    let body = body.into_vec().await.expect("a body");
    let event: Value = serde_json::from_slice(&body).expect("JSON");
    let signature = headers.get("stripe-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let received = Received { body, signature: signature.to_owned(), event };
    inbox.received.lock().expect("webhooks").push(received);
    let status = inbox.answers.lock().expect("answers").pop_front().unwrap_or(200);
    poem::Response::builder().status(status.try_into().expect("a status")).finish()
}
