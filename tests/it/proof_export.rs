//! An export is verified by its signed head alone: by our command, and by a script that has nothing of ours.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use reqwest::Method;

use crate::{api_support::Requests, proof_support::Sealed};

/// A service that seals, and what an auditor has of it.
struct Exported {
    sealed: Sealed,
    checkpoint: PathBuf,
    /// The sealed bytes, one event per line.
    canonical: String,
}

impl Exported {
    async fn start() -> Self {
        let sealed = Sealed::start().await;
        sealed.trade("ada", 3).await;
        sealed.everything_sealed().await;
        let note = sealed.app.send(Method::GET, "/v1/audit/checkpoint", None).await.text;
        let checkpoint = sealed.auditor.join("checkpoint");
        fs::write(&checkpoint, &note).expect("written");
        let canonical = sealed.app.send(Method::GET, "/v1/audit/events", None).await.text;
        Self { sealed, checkpoint, canonical }
    }

    fn size(&self) -> usize {
        self.canonical.lines().count()
    }

    fn written(&self, events: &str) -> PathBuf {
        let export = self.sealed.auditor.join("export");
        fs::write(&export, events).expect("written");
        export
    }

    /// What the script says of such an export.
    fn script(&self, events: &str) -> (bool, String) {
        self.script_with(&self.written(events), &self.checkpoint)
    }

    fn script_with(&self, export: &Path, checkpoint: &Path) -> (bool, String) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/verify_export.py");
        let mut command = Command::new("python3");
        command.args([script, "--key", &self.sealed.keys[0].to_string()]).arg(export).arg(checkpoint);
        let output = command.output().expect("python3");
        let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
        if !output.status.success() {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.starts_with("WRONG ") && said.lines().count() == 1, "{said}");
        }
        (output.status.success(), said)
    }

    /// What our command says of it.
    async fn audit(&self, events: &str) -> (bool, String) {
        let export = self.written(events);
        let (export, checkpoint) =
            (export.to_str().expect("a path"), self.checkpoint.to_str().expect("a path"));
        self.sealed.audit(&["--export", export, "--checkpoint", checkpoint]).await
    }

    /// The export with one word in the last line that has it changed, and the position of that line.
    fn changed(&self, word: &str, other: &str) -> (usize, String) {
        let mut lines: Vec<String> = self.canonical.lines().map(str::to_owned).collect();
        let place = lines.iter().rposition(|line| line.contains(word)).expect("such an event");
        lines[place] = lines[place].replacen(word, other, 1);
        (place + 1, lines.join("\n") + "\n")
    }
}

#[tokio::test]
async fn an_export_is_verified_without_our_code_and_without_the_service_that_the_environment_names() {
    let exported = Exported::start().await;
    let listed =
        exported.sealed.app.request(Method::GET, "/v1/events").header("Accept", "application/x-ndjson");
    let listed = listed.send().await.expect("an answer").text().await.expect("a body");
    for (name, events) in [("canonical", &exported.canonical), ("listed", &listed)] {
        let (is_good, said) = exported.script(events);
        assert!(is_good, "{name}: {said}");
        let (is_good, said) = exported.audit(events).await;
        let verdict = "verified: every event is what was signed, and follows from those before it; \
                       balances and revenue were not compared\n";
        assert!(is_good && said.contains(verdict), "{name}: {said}");
    }
    let (place, events) = exported.changed(r#""amount":-3"#, r#""amount":-2"#);
    let expected = format!("WRONG position {place}: the balance after it");
    let (is_good, said) = exported.script(&events);
    assert!(!is_good && said.contains(&expected), "{said}");
    let (is_good, said) = exported.audit(&events).await;
    assert!(!is_good && said.contains(&expected), "{said}");
}

#[tokio::test]
async fn a_change_that_only_the_root_shows_is_placed_as_closely_as_it_can_be_known() {
    let exported = Exported::start().await;
    let size = exported.size();
    let (place, events) = exported.changed(r#""actor":"operator""#, r#""actor":"system""#);
    let (is_good, said) = exported.script(&events);
    assert!(!is_good && said.contains(&format!("WRONG positions 1 to {size}: ")), "{said}");
    let (is_good, said) = exported.audit(&events).await;
    let expected = format!("lies between the positions 1 and {size}, and nothing is remembered");
    assert!(!is_good && said.contains(&expected), "{said}");
    // Whoever saw them before knows more.
    let (is_good, said) = exported.audit(&exported.canonical).await;
    assert!(is_good, "{said}");
    let (is_good, said) = exported.audit(&events).await;
    let expected = format!("the first: position {place}: they were others when they were seen last");
    assert!(!is_good && said.contains(&expected), "{said}");
}

#[tokio::test]
async fn the_script_ends_with_one_line_on_whatever_is_damaged_and_names_what_follows_the_last_good_line() {
    let exported = Exported::start().await;
    let (whole, size) = (&exported.canonical, exported.size());
    let first_lines: String = whole.lines().take(size - 1).map(|line| format!("{line}\n")).collect();
    for last in [
        whole.lines().last().expect("a line").split_at(30).0,
        "\"the export was cut off",
        "{}",
        "[]",
        "7",
        "null",
        "",
        "\n",
        "[".repeat(100_000).as_str(),
        r#"{"ledger":"test","position":"last"}"#,
    ] {
        let (is_good, said) = exported.script(&format!("{first_lines}{last}"));
        assert!(!is_good && said.starts_with(&format!("WRONG position {size}: ")), "{said}");
    }
    let export = exported.written("");
    fs::write(&export, [first_lines.as_bytes(), b"\xff\xfe\n"].concat()).expect("written");
    let (is_good, said) = exported.script_with(&export, &exported.checkpoint);
    assert!(!is_good && said.starts_with(&format!("WRONG position {size}: ")), "{said}");

    let note = fs::read(&exported.checkpoint).expect("a head");
    let damaged = exported.sealed.auditor.join("damaged");
    let export = exported.written(whole);
    for head in [b"".as_slice(), b"no head", b"\xff", &note[..note.len() - 20], &note[..10], &note[1..]] {
        fs::write(&damaged, head).expect("written");
        let (is_good, said) = exported.script_with(&export, &damaged);
        assert!(!is_good && said.contains("head"), "{said}");
    }
    for (export, checkpoint) in [
        (&export, &exported.sealed.auditor.join("none")),
        (&exported.sealed.auditor.join("none"), &exported.checkpoint),
    ] {
        let (is_good, said) = exported.script_with(export, checkpoint);
        assert!(!is_good && said.contains("cannot be read"), "{said}");
    }
}
