//! `counterfoil dev`: one command, and everything works; nothing is lost and nothing is left behind.

use std::path::{Path, PathBuf};
use std::process::Command;

use counterfoil::sandbox::postgres::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use reqwest::Client;
use serde_json::{Value, json};

use crate::support::cluster::connect;
use crate::support::private::open_directory;
use crate::support::process::{self, Process};
use crate::support::wait;

/// A running `counterfoil dev`. Its PostgreSQL is stopped with it, whatever becomes of the test.
struct Dev {
    process: Process,
    data_directory: PathBuf,
}

/// What the file for scripts says.
struct Environment {
    url: String,
    api_key: String,
    database_url: String,
    stripe_url: String,
}

impl Dev {
    /// Starts one and waits until it greets.
    async fn start(data_directory: &Path) -> Self {
        let data_directory = data_directory.to_owned();
        Self { process: greeting_process(&data_directory).await, data_directory }
    }

    /// Starts it again without stopping its database, should that have survived.
    async fn start_again(&mut self) {
        self.process = greeting_process(&self.data_directory).await;
    }

    fn environment(&self) -> Environment {
        let text =
            std::fs::read_to_string(self.data_directory.join("dev.env")).expect("the file for scripts");
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
        };
        assert!(value("COUNTERFOIL_WEBHOOK_SECRET").starts_with("whsec_"));
        Environment {
            url: value("COUNTERFOIL_URL"),
            api_key: value("COUNTERFOIL_API_KEY"),
            database_url: value("DATABASE_URL"),
            stripe_url: value("COUNTERFOIL_STRIPE_URL"),
        }
    }

    /// What the demo ledger charges for, and sells.
    async fn sells_the_catalogue(&self) {
        let features = self.get("/v1/features").await;
        let features = features["items"].as_array().expect("features").iter();
        let mut features: Vec<Value> =
            features.map(|one| json!([one["feature"], one["cost"], one["unit"]])).collect();
        features.sort_by_key(|one| one[1].as_i64());
        let costs = [("job_match", 5), ("resume_analysis", 10), ("resume_improvement", 15)];
        assert_eq!(features, costs.map(|(feature, cost)| json!([feature, cost, "credits"])));
        let prices = self.get("/v1/prices").await;
        let prices = prices["items"].as_array().expect("prices").iter();
        let packs =
            prices.filter(|price| price["money"]["amount"].is_i64() && price["grants"][0]["amount"].is_i64());
        let packs: Vec<Value> = packs
            .map(|one| {
                json!([
                    one["price_id"],
                    one["grants"][0]["amount"],
                    one["money"]["amount"],
                    one["money"]["currency"]
                ])
            })
            .collect();
        for (price, credits, cents) in [("starter", 100, 500), ("pro", 500, 2_000), ("premium", 1_200, 3_500)]
        {
            let pack = json!([format!("price_demo_{price}"), credits, cents, "eur"]);
            assert!(packs.contains(&pack), "{pack} is not in {packs:?}");
        }
    }

    /// The process id of its PostgreSQL.
    fn postmaster(&self) -> Pid {
        let file = self.data_directory.join("postgres/data/postmaster.pid");
        let text = std::fs::read_to_string(file).expect("a running PostgreSQL");
        Pid::from_raw(text.lines().next().and_then(|line| line.parse().ok()).expect("a process id"))
    }

    /// Ctrl-C.
    async fn interrupt(&mut self) -> bool {
        self.process.signal(Signal::SIGINT);
        self.process.wait().await.success()
    }

    async fn get(&self, path: &str) -> Value {
        let Environment { url, api_key, .. } = self.environment();
        let request = Client::new().get(format!("{url}{path}")).bearer_auth(api_key);
        request.send().await.expect("an answer").json().await.expect("JSON")
    }

    async fn available(&self, account: &str) -> i64 {
        let balance = self.get(&format!("/v1/accounts/{account}/balance")).await;
        balance["balances"][0]["available"].as_i64().expect("an amount")
    }

    /// Pays at the simulated Stripe.
    async fn complete(&self, session: &str) {
        let url = format!("{}/_control/checkout_sessions/{session}/complete", self.environment().stripe_url);
        let answer = Client::new().post(url).json(&json!({ "outcome": "paid" })).send().await;
        assert!(answer.expect("an answer").status().is_success());
    }

    async fn open_account(&self, account: &str) -> u16 {
        let Environment { url, api_key, .. } = self.environment();
        let request = Client::new().post(format!("{url}/v1/accounts")).bearer_auth(api_key);
        let answer = request.json(&json!({ "account_id": account })).send().await.expect("an answer");
        answer.status().as_u16()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        self.process.kill();
        // Stops when dropped.
        drop(Cluster::adopt(&self.data_directory.join("postgres")));
    }
}

async fn greeting_process(data_directory: &Path) -> Process {
    let process = Process::start(command(data_directory, 0));
    let greeted = async || {
        let has_failed = process.standard_error().contains("counterfoil: ");
        assert!(!has_failed, "{}", process.standard_error());
        process.standard_output().contains("Ctrl-C stops everything").then_some(())
    };
    wait::until("the greeting", greeted).await;
    process
}

fn command(data_directory: &Path, port: u16) -> Command {
    let mut command = process::command(&["dev", "--port", &port.to_string(), "--data-dir"]);
    command.arg(data_directory);
    command
}

fn is_alive(process: Pid) -> bool {
    kill(process, None).is_ok()
}

#[tokio::test]
async fn the_lines_that_it_prints_work_as_they_are() {
    let directory = open_directory();
    let mut dev = Dev::start(directory.path()).await;
    let greeting = dev.process.standard_output();
    let lines: Vec<&str> = greeting.lines().map(str::trim).filter(|line| line.starts_with("curl ")).collect();
    assert_eq!(lines.len(), 4, "{greeting}");
    let mut answers = Vec::new();
    dev.sells_the_catalogue().await;
    for line in lines {
        let output = Command::new("sh").args(["-c", line]).output().expect("a shell");
        let answer = String::from_utf8(output.stdout).expect("text");
        answers.push(serde_json::from_str::<Value>(&answer).unwrap_or_else(|_| panic!("{line}: {answer}")));
    }
    assert_eq!(answers[0]["account_id"], "alice");
    assert_eq!(answers[1]["amount"], 100);
    assert_eq!(answers[2]["balance"]["available"], 90);
    let url = answers[3]["url"].as_str().expect("a page to pay at");
    assert!(url.starts_with(&dev.environment().stripe_url), "{url}");
    let session = answers[3]["checkout_session_id"].as_str().expect("a session");
    dev.complete(session).await;
    wait::until("the sale to be credited", async || (dev.available("alice").await == 190).then_some(()))
        .await;

    let link = greeting.lines().map(str::trim).find(|line| line.contains("/buy/demo/lnk_")).expect("a link");
    let bought = Client::builder().redirect(reqwest::redirect::Policy::none()).build().expect("a client");
    let bought = bought.post(link).send().await.expect("an answer");
    let at_stripe = bought.headers()["location"].to_str().expect("an address");
    assert!(at_stripe.starts_with(&format!("{}/pay/", dev.environment().stripe_url)), "{at_stripe}");

    let trigger =
        greeting.lines().find(|line| line.contains(" stripe trigger ")).expect("a line to buy with");
    let output = Command::new("sh").args(["-c", trigger]).output().expect("a shell");
    assert!(output.status.success(), "{trigger}: {}", String::from_utf8_lossy(&output.stderr));
    wait::until("the purchase to be credited", async || (dev.available("alice").await == 290).then_some(()))
        .await;
    assert!(dev.interrupt().await);
}

#[tokio::test]
async fn ctrl_c_leaves_nothing_running_and_the_next_start_finds_everything() {
    let directory = open_directory();
    let mut dev = Dev::start(directory.path()).await;
    let (before, postmaster) = (dev.environment(), dev.postmaster());
    let client = connect(before.database_url.as_str().into()).await;
    for setting in ["fsync", "synchronous_commit", "full_page_writes"] {
        let row = client.query_one(&format!("SHOW {setting}"), &[]).await.expect("a setting");
        assert_eq!(row.get::<_, &str>(0), "on", "{setting}");
    }
    assert_eq!(dev.open_account("alice").await, 201);
    assert!(dev.interrupt().await);
    assert!(!is_alive(postmaster));
    drop(dev);

    let mut dev = Dev::start(directory.path()).await;
    let after = dev.environment();
    assert_eq!((&after.api_key, &after.database_url), (&before.api_key, &before.database_url));
    assert_eq!(dev.open_account("alice").await, 200);
    assert!(dev.interrupt().await);
}

#[tokio::test]
async fn killed_alone_or_with_its_database_it_comes_back_with_its_data() {
    let directory = open_directory();
    let mut dev = Dev::start(directory.path()).await;
    let postmaster = dev.postmaster();
    assert_eq!(dev.open_account("alice").await, 201);
    dev.process.kill();
    assert!(is_alive(postmaster));

    dev.start_again().await;
    assert_eq!(dev.postmaster(), postmaster);
    assert_eq!(dev.open_account("alice").await, 200);
    assert_eq!(dev.open_account("bob").await, 201);
    dev.process.kill();
    kill(postmaster, Signal::SIGKILL).expect("a process to kill");
    wait::until("the database to be gone", async || (!is_alive(postmaster)).then_some(())).await;

    dev.start_again().await;
    assert_ne!(dev.postmaster(), postmaster);
    assert_eq!(dev.open_account("alice").await, 200);
    assert_eq!(dev.open_account("bob").await, 200);
    assert!(dev.interrupt().await);
}

#[tokio::test]
async fn two_run_side_by_side_and_whoever_is_in_the_way_is_named() {
    let directories = [open_directory(), open_directory()];
    let mut one = Dev::start(directories[0].path()).await;
    let mut other = Dev::start(directories[1].path()).await;
    assert_eq!(one.open_account("alice").await, 201);
    assert_eq!(other.open_account("alice").await, 201);

    let same_data = process::output(command(directories[0].path(), 0)).await;
    let message = String::from_utf8_lossy(&same_data.stderr).into_owned();
    assert_eq!(same_data.status.code(), Some(1));
    assert!(message.contains("another instance is running on"), "{message}");
    assert!(message.contains(&one.environment().url), "{message}");

    let port = other.environment().url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    let third = open_directory();
    let same_port = process::output(command(third.path(), port)).await;
    let message = String::from_utf8_lossy(&same_port.stderr).into_owned();
    assert_eq!(same_port.status.code(), Some(1));
    assert!(message.contains(&format!("port {port} of 127.0.0.1 is taken")), "{message}");

    assert!(one.interrupt().await && other.interrupt().await);
}
