//! The `counterfoil` binary: parses the command line and runs one subcommand.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    counterfoil::cli::run()
}
