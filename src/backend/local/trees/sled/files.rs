//! What is done with the files of sled around it.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use super::WHAT;
use crate::backend::local::durable::{sync_directory, sync_parent};
use crate::error::{Error, Result};

/// More than any `conf` has: three lines and a checksum.
const MAX_CONF_BYTES: u64 = 4096;

pub(super) fn create_directory(directory: &Path) -> Result<()> {
    let doing = || format!("creating the directory {}", directory.display());
    std::fs::create_dir_all(directory).map_err(|error| Error::io(doing(), error))
}

/// A process that ends while sled writes a snapshot leaves a file that sled would take for a whole one for ever.
pub(super) fn remove_unfinished_snapshots(directory: &Path) -> Result<()> {
    let doing = || format!("removing unfinished snapshots in {}", directory.display());
    let remove = || {
        for file in std::fs::read_dir(directory)? {
            let file = file?;
            let name = file.file_name();
            let name = name.to_string_lossy();
            if name.starts_with("snap.") && name.ends_with(".generating") {
                std::fs::remove_file(file.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|error| Error::io(doing(), error))
}

/// What sled's `conf` says is the same in every store, and where there is none sled writes it. One that is not as it was
/// written would keep sled from all rows.
pub(super) fn remove_damaged_conf(directory: &Path) -> Result<()> {
    let path = directory.join("conf");
    let doing = || format!("looking at {}", path.display());
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_CONF_BYTES).read_to_end(&mut bytes));
    match read {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(doing(), error)),
    }
    let is_whole = bytes
        .split_last_chunk()
        .is_some_and(|(text, crc)| crc32fast::hash(text) == u32::from_le_bytes(*crc));
    if is_whole {
        return Ok(());
    }
    tracing::warn!("{} was damaged, and is written anew", path.display());
    std::fs::remove_file(&path).map_err(|error| Error::io(doing(), error))
}

/// sled keeps what does not fit its log in files under `blobs`, which it never syncs. Small rows never need one.
pub(super) fn refuse_large_leaves(directory: &Path) -> Result<()> {
    let blobs = directory.join("blobs");
    let doing = || format!("reading the directory {}", blobs.display());
    let mut files = match std::fs::read_dir(&blobs) {
        Ok(files) => files,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io(doing(), error)),
    };
    match files.next() {
        None => Ok(()),
        Some(Ok(file)) => Err(Error::damaged(
            WHAT,
            format!("{}: it should be empty", file.path().display()),
        )),
        Some(Err(error)) => Err(Error::io(doing(), error)),
    }
}

/// sled syncs neither its `conf` nor a directory.
pub(super) fn sync_files(directory: &Path) -> Result<()> {
    for name in ["conf", "db"] {
        let path = directory.join(name);
        File::open(&path)
            .and_then(|file| file.sync_all())
            .map_err(|error| Error::io(format!("syncing {}", path.display()), error))?;
    }
    sync_directory(directory)?;
    sync_parent(directory)
}
