//! A directory for copies, and copying files that the disk does not give back whole.
//!
//! A place that cannot be read is zero in the copy and named as a finding; everything else of the file is where it was.
//! So the checksums in the copy tell what is lost, and the rest of it can be read.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::{Path, PathBuf};

use super::note_unreadable;
use crate::backend::local::durable::{ORDINARY, PRIVATE, create_directories, remove_empty};
use crate::error::{Error, Result};
use crate::random;
use crate::report::Finding;

/// Read at once, as long as that succeeds.
const BLOCK_BYTES: usize = 1024 * 1024;
/// What a disk gives back or not.
const SECTOR_BYTES: usize = 4096;

/// A new directory that goes when it is dropped.
pub(super) struct Scratch {
    directory: PathBuf,
    /// What was made above it.
    made: Vec<PathBuf>,
}

impl Scratch {
    /// Makes it beside `path`, under a name that nothing else has.
    pub(super) fn beside(path: &Path) -> Result<Scratch> {
        let mut chance = [0; 8];
        random::fill(&mut chance)?;
        let mut name = path.file_name().unwrap_or(OsStr::new("store")).to_owned();
        name.push(format!(".repair-{:016x}", u64::from_be_bytes(chance)));
        let directory = path.with_file_name(name);
        let above = directory.parent().unwrap_or(Path::new(""));
        let made = create_directories(above, ORDINARY)?;
        match DirBuilder::new().mode(PRIVATE).create(&directory) {
            Ok(()) => Ok(Scratch { directory, made }),
            Err(error) => {
                remove_empty(&made);
                let doing = format!("creating {}", directory.display());
                Err(Error::io(doing, error))
            }
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.directory
    }

    /// Copies a directory of the store and all that is in it; answers whether it is there.
    pub(super) fn copy_directory(
        &self,
        store: &Path,
        name: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<bool> {
        let entries = match fs::read_dir(store.join(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            other => other,
        };
        let copy = self.directory.join(name);
        fs::create_dir_all(&copy)
            .map_err(|error| Error::io(format!("creating {}", copy.display()), error))?;
        let found = entries.and_then(Iterator::collect::<io::Result<Vec<_>>>);
        let found = match found {
            Ok(found) => found,
            Err(error) => {
                note_unreadable(findings, "directory", name.display().to_string(), error)?;
                Vec::new()
            }
        };
        for entry in found {
            let name = name.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.copy_directory(store, &name, findings)?;
            } else {
                self.copy_file(store, &name, findings)?;
            }
        }
        Ok(true)
    }

    /// Copies a file of the store, as far as it can be read; nothing where it is missing.
    pub(super) fn copy_file(
        &self,
        store: &Path,
        name: &Path,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let opened = File::open(store.join(name)).and_then(|file| {
            let length = file.metadata()?.len();
            Ok((file, length))
        });
        let (file, length) = match opened {
            Ok(opened) => opened,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return note_unreadable(findings, "file", name.display().to_string(), error);
            }
        };
        let path = self.directory.join(name);
        let failed = |error| Error::io(format!("copying to {}", path.display()), error);
        let copy = File::create(&path).map_err(failed)?;
        copy.set_len(length).map_err(failed)?;
        let read = |bytes: &mut [u8], offset| file.read_exact_at(bytes, offset);
        let write = |bytes: &[u8], offset| copy.write_all_at(bytes, offset).map_err(failed);
        let place = |offset| format!("{} at {offset}", name.display());
        copy_readable(length, &read, &write, &place, findings)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            tracing::warn!(%error, "a directory of a repair stays: {}", self.directory.display());
        }
        remove_empty(&self.made);
    }
}

/// Copies `length` bytes; each run of sectors that cannot be read is left out, and told once, where it begins.
fn copy_readable(
    length: u64,
    read: &dyn Fn(&mut [u8], u64) -> io::Result<()>,
    write: &dyn Fn(&[u8], u64) -> Result<()>,
    place: &dyn Fn(u64) -> String,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut block = vec![0; BLOCK_BYTES];
    let mut fails = false;
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let block = &mut block[..left.min(BLOCK_BYTES)];
        if read(block, offset).is_ok() {
            write(block, offset)?;
            fails = false;
        } else {
            let mut at = offset;
            for sector in block.chunks_mut(SECTOR_BYTES) {
                match read(sector, at) {
                    Ok(()) => {
                        write(sector, at)?;
                        fails = false;
                    }
                    Err(error) => {
                        let is_told = std::mem::replace(&mut fails, true);
                        let told = findings.len() + usize::from(!is_told);
                        note_unreadable(findings, "file", place(at), error)?;
                        findings.truncate(told);
                    }
                }
                at += sector.len() as u64;
            }
        }
        offset += block.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_read_is_zero_and_told_and_the_rest_is_where_it_was() {
        let at = |offset: u64| usize::try_from(offset).unwrap();
        let length = 2 * BLOCK_BYTES + SECTOR_BYTES + 100;
        let bytes: Vec<u8> = (1..=251).cycle().take(length).collect();
        // Two at the border of two blocks, one alone, and the short one at the end.
        let bad = [
            BLOCK_BYTES - SECTOR_BYTES,
            BLOCK_BYTES,
            BLOCK_BYTES + 3 * SECTOR_BYTES,
            length - 100,
        ];
        let read = |into: &mut [u8], offset: u64| {
            let range = at(offset)..at(offset) + into.len();
            let is_bad = |bad: &usize| *bad < range.end && range.start < bad + SECTOR_BYTES;
            if bad.iter().any(is_bad) {
                return Err(io::Error::other("a bad sector"));
            }
            into.copy_from_slice(&bytes[range]);
            Ok(())
        };
        let copy = tempfile::tempfile().unwrap();
        copy.set_len(length as u64).unwrap();
        let write = |bytes: &[u8], offset| {
            copy.write_all_at(bytes, offset).unwrap();
            Ok(())
        };
        let mut findings = Vec::new();
        let place = |offset: u64| offset.to_string();
        copy_readable(length as u64, &read, &write, &place, &mut findings).unwrap();
        let told: Vec<_> = findings.into_iter().map(|told| told.location).collect();
        assert_eq!(told, [bad[0], bad[2], bad[3]].map(|bad| bad.to_string()));
        let mut expected = bytes.clone();
        for bad in bad {
            expected[bad..length.min(bad + SECTOR_BYTES)].fill(0);
        }
        let mut found = vec![1; length];
        copy.read_exact_at(&mut found, 0).unwrap();
        assert!(found == expected);
        assert_eq!(copy.metadata().unwrap().len(), length as u64);
    }

    /// Also in the middle of what cannot be read.
    #[test]
    fn no_place_is_damaged_for_want_of_memory() {
        let length = BLOCK_BYTES as u64;
        let read = |_: &mut [u8], offset| {
            Err(match offset {
                0 => io::Error::other("a bad sector"),
                _ => io::Error::from_raw_os_error(rustix::io::Errno::NOMEM.raw_os_error()),
            })
        };
        let copied = copy_readable(
            length,
            &read,
            &|_, _| Ok(()),
            &|_| String::new(),
            &mut vec![],
        );
        assert!(matches!(copied, Err(Error::Io { .. })), "{copied:?}");
    }

    #[test]
    fn what_was_there_before_stays_and_what_was_made_goes() {
        let directory = tempfile::tempdir().unwrap();
        let beside = directory.path().join("new/into");
        let one = Scratch::beside(&beside).unwrap();
        let other = Scratch::beside(&beside).unwrap();
        assert_ne!(one.path(), other.path());
        fs::write(one.path().join("file"), "").unwrap();
        drop(one);
        assert!(other.path().exists());
        drop(other);
        assert!(directory.path().join("new").exists(), "it was in use");
        drop(Scratch::beside(&directory.path().join("other/below/into")).unwrap());
        assert!(!directory.path().join("other").exists());
    }
}
