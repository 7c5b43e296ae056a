//! Blobs: chunks, who owns them, who reads them.
//!
//! A blob is in one of three maps, and goes through them in one direction: being uploaded (nobody's but the
//! uploader's), owned (by one commit's adoption at least), released (no owner, but perhaps a reader).

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

use super::{BlobId, length};
use crate::error::{Error, Result};

/// A chunk and the CRC-32 of blob, index and bytes.
#[derive(Clone)]
pub(super) struct Chunk {
    pub(super) bytes: Bytes,
    checksum: u32,
}

impl Chunk {
    fn new(blob: BlobId, index: u64, bytes: &[u8]) -> Chunk {
        Chunk {
            bytes: Bytes::copy_from_slice(bytes),
            checksum: checksum(blob, index, bytes),
        }
    }

    /// Whether the chunk is as it was put, where it was put.
    pub(super) fn is_sound(&self, blob: BlobId, index: u64) -> bool {
        self.checksum == checksum(blob, index, &self.bytes)
    }

    /// The bytes, never damaged ones.
    pub(super) fn checked(self, blob: BlobId, index: u64) -> Result<Bytes> {
        if self.is_sound(blob, index) {
            Ok(self.bytes)
        } else {
            Err(Error::damaged("chunk", location(blob, index)))
        }
    }
}

fn checksum(blob: BlobId, index: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&blob.0);
    hasher.update(&index.to_be_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// How errors and findings name a chunk.
pub(super) fn location(blob: BlobId, index: u64) -> String {
    format!("chunk {index} of blob {blob}")
}

/// Chunks by their number.
pub(super) type Chunks = BTreeMap<u64, Chunk>;

/// Cuts `bytes` into chunks numbered from `first`.
pub(super) fn cut(blob: BlobId, first: u64, bytes: &[u8], chunk_bytes: usize) -> Result<Chunks> {
    if chunk_bytes == 0 {
        return Err(invalid("chunk_bytes", "a chunk holds at least one byte"));
    }
    let pieces = (first..).zip(bytes.chunks(chunk_bytes));
    Ok(pieces
        .map(|(index, piece)| (index, Chunk::new(blob, index, piece)))
        .collect())
}

fn invalid(what: &'static str, reason: &str) -> Error {
    Error::InvalidArgument {
        what,
        reason: reason.to_owned(),
    }
}

fn bytes_of(chunks: &Chunks) -> u64 {
    chunks.values().map(|chunk| length(&chunk.bytes)).sum()
}

struct Owned {
    chunks: Chunks,
    owners: u64,
}

struct Released {
    chunks: Chunks,
    /// The commit that took the last owner away.
    revision: u64,
}

/// All blobs of a backend.
#[derive(Default)]
pub(super) struct Blobs {
    uploads: HashMap<BlobId, Chunks>,
    owned: HashMap<BlobId, Owned>,
    owned_bytes: u64,
    released: HashMap<BlobId, Released>,
    /// How many holds are alive, for owned and released blobs.
    holds: HashMap<BlobId, usize>,
}

impl Blobs {
    /// Adds chunks to an upload.
    pub(super) fn put(&mut self, blob: BlobId, chunks: Chunks) -> Result<()> {
        if chunks.is_empty() {
            return Ok(());
        }
        if self.owned.contains_key(&blob) || self.released.contains_key(&blob) {
            return Err(invalid("blob", "it is adopted, and written no more"));
        }
        let upload = self.uploads.entry(blob).or_default();
        if chunks.keys().any(|index| upload.contains_key(index)) {
            return Err(invalid("chunk", "its number is taken"));
        }
        upload.extend(chunks);
        Ok(())
    }

    /// A chunk, not yet checked, wherever the blob is.
    pub(super) fn chunk(&self, blob: BlobId, index: u64) -> Result<Chunk> {
        let owned = self.owned.get(&blob).map(|owned| &owned.chunks);
        let released = self.released.get(&blob).map(|released| &released.chunks);
        owned
            .or(released)
            .or(self.uploads.get(&blob))
            .and_then(|chunks| chunks.get(&index))
            .cloned()
            .ok_or_else(|| Error::damaged("chunk", location(blob, index)))
    }

    /// Whether every blob to adopt is there, and every one to release has so many owners to lose.
    pub(super) fn check(&self, adopts: &[BlobId], releases: &[BlobId]) -> Result<()> {
        let mut owners: HashMap<BlobId, u64> = HashMap::new();
        let present = |blob: &BlobId| self.owned.get(blob).map_or(0, |owned| owned.owners);
        for blob in adopts {
            if !self.uploads.contains_key(blob) && !self.owned.contains_key(blob) {
                return Err(invalid("adopts", "nothing was put under this blob"));
            }
            *owners.entry(*blob).or_insert_with(|| present(blob)) += 1;
        }
        for blob in releases {
            let count = owners.entry(*blob).or_insert_with(|| present(blob));
            *count = count
                .checked_sub(1)
                .ok_or_else(|| invalid("releases", "this blob has no owner"))?;
        }
        Ok(())
    }

    /// Counts a commit that [`Blobs::check`] let pass. Adoptions come first: a blob that is given from one entry
    /// to another in one commit is never without an owner.
    pub(super) fn change_owners(&mut self, revision: u64, adopts: &[BlobId], releases: &[BlobId]) {
        adopts.iter().for_each(|blob| self.adopt(*blob));
        releases
            .iter()
            .for_each(|blob| self.release(*blob, revision));
    }

    fn adopt(&mut self, blob: BlobId) {
        if let Some(chunks) = self.uploads.remove(&blob) {
            self.owned_bytes += bytes_of(&chunks);
            self.owned.insert(blob, Owned { chunks, owners: 0 });
        }
        if let Some(owned) = self.owned.get_mut(&blob) {
            owned.owners += 1;
        }
    }

    fn release(&mut self, blob: BlobId, revision: u64) {
        let Entry::Occupied(mut owned) = self.owned.entry(blob) else {
            return;
        };
        owned.get_mut().owners -= 1;
        if owned.get().owners == 0 {
            let chunks = owned.remove().chunks;
            self.owned_bytes -= bytes_of(&chunks);
            self.released.insert(blob, Released { chunks, revision });
        }
    }

    /// Counts a hold, `false` where the blob has no owner (any more, or yet).
    pub(super) fn hold(&mut self, blob: BlobId) -> bool {
        let owned = self.owned.contains_key(&blob);
        if owned {
            *self.holds.entry(blob).or_default() += 1;
        }
        owned
    }

    /// Takes back one [`Blobs::hold`].
    pub(super) fn let_go(&mut self, blob: BlobId) {
        if let Some(count) = self.holds.get_mut(&blob) {
            *count -= 1;
            if *count == 0 {
                self.holds.remove(&blob);
            }
        }
    }

    /// Forgets an upload; a blob that was adopted is none.
    pub(super) fn discard(&mut self, blob: BlobId) {
        self.uploads.remove(&blob);
    }

    /// Forgets the released blobs without a hold that no open scan can have seen owned.
    pub(super) fn sweep(&mut self, oldest_scan: Option<u64>) {
        let holds = &self.holds;
        self.released.retain(|blob, released| {
            let is_seen = oldest_scan.is_some_and(|scan| scan < released.revision);
            is_seen || holds.contains_key(blob)
        });
    }

    /// Bytes of the chunks of owned blobs.
    pub(super) fn owned_bytes(&self) -> u64 {
        self.owned_bytes
    }

    /// Bytes of the chunks that wait for their last reader.
    pub(super) fn released_bytes(&self) -> u64 {
        let released = self.released.values();
        released.map(|released| bytes_of(&released.chunks)).sum()
    }

    /// Every chunk of every blob.
    pub(super) fn all(&self) -> Vec<(BlobId, u64, Chunk)> {
        let owned = self.owned.iter().map(|(blob, it)| (blob, &it.chunks));
        let released = self.released.iter().map(|(blob, it)| (blob, &it.chunks));
        owned
            .chain(released)
            .chain(&self.uploads)
            .flat_map(|(blob, chunks)| chunks.iter().map(|(index, it)| (*blob, *index, it.clone())))
            .collect()
    }

    /// Gives back what nobody adopted or holds, as opening a store does.
    #[cfg(all(test, feature = "conformance"))]
    pub(super) fn reopen(&mut self) {
        self.uploads.clear();
        self.holds.clear();
        self.sweep(None);
    }

    /// A stored chunk, to damage.
    #[cfg(test)]
    pub(super) fn chunk_mut(&mut self, blob: BlobId, index: u64) -> Option<&mut Chunk> {
        self.owned.get_mut(&blob)?.chunks.get_mut(&index)
    }
}
