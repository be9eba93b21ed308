//! Clients in other languages, generated from the specification, against the real service: see `tests/clients`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::support::app::TestApp;

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn run(command: &mut Command) {
    let output = command.kill_on_drop(true).output().await.expect("a program that starts");
    let said =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{command:?}: {}\n{said}", output.status);
}

/// Where the clients are, generated and type-checked.
async fn prepared() -> PathBuf {
    run(&mut Command::new(repository().join("tests/clients/prepare"))).await;
    repository().join("target/clients")
}

#[tokio::test]
async fn generated_clients_open_grant_spend_are_refused_and_repeat() {
    let clients = prepared().await;
    let app = TestApp::start().await;
    for (program, scenario) in [
        ("python/bin/node", "generated/typescript/scenario.js"),
        ("python/bin/python", "generated/python/scenario.py"),
    ] {
        let mut command = Command::new(clients.join(program));
        command.arg(clients.join(scenario));
        command.env("COUNTERFOIL_URL", &app.url).env("COUNTERFOIL_API_KEY", &app.ledger.api_key);
        run(&mut command).await;
    }
}
