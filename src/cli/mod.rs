//! The command line: one file for each subcommand.
//!
//! What a command answers goes to standard output, everything else to standard error. The exit code is 0 if it did
//! what it was asked to, 1 if it could not, 2 if the command line itself was wrong.

mod administration;
mod audit;
mod bench;
mod dev;
mod environment_file;
mod key;
mod keys;
mod ledger;
mod migrate;
mod openapi;
mod parse;
mod progress;
mod rebuild;
mod reconcile;
mod recover;
mod schemas;
mod serve;
mod stripe;
mod verify;

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

/// A credit ledger on PostgreSQL: prepaid credits sold through Stripe, spent in milliseconds, provable to an auditor.
///
/// Settings can be given in the environment as well, under the names that the help of each command shows.
#[derive(Parser)]
#[command(name = "counterfoil", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Dev(dev::Arguments),
    Serve(serve::Arguments),
    Migrate(migrate::Arguments),
    Ledger(ledger::Arguments),
    Key(key::Arguments),
    Keys(keys::Arguments),
    Recover(recover::Arguments),
    Stripe(stripe::Arguments),
    Rebuild(rebuild::Arguments),
    Reconcile(reconcile::Arguments),
    Verify(verify::Arguments),
    Audit(audit::Arguments),
    Openapi(openapi::Arguments),
    Schemas(schemas::Arguments),
    Bench(bench::Arguments),
}

/// Runs the subcommand that the command line names.
#[must_use]
pub fn run() -> ExitCode {
    let command = CommandLine::parse().command;
    match run_to_completion(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counterfoil: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run_to_completion(command: Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the asynchronous runtime does not start")?;
    runtime.block_on(async {
        match command {
            Command::Dev(arguments) => dev::run(arguments).await,
            Command::Serve(arguments) => serve::run(arguments).await,
            Command::Migrate(arguments) => migrate::run(arguments).await,
            Command::Ledger(arguments) => ledger::run(arguments).await,
            Command::Key(arguments) => key::run(arguments).await,
            Command::Keys(arguments) => keys::run(arguments).await,
            Command::Recover(arguments) => recover::run(arguments).await,
            Command::Stripe(arguments) => stripe::run(arguments).await,
            Command::Rebuild(arguments) => rebuild::run(arguments).await,
            Command::Reconcile(arguments) => reconcile::run(arguments).await,
            Command::Verify(arguments) => verify::run(arguments).await,
            Command::Audit(arguments) => audit::run(arguments).await,
            Command::Openapi(arguments) => openapi::run(&arguments),
            Command::Schemas(arguments) => schemas::run(&arguments),
            Command::Bench(arguments) => bench::run(arguments).await,
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_line_is_well_formed() {
        CommandLine::command().debug_assert();
    }

    #[test]
    fn every_setting_of_production_stands_in_the_example() {
        let example = include_str!("../../.env.example");
        let mut command_line = CommandLine::command();
        for name in ["serve", "migrate"] {
            let command = command_line.find_subcommand_mut(name).expect("a subcommand");
            for setting in command.get_arguments().filter_map(|argument| argument.get_env()) {
                let setting = setting.to_string_lossy();
                let stands_there = example.lines().any(|line| {
                    line.trim_start_matches("# ")
                        .strip_prefix(&*setting)
                        .is_some_and(|rest| rest.starts_with('='))
                });
                assert!(stands_there, "{setting} of `counterfoil {name}`");
            }
        }
    }

    #[test]
    fn every_setting_is_explained() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
                let is_explained = argument.get_help().is_some();
                assert!(is_explained, "{} of {}", argument.get_id(), command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&CommandLine::command());
    }
}
