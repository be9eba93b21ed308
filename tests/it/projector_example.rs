//! The worked example of `docs/projections.md`, done as it stands there: the real binary, a running service, and every block
//! of the page in its order.

use std::{fs, path::Path};

use secrecy::ExposeSecret as _;
use serde_json::json;
use tokio_postgres::SimpleQueryMessage;

use crate::support::{app::TestApp, process, wait};

const PAGE: &str = include_str!("../../docs/projections.md");
/// Where the page puts the projection.
const DIRECTORY: &str = "/etc/counterfoil/projections";

/// A fenced block, and what is on the line before it.
struct Block {
    caption: &'static str,
    language: &'static str,
    text: &'static str,
}

/// The blocks of the example.
fn blocks() -> Vec<Block> {
    let example = PAGE.split_once("\n## A worked example\n").expect("the example").1;
    let example = example.split_once("\n## ").expect("its end").0;
    let parts: Vec<&str> = example.split("```").collect();
    let block = |pair: &[&'static str]| {
        let caption = pair[0].trim_end().rsplit('\n').next().unwrap_or_default();
        let (language, text) = pair[1].split_once('\n')?;
        Some(Block { caption, language, text })
    };
    parts.chunks_exact(2).map(|pair| block(pair).expect("a block")).collect()
}

/// The service, the owner's commands, and a directory that stands in for the page's.
struct Example {
    app: TestApp,
    directory: tempfile::TempDir,
}

impl Example {
    /// Runs the commands of a block and gives what they said.
    async fn run(&self, block: &Block) -> String {
        let mut said = String::new();
        for line in block.text.lines() {
            let line = line.replace(DIRECTORY, &self.directory.path().to_string_lossy());
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["rm", "-r", folder] => fs::remove_dir_all(folder).expect("a folder"),
                ["counterfoil", arguments @ ..] => {
                    let output = self.counterfoil(arguments).await;
                    assert!(output.0, "{line}: {}", output.1);
                    said += &output.1;
                }
                other => panic!("{other:?}"),
            }
        }
        said
    }

    /// Whether a command succeeds, and what it says.
    async fn counterfoil(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = process::command(arguments);
        command.env("DATABASE_URL", self.app.database.runtime_url().expose_secret());
        command.env("DATABASE_DIRECT_URL", self.app.database.owner_url().expose_secret());
        let output = process::output(command).await;
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    }

    /// The rows that the page's last query finds as the service's role, by their last three columns.
    async fn rows(&self, query: &str) -> Vec<[String; 3]> {
        let client = self.app.database.runtime().await;
        let found = client.simple_query(query).await.expect("rows");
        let rows = found.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) if row.len() == 4 => {
                Some([1, 2, 3].map(|column| row.get(column).unwrap_or_default().to_owned()))
            }
            _ => None,
        });
        rows.collect()
    }

    async fn spend(&self, key: &str, amount: u32) {
        let body = json!({ "unit": "credits", "amount": amount });
        assert_eq!(self.app.post("/v1/accounts/alice/spends", key, &body).await.0, 201);
    }

    /// The value of a metric of the example's.
    async fn metric(&self, name: &str) -> Option<String> {
        let answer =
            self.app.client.get(format!("{}/metrics", self.app.url)).send().await.expect("an answer");
        let text = answer.text().await.expect("text");
        let sample = format!("{name}{{projection=\"daily_spends\"}} ");
        text.lines().find_map(|line| line.strip_prefix(&sample).map(str::to_owned))
    }
}

fn row(spends: u32, amount: u32) -> [String; 3] {
    ["credits".to_owned(), spends.to_string(), amount.to_string()]
}

#[tokio::test]
async fn the_worked_example_is_installed_read_rebuilt_and_removed_as_the_page_says() {
    let blocks = blocks();
    let (files, steps) = blocks.split_at(3);
    let [install, query, rebuild, remove] = steps else { panic!("{} steps", steps.len()) };
    let languages = [install, query, rebuild, remove].map(|block| block.language);
    assert_eq!(languages, ["sh", "sql", "sh", "sh"]);

    let example =
        Example { app: TestApp::start().await, directory: tempfile::tempdir().expect("a directory") };
    let folder = example.directory.path().join("daily_spends");
    fs::create_dir(&folder).expect("a folder");
    for file in files {
        let name = file.caption.trim_matches(['`', ':']);
        assert_eq!(Path::new(name).parent(), Some(Path::new("daily_spends")));
        fs::write(example.directory.path().join(name), file.text).expect("a file");
    }
    let account = json!({ "account_id": "alice" });
    assert_eq!(example.app.post("/v1/accounts", "open", &account).await.0, 201);
    let grant = json!({ "unit": "credits", "amount": 100, "reason": "welcome" });
    assert_eq!(example.app.post("/v1/accounts/alice/grants", "grant", &grant).await.0, 201);
    example.spend("first", 30).await;

    let said = example.run(install).await;
    assert!(said.contains("made the tables of projection daily_spends"), "{said}");
    let is = async |query: &str, expected: [String; 3]| {
        wait::until("the spends of the day", async || {
            (example.rows(query).await == [expected.clone()]).then_some(())
        })
        .await;
    };
    is(query.text, row(1, 30)).await;
    example.spend("second", 12).await;
    is(query.text, row(2, 42)).await;

    let said = example.run(rebuild).await;
    assert!(
        said.contains("daily_spends of test: ") && said.contains("rows of daily_spends compared"),
        "{said}"
    );
    let rebuilt = query.text.replace("projection_daily_spends_1", "projection_daily_spends_2");
    is(&rebuilt, row(2, 42)).await;

    // An event that it cannot count, so that there is an alert to end.
    let superuser = example.app.database.superuser().await;
    let refuse = "ALTER TABLE projection_daily_spends_2.daily_spends ADD CHECK (spends < 3)";
    superuser.batch_execute(refuse).await.expect("a check");
    example.spend("third", 1).await;
    let halted = async |value: &str| {
        let is =
            async || (example.metric("counterfoil_projector_halted_ledgers").await? == value).then_some(());
        wait::until("the metric of halts", is).await;
    };
    halted("1").await;
    let refused = example.counterfoil(&["migrate", "--drop-projection", "history"]).await;
    assert!(!refused.0 && refused.1.contains("history comes with the program"), "{}", refused.1);
    let directory = example.directory.path().to_string_lossy().into_owned();
    let arguments = ["migrate", "--drop-projection", "daily_spends", "--projections-dir", &directory];
    let refused = example.counterfoil(&arguments).await;
    assert!(!refused.0 && refused.1.contains("daily_spends still has a folder"), "{}", refused.1);

    let said = example.run(remove).await;
    assert!(said.contains("dropped projection_daily_spends_2"), "{said}");
    halted("0").await;
    let left = "SELECT (SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'projection\\_daily%')
                     + (SELECT count(*) FROM projection_versions WHERE projection = 'daily_spends')
                     + (SELECT count(*) FROM projection_cursors WHERE projection = 'daily_spends')";
    assert_eq!(superuser.query_one(left, &[]).await.expect("a count").get::<_, i64>(0), 0);
    let refused = example.counterfoil(&["migrate", "--drop-projection", "daily_spends"]).await;
    assert!(!refused.0 && refused.1.contains("there is no projection `daily_spends`"), "{}", refused.1);
    let history = example.app.get("/v1/accounts/alice/history").await;
    assert_eq!(history["items"].as_array().map(Vec::len), Some(5), "{history}");
}
