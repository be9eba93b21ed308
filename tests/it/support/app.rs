//! The service as its users meet it: the real binary on a free port, with a database and a ledger of its own.

use std::fs;

use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use serde_json::Value;

use super::cluster;
use super::database::TestDatabase;
use super::process::{self, Process};
use super::wait;

/// The ledger that every [`TestApp`] has, with the units `credits` and `licence_30d`.
pub const LEDGER: &str = "test";

/// A ledger and what opens it.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// Its name.
    pub slug: String,
    /// An API key with every scope.
    pub api_key: String,
    /// What its webhooks are signed with.
    pub webhook_secret: String,
}

/// A running service.
pub struct TestApp {
    /// Its database.
    pub database: TestDatabase,
    /// Its ledger.
    pub ledger: Ledger,
    /// Where it is: `http://127.0.0.1:<port>`.
    pub url: String,
    /// The process.
    pub process: Process,
    /// For requests.
    pub client: Client,
    settings: Vec<(String, String)>,
}

impl TestApp {
    /// Starts one and waits until it is ready.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with further settings, as environment variables.
    pub async fn start_with(settings: &[(&str, &str)]) -> Self {
        let (database, ledger) = prepared().await;
        let url = database.runtime_url();
        Self::start_on(database, ledger, &url, settings).await
    }

    /// Starts one on a database with a ledger, reaching it through another address: a proxy's, a pooler's.
    pub async fn start_on(
        database: TestDatabase,
        ledger: Ledger,
        database_url: &SecretString,
        settings: &[(&str, &str)],
    ) -> Self {
        let mut settings: Vec<(String, String)> =
            settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        settings.push(("DATABASE_URL".to_owned(), database_url.expose_secret().to_owned()));
        let process = serve(&settings, "127.0.0.1:0");
        let url = address(&process).await;
        let app = Self { database, ledger, url, process, client: Client::new(), settings };
        app.wait_until_ready().await;
        app
    }

    /// Waits until the service says that it is ready.
    pub async fn wait_until_ready(&self) {
        wait::until("the service to be ready", async || self.is_ready().await.then_some(())).await;
    }

    /// Whether the service says that it is ready.
    pub async fn is_ready(&self) -> bool {
        is_ready(&self.client, &self.url).await
    }

    /// Starts another process on the same database; returns it and where it is, when it is ready.
    pub async fn start_another(&self) -> (Process, String) {
        let process = serve(&self.settings, "127.0.0.1:0");
        let url = address(&process).await;
        wait::until("the other process to be ready", async || {
            is_ready(&self.client, &url).await.then_some(())
        })
        .await;
        (process, url)
    }

    /// Ends the process with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Ends the process with SIGTERM and says whether it ended well.
    pub async fn terminate(&mut self) -> bool {
        self.process.signal(Signal::SIGTERM);
        self.process.wait().await.success()
    }

    /// Has the process started with another value of a setting from now on, or without it.
    pub fn set(&mut self, name: &str, value: Option<&str>) {
        self.settings.retain(|(known, _)| known != name);
        self.settings.extend(value.map(|value| (name.to_owned(), value.to_owned())));
    }

    /// Starts the process again, at the same address.
    pub async fn restart(&mut self) {
        self.process.kill();
        let listen = self.url.strip_prefix("http://").expect("an address");
        self.process = serve(&self.settings, listen);
        self.wait_until_ready().await;
    }

    /// Moves on what keeps a process waiting, as if so many seconds had passed: pauses before further attempts, and the time for
    /// which a process that died has set work aside. Nobody may be at work.
    pub async fn time_passes(&self, seconds: u32) {
        let superuser = self.database.superuser().await;
        let statement = format!(
            "UPDATE outbox SET created_at = created_at - interval '{seconds} s';
             UPDATE outbox_retry SET created_at = created_at - interval '{seconds} s',
                    repeat_from = repeat_from - interval '{seconds} s',
                    next_attempt_at = next_attempt_at - interval '{seconds} s';
             UPDATE outbox_leases SET leased_until = leased_until - interval '{seconds} s';
             UPDATE stripe_inbox SET next_attempt_at = next_attempt_at - interval '{seconds} s',
                    claimed_until = claimed_until - interval '{seconds} s'
              WHERE status IN ('received', 'failed')"
        );
        superuser.batch_execute(&statement).await.expect("tables of ours");
    }

    /// A request with the ledger's API key.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.ledger.api_key)
    }

    /// A GET whose answer is expected to be a success.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.request(Method::GET, path).send().await.expect("an answer");
        let (status, body) = (answer.status(), answer.text().await.expect("a body"));
        assert!(status.is_success(), "GET {path}: {status} {body}");
        serde_json::from_str(&body).expect("JSON")
    }

    /// A POST with an idempotency key; its status and answer.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> (u16, Value) {
        let request = self.request(Method::POST, path).header("Idempotency-Key", key).json(body);
        let answer = request.send().await.expect("an answer");
        (answer.status().as_u16(), answer.json().await.expect("JSON"))
    }

    /// Makes another ledger with the command line, `arguments` going to `counterfoil ledger create`.
    pub async fn create_ledger(&self, slug: &str, arguments: &[&str]) -> Ledger {
        create_ledger(&self.database.runtime_url(), slug, arguments).await
    }
}

/// A database with a ledger, and what opens it.
pub async fn prepared() -> (TestDatabase, Ledger) {
    let file = cluster::directory().join("app_template");
    let database = TestDatabase::filled("app", async |url| {
        let ledger = create_ledger(&url, LEDGER, &["--unit", "credits", "--unit", "licence_30d"]).await;
        fs::write(&file, format!("{}\n{}\n", ledger.api_key, ledger.webhook_secret)).expect("a file");
        // Tests say themselves when Stripe's events are read.
        let later = "SET counterfoil.ledger_id = '1';
                     UPDATE reconciliation SET next_events_at = now() + interval '1 day',
                                               next_comparison_at = now() + interval '1 day'";
        cluster::connect(url).await.batch_execute(later).await.expect("a table of ours");
    });
    let database = database.await;
    let text = fs::read_to_string(&file).expect("what opens the template's ledger");
    let mut lines = text.lines().map(str::to_owned);
    let mut line = || lines.next().expect("two lines");
    let ledger = Ledger { slug: LEDGER.to_owned(), api_key: line(), webhook_secret: line() };
    (database, ledger)
}

/// Makes a ledger with the command line, `arguments` going to `counterfoil ledger create`.
pub async fn create_ledger(database_url: &SecretString, slug: &str, arguments: &[&str]) -> Ledger {
    let run = async |arguments: &[&str]| {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", database_url.expose_secret());
        let output = process::output(command).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let created = run(&[&["ledger", "create", slug, "--mode", "test"], arguments].concat()).await;
    let webhook_secret = created.lines().find_map(|line| line.strip_prefix("COUNTERFOIL_WEBHOOK_SECRET="));
    let api_key = run(&["key", "create", slug, "--name", "test", "--scope", "admin"]).await;
    Ledger {
        slug: slug.to_owned(),
        api_key: api_key.trim().to_owned(),
        webhook_secret: webhook_secret.expect("a secret").to_owned(),
    }
}

fn serve(settings: &[(String, String)], listen: &str) -> Process {
    let mut command = process::command(&["serve", "--listen", listen]);
    command.env("COUNTERFOIL_LOG_LEVEL", "debug");
    // Each process of PostgreSQL learns the catalogue anew, and a test asks too little of each to make up for it.
    command.env("COUNTERFOIL_DATABASE_POOL_SIZE", "4");
    for (name, value) in settings {
        command.env(name, value);
    }
    Process::start(command)
}

/// Where a process listens, as its log tells.
async fn address(process: &Process) -> String {
    let told = async || {
        let log = process.standard_error();
        let listening = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let listening = listening.into_iter().find(|line| line["message"] == "listening")?;
        Some(format!("http://{}", listening["address"].as_str()?))
    };
    wait::until("the service to listen", told).await
}

async fn is_ready(client: &Client, url: &str) -> bool {
    let answer = client.get(format!("{url}/readyz")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
