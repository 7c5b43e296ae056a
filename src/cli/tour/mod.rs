//! The tour: everything the store does, on real files, and whether it held.

mod changes;
mod content;
mod crash;
mod ending;
mod guarded;
mod random;
mod reading;
mod tree;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use komatik::{Metadata, Store};
use tempfile::TempDir;

pub(super) use crash::write_until_killed;

use crate::cli::failure::{Doing, Outcome, ensure};
use crate::cli::walk::{File, Skipped};
use crate::cli::{interrupt, output, show};

/// Puts a directory tree through everything the store does, and checks that all of it holds.
///
/// Stores every file as a blob, with a JSON document about each, in a store of its own; lists, loads, merges, seeks,
/// locks, grants, watches, copies, moves, deletes; kills a process that writes, and opens what it left; compares every
/// byte with the files; makes a backup. The files themselves are only read.
///
/// Symbolic links, `.git`, directories marked by CACHEDIR.TAG (such as `target`) and names that are no keys are skipped.
#[derive(clap::Args)]
pub(super) struct Arguments {
    /// The tree to store
    #[arg(default_value = ".")]
    directory: PathBuf,
    /// Leaves the store in this directory, which must be missing or empty; otherwise it is removed at the end
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

/// A file of the tree, and what the store answered when it was stored.
struct Stored {
    file: File,
    metadata: Metadata,
}

/// What the steps of the tour work on.
struct Tour {
    /// Files not stored yet, sorted by name.
    found: Vec<File>,
    /// Files stored, sorted by name; there is always one of more than 16 MiB.
    stored: Vec<Stored>,
    store: Store,
    /// Where the store lies.
    directory: PathBuf,
    /// What else is needed on disk, for as long as the tour goes.
    scratch: TempDir,
}

impl Tour {
    fn stored_bytes(&self) -> u64 {
        self.stored.iter().map(|stored| stored.metadata.size).sum()
    }
}

/// What a step says when it has done its work.
struct Said {
    text: String,
    skipped: Vec<Skipped>,
}

impl From<String> for Said {
    fn from(text: String) -> Said {
        Said {
            text,
            skipped: Vec::new(),
        }
    }
}

type Step = fn(&mut Tour) -> Outcome<Said>;

/// In this order: what a step leaves behind, later ones find.
const STEPS: [(&str, Step); 19] = [
    ("upload", content::upload),
    ("catalogue", content::catalogue),
    ("list", reading::list),
    ("page", reading::page),
    ("glob", reading::glob),
    ("load", content::load),
    ("merge", content::merge),
    ("race", content::race),
    ("seek", reading::seek),
    ("lock", guarded::lock),
    ("token", guarded::token),
    ("watch", changes::watch),
    ("folder", changes::folder),
    ("transaction", changes::transaction),
    ("kill", crash::kill_and_reopen),
    ("compact", ending::compact),
    ("compare", ending::compare),
    ("verify", ending::verify),
    ("backup", ending::backup),
];

/// Runs the tour. It ends with the first thing that does not hold.
pub(super) fn run(arguments: &Arguments) -> Outcome<()> {
    let began = Instant::now();
    // Before anything is made, so that nothing of the tour's own is found.
    let tree = tree::walk(&arguments.directory)?;
    say(
        "scan",
        began,
        Said {
            text: format!(
                "{}, {} in {}",
                show::number_of(tree.files.len(), "file", "files"),
                show::bytes(tree.size()),
                show::number_of(tree.folders, "folder", "folders"),
            ),
            skipped: tree.skipped,
        },
    )?;
    let mut tour = begin(tree.files, arguments.keep.as_deref())?;
    for (name, step) in STEPS {
        let began = Instant::now();
        let said = step(&mut tour);
        // What the step made of it, such as of a process that was interrupted with this one, is no failure.
        interrupt::check()?;
        let said = said.map_err(|failure| failure.in_step(name))?;
        say(name, began, said)?;
    }
    finish(&tour, began, arguments.keep.as_deref())
}

fn begin(mut found: Vec<File>, keep: Option<&Path>) -> Outcome<Tour> {
    if let Some(directory) = keep
        && let Ok(mut entries) = fs::read_dir(directory)
    {
        ensure(entries.next().is_none(), || {
            format!("{}: not empty", directory.display())
        })?;
    }
    let scratch =
        TempDir::with_prefix("komatik-tour-").doing(|| "making a directory".to_owned())?;
    random::add_large_file(&mut found, scratch.path())?;
    let directory = keep.map_or_else(|| scratch.path().join("store"), Path::to_owned);
    Ok(Tour {
        found,
        stored: Vec::new(),
        store: Store::open(&directory)?,
        directory,
        scratch,
    })
}

fn finish(tour: &Tour, began: Instant, keep: Option<&Path>) -> Outcome<()> {
    let closing = Instant::now();
    let said = ending::stats(tour)?;
    tour.store.close()?;
    say("stats", closing, said.into())?;
    let kept = keep.map_or_else(String::new, |directory| {
        format!("; the store is in {}", directory.display())
    });
    output::line(&format!(
        "all held: {} and {}, {} steps in {}{kept}",
        show::number_of(tour.stored.len(), "file", "files"),
        show::bytes(tour.stored_bytes()),
        STEPS.len() + 2,
        show::time(began.elapsed()),
    ))
}

/// How many of the skipped are named.
const NAMED: usize = 20;

fn say(name: &str, began: Instant, said: Said) -> Outcome<()> {
    let time = show::time(began.elapsed());
    output::line(&format!("{name:<12}{time:>9}  {}", said.text))?;
    let detail = |text: &str| output::line(&format!("{:23}{text}", ""));
    for skipped in said.skipped.iter().take(NAMED) {
        detail(&skipped.line())?;
    }
    match said.skipped.len().checked_sub(NAMED) {
        None | Some(0) => Ok(()),
        Some(more) => detail(&format!("skipped {} more", show::count(more))),
    }
}
