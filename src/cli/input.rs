//! What a command takes in: JSON text, and streams of bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Cursor, IsTerminal, Read};
use std::os::fd::AsFd;
use std::path::Path;

use komatik::MAX_DOCUMENT_BYTES;
use serde_json::Value;

use super::failure::{Doing, Failure, Outcome};
use super::interrupt::Interruptible;

/// The longest JSON text that is read: one character of a string takes up to six.
const MAX_TEXT_BYTES: usize = 8 * MAX_DOCUMENT_BYTES;
/// What is told of a longer one.
const TOO_LONG: &str = "the JSON text is longer than any document";

/// What is read of a pipe before the store is opened, at most.
const FIRST_BYTES: usize = 4096;

/// Standard input.
pub(crate) fn standard() -> Outcome<Interruptible> {
    let descriptor = io::stdin().as_fd().try_clone_to_owned();
    let descriptor = descriptor.doing(|| "opening the input".to_owned())?;
    Ok(Interruptible(File::from(descriptor)))
}

/// An argument that is a key.
pub(crate) fn text(argument: &OsStr) -> Outcome<&str> {
    argument.to_str().ok_or_else(|| {
        let shown = argument.to_string_lossy().into_owned();
        Failure::usage(format!("{shown} is not UTF-8, which a key must be"))
    })
}

/// A file that is to be read, and how long it is where that is known. `None` and `-` are standard input.
pub(crate) fn open(path: Option<&OsStr>) -> Outcome<(Interruptible, Option<u64>)> {
    let Some(path) = path.filter(|path| *path != "-") else {
        return Ok((standard()?, None));
    };
    let shown = || format!("reading {}", Path::new(path).display());
    let file = File::open(path).doing(shown)?;
    let metadata = file.metadata().doing(shown)?;
    if metadata.is_dir() {
        return Err(Failure::usage(format!(
            "{} is a directory; `put -r` takes all of it",
            Path::new(path).display()
        )));
    }
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Interruptible(file), size))
}

/// A source of which the first bytes were read.
pub(crate) type Begun = io::Chain<Cursor<Vec<u8>>, Interruptible>;

/// As [`open`], once there is something to read: what comes out of another command on the same store comes after that has ended,
/// and where it fails, its end is told before this store is opened. At a terminal it is not waited for.
pub(crate) fn open_and_begin(path: Option<&OsStr>) -> Outcome<(Begun, Option<u64>)> {
    let (mut source, size) = open(path)?;
    let mut first = Vec::new();
    if size.is_none() && !source.0.is_terminal() {
        first.resize(FIRST_BYTES, 0);
        let read = source.read(&mut first);
        first.truncate(read.doing(|| "reading the input".to_owned())?);
    }
    Ok((Cursor::new(first).chain(source), size))
}

/// The value of a JSON argument: the text itself, `@FILE`, or `-` and nothing for standard input.
pub(crate) fn json(argument: Option<&str>) -> Outcome<Value> {
    let text = match argument {
        None => {
            if io::stdin().is_terminal() {
                return Err(Failure::usage(
                    "which JSON? Give it as an argument, as @FILE, or by a pipe; `-` reads the terminal",
                ));
            }
            read_text(standard()?)?
        }
        Some("-") => read_text(standard()?)?,
        Some(argument) => match argument.strip_prefix('@') {
            Some(path) => read_text(open(Some(OsStr::new(path)))?.0)?,
            None => argument.as_bytes().to_owned(),
        },
    };
    Ok(komatik::parse_json(text)?)
}

fn read_text(source: impl Read) -> Outcome<Vec<u8>> {
    let text = at_most(source, 0).doing(|| "reading the JSON text".to_owned())?;
    text.ok_or_else(|| Failure::usage(TOO_LONG))
}

/// The JSON text of a file.
///
/// # Errors
/// In words that fit behind its name.
pub(crate) fn text_of(path: &Path) -> Result<Vec<u8>, String> {
    let read = || {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        at_most(file, size)
    };
    let text = read().map_err(|error| error.to_string())?;
    text.ok_or_else(|| TOO_LONG.to_owned())
}

/// All of a source that is said to have so many bytes; `None` where it is longer than any JSON text, or said to be.
fn at_most(source: impl Read, said: u64) -> io::Result<Option<Vec<u8>>> {
    let limit = u64::try_from(MAX_TEXT_BYTES).unwrap_or(u64::MAX);
    if said > limit {
        return Ok(None);
    }
    let mut text = Vec::new();
    source
        .take(limit.saturating_add(1))
        .read_to_end(&mut text)?;
    Ok((text.len() <= MAX_TEXT_BYTES).then_some(text))
}
