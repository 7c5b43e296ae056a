//! Blobs, one at a time: put, got and appended to. Whole trees are in [`transfer`].

use std::ffi::{OsStr, OsString};
use std::io::{Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use komatik::{BlobReader, Metadata, PutOptions, UploadOptions, WriteOptions};

use super::attribute::Attribute;
use super::condition::Condition;
use super::failure::{Doing, Failure, Outcome};
use super::input::Begun;
use super::progress::Bar;
use super::range::Range;
use super::session::{Globals, Session};
use super::target::StoreDirectory;
use super::walk::Tree;
use super::{files, input, interrupt, output, show, transfer};

/// Store a file as a blob; with -r, a directory as a folder
#[derive(clap::Args)]
pub(crate) struct Put {
    /// Where to: a key, or a folder and / to keep the name of the file; with -r, the directory to store
    #[arg(value_name = "KEY|DIR")]
    first: OsString,
    /// The file, - or nothing for standard input; with -r, the folder it becomes
    #[arg(value_name = "FILE|FOLDER")]
    second: Option<OsString>,
    /// Store all of a directory
    #[arg(short, long, requires = "second", conflicts_with_all = ["create", "if_revision", "content_type", "given"])]
    recursive: bool,
    /// Content type [default: guessed from the name]
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    #[command(flatten)]
    condition: Condition,
    #[command(flatten)]
    attribute: Attribute,
}

/// Write out a blob, or the JSON text of a document; with -r, a folder as a directory
#[derive(clap::Args)]
pub(crate) struct Get {
    /// The key; with -r, the folder
    #[arg(value_name = "KEY|FOLDER")]
    key: String,
    /// The file to write, - or nothing for standard output; with -r, the directory
    #[arg(value_name = "FILE|DIR")]
    target: Option<OsString>,
    /// Write all of a folder
    #[arg(short, long, requires = "target")]
    recursive: bool,
    /// Only these bytes, counted from 0: A-B with both ends, A- to the end, -N for the last N
    #[arg(
        long,
        value_name = "RANGE",
        allow_hyphen_values = true,
        conflicts_with = "recursive"
    )]
    range: Option<Range>,
}

/// Write behind the last byte of a blob, or create one
#[derive(clap::Args)]
pub(crate) struct Append {
    /// / at the end keeps the name of the file
    key: String,
    /// The file, - or nothing for standard input
    file: Option<OsString>,
}

// What is to be stored is opened before the store: where it is not there, no store is made for it.

impl Put {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        if let (true, Some(folder)) = (self.recursive, &self.second) {
            let (directory, folder) = (Path::new(&self.first), input::text(folder)?);
            let store = StoreDirectory::at(globals.directory()?);
            let tree = Tree::beside(store, directory, folder)?;
            return globals
                .with_new_store(|session| transfer::put(session, directory, tree, folder));
        }
        let file = self.second.as_deref();
        let key = key_for(input::text(&self.first)?, file)?;
        let mut options = WriteOptions::from(PutOptions::new().mode(self.condition.mode()));
        options.attributes = self.attribute.attributes();
        options.content_type.clone_from(&self.content_type);
        let source = input::open_and_begin(file)?;
        globals.with_new_store(|session| {
            let stored = write(session, &key, source, &options)?;
            done(session, "stored", &stored)
        })
    }
}

impl Append {
    pub(crate) fn run(&self, globals: &Globals) -> Outcome<()> {
        let key = key_for(&self.key, self.file.as_deref())?;
        let source = input::open_and_begin(self.file.as_deref())?;
        globals.with_new_store(|session| {
            let stored = write(session, &key, source, &WriteOptions::append())?;
            done(session, "appended to", &stored)
        })
    }
}

/// Streams a source of a known or unknown size into a blob.
fn write(
    session: &mut Session,
    key: &str,
    (source, size): (Begun, Option<u64>),
    options: &WriteOptions,
) -> Outcome<Metadata> {
    // Whatever the store has against it, it says before a byte is read.
    drop(session.unlocked(|store| store.writer(key, options.clone()))?);
    let bar = session.manner.bar_of_bytes(size);
    let options = UploadOptions::from(options.clone()).progress(|done| bar.reach(done));
    let stored = session.store.upload(key, source, options);
    interrupt::check()?;
    Ok(stored?)
}

impl Get {
    pub(crate) fn run(&self, session: &mut Session) -> Outcome<()> {
        let target = self.target.as_deref().filter(|target| *target != "-");
        if self.recursive {
            let Some(target) = target else {
                return Err(Failure::usage(
                    "a folder is written to a directory, not to -",
                ));
            };
            return transfer::get(session, &self.key, Path::new(target));
        }
        let reader = session.unlocked(|store| store.reader(&self.key))?;
        let Some(reader) = reader else {
            let is_folder = session.store.exists(&self.key)?;
            let missing = Failure::not_found(&self.key);
            return Err(match is_folder {
                true => missing.advise("it is a folder; -r writes all of it"),
                false => missing,
            });
        };
        let reader = reader.with_digest_check();
        match target {
            None => self.print(session, reader),
            Some(path) => {
                let path = file_for(&self.key, path);
                session.directory.keep_out(&path)?;
                self.save(session, reader, &path)
            }
        }
    }

    fn print(&self, session: &Session, mut reader: BlobReader) -> Outcome<()> {
        if output::is_terminal() && self.target.is_none() && !is_text(&reader)? {
            return Err(Failure::usage(format!(
                "{} is not text; name a file, or - to write it to the terminal all the same",
                show::safe(&self.key)
            )));
        }
        let mut target = output::bytes()?;
        let bar = match output::is_terminal() {
            true => Bar::hidden(),
            false => session.manner.bar_of_bytes(Some(reader.len())),
        };
        let write = |piece: &[u8]| output::written(target.write_all(piece));
        self.copy(&mut reader, write, |done| bar.reach(done))
            .map(drop)
    }

    fn save(&self, session: &Session, mut reader: BlobReader, path: &Path) -> Outcome<()> {
        let bar = session.manner.bar_of_bytes(Some(reader.len()));
        let written = files::write(path, |file| {
            let write = |piece: &[u8]| {
                let written = file.write_all(piece);
                written.doing(|| format!("writing {}", path.display()))
            };
            self.copy(&mut reader, write, |done| bar.reach(done))
        })?;
        drop(bar);
        let metadata = reader.metadata();
        session.manner.done(
            || serde_json::json!(metadata),
            || {
                format!(
                    "wrote {} of {} to {}",
                    show::bytes(written),
                    metadata.key,
                    path.display()
                )
            },
        )
    }

    /// Hands on what is asked for, piece by piece; how many bytes.
    fn copy(
        &self,
        reader: &mut BlobReader,
        mut write: impl FnMut(&[u8]) -> Outcome<()>,
        progress: impl Fn(u64) -> ControlFlow<()>,
    ) -> Outcome<u64> {
        let (start, end) = match &self.range {
            Some(range) => range.within(reader.len())?,
            None => (0, reader.len()),
        };
        let reading = || format!("reading {}", self.key);
        reader.seek(SeekFrom::Start(start)).doing(reading)?;
        let mut piece = vec![0; transfer::PIECE_BYTES];
        let mut done = 0;
        while done < end - start {
            let limit = usize::try_from(end - start - done).unwrap_or(usize::MAX);
            let limit = limit.min(piece.len());
            let count = std::io::Read::read(reader, &mut piece[..limit]).doing(reading)?;
            if count == 0 {
                break;
            }
            write(&piece[..count])?;
            done += u64::try_from(count).unwrap_or(u64::MAX);
            if progress(done).is_break() {
                return Err(Failure::Interrupted);
            }
        }
        Ok(done)
    }
}

/// The key that is meant: where it ends with a `/`, the one of the file's name in that folder.
fn key_for(key: &str, file: Option<&OsStr>) -> Outcome<String> {
    if !key.ends_with('/') {
        return Ok(key.to_owned());
    }
    let file = file.filter(|file| *file != "-");
    match file.and_then(|file| Path::new(file).file_name()?.to_str()) {
        Some(name) => Ok(format!("{key}{name}")),
        None => Err(Failure::usage(format!(
            "{key} keeps the name of a file, and here is none that a key can have: name the whole key"
        ))),
    }
}

/// The file that is meant: where it is a directory, the one of the key's name in it.
fn file_for(key: &str, path: &OsStr) -> PathBuf {
    let path = Path::new(path);
    match path.is_dir() {
        true => path.join(super::naming::last_segment(key)),
        false => path.to_owned(),
    }
}

/// Whether the beginning of it does nothing to a terminal but show text.
fn is_text(reader: &BlobReader) -> Outcome<bool> {
    const BEGINNING: usize = 8192;
    let mut beginning = vec![0; BEGINNING];
    let count = reader.read_at(&mut beginning, 0)?;
    let text = match std::str::from_utf8(&beginning[..count]) {
        Ok(text) => text,
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_none() => {
            std::str::from_utf8(&beginning[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(_) => return Ok(false),
    };
    Ok(text
        .chars()
        .all(|char| !char.is_control() || matches!(char, '\n' | '\r' | '\t')))
}

fn done(session: &Session, what: &str, metadata: &Metadata) -> Outcome<()> {
    session.manner.done(
        || serde_json::json!(metadata),
        || {
            let size = show::bytes(metadata.size);
            format!(
                "{what} {}, {size}, revision {}",
                metadata.key, metadata.revision
            )
        },
    )
}
