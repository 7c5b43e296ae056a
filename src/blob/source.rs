//! Where the bytes of a body come from, chunk by chunk, whatever becomes of the entry meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;

use crate::backend::{BlobId, Hold};
use crate::error::{Error, Result};
use crate::format::{Body, Part};
use crate::metadata::Digest;
use crate::store::Shared;

/// Who reads on reads so much at once: the system copies it half as fast in pieces of a chunk.
pub(crate) const READ_AHEAD_BYTES: u64 = 1024 * 1024;

/// Chunks one behind the other, and where each begins.
pub(crate) type Chunks = VecDeque<(u64, Bytes)>;

/// The bytes of a body as they were when it was opened.
pub(crate) enum Source {
    /// All in memory.
    Memory(Bytes),
    /// In the chunks of blobs, which are held.
    Chunks(Chunked),
}

pub(crate) struct Chunked {
    // Holds go before the store they are of.
    runs: Vec<Run>,
    size: u64,
    shared: Arc<Shared>,
}

/// A part and where in the body it begins.
struct Run {
    start: u64,
    part: Part,
    _hold: Option<Box<dyn Hold>>,
}

impl Source {
    /// Opens a body and holds its blobs, but for the caller's own that no commit has adopted yet. `None` where one is
    /// gone: the row that named it has been replaced.
    pub(crate) fn open(
        shared: &Arc<Shared>,
        body: &Body,
        is_own: impl Fn(BlobId) -> bool,
    ) -> Result<Option<Source>> {
        let parts = match body {
            Body::Inline(bytes) => return Ok(Some(Source::Memory(bytes.clone()))),
            Body::Parts(parts) => parts,
        };
        let mut runs = Vec::with_capacity(parts.len());
        let mut size = 0;
        for part in parts {
            let hold = shared.backend.hold(part.blob)?;
            if hold.is_none() && !is_own(part.blob) {
                return Ok(None);
            }
            runs.push(Run {
                start: size,
                part: *part,
                _hold: hold,
            });
            size += part.size;
        }
        Ok(Some(Source::Chunks(Chunked {
            runs,
            size,
            shared: Arc::clone(shared),
        })))
    }

    /// Bytes of the body.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Source::Memory(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Source::Chunks(chunked) => chunked.size,
        }
    }

    /// The chunk that holds the byte at `offset`, which lies within the body, and where it begins; with some of those that
    /// follow, as far as they hold any of `wanted` bytes from `offset` on and are cheap to read together.
    pub(crate) fn chunks_at(&self, offset: u64, wanted: u64) -> Result<Chunks> {
        match self {
            Source::Memory(bytes) => Ok(Chunks::from([(0, bytes.clone())])),
            Source::Chunks(chunked) => chunked.chunks_at(offset, wanted),
        }
    }

    /// Fills the beginning of `buffer` with bytes from `offset` on, which lies within the body: with as many as are cheap to read
    /// together, at least one.
    pub(crate) fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        match self {
            Source::Memory(bytes) => {
                let rest = bytes.get(within(offset)..).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                Ok(count)
            }
            Source::Chunks(chunked) => chunked.read_at(buffer, offset),
        }
    }

    /// The chunk that holds the byte at `offset`, which lies within the body, and where it begins.
    pub(crate) fn chunk_at(&self, offset: u64) -> Result<(u64, Bytes)> {
        let first = self.chunks_at(offset, 1)?.pop_front();
        first.ok_or_else(|| Error::damaged("blob", format!("offset {offset}")))
    }

    /// Gives the bytes from `offset` to the end to `visit`, piece by piece, without an end check of the digest.
    pub(crate) fn read_from(
        &self,
        offset: u64,
        mut visit: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<()> {
        let mut at = offset;
        while at < self.len() {
            for (start, chunk) in self.chunks_at(at, READ_AHEAD_BYTES)? {
                let piece = chunk.slice(within(at - start)..);
                visit(&piece)?;
                at = end_of(start, &chunk);
            }
        }
        Ok(())
    }

    /// All bytes of a document. Where they lie in its row, with their digest, the checksum of the row was compared when it
    /// was read; else as [`Source::read_all`].
    pub(crate) fn read_document(&self, location: &str, digest: &Digest) -> Result<Bytes> {
        match self {
            Source::Memory(bytes) => Ok(bytes.clone()),
            Source::Chunks(_) => self.read_all(location, digest),
        }
    }

    /// All bytes, compared with their digest. `location` names them in errors.
    pub(crate) fn read_all(&self, location: &str, digest: &Digest) -> Result<Bytes> {
        let mut hasher = blake3::Hasher::new();
        let bytes = self.collect(&mut hasher)?;
        if hasher.finalize().as_bytes() == digest.as_bytes() {
            Ok(bytes)
        } else {
            Err(Error::damaged("content", location))
        }
    }

    fn collect(&self, hasher: &mut blake3::Hasher) -> Result<Bytes> {
        if self.len() == 0 {
            return Ok(Bytes::new());
        }
        let size = within(self.len());
        let mut chunks = self.chunks_at(0, self.len().min(READ_AHEAD_BYTES))?;
        if let [(_, first)] = chunks.make_contiguous()
            && first.len() == size
        {
            hasher.update(first);
            return Ok(first.clone());
        }
        let mut bytes = Vec::new();
        // A size that no memory can hold is an error, not the end of the process.
        bytes.try_reserve_exact(size).map_err(|_| {
            let cause = std::io::Error::from(std::io::ErrorKind::OutOfMemory);
            Error::io("reading a whole entry into memory", cause)
        })?;
        let mut take = |piece: &[u8]| {
            hasher.update(piece);
            bytes.extend_from_slice(piece);
            Ok(())
        };
        let mut read = 0;
        for (start, chunk) in chunks {
            take(&chunk)?;
            read = end_of(start, &chunk);
        }
        self.read_from(read, take)?;
        Ok(Bytes::from(bytes))
    }
}

/// Where a byte of a body lies.
struct Place<'a> {
    run: &'a Run,
    /// The chunk, and how far into it.
    index: u64,
    distance: usize,
    /// How many chunks hold any of the bytes that are wanted.
    chunks: usize,
}

impl Run {
    /// A short chunk must never look like the end of the file.
    fn check(&self, index: u64, length: usize) -> Result<()> {
        let chunk_bytes = u64::from(self.part.chunk_bytes);
        let start = index.saturating_mul(chunk_bytes);
        let expected = chunk_bytes.min(self.part.size.saturating_sub(start));
        if expected == 0 || u64::try_from(length) != Ok(expected) {
            return Err(Error::damaged(
                "chunk",
                format!("chunk {index} of blob {}", self.part.blob),
            ));
        }
        Ok(())
    }
}

impl Chunked {
    fn place(&self, offset: u64, wanted: u64) -> Result<Place<'_>> {
        let behind = self.runs.partition_point(|run| run.start <= offset);
        let run = behind
            .checked_sub(1)
            .and_then(|index| self.runs.get(index))
            .ok_or_else(|| Error::damaged("blob", format!("offset {offset}")))?;
        let chunk_bytes = u64::from(run.part.chunk_bytes);
        let inside = offset - run.start;
        let index = inside / chunk_bytes;
        let end = inside.saturating_add(wanted).min(run.part.size);
        Ok(Place {
            run,
            index,
            distance: within(inside % chunk_bytes),
            chunks: within(end.div_ceil(chunk_bytes).saturating_sub(index)).max(1),
        })
    }

    fn chunks_at(&self, offset: u64, wanted: u64) -> Result<Chunks> {
        let place = self.place(offset, wanted)?;
        let run = place.run;
        let found = (self.shared.backend).get_chunks(run.part.blob, place.index, place.chunks)?;
        let mut chunks = Chunks::with_capacity(found.len());
        for (index, chunk) in (place.index..).zip(found) {
            run.check(index, chunk.len())?;
            let start = run.start + index * u64::from(run.part.chunk_bytes);
            chunks.push_back((start, chunk));
        }
        Ok(chunks)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let wanted = u64::try_from(buffer.len()).unwrap_or(u64::MAX);
        let place = self.place(offset, wanted)?;
        let lengths = self.shared.backend.read_chunks(
            place.run.part.blob,
            place.index,
            place.chunks,
            place.distance,
            buffer,
        )?;
        for (index, length) in (place.index..).zip(&lengths) {
            place.run.check(index, *length)?;
        }
        let there: usize = lengths.iter().sum();
        Ok(there.saturating_sub(place.distance).min(buffer.len()))
    }
}

/// Where the next chunk begins.
pub(super) fn end_of(start: u64, chunk: &Bytes) -> u64 {
    start.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX))
}

/// A distance within what is in memory.
pub(super) fn within(distance: u64) -> usize {
    usize::try_from(distance).unwrap_or(usize::MAX)
}
