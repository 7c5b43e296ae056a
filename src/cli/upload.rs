//! Files on their way into the store.

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;

use komatik::{Error, Metadata, Store, UploadOptions};

use super::failure::Outcome;
use super::interrupt::Interruptible;

/// A file that remembers why it could not be read, so that it is not taken for a failure of the store.
struct Source {
    file: Interruptible,
    error: Option<String>,
}

impl Read for Source {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer);
        self.error = read.as_ref().err().map(ToString::to_string);
        read
    }
}

/// Stores a file as a blob. Answers why not, where that is a matter of this file or key alone.
pub(crate) fn store_file(
    store: &Store,
    key: &str,
    path: &Path,
    progress: impl FnMut(u64) -> ControlFlow<()>,
) -> Outcome<Result<Metadata, String>> {
    let mut source = match fs::File::open(path) {
        Ok(file) => Source {
            file: Interruptible(file),
            error: None,
        },
        Err(error) => return Ok(Err(error.to_string())),
    };
    let options = UploadOptions::new().progress(progress);
    let uploaded = store.upload(key, &mut source, options);
    super::interrupt::check()?;
    match (uploaded, source.error) {
        (Ok(metadata), _) => Ok(Ok(metadata)),
        (Err(_), Some(reason)) => Ok(Err(reason)),
        (Err(error), None) => of_one_key(error).map(Err),
    }
}

/// What a person is told of an error that concerns one key; any other ends the work.
pub(crate) fn of_one_key(error: Error) -> Outcome<String> {
    match error {
        Error::InvalidKey { rule, .. } => Ok(format!("its name is no key: {rule}")),
        Error::Locked { .. }
        | Error::WrongPassword { .. }
        | Error::TooManyTries { .. }
        | Error::TooLarge { .. }
        | Error::InvalidDocument { .. }
        | Error::Damaged { .. } => Ok(error.to_string()),
        error => Err(error.into()),
    }
}
