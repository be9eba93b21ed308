//! A service that does not say everything, or says it otherwise than its events: whatever it is, the auditor is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use counterfoil::domain::day::Day;
use poem::{Body, Request, Response, Server, endpoint::make, http::StatusCode, listener::TcpAcceptor};
use reqwest::{Client, Method, Url};
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::{api_support::Requests, proof_support::Sealed};

/// What is made of an answer to a request for a path: another text, or another status.
type Lie = dyn Fn(&Url, String) -> Result<String, u16> + Send + Sync;

/// Stands before a service and changes what it says.
struct Liar {
    url: String,
    task: JoinHandle<()>,
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Liar {
    async fn start(sealed: &Sealed, lie: Arc<Lie>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let service = sealed.app.url.clone();
        let endpoint = make(move |request: Request| {
            let (service, lie) = (service.clone(), Arc::clone(&lie));
            async move {
                let asked = Url::parse(&format!("{service}{}", request.original_uri())).expect("an address");
                let mut forwarded = Client::new().get(asked.clone());
                for name in ["authorization", "accept"] {
                    if let Some(value) = request.headers().get(name) {
                        forwarded = forwarded.header(name, value.clone());
                    }
                }
                let answer = forwarded.send().await.expect("an answer");
                let status = answer.status();
                let body = answer.bytes().await.expect("a body");
                let told = match String::from_utf8(body.to_vec()) {
                    Ok(text) if status.is_success() => lie(&asked, text).map(Body::from),
                    _ => Ok(Body::from_bytes(body)),
                };
                let (status, body) = match told {
                    Ok(body) => (status.as_u16(), body),
                    Err(status) => (status, Body::empty()),
                };
                let status = StatusCode::from_u16(status).expect("a status");
                Ok::<_, poem::Error>(Response::builder().status(status).body(body))
            }
        });
        let acceptor = TcpAcceptor::from_tokio(listener).expect("a listener");
        let served = Server::new_with_acceptor(acceptor).run(endpoint);
        let task = tokio::spawn(async move { served.await.expect("a server") });
        Self { url, task }
    }
}

impl Sealed {
    /// The verdict on a service that lies.
    async fn audit_liar(
        &self,
        lie: impl Fn(&Url, String) -> Result<String, u16> + Send + Sync + 'static,
    ) -> (bool, String) {
        let liar = Liar::start(self, Arc::new(lie)).await;
        self.audit(&["--url", &liar.url]).await
    }
}

/// Changes the JSON of the answers to a path.
fn of(
    path: &'static str,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> impl Fn(&Url, String) -> Result<String, u16> + Send + Sync + 'static {
    move |url, text| {
        if url.path() != path {
            return Ok(text);
        }
        let lines = text.lines().map(|line| {
            let mut value = serde_json::from_str(line).expect("JSON");
            change(&mut value);
            format!("{value}\n")
        });
        Ok(lines.collect())
    }
}

fn boxed(lie: impl Fn(&Url, String) -> Result<String, u16> + Send + Sync + 'static) -> Box<Lie> {
    Box::new(lie)
}

fn add(value: &mut Value, number: i64) {
    *value = json!(value.as_i64().expect("a number") + number);
}

const REVENUE: &str = "/v1/reports/revenue";

#[tokio::test]
async fn whoever_leaves_out_or_changes_what_follows_from_the_events_is_found() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 2).await;
    sealed.trade("bob", 1).await;
    sealed.sell("ada").await;
    let size = sealed.everything_sealed().await.size;
    let without_names = |value: &mut Value| {
        value.as_object_mut().expect("an event").remove("account_id");
    };
    let one_name = |value: &mut Value| {
        if value["account_id"] == "bob" {
            value["account_id"] = json!("ada");
        }
    };
    let without_bob =
        |url: &Url, text: String| if url.path().contains("/bob/") { Err(404) } else { Ok(text) };
    let more = |position: i64| {
        move |report: &mut Value| {
            add(&mut report["position"], position);
            let last = report["items"].as_array_mut().expect("items").last_mut().expect("a day");
            add(&mut last["recognised"], 100);
        }
    };
    let twice = |report: &mut Value| {
        let items = report["items"].as_array_mut().expect("items");
        items.insert(0, items[0].clone());
    };
    let unasked = |report: &mut Value| {
        let items = report["items"].as_array_mut().expect("items");
        let mut line = items[0].clone();
        line["period"] = json!("2000-01-01");
        items.push(line);
    };
    let words: Vec<(Box<Lie>, String)> = vec![
        (
            boxed(of("/v1/accounts/ada/balance", |value| value["balances"] = json!([]))),
            "the service does not say what ada has of credits".into(),
        ),
        (
            boxed(of("/v1/accounts/ada/balance", |value| add(&mut value["balances"][0]["available"], 1))),
            "the service says that ada has".into(),
        ),
        (
            boxed(of("/v1/accounts/ada/balance", |value| add(&mut value["balances"][0]["held"], 1))),
            "the service says that ada has".into(),
        ),
        (
            boxed(of("/v1/accounts/ada/balance", |value| add(&mut value["balances"][0]["disputed"], 1))),
            "the service says that ada has".into(),
        ),
        (
            boxed(of("/v1/accounts/ada/balance", |value| add(&mut value["position"], -1))),
            format!("the service says what ada had at position {}", size - 1),
        ),
        (
            boxed(of("/v1/accounts/ada/balance", |value| add(&mut value["position"], 1))),
            format!("position {}: the service told of events up to {0}", size + 1),
        ),
        (boxed(without_bob), "the service says nothing of account".into()),
        (boxed(of("/v1/events", without_names)), "the service says nothing of account".into()),
        (boxed(of("/v1/events", one_name)), "the service says nothing of account".into()),
        (boxed(of(REVENUE, more(1))), format!("position {}: the service told of events up to {0}", size + 1)),
        (boxed(of(REVENUE, more(-1))), "the service reports for".into()),
        (boxed(of(REVENUE, more(0))), "the service reports for".into()),
        (
            boxed(of(REVENUE, |report| add(&mut report["items"][1]["deferred_at_open"], 1))),
            "the service reports for".into(),
        ),
        (boxed(of(REVENUE, |report| report["items"] = json!([]))), "the service reports nothing for".into()),
        (boxed(of(REVENUE, twice)), "the service reports a line twice".into()),
        (boxed(of(REVENUE, unasked)), "the service reports a line twice or unasked: 2000-01-01".into()),
    ];
    let mut missed = Vec::new();
    for (number, (lie, words)) in words.into_iter().enumerate() {
        let (is_good, said) = sealed.audit_liar(lie).await;
        if is_good || said.contains("verified") || !said.contains(&format!("WRONG {words}")) {
            missed.push(format!("lie {number}, {words}: {said}"));
        }
    }
    assert_eq!(missed, [] as [String; 0]);
    let (is_good, said) = sealed.audit_liar(|_, text| Ok(text)).await;
    let verdict =
        "follows from those before it; the service's balances and revenue are what the events lead to\n";
    assert!(is_good && said.contains(verdict), "{said}");
    // A key that may not read them is no lie, but nothing is claimed.
    let (is_good, said) = sealed
        .audit_liar(|url, text| match url.path() {
            REVENUE | "/v1/accounts/bob/balance" => Err(403),
            _ => Ok(text),
        })
        .await;
    let verdict = "follows from those before it; balances and revenue were not compared\n";
    assert!(is_good && said.contains(verdict), "{said}");
}

#[tokio::test]
async fn whoever_proves_another_event_or_nothing_is_found() {
    const PROOF: &str = "/v1/audit/proof/";
    let sealed = Sealed::start().await;
    sealed.trade("ada", 2).await;
    sealed.everything_sealed().await;
    let of_proofs = |change: fn(&str) -> String| {
        move |url: &Url, text: String| Ok(if url.path().starts_with(PROOF) { change(&text) } else { text })
    };
    let nothing = of_proofs(|_| "yes\n".to_owned());
    let of_another = of_proofs(|text| {
        let line = text.lines().find(|line| line.starts_with("index ")).expect("an index");
        text.replacen(line, "index 999", 1)
    });
    let unsigned = of_proofs(|text| {
        let line = text.lines().rfind(|line| line.starts_with("\u{2014} ")).expect("a signature");
        text.replacen(line, "\u{2014} nobody AAAAAAAA", 1)
    });
    let another_hash = of_proofs(|text| {
        let index = text.lines().position(|line| line.starts_with("index ")).expect("an index");
        let lines = text.lines().enumerate().map(|(number, line)| {
            if number == index + 1 { format!("{}=\n", "A".repeat(43)) } else { format!("{line}\n") }
        });
        lines.collect()
    });
    for (lie, words) in [
        (boxed(nothing), "it is none"),
        (boxed(of_another), "it is about position 1000"),
        (boxed(unsigned), ""),
        (boxed(another_hash), ""),
    ] {
        let (is_good, said) = sealed.audit_liar(lie).await;
        let words = format!(": its proof is not accepted: {words}");
        assert!(!is_good && said.contains("WRONG position ") && said.contains(&words), "{words}: {said}");
        assert!(!said.contains("verified"), "{said}");
    }
}

#[tokio::test]
async fn what_happens_while_an_audit_is_under_way_is_no_lie_and_hides_none() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 2).await;
    sealed.sell("ada").await;
    sealed.everything_sealed().await;
    let head = sealed.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
    // As if all of this came after the head was asked for, and the events that it covers.
    sealed.trade("bob", 1).await;
    let spend = json!({"unit": "credits", "amount": 5});
    assert_eq!(sealed.app.keyed("/v1/accounts/ada/spends", "meanwhile", &spend).await.status, 201);
    let erase =
        sealed.app.request(Method::DELETE, "/v1/accounts/ada/profile").header("Idempotency-Key", "erase");
    assert!(erase.send().await.expect("an answer").status().is_success());
    sealed.everything_sealed().await;
    let old_names = Arc::new(of("/v1/events", |event| {
        if event["account_id"].as_str().is_some_and(|name| name.starts_with("erased:")) {
            event["account_id"] = json!("ada");
        }
    }));
    let before = move |url: &Url, text: String| match url.path() {
        "/v1/audit/checkpoint" => Ok(head.clone()),
        _ => old_names(url, text),
    };
    let (is_good, said) = sealed.audit_liar(before.clone()).await;
    assert!(is_good, "{said}");
    for words in ["2 balances of 1 accounts compared", "2 days of revenue from"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    let more = of(REVENUE, |report| {
        let items = report["items"].as_array_mut().expect("items");
        add(&mut items.last_mut().expect("a day")["recognised"], 100);
    });
    let (is_good, said) = sealed.audit_liar(move |url, text| more(url, before(url, text)?)).await;
    assert!(!is_good && said.contains("WRONG the service reports for"), "{said}");
}

#[tokio::test]
async fn a_report_of_more_days_than_one_answer_may_have_is_asked_for_in_parts() {
    let sealed = Sealed::start().await;
    sealed.trade("ada", 1).await;
    sealed.sell("ada").await;
    let days = 12_000_i64;
    let later = json!({ "seconds": 86_400 * days });
    assert_eq!(sealed.app.keyed("/v1/test/clock/advance", "years", &later).await.status, 201);
    let money = json!({"amount": 500, "tax": 0, "currency": "usd"});
    let purchase = json!({"unit": "credits", "amount": 5, "money": money, "reference": "invoice 8"});
    assert_eq!(sealed.app.keyed("/v1/accounts/ada/purchases", "late", &purchase).await.status, 201);
    sealed.everything_sealed().await;

    let asked: Arc<Mutex<Vec<(Day, Day)>>> = Arc::default();
    let log = Arc::clone(&asked);
    let refuse_long = move |url: &Url, text: String| -> Result<String, u16> {
        if url.path() == REVENUE {
            let query: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
            let day = |name: &str| query.get(name).and_then(|text| Day::parse(text));
            let (from, to) = day("from").zip(day("to")).ok_or(400_u16)?;
            // A line of both currencies for every day.
            if (to.to_date() - from.to_date()).whole_days() >= 5_000 {
                return Err(400);
            }
            log.lock().expect("no panic").push((from, to));
        }
        Ok(text)
    };
    let refused = refuse_long.clone();
    let (is_good, said) = sealed.audit_liar(refused).await;
    assert!(is_good && said.contains(" days of revenue from "), "{said}");
    let asked = std::mem::take(&mut *asked.lock().expect("no panic"));
    assert!(asked.len() > 2, "{asked:?}");
    assert!(asked.windows(2).all(|pair| pair[0].1.plus_days(1) == pair[1].0), "{asked:?}");
    let all = asked.last().expect("a part").1.to_date() - asked[0].0.to_date();
    assert!(all.whole_days() > days, "{asked:?}");

    for place in [asked[0].0, asked[asked.len() - 1].0] {
        let lie = of(REVENUE, |report| {
            if let Some(day) = report["items"].as_array_mut().and_then(|items| items.last_mut()) {
                add(&mut day["refunded"], 1);
            }
        });
        let refuse_long = refuse_long.clone();
        let (is_good, said) = sealed
            .audit_liar(move |url, text| {
                let text = refuse_long(url, text)?;
                let is_meant = url.query().is_some_and(|query| query.contains(&format!("from={place}")));
                if is_meant { lie(url, text) } else { Ok(text) }
            })
            .await;
        assert!(!is_good && said.contains("WRONG the service reports for"), "{place}: {said}");
    }
}
