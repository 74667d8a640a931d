//! Parses, dispatches, prints the error chain, and ends with the right code.

use std::io::Write;
use std::process::ExitCode;

use autotune::cli::{self, Cli};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    // Without indentation: a debug message may be a line to be pasted into a shell.
    env_logger::Builder::from_env(env_logger::Env::new().filter("AUTOTUNE_LOG")).format_indent(None).init();
    match cli::run(cli) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // Nobody may be listening any more, and the code says it too.
            let _ = writeln!(std::io::stderr(), "error: {error:#}");
            ExitCode::from(cli::code(&error))
        }
    }
}
