//! The command line: what can be asked, and how the answer ends.

mod failure;
mod output;
mod show;
mod tour;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Outcome;

/// An embedded store of documents and files in one directory.
#[derive(Parser)]
#[command(name = "komatik", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Tour(tour::Arguments),
    /// Writes documents until it is killed; the tour runs it.
    #[command(hide = true)]
    CrashWriter {
        /// Directory of the store.
        store: PathBuf,
    },
}

/// Does what the arguments of the process ask.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version come this way too. Where nobody reads it there is nobody to tell.
            let _ = answer.print();
            return ExitCode::from(u8::try_from(answer.exit_code()).unwrap_or(2));
        }
    };
    match execute(arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure);
            failure.exit_code()
        }
    }
}

fn execute(command: Command) -> Outcome<()> {
    match command {
        Command::Tour(arguments) => tour::run(&arguments),
        Command::CrashWriter { store } => tour::write_until_killed(&store),
    }
}
