//! The lines of a subscription's invoice, as they are recorded: each by itself, but those about a change together.

use super::fact::InvoicedLine;
use crate::domain::{
    command::{ProratedLine, SoldLine},
    time::Timestamp,
};

/// What is recorded at once.
pub enum Entry<'a> {
    /// A line for a whole period.
    Period(&'a InvoicedLine),
    /// Lines about changes within one period.
    Changes {
        /// The lines; the first names the period.
        lines: Vec<&'a InvoicedLine>,
        /// The end of the period whose place it took, if the change began a new one.
        replaced: Option<Timestamp>,
    },
    /// A line of something else.
    Foreign(&'a InvoicedLine),
}

/// All lines: changes by period, oldest first, then periods as they come, then what is none of ours.
///
/// An invoice for a change that begins a new period (from monthly to yearly) has a line for all of that. It is one side of
/// the change, the other being what is given back for the rest of the period whose place it takes.
pub fn entries(
    lines: &[InvoicedLine],
    is_change: bool,
    is_ours: impl Fn(&InvoicedLine) -> bool,
) -> Vec<Entry<'_>> {
    let (ours, foreign): (Vec<_>, Vec<_>) = lines.iter().partition(|line| is_ours(line));
    let given_back = ours.iter().filter(|line| line.prorated && line.amount < 0).map(|line| line.period.end);
    let given_back: Vec<Timestamp> = given_back.collect();
    let is_of_change = |line: &InvoicedLine| {
        let takes_place = is_change && line.amount > 0 && !given_back.is_empty();
        line.prorated || takes_place
    };
    let (changes, periods): (Vec<&InvoicedLine>, Vec<_>) =
        ours.into_iter().partition(|line| is_of_change(line));
    let begun = changes.iter().filter(|line| !line.prorated).map(|line| line.period.end).next_back();
    let mut groups: Vec<(Timestamp, Vec<&InvoicedLine>)> = Vec::new();
    for line in changes {
        let end = begun.unwrap_or(line.period.end);
        match groups.iter_mut().find(|(of, _)| *of == end) {
            Some((_, lines)) => lines.push(line),
            None => groups.push((end, vec![line])),
        }
    }
    groups.sort_by_key(|(end, _)| *end);
    let replaced = begun.and_then(|begun| given_back.iter().copied().find(|end| *end != begun));
    let changes = groups.into_iter().map(|(_, mut lines)| {
        // The first names the period that all of them are about.
        lines.sort_by_key(|line| line.prorated && begun.is_some());
        Entry::Changes { lines, replaced }
    });
    let periods = periods.into_iter().map(Entry::Period);
    changes.chain(periods).chain(foreign.into_iter().map(Entry::Foreign)).collect()
}

impl<'a> Entry<'a> {
    /// The share of what was paid that is the entry's.
    pub fn weight(&self) -> i64 {
        match self {
            Self::Period(line) | Self::Foreign(line) => line.amount.max(0),
            Self::Changes { lines, .. } => lines.iter().map(|line| line.amount).sum::<i64>().max(0),
        }
    }

    /// The line that it is recorded under, and what was sold.
    pub fn sold(&self) -> Option<(&'a InvoicedLine, SoldLine)> {
        match self {
            Self::Foreign(_) => None,
            Self::Period(line) => {
                let (price, quantity) = (line.price.clone()?, line.quantity?);
                Some((line, SoldLine::Period { price, quantity, is_free: line.amount == 0 }))
            }
            Self::Changes { lines, replaced } => {
                let first = lines.first()?;
                let prorated = lines.iter().filter_map(|line| {
                    Some(ProratedLine { price: line.price.clone()?, amount: line.amount })
                });
                let lines = prorated.collect();
                Some((first, SoldLine::Changes { lines, replaced: *replaced }))
            }
        }
    }
}
