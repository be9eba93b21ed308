//! `counterfoil audit`: verifies a ledger from outside, with nothing but what is published of it.

mod balances;
mod comparison;
mod revenue;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use secrecy::SecretString;

use self::comparison::Compared;
use self::source::Source;
use super::progress::Rate;
use crate::audit::checkpoint::Checkpoint;
use crate::audit::memory::{Memory, Range};
use crate::audit::note::VerifierKey;
use crate::audit::verification::{Finding, Verification, Verified};
use crate::domain::ids::LedgerSlug;

/// Verify a ledger's events against its signed head, from outside.
///
/// Takes every event from a service or from a file, and checks: the head is signed by a key that you know; it goes on from
/// the head that was seen last; the events are exactly those that it covers, none changed, dropped or put in; each follows
/// from those before it and breaks nothing that must hold; and what they lead to is what the service says of every account,
/// and of its revenue on every day. Ends with exit code 1 if anything is wrong, naming the first position that can be told.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// A key that verifies the head, as `counterfoil keys list` prints it. May be repeated: one of them has to have
    /// signed. Take it from whoever runs the service by a way that does not lead through the service.
    #[arg(long = "key", required = true, value_name = "VERIFIER KEY", value_parser = verifier_key)]
    keys: Vec<VerifierKey>,
    /// Where the service is.
    #[arg(long, env = "COUNTERFOIL_URL", value_name = "URL", required_unless_present = "export")]
    url: Option<String>,
    /// An API key with the scope `audit`, and `read` for comparing balances.
    #[arg(long, env = "COUNTERFOIL_API_KEY", hide_env_values = true, value_name = "KEY")]
    #[arg(required_unless_present = "export")]
    api_key: Option<SecretString>,
    /// A file with all events, one per line, in place of a service: what `GET /v1/audit/events` or `GET /v1/events` gives.
    /// No service is asked then, even if one is named.
    // No conflict with `--url`: an environment that names a service, as `dev.env` does, would count as one.
    #[arg(long, value_name = "FILE", requires = "checkpoint")]
    export: Option<PathBuf>,
    /// The signed head that goes with the file: what `GET /v1/audit/checkpoint` gives, or a file from the directory of
    /// checkpoints.
    #[arg(long, value_name = "FILE")]
    checkpoint: Option<PathBuf>,
    /// Where it is remembered what was seen, from one time to the next.
    #[arg(long, default_value = "counterfoil-audit.json", value_name = "FILE")]
    state: PathBuf,
    /// Go on with a log that took the place of the one that is remembered, once you know why it did.
    #[arg(long)]
    accept_successor: bool,
}

fn verifier_key(text: &str) -> Result<VerifierKey, String> {
    VerifierKey::parse(text).map_err(|error| error.to_string())
}

pub(super) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let source = Source::open(&arguments)?;
    let note = match &arguments.checkpoint {
        Some(file) => {
            fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?
        }
        None => source.checkpoint().await?,
    };
    let head = Checkpoint::open(&note, &arguments.keys).context("the head is not accepted")?;
    println!("the head of {} over {} events is signed by a known key", head.origin, head.size);
    let ledger = ledger_of_origin(&head.origin)?;
    let memory = remembered(&arguments, &head)?;
    let seen = memory.as_ref().map(|memory| memory.size);

    let (verification, proofs) = take_in_all(&source, &arguments.keys, ledger, &head, memory).await?;
    let has_root = verification.has_signed_root();
    let size = verification.size();
    let mut verified = verification.finish();
    let nobody = || Compared::Not("there is no service to ask");
    let (mut balances, mut revenue) = (nobody(), nobody());
    if verified.findings.is_empty()
        && let Source::Service(service) = &source
    {
        balances = service.compare_balances(&mut verified).await?;
        revenue = service.compare_revenue(&mut verified).await?;
    }
    tell(&verified, &head, (has_root, size), seen);
    println!("inclusion of {proofs} events proven by the service");
    let (mut as_told, mut not_compared) = (Vec::new(), Vec::new());
    for (what, compared) in [("balances", balances), ("revenue", revenue)] {
        match compared {
            Compared::Not(why) => {
                println!("{what} not compared: {why}");
                not_compared.push(what);
            }
            Compared::All(words) => {
                println!("{words} compared with what the service says");
                as_told.push(what);
            }
        }
    }
    for finding in &verified.findings {
        println!("WRONG {finding}");
    }
    if let Some(first) = verified.findings.first() {
        bail!("the ledger is not what was signed; the first: {first}");
    }
    remember(&arguments.state, &verified.memory)?;
    print!("verified: every event is what was signed, and follows from those before it");
    if !as_told.is_empty() {
        print!("; the service's {} are what the events lead to", as_told.join(" and "));
    }
    if !not_compared.is_empty() {
        print!("; {} were not compared", not_compared.join(" and "));
    }
    println!();
    Ok(())
}

fn tell(verified: &Verified, head: &Checkpoint, (has_root, size): (bool, u64), seen: Option<u64>) {
    if has_root {
        println!("{size} events have the root that is signed: none was changed, dropped or put in");
    }
    match seen {
        Some(seen) if verified.findings.is_empty() => {
            println!("it goes on from the {seen} events that were seen before")
        }
        Some(_) => {}
        None => println!("nothing was seen of this log before: there is nothing that it has to go on from"),
    }
    if let Some(before) = &head.succeeds {
        println!("it took the place of {}, which covered {} events", before.origin, before.size);
    }
    if verified.is_replayed {
        let (accounts, balances) = (verified.replay.accounts(), verified.replay.balances());
        println!(
            "replayed to {accounts} accounts and {balances} balances: each follows from the events before it"
        );
    }
}

/// The log's name ends with the ledger's and a random part.
fn ledger_of_origin(origin: &str) -> anyhow::Result<LedgerSlug> {
    let slug = origin.rsplit('/').nth(1).and_then(|slug| LedgerSlug::parse(slug).ok());
    slug.with_context(|| format!("the log {origin} does not name its ledger"))
}

/// What is remembered of this log.
fn remembered(arguments: &Arguments, head: &Checkpoint) -> anyhow::Result<Option<Memory>> {
    let file = &arguments.state;
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{} cannot be read", file.display())),
    };
    let mut memory: Memory = serde_json::from_str(&text)
        .with_context(|| format!("{} does not hold what was remembered", file.display()))?;
    if memory.origin == head.origin {
        return Ok(Some(memory));
    }
    let succeeds = head.succeeds.as_ref().filter(|before| before.origin == memory.origin);
    ensure!(
        succeeds.is_some(),
        "{} is about the log {}: use another --state for {}",
        file.display(),
        memory.origin,
        head.origin
    );
    ensure!(
        arguments.accept_successor,
        "the log {} has come to an end, and {} took its place: history may have been lost. Ask why, then use \
         --accept-successor",
        memory.origin,
        head.origin
    );
    // What was seen of the old log is held against the new one as far as that goes; what is missing is told.
    head.origin.clone_into(&mut memory.origin);
    Ok(Some(memory))
}

fn remember(file: &Path, memory: &Memory) -> anyhow::Result<()> {
    let text = serde_json::to_string(memory)?;
    let new = file.with_extension("new");
    let written = fs::write(&new, text).and_then(|()| fs::rename(&new, file));
    written.with_context(|| format!("{} cannot be written", file.display()))
}

/// Takes in every event that the head covers, and has the service prove some of them.
async fn take_in_all(
    source: &Source,
    keys: &[VerifierKey],
    ledger: LedgerSlug,
    head: &Checkpoint,
    memory: Option<Memory>,
) -> anyhow::Result<(Verification, usize)> {
    let samples = samples(head.size);
    let mut verification = Verification::new(ledger, head.clone(), memory);
    let mut rate = Rate::new("events".to_owned(), 0);
    let mut leaves = Vec::new();
    let mut lines = source.lines().await?;
    while !verification.is_complete() {
        let here = || format!("position {}", verification.size() + 1);
        let Some(line) = lines.next().await.with_context(here)? else { break };
        match verification.take_in(&line) {
            Ok(leaf) if samples.contains(&verification.size()) => leaves.push((verification.size(), leaf)),
            Ok(_) => {}
            Err(finding) => {
                verification.add(finding);
                break;
            }
        }
        if verification.size().is_multiple_of(1_000) {
            rate.report(verification.size() as i64, head.size as i64);
        }
    }
    let mut proofs = 0;
    if let Source::Service(service) = source {
        if verification.is_complete() && !verification.has_signed_root() {
            // If its tiles have these very events, they are not those of the head: nothing can be told of a place.
            if let place @ Some(_) = service.find_difference(&verification, head).await? {
                let what = "it is not the event that was sealed".to_owned();
                verification.add(Finding { place, what });
            }
        }
        for (position, leaf) in leaves {
            match service.prove(position, leaf, keys).await? {
                Ok(()) => proofs += 1,
                Err(what) => {
                    let place = Some(Range { first: position, last: position });
                    verification.add(Finding { place, what: format!("its proof is not accepted: {what}") });
                }
            }
        }
    }
    Ok((verification, proofs))
}

/// Positions that the service is asked to prove: the ends, and some in between that it cannot foresee.
fn samples(size: u64) -> Vec<u64> {
    let mut positions = vec![1, size];
    positions.extend((0..8).map(|_| rand::random_range(1..=size.max(1))));
    positions.sort_unstable();
    positions.dedup();
    positions.retain(|position| (1..=size).contains(position));
    positions
}
