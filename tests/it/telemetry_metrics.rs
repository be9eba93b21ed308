//! `/metrics` of the running service, judged by Prometheus' own programs.

use std::{
    collections::BTreeSet,
    fs,
    net::TcpListener,
    path::Path,
    process::{Child, Command, Stdio},
};

use counterfoil::{
    store::projections::definition::compiled_in,
    stripe::signature::{SigningSecret, sign},
    telemetry::metrics::{Kind, SERIES},
    writer::system_clock,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    support::{app::TestApp, wait},
    telemetry_dashboards::{accepts, promtool},
};

async fn scrape(app: &TestApp) -> String {
    let answer = app.client.get(format!("{}/metrics", app.url)).send().await.expect("an answer");
    assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    answer.text().await.expect("text")
}

/// The value of the sample that begins like this, labels included.
fn sample(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn post(app: &TestApp, path: &str, key: &str, body: Value) -> u16 {
    app.post(path, key, &body).await.0
}

async fn trade(app: &TestApp) {
    assert_eq!(post(app, "/v1/accounts", "open", json!({ "account_id": "alice" })).await, 201);
    let grant = json!({ "unit": "credits", "amount": 100, "reason": "welcome" });
    assert_eq!(post(app, "/v1/accounts/alice/grants", "grant", grant).await, 201);
    for number in 0..3 {
        let spend = json!({ "unit": "credits", "amount": 30 });
        assert_eq!(post(app, "/v1/accounts/alice/spends", &format!("spend-{number}"), spend).await, 201);
    }
    let spend = json!({ "unit": "credits", "amount": 30 });
    assert_eq!(post(app, "/v1/accounts/alice/spends", "too-much", spend).await, 402);
}

#[tokio::test]
async fn requests_events_and_projections_are_counted() {
    let app = TestApp::start().await;
    trade(&app).await;
    let spends = "method=\"POST\",route=\"/v1/accounts/{account}/spends\"";
    let text = scrape(&app).await;
    for (name, expected) in [
        (format!("counterfoil_http_requests_total{{{spends},status=\"201\"}}"), 3.0),
        (format!("counterfoil_http_requests_total{{{spends},status=\"402\"}}"), 1.0),
        (format!("counterfoil_http_request_duration_seconds_count{{{spends},status=\"201\"}}"), 3.0),
        ("counterfoil_events_total{type=\"credits.spent\"}".to_owned(), 3.0),
        ("counterfoil_events_total{type=\"account.opened\"}".to_owned(), 1.0),
        ("counterfoil_writer_batch_commands_sum".to_owned(), 6.0),
        ("counterfoil_writer_queue_depth".to_owned(), 0.0),
        (format!("counterfoil_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        assert_eq!(sample(&text, &name), Some(expected), "{name} in\n{text}");
    }
    // Nothing is written of what is refused.
    assert_eq!(sample(&text, "counterfoil_writer_commit_seconds_count"), Some(5.0), "{text}");
    assert!(sample(&text, "counterfoil_writer_commit_seconds_sum") > Some(0.0), "{text}");
    wait::until("the projections to be level", async || {
        let text = scrape(&app).await;
        let is = |name: &str, expected: f64| sample(&text, name) == Some(expected);
        let history = "{projection=\"history\"}";
        let is_level = is(&format!("counterfoil_projector_lag_events{history}"), 0.0)
            && is(&format!("counterfoil_projector_lag_seconds{history}"), 0.0)
            && is(&format!("counterfoil_projector_halted_ledgers{history}"), 0.0);
        let folded = sample(&text, &format!("counterfoil_projector_events_total{history}"));
        (is_level && folded >= Some(5.0)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn webhooks_are_counted_by_status_and_those_that_are_refused_by_reason() {
    let app = TestApp::start().await;
    let body = json!({
        "id": "evt_1", "object": "event", "type": "customer.created", "livemode": false, "created": 1_763_692_800,
        "data": { "object": { "id": "cus_1", "object": "customer" } },
    });
    let secret = SigningSecret::parse(&app.ledger.webhook_secret).expect("a signing secret");
    let good = sign(body.to_string().as_bytes(), &secret, system_clock().unix_seconds());
    let url = format!("{}/webhooks/stripe/{}", app.url, app.ledger.slug);
    for (signature, expected) in [(good.as_str(), 200), ("t=1,v1=00", 400)] {
        let request = app.client.post(&url).header("Stripe-Signature", signature).body(body.to_string());
        assert_eq!(request.send().await.expect("an answer").status().as_u16(), expected);
    }
    let text = wait::until("the webhook to be counted", async || {
        let text = scrape(&app).await;
        let is_counted = sample(&text, "counterfoil_inbox_done_total{status=\"ignored\"}") == Some(1.0);
        is_counted.then_some(text)
    })
    .await;
    let refused = text.lines().find(|line| line.starts_with("counterfoil_webhooks_refused_total{"));
    assert!(refused.is_some_and(|line| line.ends_with(" 1")), "{text}");
}

#[tokio::test]
async fn every_series_is_declared_and_pleases_the_linter() {
    let app = TestApp::start().await;
    trade(&app).await;
    let text = scrape(&app).await;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().expect("a name");
        let is_of = |series: &counterfoil::telemetry::metrics::Series| match series.kind {
            Kind::Histogram => {
                ["_bucket", "_sum", "_count"].iter().any(|end| name == format!("{}{end}", series.name))
            }
            Kind::Counter | Kind::Gauge => name == series.name,
        };
        let series = SERIES.iter().find(|series| is_of(series)).unwrap_or_else(|| panic!("{line}"));
        for (what, expected) in [("HELP", series.help), ("TYPE", kind_name(series.kind))] {
            let declared = format!("# {what} {} {expected}", series.name);
            assert!(text.contains(&declared), "{declared} is missing in\n{text}");
        }
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), &text).expect("written");
    accepts(&promtool(&["check", "metrics"], Some(file.path())));
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    }
}

#[tokio::test]
async fn clients_cannot_make_up_series() {
    let app = TestApp::start().await;
    trade(&app).await;
    let names = |text: &str| -> BTreeSet<String> {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples.filter_map(|line| Some(line.rsplit_once(' ')?.0.to_owned())).collect()
    };
    let visit = async |number: u32| {
        for (method, path) in [
            (Method::GET, format!("/v1/accounts/canary-{number}/balance")),
            (Method::GET, format!("/v1/canary-{number}")),
            (Method::GET, format!("/canary-{number}")),
            (
                Method::from_bytes(format!("CANARY{number}").as_bytes()).expect("a method"),
                "/v1/accounts".into(),
            ),
        ] {
            app.request(method, &path).send().await.expect("an answer");
        }
    };
    visit(0).await;
    // What the trade leads to behind the requests has series of its own, which come a moment later.
    let all = compiled_in().expect("projections").len();
    let before = wait::until("the trade to be in every projection", async || {
        let names = names(&scrape(&app).await);
        let folded =
            names.iter().filter(|name| name.starts_with("counterfoil_projector_events_total")).count();
        (folded == all).then_some(names)
    })
    .await;
    for number in 1..20 {
        visit(number).await;
    }
    let after = names(&scrape(&app).await);
    let new: Vec<&String> = after.difference(&before).filter(|name| !name.contains("/metrics")).collect();
    assert_eq!(new, [] as [&String; 0]);
    assert!(!after.iter().any(|name| name.to_lowercase().contains("canary")));
}

/// A Prometheus that watches the service; killed when dropped.
struct Prometheus {
    child: Child,
    url: String,
}

impl Prometheus {
    fn start(target: &str, directory: &Path) -> Self {
        let alerts = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/alerts.yaml");
        let settings = json!({
            "global": { "scrape_interval": "200ms", "evaluation_interval": "200ms" },
            "rule_files": [alerts],
            "scrape_configs": [{ "job_name": "counterfoil", "static_configs": [{ "targets": [target] }] }],
        });
        // JSON is YAML.
        let file = directory.join("prometheus.yml");
        fs::write(&file, settings.to_string()).expect("written");
        let port =
            TcpListener::bind(("127.0.0.1", 0)).and_then(|port| port.local_addr()).expect("a port").port();
        let address = format!("127.0.0.1:{port}");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus: install the package of that name, as bin/test does");
        Self { child, url: format!("http://{address}") }
    }

    async fn get(&self, path: &str) -> Option<Value> {
        let answer = reqwest::get(format!("{}{path}", self.url)).await.ok()?;
        serde_json::from_str(&answer.text().await.ok()?).ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn prometheus_scrapes_the_service_and_evaluates_the_alerts() {
    let app = TestApp::start().await;
    trade(&app).await;
    let directory = tempfile::tempdir().expect("a directory");
    let target = app.url.strip_prefix("http://").expect("an address");
    let prometheus = Prometheus::start(target, directory.path());
    let spent = "/api/v1/query?query=counterfoil_events_total%7Btype%3D%22credits.spent%22%7D";
    let value = wait::until("Prometheus to know what was spent", async || {
        let answer = prometheus.get(spent).await?;
        answer["data"]["result"][0]["value"][1].as_str().map(str::to_owned)
    });
    assert_eq!(value.await, "3");
    let rules = wait::until("the alerts to be evaluated", async || {
        let answer = prometheus.get("/api/v1/rules").await?;
        let rules = answer["data"]["groups"][0]["rules"].as_array()?.clone();
        rules.iter().all(|rule| rule["health"] != "unknown").then_some(rules)
    })
    .await;
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
    }
}
