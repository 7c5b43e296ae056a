//! Bytes on their way into an entry: a few stay in the record, more go to chunks as they come.

use std::io::Read;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::backend::{BlobId, MAX_TREE_CHUNK_BYTES};
use crate::digest::ContentHasher;
use crate::error::{Error, Result};
use crate::format::{Body, INLINE_BYTES, Part};
use crate::metadata::{Digest, Kind};
use crate::options::Durability;
use crate::random;
use crate::store::{Shared, Store};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, Ordering};

/// About how many bytes an upload collects before it stores them: few calls, and few bytes kept in memory.
const BUFFER_BYTES: usize = 1024 * 1024;
/// Up to so many bytes the content of a blob lies in its record where nobody waits for the disk. A row of the trees is
/// written several times before it lies still, a chunk in a pack once; to wait for the pack as well costs a sync more.
const INLINE_BYTES_WITHOUT_WAITING: usize = 1024;
/// Bytes taken from a stream at once.
const PIECE_BYTES: usize = 256 * 1024;

/// Random bytes of an id.
const RANDOM_BYTES: usize = 10;
/// For so many ids the system is asked for random bytes at once: it took a twentieth of what a blob of 4 KiB takes.
const IDS_AT_ONCE: usize = 64;

/// Makes the ids of blobs.
#[derive(Default)]
pub(crate) struct Ids {
    /// Random bytes that are in no id yet.
    unused: Mutex<Vec<[u8; RANDOM_BYTES]>>,
}

impl Ids {
    /// An id that was never used: 6 bytes of milliseconds since 1970, 10 random ones.
    pub(crate) fn fresh(&self) -> Result<BlobId> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let millis = u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
        let mut id = [0; 16];
        id[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        id[6..].copy_from_slice(&self.random()?);
        Ok(BlobId(id))
    }

    fn random(&self) -> Result<[u8; RANDOM_BYTES]> {
        let mut unused = self.unused.lock();
        if let Some(random) = unused.pop() {
            return Ok(random);
        }
        let mut more = [[0; RANDOM_BYTES]; IDS_AT_ONCE];
        random::fill(more.as_flattened_mut())?;
        let [random, rest @ ..] = more;
        unused.extend(rest);
        Ok(random)
    }
}

/// A blob that no commit has adopted yet; when the last clone is dropped, it is discarded.
#[derive(Clone)]
pub(crate) struct Upload(Arc<Guard>);

struct Guard {
    shared: Arc<Shared>,
    blob: BlobId,
    adopted: AtomicBool,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.adopted.load(Ordering::Acquire) {
            self.shared.backend.discard(self.blob);
        }
    }
}

impl Upload {
    fn begin(shared: &Arc<Shared>) -> Result<Upload> {
        Ok(Upload(Arc::new(Guard {
            shared: Arc::clone(shared),
            blob: shared.ids.fresh()?,
            adopted: AtomicBool::new(false),
        })))
    }

    pub(crate) fn blob(&self) -> BlobId {
        self.0.blob
    }

    /// The commit that adopts it is ordered.
    pub(crate) fn adopted(&self) {
        self.0.adopted.store(true, Ordering::Release);
    }
}

impl Store {
    /// Brings the chunks of an upload to the disk where a commit of this view is to wait for it: before the commit, during which
    /// other writers may have to wait.
    pub(crate) fn sync_upload(&self, upload: Option<&Upload>) -> Result<()> {
        match (upload, self.durability) {
            (Some(upload), Durability::Immediate) => self.shared.backend.sync_chunks(upload.blob()),
            _ => Ok(()),
        }
    }

    /// Up to how many bytes content of this kind is to lie in its record.
    pub(crate) fn inline_bytes(&self, kind: Kind) -> usize {
        let has_packs = self.shared.chunk_bytes > MAX_TREE_CHUNK_BYTES;
        match (kind, self.durability) {
            (Kind::Blob, Durability::Eventual) if has_packs => INLINE_BYTES_WITHOUT_WAITING,
            _ => INLINE_BYTES,
        }
    }
}

/// Whether so many bytes lie in the row `row_key`, where at most `inline_bytes` are to.
pub(crate) fn is_inline(row_key: &str, bytes: usize, inline_bytes: usize) -> bool {
    bytes <= inline_bytes && Body::fits_inline(row_key, bytes)
}

/// The content of an entry that is to be.
pub(crate) struct Content {
    pub(crate) body: Body,
    pub(crate) size: u64,
    pub(crate) digest: Digest,
    pub(crate) subtrees: Vec<[u8; 32]>,
    /// The new part of the body, where it is not inline.
    pub(crate) upload: Option<Upload>,
}

impl Content {
    /// `bytes` as the content of an entry in the row `row_key`.
    pub(crate) fn of(
        shared: &Arc<Shared>,
        row_key: &str,
        bytes: &[u8],
        inline_bytes: usize,
    ) -> Result<Content> {
        if is_inline(row_key, bytes.len(), inline_bytes) {
            return Ok(Content::inline(Bytes::copy_from_slice(bytes)));
        }
        let mut uploader = Uploader::new(shared, inline_bytes);
        // Past the buffer: all there will be is at hand.
        for piece in bytes.chunks(uploader.buffer_bytes) {
            uploader.hasher.update(piece);
            uploader.put(piece)?;
        }
        uploader.finish(row_key, Vec::new())
    }

    /// A document, without a copy of what stays inline.
    pub(crate) fn of_vec(shared: &Arc<Shared>, row_key: &str, bytes: Vec<u8>) -> Result<Content> {
        if is_inline(row_key, bytes.len(), INLINE_BYTES) {
            return Ok(Content::inline(Bytes::from(bytes)));
        }
        Content::of(shared, row_key, &bytes, INLINE_BYTES)
    }

    fn inline(bytes: Bytes) -> Content {
        Content {
            size: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            digest: Digest::of(&bytes),
            subtrees: Vec::new(),
            upload: None,
            body: Body::Inline(bytes),
        }
    }
}

/// Takes a stream of bytes into a fresh blob, in constant memory.
pub(crate) struct Uploader {
    shared: Arc<Shared>,
    hasher: ContentHasher,
    /// Up to so many bytes stay in the record.
    inline_bytes: usize,
    /// What is not in chunks yet.
    buffer: Vec<u8>,
    /// A whole number of chunks.
    buffer_bytes: usize,
    upload: Option<Upload>,
    next_chunk: u64,
    /// Bytes in chunks.
    stored: u64,
}

impl Uploader {
    pub(crate) fn new(shared: &Arc<Shared>, inline_bytes: usize) -> Uploader {
        Uploader::resume(shared, ContentHasher::new(), inline_bytes)
    }

    /// Goes on with content of which `hasher` has seen all there is. What of it is to lie in the new blob must be
    /// given to [`Uploader::store`] first.
    pub(crate) fn resume(
        shared: &Arc<Shared>,
        hasher: ContentHasher,
        inline_bytes: usize,
    ) -> Uploader {
        let chunk_bytes = shared.chunk_bytes;
        Uploader {
            shared: Arc::clone(shared),
            hasher,
            inline_bytes,
            buffer: Vec::new(),
            buffer_bytes: (BUFFER_BYTES / chunk_bytes).max(1) * chunk_bytes,
            upload: None,
            next_chunk: 0,
            stored: 0,
        }
    }

    /// Adds bytes to the content.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.store(bytes)
    }

    /// Adds bytes to the blob that the hasher has seen before.
    pub(crate) fn store(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= self.buffer_bytes {
                let (now, later) = bytes.split_at(self.buffer_bytes);
                self.put(now)?;
                bytes = later;
                continue;
            }
            let space = self.buffer_bytes - self.buffer.len();
            let (now, later) = bytes.split_at(space.min(bytes.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == self.buffer_bytes {
                self.put_buffer()?;
            }
        }
        Ok(())
    }

    /// Bytes of the whole content so far.
    pub(crate) fn size(&self) -> u64 {
        self.hasher.len()
    }

    /// Adds the next bytes of `source`, without a copy between. Answers how many, and whether it has come to its end.
    pub(crate) fn append_from(&mut self, source: &mut dyn Read) -> Result<(u64, bool)> {
        let filled = self.buffer.len();
        let piece_bytes = PIECE_BYTES.min(self.buffer_bytes - filled);
        let limit = u64::try_from(piece_bytes).unwrap_or(u64::MAX);
        source
            .take(limit)
            .read_to_end(&mut self.buffer)
            .map_err(|cause| Error::io("reading what is to be uploaded", cause))?;
        let piece = &self.buffer[filled..];
        self.hasher.update(piece);
        let is_end = piece.len() < piece_bytes;
        let read = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        if self.buffer.len() == self.buffer_bytes {
            self.put_buffer()?;
        }
        Ok((read, is_end))
    }

    fn put_buffer(&mut self) -> Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let put = self.put(&buffer);
        buffer.clear();
        self.buffer = buffer;
        put
    }

    /// Stores a whole number of chunks, or the last bytes of all.
    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        let chunk_bytes = self.shared.chunk_bytes;
        let upload = match &self.upload {
            Some(upload) => upload,
            None => self.upload.insert(Upload::begin(&self.shared)?),
        };
        let backend = &self.shared.backend;
        backend.put_chunks(upload.blob(), self.next_chunk, bytes, chunk_bytes)?;
        self.next_chunk += u64::try_from(bytes.len().div_ceil(chunk_bytes)).unwrap_or(u64::MAX);
        self.stored += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Puts what is left in chunks, unless it is to lie in the row `row_key`. Nothing can be added afterwards. Answers the upload.
    pub(crate) fn put_rest(&mut self, row_key: &str, kept: &[Part]) -> Result<Option<&Upload>> {
        if !self.is_inline(row_key, kept) && !self.buffer.is_empty() {
            self.put_buffer()?;
        }
        Ok(self.upload.as_ref())
    }

    fn is_inline(&self, row_key: &str, kept: &[Part]) -> bool {
        kept.is_empty()
            && self.upload.is_none()
            && is_inline(row_key, self.buffer.len(), self.inline_bytes)
    }

    /// The content of an entry in the row `row_key`: the bytes of `kept`, then those of the new blob.
    pub(crate) fn finish(mut self, row_key: &str, kept: Vec<Part>) -> Result<Content> {
        let size = self.hasher.len();
        if self.is_inline(row_key, &kept) {
            return Ok(Content {
                body: Body::Inline(Bytes::from(self.buffer)),
                size,
                digest: self.hasher.finalize(),
                subtrees: Vec::new(),
                upload: None,
            });
        }
        self.put_rest(row_key, &kept)?;
        let mut parts = kept;
        parts.extend(self.upload.as_ref().map(|upload| Part {
            blob: upload.blob(),
            size: self.stored,
            chunk_bytes: u32::try_from(self.shared.chunk_bytes).unwrap_or(u32::MAX),
        }));
        Ok(Content {
            body: Body::Parts(parts),
            size,
            digest: self.hasher.finalize(),
            subtrees: self.hasher.state().subtrees,
            upload: self.upload,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_id_is_told_twice() {
        let ids = Ids::default();
        let some = || -> Vec<BlobId> { (0..1000).map(|_| ids.fresh().unwrap()).collect() };
        let told: Vec<_> = std::thread::scope(|scope| {
            let threads = [(); 4].map(|()| scope.spawn(some));
            threads.map(|thread| thread.join().unwrap()).into()
        });
        let random: HashSet<_> = told.iter().flatten().map(|id| &id.0[6..]).collect();
        assert_eq!(random.len(), 4000);
        // Beginning with the time, they sort as they were made.
        let first = told[0][0];
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(first < ids.fresh().unwrap());
    }
}
