//! Conventions that matter, held by tests: who may use whom, where SQL and status codes stand, what a file looks like.

mod source;

use std::{collections::BTreeSet, fs, path::Path};

use counterfoil::telemetry::metrics::SERIES;
use source::{Source, files_under, repository};

/// A top-level module, and which others it may name.
struct Module {
    name: &'static str,
    may_use: &'static [&'static str],
    because: &'static str,
}

/// Modules that everyone may use; each may use those before it.
const LEAVES: &[&str] = &["config", "telemetry"];

const MODULES: &[Module] = &[
    Module {
        name: "domain",
        may_use: &[],
        because: "the rules are pure, so that they can be tried without a database, a clock or a network",
    },
    Module {
        name: "stripe",
        may_use: &["domain"],
        because: "it reads objects and does not know where facts go",
    },
    Module {
        name: "audit",
        may_use: &["domain"],
        because: "an auditor has no access to our database: what he needs works on bytes alone",
    },
    Module { name: "store", may_use: &["domain"], because: "it keeps rows and decides nothing" },
    Module {
        name: "credentials",
        may_use: &["audit", "domain", "store", "stripe"],
        because: "secrets are opened in one place, for whoever calls Stripe or is called by it",
    },
    Module {
        name: "writer",
        may_use: &["domain", "store"],
        because: "the write path is one module, readable in one sitting",
    },
    Module {
        name: "projector",
        may_use: &["store"],
        because: "a projection is SQL: the runner knows pages and cursors, and no event",
    },
    Module {
        name: "sealer",
        may_use: &["audit", "credentials", "domain", "store"],
        because: "it signs what is there, and has no part in what comes to be there",
    },
    Module {
        name: "sweeper",
        may_use: &["domain", "store", "writer"],
        because: "it only hands commands to the writer",
    },
    Module {
        name: "rounds",
        may_use: &["domain"],
        because: "it says whose turn it is, whatever the turn is for",
    },
    Module {
        name: "inbox",
        may_use: &["credentials", "domain", "rounds", "store", "writer", "stripe"],
        because: "it turns stored webhooks into commands, and nothing that answers requests may be needed for that",
    },
    Module {
        name: "outbox",
        may_use: &["credentials", "domain", "store", "writer", "stripe"],
        because: "it carries out what events order, and nothing that answers requests may be needed for that",
    },
    Module {
        name: "reconcile",
        may_use: &["credentials", "domain", "inbox", "rounds", "store", "stripe", "writer"],
        because: "what is ours is judged by the inbox, and nothing that answers requests may be needed to reconcile",
    },
    Module {
        name: "service",
        may_use: &["audit", "credentials", "domain", "store", "writer", "stripe"],
        because: "use cases know nothing of HTTP",
    },
    Module {
        name: "api",
        may_use: &["service", "domain"],
        because: "handlers translate; whatever they reach past `service` would not be authorised",
    },
    Module {
        name: "web",
        may_use: &["api", "service", "domain"],
        because: "pages are one more way in: the use cases are those of `service`, and the statuses those of `api`",
    },
    Module {
        name: "sandbox",
        may_use: &["domain", "stripe"],
        because: "a private PostgreSQL and a fake Stripe serve development and tests, never production code",
    },
    Module {
        name: "app",
        may_use: &[
            "api",
            "credentials",
            "domain",
            "inbox",
            "outbox",
            "projector",
            "reconcile",
            "sandbox",
            "sealer",
            "service",
            "store",
            "stripe",
            "sweeper",
            "web",
            "writer",
        ],
        because: "it puts the parts together; the command line stands above it",
    },
    Module {
        name: "cli",
        may_use: &[
            "api",
            "app",
            "audit",
            "credentials",
            "domain",
            "inbox",
            "outbox",
            "projector",
            "reconcile",
            "sandbox",
            "sealer",
            "service",
            "store",
            "stripe",
            "sweeper",
            "web",
            "writer",
        ],
        because: "a subcommand may need any part",
    },
];

const LONGEST_FILE: usize = 600;

#[test]
fn modules_use_only_what_their_place_in_the_table_allows() {
    let mut violations = Vec::new();
    for source in Source::all_under("src") {
        let path = source.module_path();
        let Some(name) = path.first().filter(|name| !LEAVES.contains(&name.as_str())) else { continue };
        let Some(module) = MODULES.iter().find(|module| module.name == name) else {
            violations.push(format!("{}: `{name}` is not in the table", source.file.display()));
            continue;
        };
        for used in source.paths() {
            let is_fine = used.module == module.name
                || module.may_use.contains(&used.module.as_str())
                || LEAVES.contains(&used.module.as_str());
            if !is_fine {
                let Module { name, because, .. } = module;
                violations.push(format!("{}: {name} may not use {}: {because}", used.place, used.module));
            }
        }
    }
    none(violations);
}

/// Where they and the code that is held against them agreed, a mistake would be made twice.
#[test]
fn the_model_of_the_rules_shares_none_of_the_code_that_is_held_against_it() {
    const RULES: &[&str] = &[
        "account",
        "account_at",
        "clawback",
        "commands",
        "decide",
        "due",
        "effects",
        "evolve",
        "follow_up",
        "invariants",
        "invoice_worth",
        "purchase",
        "sale",
        "subscription_change",
        "working_set",
    ];
    let files = files_under(&repository().join("src/domain/testing/model"));
    assert!(files.len() > 5, "the model is elsewhere");
    let mut violations = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("text");
        for shared in text.split("crate::domain").skip(1) {
            let shared = shared.split(';').next().unwrap_or_default();
            let words: Vec<&str> =
                shared.split(|letter: char| !letter.is_alphanumeric() && letter != '_').collect();
            for rule in RULES.iter().filter(|rule| words.contains(*rule)) {
                violations.push(format!("{}: the model may not use {rule}", file.display()));
            }
        }
    }
    none(violations);
}

#[test]
fn leaves_use_only_leaves() {
    let mut violations = Vec::new();
    for source in Source::all_under("src") {
        let path = source.module_path();
        let Some(place) = path.first().and_then(|name| LEAVES.iter().position(|leaf| leaf == name)) else {
            continue;
        };
        for used in source.paths().iter().filter(|used| !LEAVES[..=place].contains(&used.module.as_str())) {
            violations
                .push(format!("{}: {} is a leaf and may not use {}", used.place, LEAVES[place], used.module));
        }
    }
    none(violations);
}

#[test]
fn the_module_table_has_no_cycle() {
    let mut settled: BTreeSet<&str> = LEAVES.iter().copied().collect();
    let mut open: Vec<&Module> = MODULES.iter().collect();
    while !open.is_empty() {
        let before = open.len();
        open.retain(|module| {
            let is_settled = module.may_use.iter().all(|used| settled.contains(used));
            if is_settled {
                settled.insert(module.name);
            }
            !is_settled
        });
        let names: Vec<&str> = open.iter().map(|module| module.name).collect();
        assert!(open.len() < before, "these modules use each other in a circle: {names:?}");
    }
}

#[test]
fn every_module_of_the_table_exists() {
    for module in MODULES {
        let folder = repository().join("src").join(module.name);
        assert!(folder.is_dir() || folder.with_extension("rs").is_file(), "there is no src/{}", module.name);
    }
}

#[test]
fn every_module_of_the_table_is_on_the_map() {
    let map = fs::read_to_string(repository().join("docs/architecture.md")).expect("the map");
    for module in MODULES {
        let is_there = ["/", ".rs"].iter().any(|end| map.contains(&format!("`{}{end}`", module.name)));
        assert!(is_there, "docs/architecture.md does not name {}", module.name);
    }
}

#[test]
fn the_domain_is_pure() {
    const IMPURE: &[(&str, &str)] = &[
        ("async", "deciding never waits"),
        ("await", "deciding never waits"),
        ("tokio", "deciding never waits"),
        ("SystemTime", "moments are passed in"),
        ("Instant", "moments are passed in"),
        ("now_utc", "moments are passed in"),
        ("rand", "randomness is passed in as a seed"),
        ("HashMap", "its order differs from run to run, and with it what is written"),
        ("HashSet", "its order differs from run to run, and with it what is written"),
        ("f32", "amounts are whole numbers"),
        ("f64", "amounts are whole numbers"),
        ("tracing", "what happened is in the events"),
        ("metrics", "what happened is in the events"),
        ("println", "what happened is in the events"),
        ("eprintln", "what happened is in the events"),
    ];
    let mut violations = Vec::new();
    for source in Source::all_under("src/domain") {
        for token in source.tokens() {
            if let Some((word, because)) = IMPURE.iter().find(|(word, _)| *word == token.text) {
                violations.push(format!("{}: the domain has no `{word}`: {because}", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn sql_stands_in_the_store_alone() {
    const HOMES: &[&str] = &["src/store", "src/cli/bench"];
    const WORDS: &[&str] = &[
        "SELECT ",
        "INSERT INTO ",
        "UPDATE ",
        "DELETE FROM ",
        "CREATE TABLE ",
        "ALTER TABLE ",
        "DROP TABLE ",
        "TRUNCATE ",
        "SET LOCAL ",
        "set_config(",
        "CREATE SCHEMA ",
        "DROP SCHEMA ",
        "BEGIN;",
        "COMMIT;",
    ];
    let mut violations = Vec::new();
    for source in Source::all_under("src") {
        if HOMES
            .iter()
            .any(|home| source.file.starts_with(home) || source.file.starts_with(format!("{home}.rs")))
        {
            continue;
        }
        for token in source.tokens().iter().filter(|token| token.is_string) {
            for word in WORDS.iter().filter(|word| token.text.contains(**word)) {
                violations.push(format!("{}: a string with `{word}` belongs into src/store", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn one_file_knows_http_status_codes() {
    let mut violations = Vec::new();
    // The simulated Stripe has its own, which are Stripe's.
    const HOMES: &[&str] = &["src/api/error.rs", "src/sandbox/stripe/answer.rs"];
    for source in Source::all_under("src") {
        if HOMES.iter().any(|home| source.file == Path::new(home)) {
            continue;
        }
        let tokens = source.tokens();
        for (index, token) in tokens.iter().enumerate() {
            let is_failure = token.text == "status"
                && tokens.get(index + 1).is_some_and(|next| next.text == "=")
                && tokens
                    .get(index + 2)
                    .is_some_and(|code| matches!(code.text.as_bytes(), [b'4' | b'5', _, _]));
            if is_failure || token.text == "StatusCode" {
                violations.push(format!("{}: status codes belong into src/api/error.rs", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn names_of_series_stand_in_one_place() {
    let mut violations = Vec::new();
    for source in Source::all_under("src") {
        if source.file == Path::new("src/telemetry/metrics.rs") {
            continue;
        }
        for token in source.tokens().iter().filter(|token| token.is_string) {
            if SERIES.iter().any(|series| token.text.contains(series.name)) {
                violations.push(format!("{}: name the constant of src/telemetry/metrics.rs", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn lints_are_expected_with_a_reason_and_never_just_allowed() {
    let mut violations = Vec::new();
    for source in all_rust() {
        let tokens = source.tokens();
        for (index, token) in tokens.iter().enumerate() {
            let opens_attribute = index > 0 && matches!(tokens[index - 1].text.as_str(), "#" | "!");
            if opens_attribute && token.text == "allow" {
                violations.push(format!("{}: write #[expect(…, reason = \"…\")]", token.place));
            }
            let has_reason = || tokens[index..].iter().take(16).any(|token| token.text == "reason");
            if opens_attribute && token.text == "expect" && !has_reason() {
                violations.push(format!("{}: an expectation without a reason", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn every_file_opens_with_what_it_is_for() {
    let violations = all_rust()
        .filter(|source| {
            let text = source.text.trim_start_matches("//! ");
            !source.text.starts_with("//! ") || text.starts_with("(module documentation)")
        })
        .map(|source| format!("{}: no module documentation at the top", source.file.display()));
    none(violations.collect());
}

#[test]
fn no_file_is_too_long_to_be_read_at_once() {
    let mut violations = Vec::new();
    for source in all_rust() {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            violations.push(format!("{}: {lines} lines, more than {LONGEST_FILE}", source.file.display()));
        }
    }
    none(violations);
}

#[test]
fn names_are_words() {
    const SHORT: &[(&str, &str)] = &[
        ("acct", "account"),
        ("amt", "amount"),
        ("cnt", "count"),
        ("conn", "connection"),
        ("ctx", "context"),
        ("idx", "index"),
        ("msg", "message"),
        ("qty", "quantity"),
        ("req", "request"),
        ("resp", "response"),
        ("tmp", "temporary"),
        ("txn", "transaction"),
        ("tx", "transaction or sender"),
        ("rx", "receiver"),
        ("pos", "position"),
        ("evt", "event"),
        ("ts", "timestamp"),
        ("bal", "balance"),
    ];
    let mut violations = Vec::new();
    for source in all_rust() {
        for token in source.tokens() {
            if let Some((short, word)) = SHORT.iter().find(|(short, _)| *short == token.text) {
                violations.push(format!("{}: `{short}` is no word; say {word}", token.place));
            }
        }
    }
    none(violations);
}

#[test]
fn links_between_pages_lead_somewhere() {
    let pages = files_under(repository()).into_iter();
    let (mut links, mut lead_nowhere) = (0, Vec::new());
    for page in pages.filter(|page| page.extension().is_some_and(|extension| extension == "md")) {
        let text = fs::read_to_string(&page).expect("a text");
        let folder = page.parent().expect("a folder");
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        for target in targets.filter(|target| !target.is_empty() && !target.contains("://")) {
            links += 1;
            if !folder.join(target).exists() {
                lead_nowhere.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(links > 50, "{links} links");
    none(lead_nowhere);
}

#[test]
fn no_text_speaks_of_how_the_project_was_made() {
    // Put together from halves, so that this file does not hold them.
    const NOWHERE: &[&str] = &[
        concat!("/wo", "rk/"),
        concat!("/ro", "ot/"),
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X:"),
        concat!("iss", "ue #"),
        concat!("this se", "ssion"),
        concat!("previous se", "ssion"),
        concat!("the br", "ief"),
        concat!("as reque", "sted by"),
        concat!("Cla", "ude"),
        concat!("language mo", "del"),
    ];
    const ONLY_IN_TESTS: &str = concat!("../sha", "red");
    let mut violations = Vec::new();
    for path in files_under(repository()) {
        let file = path.strip_prefix(repository()).expect("a file of the repository");
        // Binary files hold no talk; lock files hold what others wrote.
        let Ok(text) = fs::read_to_string(&path) else { continue };
        if file.extension().is_some_and(|extension| extension == "lock") {
            continue;
        }
        for (number, line) in text.lines().enumerate() {
            for words in NOWHERE.iter().filter(|words| line.contains(**words)) {
                violations.push(format!("{}:{}: `{words}`", file.display(), number + 1));
            }
            if line.contains(ONLY_IN_TESTS) && !file.starts_with("tests") {
                violations.push(format!("{}:{}: `{ONLY_IN_TESTS}`", file.display(), number + 1));
            }
        }
    }
    none(violations);
}

mod the_reader_of_sources {
    use super::*;

    fn modules_used(file: &str, text: &str) -> Vec<String> {
        let source = Source::parse(file.into(), text.into());
        source.paths().into_iter().map(|used| used.module).collect()
    }

    #[test]
    fn opens_lists_and_nested_lists() {
        let text = "use crate::{domain::{ids, event}, store::pool}; fn f() { crate::writer::go(); }";
        assert_eq!(modules_used("src/api/mod.rs", text), ["domain", "store", "writer"]);
    }

    #[test]
    fn counts_supers_from_where_they_stand() {
        let text = "use super::a; use super::super::store; mod tests { use super::b; use super::super::c; }";
        assert_eq!(modules_used("src/writer/batch.rs", text), ["writer", "store", "writer", "writer"]);
        assert_eq!(modules_used("src/writer.rs", "use super::store::{a, b};"), ["store"]);
        assert_eq!(modules_used("src/writer/mod.rs", "use super::{store, domain::x};"), ["store", "domain"]);
    }

    #[test]
    fn is_not_taken_in_by_comments_documentation_and_strings() {
        let text = "//! crate::a\n/// [`crate::b`]\n// crate::c\nconst S: &str = \"crate::d SELECT \";";
        assert_eq!(modules_used("src/api/mod.rs", text), [] as [&str; 0]);
        let source = Source::parse("src/api/mod.rs".into(), text.into());
        let strings: Vec<String> =
            source.tokens().into_iter().filter(|token| token.is_string).map(|token| token.text).collect();
        assert_eq!(strings, ["\"crate::d SELECT \""]);
    }
}

fn all_rust() -> impl Iterator<Item = Source> {
    ["src", "tests"].into_iter().flat_map(Source::all_under)
}

#[track_caller]
fn none(violations: Vec<String>) {
    assert!(violations.is_empty(), "\n{}\n", violations.join("\n"));
}
