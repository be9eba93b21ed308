//! What must hold of projections: every row follows from the events.

use anyhow::Context as _;

use super::findings::Findings;
use crate::cli::progress::Rate;
use crate::store::ledgers::Ledger;
use crate::store::projections::definition::Definition;
use crate::store::verification::{Refolded, Refolder, RowsCompared, Served};

/// Looks at how a projection serves a ledger. Gives how far it is, if it can be compared; if not, what it lacks is a finding
/// where somebody must have taken it away, and left out of the verdict where that may rightly be.
pub(super) async fn look(
    refolder: &Refolder,
    ledger: &Ledger,
    definition: &Definition,
    findings: &mut Findings,
) -> anyhow::Result<Option<i64>> {
    let name = &definition.name;
    let left_out = match refolder.served(definition, ledger.ledger).await? {
        Served::Empty => {
            println!("{}: no {name} to compare yet", ledger.slug);
            return Ok(None);
        }
        Served::Lost => {
            findings.ledger(format!("nothing serves {name}, although it is installed and there are events"));
            return Ok(None);
        }
        Served::Comparable { position, head, .. } if position > head => {
            findings.ledger(format!("{name} is at {position}, the last event at {head}"));
            return Ok(None);
        }
        Served::Comparable { position, is_late: false, .. } => return Ok(Some(position)),
        Served::Comparable { position, head, is_late: true } => {
            findings.leave_out(name, format!("beyond position {position} of {head}: not folded"));
            return Ok(Some(position));
        }
        Served::NotInstalled => "not installed".to_owned(),
        Served::NotYet => "nothing is folded yet".to_owned(),
        Served::OtherVersion(version) => {
            format!("version {version} serves, this program has {}", definition.version)
        }
    };
    println!("{}: {name} is not compared: {left_out}", ledger.slug);
    findings.leave_out(name, left_out);
    Ok(None)
}

/// Looks at all projections of a ledger together: which have stopped, and which this program does not know.
pub(super) async fn look_at_all(
    refolder: &Refolder,
    ledger: &Ledger,
    definitions: &[&Definition],
    findings: &mut Findings,
) -> anyhow::Result<()> {
    for (name, halt) in refolder.halted(ledger.ledger).await? {
        findings.position(halt.position.0, format!("{name} has stopped here: {}", halt.reason));
    }
    for name in refolder.others(definitions).await? {
        println!("{}: {name} is not compared: its SQL is not at hand", ledger.slug);
        findings.leave_out(&name, "its SQL is not at hand");
    }
    Ok(())
}

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
    let Some(goal) = look(refolder, ledger, definition, findings).await? else { return Ok(()) };
    let mut refolding = refolder.refold(definition, ledger.ledger).await?;
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
            let compared_page = refolding.compare(number, &after).await;
            let page = match compared_page.with_context(|| format!("{name} of {slug} cannot be compared"))? {
                RowsCompared::Rows(page) => page,
                RowsCompared::TakenOver => {
                    findings.leave_out(name, "another build took over meanwhile");
                    return Ok(());
                }
                RowsCompared::Poison(position, reason) => {
                    findings.position(position.0, format!("{name} cannot be folded: {reason}"));
                    return Ok(());
                }
            };
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
