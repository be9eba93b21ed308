//! What the tests of the HTTP interface share: accounts with credits, and answers looked at from outside.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::{Method, Response, header::HeaderMap};
use serde_json::{Value, json};

use crate::support::app::TestApp;

/// An answer, taken in whole.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body as it came.
    pub text: String,
}

impl Answer {
    /// Takes an answer in.
    pub async fn of(response: Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, text: response.text().await.expect("a body") }
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    /// What the answer to a write is about: its body, without the position that it must have beside that.
    #[track_caller]
    pub fn written(&self) -> Value {
        let mut body = self.json();
        let position = body.as_object_mut().and_then(|body| body.remove("position"));
        assert!(position.is_some_and(|position| position.is_i64()), "{self:?}");
        body
    }

    /// The text of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }

    /// The position in the token that reads wait by; none if nothing was written.
    #[track_caller]
    pub fn written_up_to(&self) -> Option<i64> {
        let token = URL_SAFE_NO_PAD.decode(self.header("X-Position-Token")?).expect("base64");
        let (_, position) = token.split_last_chunk().expect("an incarnation and a position");
        Some(i64::from_be_bytes(*position))
    }

    /// The error's code, after a look at the shape that every error has.
    #[track_caller]
    pub fn code(&self) -> String {
        let body = self.json();
        let names =
            |value: &Value| value.as_object().map(|object| object.keys().cloned().collect::<Vec<_>>());
        assert_eq!(names(&body), Some(vec!["request_id".to_owned(), "error".to_owned()]), "{body}");
        let error = ["code", "message", "detail"].map(str::to_owned).to_vec();
        assert_eq!(names(&body["error"]), Some(error), "{body}");
        assert_eq!(body["request_id"].as_str(), self.header("X-Request-Id"), "{body}");
        body["error"]["code"].as_str().expect("a code").to_owned()
    }

    /// The field that the error names.
    #[track_caller]
    pub fn field(&self) -> String {
        self.json()["error"]["detail"]["field"].as_str().unwrap_or_default().to_owned()
    }
}

/// Requests, told as briefly as a table asks for.
pub trait Requests {
    /// Sends a request without an idempotency key.
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer;
    /// Posts with an idempotency key.
    async fn keyed(&self, path: &str, key: &str, body: &Value) -> Answer;
    /// Opens an account and grants it credits.
    async fn account_with(&self, account: &str, credits: i64);
}

impl Requests for TestApp {
    async fn send(&self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let request = self.request(method, path);
        let request = match body {
            Some(body) => request.json(body),
            None => request,
        };
        Answer::of(request.send().await.expect("an answer")).await
    }

    async fn keyed(&self, path: &str, key: &str, body: &Value) -> Answer {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        Answer::of(request.send().await.expect("an answer")).await
    }

    async fn account_with(&self, account: &str, credits: i64) {
        let opened = self.send(Method::POST, "/v1/accounts", Some(&json!({"account_id": account}))).await;
        assert_eq!(opened.status, 201, "{opened:?}");
        if credits > 0 {
            let body = json!({"unit": "credits", "amount": credits, "reason": "to begin with"});
            let path = format!("/v1/accounts/{account}/grants");
            let granted = self.keyed(&path, &format!("grant for {account}"), &body).await;
            assert_eq!(granted.status, 201, "{granted:?}");
        }
    }
}
