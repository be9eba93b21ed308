//! What the tests of the proof share: a service that seals, and an auditor outside.

use std::{ops::Range, path::PathBuf, process::Output};

use counterfoil::audit::{checkpoint::Checkpoint, note::VerifierKey};
use futures_util::future::join_all;
use reqwest::Method;
use secrecy::ExposeSecret;
use serde_json::json;

use crate::{
    api_support::Requests,
    support::{
        app::{LEDGER, TestApp},
        process, wait,
    },
};

pub const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub const KEY_VARIABLE: &str = "COUNTERFOIL_KEY_ENCRYPTION_KEY";
pub const DIRECTORY_VARIABLE: &str = "COUNTERFOIL_CHECKPOINT_DIR";

/// A service whose ledger is sealed, a directory outside for its checkpoints, and an auditor's.
pub struct Sealed {
    pub app: TestApp,
    pub outside: PathBuf,
    pub auditor: PathBuf,
    pub keys: Vec<VerifierKey>,
    _directories: [tempfile::TempDir; 2],
}

impl Sealed {
    /// Starts one.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one with other settings besides.
    pub async fn start_with(more: &[(&str, &str)]) -> Self {
        let directories = [(), ()].map(|()| tempfile::tempdir().expect("a directory"));
        let [outside, auditor] =
            [&directories[0], &directories[1]].map(|directory| directory.path().to_owned());
        let outside_text = outside.to_str().expect("a path").to_owned();
        let settings = [(KEY_VARIABLE, KEY), (DIRECTORY_VARIABLE, &outside_text)];
        let app = TestApp::start_with(&[&settings, more].concat()).await;
        let mut sealed = Self { app, outside, auditor, keys: Vec::new(), _directories: directories };
        sealed.keys = sealed.keys_of("create", &["--name", "log.example"]).await;
        sealed
    }

    /// What `counterfoil keys` prints.
    pub async fn keys_of(&self, command: &str, arguments: &[&str]) -> Vec<VerifierKey> {
        let printed = self.printed(&[&["keys", command, LEDGER], arguments].concat()).await;
        let keys = printed.lines().map(|line| line.split('\t').next().unwrap_or_default());
        keys.map(|key| VerifierKey::parse(key).expect("a verifier key")).collect()
    }

    /// Runs the binary as the service's role.
    pub async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", self.app.database.runtime_url().expose_secret());
        command.env(KEY_VARIABLE, KEY).env(DIRECTORY_VARIABLE, &self.outside);
        process::output(command).await
    }

    pub async fn printed(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Accounts with credits, spends, a hold, a note.
    pub async fn trade(&self, account: &str, spends: usize) {
        self.app.account_with(account, 1_000).await;
        for number in 0..spends {
            let body = json!({"unit": "credits", "amount": 3, "metadata": {"job": number.to_string()}});
            let answer = self
                .app
                .keyed(&format!("/v1/accounts/{account}/spends"), &format!("{account}-{number}"), &body)
                .await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        }
    }

    /// Spends a credit for each of those numbers: as many events.
    pub async fn spend_often(&self, account: &str, numbers: Range<usize>) {
        let (path, body) =
            (format!("/v1/accounts/{account}/spends"), json!({"unit": "credits", "amount": 1}));
        let spend = async |number: usize| {
            let answer = self.app.keyed(&path, &format!("spend {number}"), &body).await;
            assert_eq!(answer.status, 201, "{}", answer.text);
        };
        for begin in numbers.clone().step_by(100) {
            join_all((begin..numbers.end.min(begin + 100)).map(spend)).await;
        }
    }

    /// A sale that is used in part on the day after.
    pub async fn sell(&self, account: &str) {
        let money = json!({"amount": 999, "tax": 0, "currency": "eur"});
        let purchase = json!({"unit": "credits", "amount": 70, "money": money, "reference": "invoice 7"});
        let path = format!("/v1/accounts/{account}/purchases");
        let bought = self.app.keyed(&path, "sale", &purchase).await;
        assert_eq!(bought.status, 201, "{}", bought.text);
        let later = self.app.keyed("/v1/test/clock/advance", "day", &json!({"seconds": 86_400})).await;
        assert_eq!(later.status, 201, "{}", later.text);
        let spend = json!({"unit": "credits", "amount": 1_000});
        let spent = self.app.keyed(&format!("/v1/accounts/{account}/spends"), "much", &spend).await;
        assert_eq!(spent.status, 201, "{}", spent.text);
    }

    /// Waits until everything that is written by now is sealed and stands outside.
    pub async fn everything_sealed(&self) -> Checkpoint {
        let head = self.app.get("/v1/events?limit=1").await["head"].as_u64().expect("a position");
        wait::until("everything to be sealed and published", async || {
            let checkpoint = self.checkpoint().await?;
            let file = self.outside.join(&checkpoint.origin).join("checkpoint");
            let is_outside = std::fs::read_to_string(file).is_ok_and(|text| {
                Checkpoint::open(&text, &self.keys).is_ok_and(|outside| outside.size >= head)
            });
            (checkpoint.size >= head && is_outside).then_some(checkpoint)
        })
        .await
    }

    /// The signed head, if there is one.
    pub async fn checkpoint(&self) -> Option<Checkpoint> {
        let answer = self.app.send(Method::GET, "/v1/audit/checkpoint", None).await;
        (answer.status == 200).then(|| Checkpoint::open(&answer.text, &self.keys).expect("signed"))
    }

    /// The auditor's verdict: whether all is well, and what was said.
    pub async fn audit(&self, arguments: &[&str]) -> (bool, String) {
        let state = self.auditor.join("state.json");
        let mut command = process::command(&[&["audit"], arguments].concat());
        command.arg("--state").arg(state);
        for key in &self.keys {
            command.arg("--key").arg(key.to_string());
        }
        // As whoever loaded a `dev.env` has them: an export is taken all the same, if one is named.
        command.env("COUNTERFOIL_URL", &self.app.url);
        command.env("COUNTERFOIL_API_KEY", &self.app.ledger.api_key);
        let output = process::output(command).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    }

    /// What `counterfoil verify` says.
    pub async fn verify(&self) -> (bool, String) {
        let output = self.run(&["verify"]).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    }
}
