//! Reading an entry piece by piece.

use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::iter::FusedIterator;

use bytes::Bytes;

use super::source::{self, READ_AHEAD_BYTES, Source, end_of, within};
use crate::error::{Error, Result};
use crate::metadata::Metadata;

/// Reads an entry as it was when the reader was opened, to its last byte, whatever is written, deleted or renamed
/// meanwhile. Made by [`Store::reader`](crate::Store::reader).
///
/// It implements [`Read`] and [`Seek`]; [`read_at`](BlobReader::read_at) reads anywhere without moving. Small reads in
/// sequence cost one copy out of the present chunk, which is kept in memory; where they go on, 1 MiB is read ahead, and a reader
/// of a blob keeps no more than that. Over a document it reads the JSON text, all of which is in memory.
///
/// Damage is an error, never a shorter file: every chunk has a checksum, over its bytes and its place, of which one in 2^32
/// damages of a chunk would be missed. [`with_digest_check`](BlobReader::with_digest_check) looks closer. Errors that come through
/// `std::io` hold the [`Error`] in [`io::Error::get_ref`].
///
/// The space of an entry that is replaced is given back when its last reader is dropped. A reader keeps the store open.
///
/// ```
/// use std::io::{Read, Seek, SeekFrom};
/// let store = komatik::Store::in_memory()?;
/// store.put("notes.txt", "first second")?;
/// let mut reader = store.reader("notes.txt")?.expect("it was just put");
/// store.put("notes.txt", "something else")?;
///
/// let mut text = String::new();
/// reader.seek(SeekFrom::Start(6))?;
/// reader.read_to_string(&mut text)?;
/// assert_eq!(text, "second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct BlobReader {
    source: Source,
    metadata: Metadata,
    position: u64,
    /// The present chunk and where it begins.
    chunk: Option<(u64, Bytes)>,
    ahead: Ahead,
    check: Option<Check>,
}

impl BlobReader {
    pub(super) fn new(source: Source, metadata: Metadata) -> BlobReader {
        BlobReader {
            source,
            metadata,
            position: 0,
            chunk: None,
            ahead: Ahead::default(),
            check: None,
        }
    }

    /// From now on, whenever all chunks are read in their order, from the first one on, the whole is compared with the digest
    /// as well, before the last of it is given out. It is for what leaves the store for good; [`Store::get`](crate::Store::get)
    /// always does so. Costs a BLAKE3 of all that is read.
    #[must_use]
    pub fn with_digest_check(mut self) -> BlobReader {
        // Content in memory was compared with its digest when it was read.
        self.check = match &self.source {
            Source::Memory(_) => None,
            Source::Chunks(_) => Some(Check::default()),
        };
        // One that was read before has not been seen by the check.
        self.chunk = None;
        self
    }

    /// What is known of the entry that is read.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Bytes there are to read: the size of a blob, the length of a document's JSON text.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.source.len()
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `buffer` from `offset` on, without moving the reader; less only where the content ends, nothing behind its
    /// end. Reads every chunk it touches anew, whole, straight into the buffer: for many small reads in a row use [`Read`].
    /// After an error the buffer may hold anything.
    ///
    /// # Errors
    /// [`Error::Damaged`]; the operating system.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let mut filled = 0;
        let mut at = offset;
        while filled < buffer.len() && at < self.len() {
            let end = buffer.len().min(filled + within(READ_AHEAD_BYTES));
            let read = self.source.read_at(&mut buffer[filled..end], at)?;
            if read == 0 {
                return Err(Error::damaged("content", self.metadata.key.as_str()));
            }
            filled += read;
            at += u64::try_from(read).unwrap_or(u64::MAX);
        }
        Ok(filled)
    }

    /// Fills all of `buffer` from `offset` on, without moving the reader.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where the content ends before; as [`BlobReader::read_at`].
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        if self.read_at(buffer, offset)? == buffer.len() {
            return Ok(());
        }
        Err(Error::InvalidArgument {
            what: "offset",
            reason: format!(
                "{} bytes from {offset} on end behind the last of {}",
                buffer.len(),
                self.len()
            ),
        })
    }

    /// The content in order, from its first byte, chunk by chunk, wherever the reader stands. No bytes are copied.
    ///
    /// An error is the last item: the operating system, or [`Error::Damaged`], with the digest check also in place of the
    /// last chunk where the whole is not what the digest says.
    pub fn chunks(&self) -> Chunks<'_> {
        Chunks {
            reader: self,
            position: 0,
            ahead: Ahead::default(),
            check: self.check.as_ref().map(|_| Check::default()),
        }
    }

    /// The rest of the chunk at the reader's position; empty at the end.
    fn rest_of_chunk(&mut self) -> Result<Bytes> {
        if self.position >= self.len() {
            return Ok(Bytes::new());
        }
        if let Some((start, chunk)) = &self.chunk
            && let Some(distance) = self.position.checked_sub(*start)
            && within(distance) < chunk.len()
        {
            return Ok(chunk.slice(within(distance)..));
        }
        let before = self.chunk.as_ref();
        let reads_on = before.is_some_and(|(start, chunk)| end_of(*start, chunk) == self.position);
        let (start, chunk) = (self.ahead).chunk_at(&self.source, self.position, reads_on)?;
        if let Some(check) = &mut self.check {
            check.saw(start, &chunk, &self.metadata)?;
        }
        let rest = chunk.slice(within(self.position - start)..);
        self.chunk = Some((start, chunk));
        Ok(rest)
    }
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = self.rest_of_chunk()?;
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.position += u64::try_from(count).unwrap_or(u64::MAX);
        Ok(count)
    }
}

impl Seek for BlobReader {
    fn seek(&mut self, target: SeekFrom) -> io::Result<u64> {
        let position = match target {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(distance) => self.len().checked_add_signed(distance),
            SeekFrom::Current(distance) => self.position.checked_add_signed(distance),
        };
        self.position = position.ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                "a seek to a negative or too large position",
            )
        })?;
        Ok(self.position)
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("key", &self.metadata.key)
            .field("len", &self.len())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

/// The chunks of an entry in order; made by [`BlobReader::chunks`].
#[must_use]
pub struct Chunks<'a> {
    reader: &'a BlobReader,
    position: u64,
    ahead: Ahead,
    check: Option<Check>,
}

impl fmt::Debug for Chunks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Chunks")
            .field("reader", self.reader)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

impl Chunks<'_> {
    fn chunk(&mut self) -> Result<Bytes> {
        let reader = self.reader;
        let (start, chunk) = (self.ahead).chunk_at(&reader.source, self.position, true)?;
        if let Some(check) = &mut self.check {
            check.saw(start, &chunk, &reader.metadata)?;
        }
        self.position = end_of(start, &chunk);
        Ok(chunk)
    }
}

impl Iterator for Chunks<'_> {
    type Item = Result<Bytes>;

    fn next(&mut self) -> Option<Result<Bytes>> {
        if self.position >= self.reader.len() {
            return None;
        }
        let chunk = self.chunk();
        if chunk.is_err() {
            self.position = u64::MAX;
        }
        Some(chunk)
    }
}

impl FusedIterator for Chunks<'_> {}

/// Chunks that were read with one before them.
#[derive(Default)]
pub(crate) struct Ahead(source::Chunks);

impl Ahead {
    /// The chunk that holds the byte at `position`, which lies within the source; and the next ones, for who reads on.
    pub(crate) fn chunk_at(
        &mut self,
        source: &Source,
        position: u64,
        reads_on: bool,
    ) -> Result<(u64, Bytes)> {
        while let Some((start, chunk)) = self.0.pop_front() {
            if start <= position && position < end_of(start, &chunk) {
                return Ok((start, chunk));
            }
        }
        if reads_on {
            self.0 = source.chunks_at(position, READ_AHEAD_BYTES)?;
        }
        match self.0.pop_front() {
            Some(first) => Ok(first),
            None => source.chunk_at(position),
        }
    }
}

/// Follows the chunks as they are read, and compares the whole with its digest when the last one comes. Each time the
/// first one comes it begins anew.
#[derive(Default)]
struct Check {
    hasher: blake3::Hasher,
    damaged: bool,
}

impl Check {
    /// A chunk was read, which begins at `start`. Chunks out of order are no part of the check, which goes on when
    /// the one comes that was expected.
    fn saw(&mut self, start: u64, chunk: &[u8], metadata: &Metadata) -> Result<()> {
        if start == 0 {
            self.hasher.reset();
        }
        if start == self.hasher.count() {
            self.hasher.update(chunk);
            self.damaged |= self.hasher.count() == metadata.size
                && self.hasher.finalize().as_bytes() != metadata.digest.as_bytes();
        }
        if self.damaged {
            return Err(Error::damaged("content", metadata.key.as_str()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Digest;
    use crate::store::Store;

    /// What only the digest tells, as every chunk is right in itself.
    #[test]
    fn every_pass_from_the_first_byte_to_the_last_is_compared_with_the_digest() {
        let store = Store::in_memory().unwrap();
        store.put("k", vec![1; 200_000]).unwrap();
        let reader = store.reader("k").unwrap().unwrap();
        let mut reader = reader.with_digest_check();
        let pass = |reader: &mut BlobReader, from: u64| {
            reader.seek(SeekFrom::Start(from)).unwrap();
            reader.read_to_end(&mut Vec::new())
        };
        assert_eq!(pass(&mut reader, 0).unwrap(), 200_000);
        assert_eq!(pass(&mut reader, 0).unwrap(), 200_000);
        // Begun anew in the middle.
        reader.seek(SeekFrom::Start(0)).unwrap();
        reader.read_exact(&mut [0; 100_000]).unwrap();
        let digest = std::mem::replace(&mut reader.metadata.digest, Digest::of(b"another"));
        assert_eq!(
            pass(&mut reader, 100_000).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
        reader.check = Some(Check::default());
        reader.metadata.digest = digest;
        assert_eq!(pass(&mut reader, 0).unwrap(), 200_000);
        assert_eq!(pass(&mut reader, 150_000).unwrap(), 50_000, "no whole pass");
        reader.metadata.digest = Digest::of(b"another");
        for from in [0, 0, 150_000] {
            let error = pass(&mut reader, from).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        }
        // One whose first chunk was read before the check was asked for.
        let mut reader = store.reader("k").unwrap().unwrap();
        reader.read_exact(&mut [0]).unwrap();
        reader.metadata.digest = Digest::of(b"another");
        let error = pass(&mut reader.with_digest_check(), 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
