//! What must hold of projections: every row follows from the events.

use anyhow::Context as _;

use super::findings::Findings;
use crate::cli::progress::Rate;
use crate::store::ledgers::Ledger;
use crate::store::projections::definition::Definition;
use crate::store::verification::{Refolded, Refolder, Served};

/// Folds a projection of a ledger once more, and compares it with what serves.
pub(super) async fn compare(
    refolder: &mut Refolder,
    ledger: &Ledger,
    definition: &Definition,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    if findings.is_hopeless() {
        return Ok(());
    }
    let (slug, name) = (&ledger.slug, &definition.name);
    let mut refolding = refolder.refold(definition, ledger.ledger).await?;
    let goal = match refolding.served().await? {
        Served::Absent => {
            println!("{slug}: no {name} to compare yet");
            return Ok(());
        }
        Served::OtherVersion(version) => {
            println!("{slug}: {name} is of version {version}: not compared");
            return Ok(());
        }
        Served::Comparable { position, halt } => {
            if let Some(halt) = halt {
                findings.position(halt.position.0, format!("{name} has stopped here: {}", halt.reason));
            }
            position
        }
    };
    let mut rate = Rate::new(format!("{slug}: {name}"), 0);
    while refolding.position() < goal {
        let advanced = refolding.advance(goal).await;
        match advanced.with_context(|| format!("{name} of {slug} cannot be compared"))? {
            Refolded::Until(position) => rate.report(position, goal),
            Refolded::Poison(position, reason) => {
                findings.position(position.0, format!("{name} cannot be folded: {reason}"));
                return Ok(());
            }
        }
    }
    let tables: Vec<String> = refolding.tables().map(str::to_owned).collect();
    let mut compared = 0;
    for (number, table) in tables.iter().enumerate() {
        let mut after = None;
        loop {
            let page = refolding.compare(number, &after).await?;
            compared += page.rows;
            let position = refolding.position();
            for key in page.differing {
                let what =
                    format!("{table} of the projection {name} is not what the events up to {position} say");
                findings.ledger(format!("{what}: {key}"));
            }
            after = page.next;
            if after.is_none() || findings.is_hopeless() {
                break;
            }
        }
    }
    println!("{slug}: {compared} rows of {name} compared at {}", refolding.position());
    Ok(())
}
