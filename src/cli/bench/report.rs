//! What is printed: settings, medians, ratios.

use std::time::Duration;

use super::{
    Arguments,
    ground::Durability,
    load::{Measured, Spread},
};

/// Prints as it goes, so that a run that is cut short has said something.
pub struct Report;

impl Report {
    /// Prints what was measured, and how.
    #[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
    pub fn begin(durability: &Durability, arguments: &Arguments) -> Self {
        let settings: Vec<String> =
            durability.settings.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        println!(
            "PostgreSQL {} and load on one machine of {cores} cores; {}",
            durability.version,
            settings.join(", ")
        );
        println!(
            "medians of {} rounds of {} s, rounds of all sides alternating; {} accounts",
            arguments.rounds, arguments.seconds, arguments.accounts
        );
        println!("one spend: 10 credits of one feature, a key of 36 bytes, one lot");
        Self
    }

    /// Begins a table.
    #[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
    pub fn section(&mut self, spread: Spread) {
        let spread = match spread {
            Spread::ManyAccounts => "over all accounts",
            Spread::OneAccount => "on one hot account",
        };
        println!("\nSpends {spread}; a transaction each on as many connections as it does best with\n");
        println!("| callers | side | spends/s | median ms | p99 ms | times as many |");
        println!("| ---: | --- | ---: | ---: | ---: | ---: |");
    }

    /// Prints the three sides at one number of callers: a transaction each with its connections, the writer, HTTP.
    pub fn line(&mut self, callers: usize, connections: usize, [rival, writer, http]: [&Measured; 3]) {
        let theirs = format!("a transaction each, {connections} connections");
        print_side(callers, &theirs, rival, 1.0);
        print_side(callers, "through the writer", writer, writer.rate / rival.rate);
        print_side(callers, "through HTTP", http, http.rate / rival.rate);
    }

    /// Prints that nothing was lost or invented.
    #[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
    pub fn end(self, stored: u64, their_stored: u64) {
        println!("\nStored = acknowledged on both sides: {stored} here, {their_stored} there.");
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is asked for")]
fn print_side(callers: usize, side: &str, measured: &Measured, ratio: f64) {
    let milliseconds = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    println!(
        "| {callers} | {side} | {:.0} | {:.2} | {:.2} | {ratio:.1} |",
        measured.rate,
        milliseconds(measured.median),
        milliseconds(measured.slowest_hundredth),
    );
}
