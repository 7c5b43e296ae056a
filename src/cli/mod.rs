//! The command line: what can be asked, and how the answer ends.
//!
//! Each file has the commands of one topic: their arguments and what they do. [`session`] opens the store for them;
//! [`output`] is how they answer, [`failure`] and [`exit`] how they end.

#[cfg(feature = "http")]
mod account;
mod attribute;
mod blobs;
mod care;
mod condition;
mod copies;
mod difference;
mod documents;
mod exit;
mod failure;
mod files;
mod input;
mod interrupt;
mod listing;
mod locks;
mod manual;
mod naming;
mod output;
mod passing;
mod password;
mod progress;
mod range;
mod removing;
mod reserved;
#[cfg(feature = "http")]
mod serve;
mod session;
mod show;
mod sync;
mod target;
mod tokens;
mod tour;
mod transfer;
mod tree;
mod upload;
mod usage;
mod walk;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::{Doing, Outcome};
use session::Globals;

/// An embedded store of documents and files in one directory
///
/// A key is a path such as rooms/42/plan.txt; it names a document (JSON) or a blob (bytes). Results go to standard
/// output, everything else to standard error. Documents, blobs and the store itself are written in one step: after
/// Ctrl-C, a kill or a power cut each write is there whole or not at all.
#[derive(Parser)]
#[command(name = "komatik", version, max_term_width = 100, after_long_help = exit::table())]
struct Arguments {
    #[command(flatten)]
    globals: Globals,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Save(documents::Save),
    Load(documents::Load),
    Merge(documents::Merge),
    Patch(documents::ApplyPatch),
    Diff(documents::Diff),
    Put(blobs::Put),
    Get(blobs::Get),
    Append(blobs::Append),
    Sync(sync::Sync),
    Ls(listing::Ls),
    Tree(tree::Tree),
    Stat(listing::Stat),
    Du(usage::Du),
    Mv(naming::Mv),
    Cp(naming::Cp),
    Rm(removing::Rm),
    Mkdir(naming::Mkdir),
    Lock(locks::Lock),
    Unlock(locks::Unlock),
    Token(tokens::Token),
    Tokens(tokens::Tokens),
    Revoke(tokens::Revoke),
    Watch(watch::Watch),
    #[cfg(feature = "http")]
    Serve(serve::Serve),
    #[cfg(feature = "http")]
    Account(account::Account),
    Stats(care::Stats),
    Verify(care::Verify),
    Compact(care::Compact),
    Backup(copies::Backup),
    Restore(copies::Restore),
    Repair(copies::Repair),
    Export(copies::Export),
    Import(copies::Import),
    Tour(tour::Arguments),
    Completions(manual::Completions),
    Man(manual::Man),
    /// Writes documents until it is killed; the tour runs it.
    #[command(hide = true)]
    CrashWriter {
        /// Directory of the store.
        directory: PathBuf,
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
    let json = arguments.globals.manner().json;
    match execute(arguments.command, &arguments.globals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&failure, json);
            failure.exit_code()
        }
    }
}

fn execute(command: Command, globals: &Globals) -> Outcome<()> {
    if !matches!(command, Command::CrashWriter { .. }) {
        interrupt::listen(!is_service(&command)).doing(|| "listening for Ctrl-C".to_owned())?;
    }
    match command {
        Command::Save(save) => save.run(globals),
        Command::Load(load) => globals.with_store(|session| load.run(session)),
        Command::Merge(merge) => merge.run(globals),
        Command::Patch(patch) => patch.run(globals),
        Command::Diff(diff) => diff.run(globals),
        Command::Put(put) => put.run(globals),
        Command::Get(get) => globals.with_store(|session| get.run(session)),
        Command::Append(append) => append.run(globals),
        Command::Sync(sync) => sync.run(globals),
        Command::Ls(ls) => globals.with_store(|session| ls.run(session)),
        Command::Tree(tree) => globals.with_store(|session| tree.run(session)),
        Command::Stat(stat) => globals.with_store(|session| stat.run(session)),
        Command::Du(du) => globals.with_store(|session| du.run(session)),
        Command::Mv(mv) => globals.with_store(|session| mv.run(session)),
        Command::Cp(cp) => globals.with_store(|session| cp.run(session)),
        Command::Rm(rm) => globals.with_store(|session| rm.run(session)),
        Command::Mkdir(mkdir) => globals.with_new_store(|session| mkdir.run(session)),
        Command::Lock(lock) => globals.with_store(|session| lock.run(session)),
        Command::Unlock(unlock) => globals.with_store(|session| unlock.run(session)),
        Command::Token(token) => globals.with_store(|session| token.run(session)),
        Command::Tokens(tokens) => globals.with_store(|session| tokens.run(session)),
        Command::Revoke(revoke) => revoke.run(globals),
        Command::Watch(watch) => watch.run(globals),
        #[cfg(feature = "http")]
        Command::Serve(serve) => serve.run(globals),
        #[cfg(feature = "http")]
        Command::Account(account) => globals.with_store(|session| account.run(session)),
        Command::Stats(stats) => globals.with_store(|session| stats.run(session)),
        Command::Verify(verify) => globals.with_store(|session| verify.run(session)),
        Command::Compact(compact) => globals.with_store(|session| compact.run(session)),
        Command::Backup(backup) => globals.with_store(|session| backup.run(session)),
        Command::Restore(restore) => restore.run(globals),
        Command::Repair(repair) => repair.run(globals),
        Command::Export(export) => globals.with_store(|session| export.run(session)),
        Command::Import(import) => import.run(globals),
        Command::Tour(arguments) => tour::run(&arguments),
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::CrashWriter { directory } => tour::write_until_killed(&directory),
    }
}

/// Whether the command takes SIGHUP for something else than an end.
#[cfg(feature = "http")]
fn is_service(command: &Command) -> bool {
    matches!(command, Command::Serve(_))
}

#[cfg(not(feature = "http"))]
fn is_service(_: &Command) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_what_clap_asks_for() {
        Arguments::command().debug_assert();
    }

    /// An argument with the name of one that every command takes would be read in its place.
    #[test]
    fn no_command_has_an_argument_of_the_name_of_a_global_one() {
        let command = Arguments::command();
        let globals: Vec<_> = command.get_arguments().map(clap::Arg::get_id).collect();
        assert!(globals.iter().any(|id| id.as_str() == "store"));
        for subcommand in command.get_subcommands() {
            for argument in subcommand.get_arguments() {
                let name = subcommand.get_name();
                assert!(!globals.contains(&argument.get_id()), "{name} {argument}");
            }
        }
    }
}
