//! The `dpc` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    dpc::cli::main()
}
