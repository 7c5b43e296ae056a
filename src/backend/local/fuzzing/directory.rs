//! The files of a store, tampered with as a fuzzer says and sealed again, so that what is behind the checksums is reached.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::super::journal::fuzzing::seal_segment;
use super::super::pack::fuzzing::seal_pack;
use super::super::row::Totals;
use super::super::superblock::fuzzing::{seal as seal_superblock, store_id};
use super::super::{journal::RowWrite, keys};
use crate::backend::{Row, Tree};

/// The files of a directory, by their path in it.
pub(crate) type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Changes bytes of superblock, journal and packs as the input says: each change is a file, a place in it and what to do
/// there. Then their checksums are made to fit, and the digests in the journal as well where the input asks for it.
pub(crate) fn tamper(files: &mut Files, input: &[u8]) {
    let Some((&flags, input)) = input.split_first() else {
        return;
    };
    let Some(id) = files
        .get(Path::new("superblock"))
        .and_then(|it| store_id(it))
    else {
        return;
    };
    if flags & 1 == 0 {
        // All rows come from the journal then.
        files.retain(|path, _| !path.starts_with("trees"));
    }
    let mut ours: Vec<_> = files
        .iter_mut()
        .filter(|(path, _)| !path.starts_with("trees"))
        .map(|(_, bytes)| bytes)
        .collect();
    for change in input.chunks_exact(6) {
        let [which, kind, high, low, first, second] = [
            change[0], change[1], change[2], change[3], change[4], change[5],
        ];
        let count = ours.len().max(1);
        if let Some(bytes) = ours.get_mut(usize::from(which) % count) {
            let at = usize::from(u16::from_be_bytes([high, low]));
            apply(bytes, kind, at, [first, second]);
        }
    }
    let mut rows = (flags & 2 == 0).then(Rows::default);
    // The journal comes first, and the superblock after it.
    for (path, bytes) in files.iter_mut() {
        let name = path.file_name().and_then(|name| name.to_str());
        match name {
            Some("superblock") => seal_superblock(bytes, |revision| {
                rows.as_ref()?.digests.get(&revision).copied()
            }),
            Some(name) if path.starts_with("journal") => {
                seal_segment(bytes, name, &id, rows.as_mut());
            }
            Some(name) if path.starts_with("packs") => seal_pack(bytes, name, &id),
            _ => {}
        }
    }
}

fn apply(bytes: &mut Vec<u8>, kind: u8, at: usize, [first, second]: [u8; 2]) {
    if bytes.is_empty() {
        return;
    }
    let at = at % bytes.len();
    match kind % 8 {
        0..=2 => bytes[at] = first,
        3 => bytes[at] ^= 1 << (first % 8),
        // A number, small or very large.
        4 => {
            let end = (at + 8).min(bytes.len());
            bytes[at..end].fill(if first & 1 == 0 { 0 } else { 0xff });
            bytes[end - 1] = second;
        }
        5 => bytes.truncate(at),
        6 => drop(bytes.drain(at..(at + usize::from(first)).min(bytes.len()))),
        _ => {
            let end = (at + usize::from(first)).min(bytes.len());
            let copy = bytes[at..end].to_vec();
            bytes.splice(at..at, copy);
        }
    }
}

/// The rows so far, so that the digest after a commit can be told.
#[derive(Default)]
pub(in crate::backend::local) struct Rows {
    totals: Totals,
    present: HashMap<(Tree, Bytes), Row>,
    /// By revision.
    digests: HashMap<u64, u128>,
}

impl Rows {
    /// The digest after these rows of a commit.
    pub(in crate::backend::local) fn digest_after(
        &mut self,
        revision: u64,
        rows: Vec<RowWrite>,
    ) -> u128 {
        for write in rows {
            if keys::is_of_the_trees(write.tree, &write.key) {
                continue;
            }
            let place = (write.tree, write.key.clone());
            if let Some(before) = self.present.remove(&place) {
                self.totals
                    .subtract(&Totals::of(write.tree, &write.key, &before));
            }
            if let Some(value) = write.value {
                let row = Row { revision, value };
                self.totals.add(write.tree, &write.key, &row);
                self.present.insert(place, row);
            }
        }
        self.digests.insert(revision, self.totals.digest);
        self.totals.digest
    }
}
