//! The dashboard and the alerts, held against the series that there are and tried by Prometheus' own tool.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use counterfoil::telemetry::metrics::{Kind, SERIES};
use serde_json::Value;

fn dashboards() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

fn read(file: &str) -> String {
    fs::read_to_string(dashboards().join(file)).expect("a file of the dashboards")
}

pub fn promtool(arguments: &[&str], input: Option<&Path>) -> Output {
    let mut command = Command::new("promtool");
    command.args(arguments).current_dir(dashboards());
    if let Some(path) = input {
        command.stdin(fs::File::open(path).expect("the input"));
    }
    command.output().expect("promtool: install the package `prometheus`, as bin/test does")
}

pub fn accepts(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}{}", said(&output.stdout), said(&output.stderr));
}

/// Everything that looks like the name of a series of ours.
fn names_in(text: &str) -> BTreeSet<&str> {
    let is_part = |character: char| character.is_ascii_lowercase() || character == '_';
    let words = text.split(|character: char| !is_part(character));
    words.filter(|word| word.starts_with("counterfoil_")).collect()
}

/// The names under which a series appears.
fn appearances() -> BTreeSet<String> {
    let of = |name: &str, kind| match kind {
        Kind::Histogram => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).to_vec(),
        Kind::Counter | Kind::Gauge => vec![name.to_owned()],
    };
    SERIES.iter().flat_map(|series| of(series.name, series.kind)).collect()
}

fn expressions() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read("counterfoil.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    targets.map(|target| target["expr"].as_str().expect("an expression").to_owned()).collect()
}

#[test]
fn alerts_are_valid_and_fire_when_they_should() {
    accepts(&promtool(&["check", "rules", "alerts.yaml"], None));
    accepts(&promtool(&["test", "rules", "alerts_test.yaml"], None));
}

#[test]
fn every_expression_of_the_dashboard_is_valid() {
    let mut rules = "groups:\n  - name: dashboard\n    rules:\n".to_owned();
    for (number, expression) in expressions().iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "5m").replace("$instance", ".*");
        rules
            .push_str(&format!("      - record: panel:{number}\n        expr: >-\n          {expression}\n"));
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(file.path(), rules).expect("written");
    accepts(&promtool(&["check", "rules", &file.path().to_string_lossy()], None));
}

#[test]
fn alerts_and_dashboard_speak_only_of_series_that_exist() {
    let known = appearances();
    for text in expressions().into_iter().chain([read("alerts.yaml"), read("alerts_test.yaml")]) {
        for name in names_in(&text) {
            assert!(known.contains(name), "{name} in {text}");
        }
    }
}

#[test]
fn every_series_is_on_the_dashboard_and_explained() {
    let (dashboard, explanation) = (expressions().join("\n"), read("README.md"));
    for series in SERIES {
        assert!(dashboard.contains(series.name), "{} is not on the dashboard", series.name);
        assert!(explanation.contains(&format!("`{}`", series.name)), "{} is not explained", series.name);
    }
}

#[test]
fn names_follow_the_conventions_of_prometheus() {
    for series in SERIES {
        assert_eq!(series.name.ends_with("_total"), series.kind == Kind::Counter, "{}", series.name);
        let is_time = series.unit == metrics::Unit::Seconds;
        assert_eq!(series.name.ends_with("_seconds"), is_time, "{}", series.name);
    }
}
