//! Copies of a store: backups and archives, and stores made of them.

use std::ffi::OsString;
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use komatik::{PutMode, Store};
use serde_json::json;

use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::output::Manner;
use super::session::{Globals, Session};
use super::{care, files, input, interrupt, output, reserved, show};

/// Copy the whole store into a directory, which then opens as a store
#[derive(clap::Args)]
pub(crate) struct Backup {
    /// The directory, missing or empty
    directory: PathBuf,
}

/// Make the store of --store, missing or empty, out of a backup
///
/// The backup is opened as a store and copied: its directory must be writable, and some of its files change (LOCK, the
/// superblock, the trees), but none of its entries. Where it cannot be written to, copy it elsewhere first.
#[derive(clap::Args)]
pub(crate) struct Restore {
    /// The directory of the backup
    backup: PathBuf,
}

/// Save what can be saved of a damaged store, which stays as it is, into a new one
#[derive(clap::Args)]
pub(crate) struct Repair {
    /// The directory of the new store, missing or empty
    into: PathBuf,
}

/// Write all entries as a tar archive, which other programs can read
///
/// Locks, tokens and the history are not in it; for all of a store, see `backup`. What passwords open is in it as it is, and
/// of the root the accounts of `serve`: a new file only its owner may read.
#[derive(clap::Args)]
pub(crate) struct Export {
    /// The archive, - or nothing for standard output
    file: Option<OsString>,
    /// Only what lies in this folder, with names from there
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true
    )]
    folder: String,
}

/// Store all entries of an archive that `export` wrote
///
/// But for the accounts of `serve`: whoever made the archive made them, and could log in. It ends with 12 where it left some out.
#[derive(clap::Args)]
pub(crate) struct Import {
    /// The archive, - or nothing for standard input
    file: Option<OsString>,
    /// Into this folder
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "",
        hide_default_value = true
    )]
    folder: String,
    /// Replace entries that are there; else the first of them ends it
    #[arg(long)]
    overwrite: bool,
    /// Also the accounts of `serve` that are in it
    #[arg(long)]
    accounts: bool,
}

impl Backup {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        copy(&session.store, session.manner, &self.directory, "copied to")
    }
}

/// Copies the store to a directory.
fn copy(store: &Store, manner: Manner, directory: &Path, what: &str) -> Outcome<()> {
    let bar = manner.bar();
    let copied = store.backup(directory, |step| bar.follow(step));
    drop(bar);
    copied?;
    let entries = store.stats()?.entries;
    manner.done(
        || json!({"directory": directory.to_string_lossy(), "entries": entries}),
        || {
            let entries = show::number_of(entries, "entry", "entries");
            format!("{what} {}, {entries}", directory.display())
        },
    )
}

/// Whether there is nothing that could be lost there.
fn is_free(directory: &Path) -> bool {
    match std::fs::read_dir(directory) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

impl Restore {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let directory = globals.directory()?;
        if !is_free(directory) {
            return Err(Failure::of(
                Exit::Conflict,
                format!("{} is neither missing nor empty", directory.display()),
            )
            .advise("a backup does not replace a store: move that away first"));
        }
        let store = Store::builder(&self.backup).create(false).open()?;
        let copied = copy(&store, globals.manner(), directory, "restored to");
        let closed = store.close();
        copied?;
        Ok(closed?)
    }
}

impl Repair {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let manner = globals.manner();
        let bar = manner.bar();
        let repaired = Store::repair(globals.directory()?, &self.into, |step| bar.follow(step));
        drop(bar);
        let repaired = repaired?;
        let entries = show::number_of(repaired.entries, "entry", "entries");
        if manner.json {
            let object = json!(repaired);
            output::line(&object.to_string())?;
        } else {
            care::tell(&repaired.lost)?;
        }
        manner.note(&format!("saved {entries} to {}", self.into.display()));
        match repaired.lost.len() {
            0 => Ok(()),
            number => Err(Failure::of(
                Exit::Damaged,
                format!(
                    "{} damaged or lost",
                    show::number_of(number, "thing is", "things are")
                ),
            )),
        }
    }
}

impl Export {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let folder = self.folder.as_str();
        let manner = session.manner;
        // An archive of nothing must not replace one.
        if !session.store.is_folder(folder)? {
            return Err(Failure::not_found(folder));
        }
        let export = |target: &mut dyn Write| {
            let bar = manner.bar();
            let store = session.store.scoped(folder)?;
            Ok(store.export(target, |step| bar.follow(step))?)
        };
        let file = self.file.as_deref().filter(|file| *file != "-");
        let Some(file) = file else {
            if output::is_terminal() {
                return Err(Failure::usage(
                    "an archive is nothing for a terminal; name a file",
                ));
            }
            let entries = export(&mut output::bytes()?)?;
            manner.note(&told(entries, "exported"));
            return Ok(());
        };
        session.directory.keep_out(Path::new(file))?;
        // What it was made of may go next, so it is on the disk before it is told of.
        let entries = files::write_archive(Path::new(file), export)?;
        manner.done(|| json!({"entries": entries}), || told(entries, "exported"))
    }
}

impl Import {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let (source, _) = input::open(self.file.as_deref())?;
        globals.with_new_store(|session| self.import(session, source))
    }

    fn import(&self, session: &Session, source: impl Read) -> Outcome<()> {
        let mode = match self.overwrite {
            true => PutMode::Overwrite,
            false => PutMode::Create,
        };
        let bar = session.manner.bar();
        let store = session.store.scoped(&self.folder)?;
        let keeps_out = reserved::is_root(&self.folder) && !self.accounts;
        let mut has_left_out = false;
        let wanted = |name: &str| {
            let is_kept_out = keeps_out && reserved::holds(name);
            has_left_out |= is_kept_out;
            !is_kept_out
        };
        let source = BufReader::new(source);
        let imported = store.import_filtered(source, mode, wanted, |step| bar.follow(step));
        drop(bar);
        interrupt::check()?;
        let entries = imported.map_err(|error| match error {
            komatik::Error::AlreadyExists { .. } => {
                Failure::from(error).advise("`--overwrite` replaces what is there")
            }
            error => error.into(),
        })?;
        session
            .manner
            .done(|| json!({"entries": entries}), || told(entries, "imported"))?;
        match has_left_out {
            false => Ok(()),
            true => Err(Failure::of(
                Exit::Incomplete,
                format!("left out {}: {}", reserved::FOLDER, reserved::WHAT),
            )
            .advise("`--accounts` takes them in as well, of an archive of your own")),
        }
    }
}

fn told(entries: u64, what: &str) -> String {
    format!("{what} {}", show::number_of(entries, "entry", "entries"))
}
