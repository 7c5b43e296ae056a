//! Files a command writes: whole, or not at all.

use std::fs::{self, File, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::Builder;

use super::failure::{Doing, Outcome};

/// What a new file may be, before the mask of the process.
const MODE: u32 = 0o666;
/// The same of an archive, which has in it what passwords open in the store, and of the root its accounts.
const ARCHIVE_MODE: u32 = 0o600;

/// What the name of a file that is being written beside its place begins and ends with, and how much is between.
const BESIDE: &str = ".komatik-";
const BESIDE_LETTERS: usize = 12;
const BESIDE_END: &str = ".part";

/// Whether it is named as what a command that was killed leaves of a file.
pub(crate) fn is_unfinished(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    let letters = name.and_then(|name| name.strip_prefix(BESIDE)?.strip_suffix(BESIDE_END));
    letters.is_some_and(|letters| {
        letters.len() == BESIDE_LETTERS && letters.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Writes a file beside its place and moves it there once `write` is done: the file and its name are on the disk before the
/// answer, since what it was made of may go next. What is no file of its own, such as a device or a pipe, is written to as it is.
pub(crate) fn write<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    write_with(path, MODE, true, write)
}

/// As [`write`], of one of many: a new file is on the disk only after [`sync`].
pub(crate) fn write_one_of_many<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    write_with(path, MODE, false, write)
}

/// Brings all that was written below a directory to the disk.
pub(crate) fn sync(directory: &Path) -> Outcome<()> {
    let writing = || format!("writing {}", directory.display());
    let opened = File::open(directory).doing(writing)?;
    // A call for each file takes many times as long.
    #[cfg(target_os = "linux")]
    rustix::fs::syncfs(opened)
        .map_err(std::io::Error::from)
        .doing(writing)?;
    #[cfg(not(target_os = "linux"))]
    {
        drop(opened);
        rustix::fs::sync();
    }
    Ok(())
}

/// As [`write`], but that only its owner may read a new file.
pub(crate) fn write_archive<T>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    write_with(path, ARCHIVE_MODE, true, write)
}

fn write_with<T>(
    path: &Path,
    mode: u32,
    is_alone: bool,
    write: impl FnOnce(&mut dyn Write) -> Outcome<T>,
) -> Outcome<T> {
    let writing = || format!("writing {}", path.display());
    // The file a link points to is replaced, not the link.
    let path = &fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let found = fs::metadata(path).ok();
    if found
        .as_ref()
        .is_some_and(|found| !found.is_file() && !found.is_dir())
    {
        let mut file = File::options().write(true).open(path).doing(writing)?;
        return write(&mut file);
    }
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Told by its own name, not by that of the file beside.
    fs::metadata(directory).doing(writing)?;
    // But for what would let it run as its owner, who may be another now.
    let is_replaced = found.is_some();
    let kept = found.map(|found| Permissions::from_mode(found.permissions().mode() & 0o777));
    let mut beside = Builder::new()
        .prefix(BESIDE)
        .rand_bytes(BESIDE_LETTERS)
        .suffix(BESIDE_END)
        .permissions(kept.clone().unwrap_or(Permissions::from_mode(mode)))
        .tempfile_in(directory)
        .doing(writing)?;
    let answer = write(beside.as_file_mut())?;
    // Opened with it, the mask of the process was taken from it. Where a file system sets no modes, less is allowed than was.
    if let Some(kept) = kept {
        let _ = beside.as_file().set_permissions(kept);
    }
    // Else a power cut could leave neither what was there nor what comes.
    if is_alone || is_replaced {
        beside.as_file().sync_all().doing(writing)?;
    }
    beside
        .persist(path)
        .map_err(|error| error.error)
        .doing(writing)?;
    if is_alone {
        match File::open(directory).and_then(|directory| directory.sync_all()) {
            // Of a file system that cannot, nothing more is to be had.
            Err(error) if error.kind() == ErrorKind::InvalidInput => {}
            synced => synced.doing(writing)?,
        }
    }
    Ok(answer)
}
