//! One file of the journal.
//!
//! `journal/<first revision, 20 digits>.journal`: a header of 40 bytes (magic `KJRN`, format 4, store id 16, first
//! revision 8, zero 4, CRC-32 of the rest 4; big-endian), then frames, then zeros: they are written some way ahead, so that a
//! sync of what takes their place has neither a new length to write nor new blocks. What is closed in order ends behind its last
//! frame.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::BufMut;

use super::frame::{Gap, Header, Seed};
use super::reader::FrameReader;
use crate::backend::Position;
use crate::backend::local::durable::sync_directory;
use crate::error::{Error, Result};
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicU64, Ordering};

/// Bytes before the first frame.
pub(in crate::backend::local) const SEGMENT_HEADER_BYTES: u64 = HEADER_BYTES as u64;
const HEADER_BYTES: usize = 40;
const MAGIC: u32 = u32::from_be_bytes(*b"KJRN");
/// The file grows in steps of so many bytes.
const RESERVED_BYTES: u64 = ZEROS.len() as u64;
const ZEROS: &[u8] = &[0; 64 * 1024];
/// Frames are in the index at least so many bytes apart.
const INDEX_STRIDE_BYTES: u64 = 16 * 1024;
/// Of a segment alone.
const FORMAT_VERSION: u32 = 2;

/// A file of the journal.
pub(in crate::backend::local) struct Segment {
    pub(in crate::backend::local) path: PathBuf,
    pub(in crate::backend::local) file: File,
    seed: Seed,
    /// No revision in the segment is lower.
    pub(in crate::backend::local) first: u64,
    /// Bytes written.
    length: AtomicU64,
    /// Bytes of the file, or more where the disk did not take all zeros.
    reserved: AtomicU64,
    /// Time of the last commit, microseconds since 1970; 0 where that is not known.
    last_time: AtomicU64,
    /// The last commit that is noted, 0 where none is.
    last: AtomicU64,
    /// The last of them that told of changes.
    last_told: AtomicU64,
    /// How many commits are noted.
    commits: AtomicU64,
    index: Mutex<Index>,
    /// Whether the index reaches to the end; false for segments of earlier openings until they are first read.
    indexed: Mutex<bool>,
    /// Bytes that a power cut would leave.
    #[cfg(all(test, shuttle))]
    synced: std::sync::atomic::AtomicU64,
}

/// Where to begin reading.
#[derive(Default)]
struct Index {
    /// The first changes of frames (where there is none, the one behind those of its commit) and the offsets at which they
    /// begin, ascending, some way apart.
    frames: Vec<(Position, u64)>,
    /// How many changes the frames noted so far of the last commit told.
    changes: u32,
    /// What crashes left out.
    gaps: Vec<Gap>,
}

impl Segment {
    /// Makes the file, durably.
    pub(in crate::backend::local) fn create(
        directory: &Path,
        store_id: &[u8; 16],
        first: u64,
    ) -> Result<Segment> {
        let path = path_of(directory, first);
        let failed = |error| Error::io(format!("creating {}", path.display()), error);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .map_err(failed)?;
        file.write_all_at(&header(store_id, first), 0)
            .and_then(|()| file.sync_all())
            .map_err(failed)?;
        sync_directory(directory)?;
        let bytes = (SEGMENT_HEADER_BYTES, SEGMENT_HEADER_BYTES);
        let mut segment = Segment::with(path, file, Seed::of(store_id), first, bytes);
        segment.indexed = Mutex::new(true);
        Ok(segment)
    }

    /// Opens a file of an earlier opening. `None` where its header is not whole, as a crash while it was made leaves it.
    pub(in crate::backend::local) fn open(
        directory: &Path,
        store_id: &[u8; 16],
        first: u64,
    ) -> Result<Option<Segment>> {
        let (path, file, length) = open_file(directory, first)?;
        let mut found = [0; HEADER_BYTES];
        if length < SEGMENT_HEADER_BYTES {
            return Ok(None);
        }
        file.read_exact_at(&mut found, 0)
            .map_err(|error| opening(&path, error))?;
        // Frames come only once the header is durable: where there is more, its zeros are damage.
        if found == [0; HEADER_BYTES] && length == SEGMENT_HEADER_BYTES {
            return Ok(None);
        }
        if found != header(store_id, first) {
            return Err(Error::damaged(
                "journal",
                format!("the header of {}", path.display()),
            ));
        }
        Segment::of(path, file, length, store_id, first).map(Some)
    }

    /// Whether it begins as a segment of this store; else the next opening would refuse it.
    pub(in crate::backend::local) fn has_header(
        &self,
        store_id: &[u8; 16],
    ) -> std::io::Result<bool> {
        let mut found = [0; HEADER_BYTES];
        self.file.read_exact_at(&mut found, 0)?;
        Ok(found == header(store_id, self.first))
    }

    /// As [`Segment::open`], whatever its header is, where it is not shorter than that.
    pub(in crate::backend::local) fn open_without_header(
        directory: &Path,
        store_id: &[u8; 16],
        first: u64,
    ) -> Result<Segment> {
        let (path, file, length) = open_file(directory, first)?;
        Segment::of(path, file, length, store_id, first)
    }

    fn of(
        path: PathBuf,
        file: File,
        length: u64,
        store_id: &[u8; 16],
        first: u64,
    ) -> Result<Segment> {
        let seed = Seed::of(store_id);
        let written = written_bytes(&file, seed, length).map_err(|error| opening(&path, error))?;
        Ok(Segment::with(path, file, seed, first, (written, length)))
    }

    /// A segment of which so many bytes are written and reserved, and nothing else is known yet.
    fn with(
        path: PathBuf,
        file: File,
        seed: Seed,
        first: u64,
        (written, reserved): (u64, u64),
    ) -> Segment {
        Segment {
            path,
            file,
            seed,
            first,
            length: AtomicU64::new(written),
            reserved: AtomicU64::new(reserved),
            last_time: AtomicU64::new(0),
            last: AtomicU64::new(0),
            last_told: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            index: Mutex::default(),
            indexed: Mutex::new(false),
            #[cfg(all(test, shuttle))]
            synced: Default::default(),
        }
    }

    /// Whose segment it is, where its header is whole.
    pub(in crate::backend::local) fn store_id(
        directory: &Path,
        first: u64,
    ) -> std::io::Result<Option<[u8; 16]>> {
        let file = File::open(path_of(directory, first))?;
        let mut found = [0; HEADER_BYTES];
        file.read_exact_at(&mut found, 0)?;
        let id = found[8..24].try_into().unwrap_or_default();
        Ok((found == header(&id, first)).then_some(id))
    }

    /// Bytes written.
    pub(in crate::backend::local) fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// Reads the frames from an offset at which one begins to what is written now.
    pub(in crate::backend::local) fn read_from(&self, offset: u64) -> FrameReader<'_> {
        FrameReader::new(&self.file, self.seed, offset, self.length())
    }

    /// Reads all frames.
    pub(in crate::backend::local) fn read(&self) -> FrameReader<'_> {
        self.read_from(SEGMENT_HEADER_BYTES)
    }

    /// When the last commit was made, microseconds since 1970.
    pub(in crate::backend::local) fn last_time(&self) -> u64 {
        match self.last_time.load(Ordering::Relaxed) {
            0 => {
                if let Err(error) = self.build_index() {
                    tracing::warn!(%error, "reading the times of a segment");
                }
                self.last_time.load(Ordering::Relaxed)
            }
            time => time,
        }
    }

    #[cfg(test)]
    pub(in crate::backend::local) fn set_last_time_for_test(&self, time: u64) {
        self.last_time.store(time, Ordering::Relaxed);
    }

    /// The gaps that are noted.
    pub(super) fn gaps(&self) -> Vec<Gap> {
        self.index.lock().gaps.clone()
    }

    /// The last commit that is noted, 0 where none is.
    pub(in crate::backend::local) fn last_noted(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// The last commit before `next`, with which the next segment begins, that told of changes in it, 0 where none did. `None`
    /// where not all in between is noted.
    pub(in crate::backend::local) fn last_told_before(&self, next: u64) -> Option<u64> {
        let is_known = *self.indexed.lock() && self.last_noted() + 1 == next;
        is_known.then(|| self.last_told.load(Ordering::Relaxed))
    }

    /// How many commits it holds.
    pub(in crate::backend::local) fn commits(&self) -> u64 {
        if let Err(error) = self.build_index() {
            tracing::warn!(%error, "counting the commits of a segment");
        }
        self.commits.load(Ordering::Relaxed)
    }

    /// Writes the chain of one commit behind what is there. One caller at a time.
    pub(in crate::backend::local) fn append(&self, chain: &[u8]) -> Result<()> {
        let offset = self.length();
        let end = offset + chain.len() as u64;
        // What is written of it, should that fail, is cut by it.
        let reserved = self.reserved.fetch_max(end, Ordering::Relaxed);
        self.file
            .write_all_at(chain, offset)
            .map_err(|error| Error::io(format!("writing to {}", self.path.display()), error))?;
        // Behind it, so that they do not take the last room of the disk from it.
        if end > reserved {
            self.reserve(end);
        }
        self.note_chain(chain, offset);
        self.length.store(end, Ordering::Release);
        Ok(())
    }

    /// Writes zeros from `end`, where the file ends, to the end of the step.
    fn reserve(&self, end: u64) {
        let wanted = end.next_multiple_of(RESERVED_BYTES);
        let zeros = usize::try_from(wanted - end).map_or(ZEROS, |behind| &ZEROS[..behind]);
        if let Err(error) = self.file.write_all_at(zeros, end) {
            // What is written there makes the file as long as it must be.
            tracing::debug!(%error, "no room ahead in the journal");
        }
        self.reserved.store(wanted, Ordering::Relaxed);
    }

    /// Cuts what nothing is written to yet, or what is left of a write that failed. Durable with the next sync.
    pub(in crate::backend::local) fn trim(&self) -> std::io::Result<()> {
        let length = self.length();
        if self.reserved.load(Ordering::Relaxed) != length {
            self.file.set_len(length)?;
            self.reserved.store(length, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Makes what was appended before the call durable.
    pub(in crate::backend::local) fn sync(&self) -> Result<()> {
        let failed = |error| Error::io(format!("syncing {}", self.path.display()), error);
        #[cfg(all(test, shuttle))]
        let written = self.length();
        self.file.sync_data().map_err(failed)?;
        #[cfg(all(test, shuttle))]
        self.synced.fetch_max(written, Ordering::Relaxed);
        Ok(())
    }

    /// The last commit that a power cut would leave whole, `None` where it would leave none.
    #[cfg(all(test, shuttle))]
    pub(in crate::backend::local) fn durable(&self) -> Result<Option<u64>> {
        let synced = self.synced.load(Ordering::Relaxed);
        let mut reader = FrameReader::new(&self.file, self.seed, SEGMENT_HEADER_BYTES, synced);
        let mut durable = None;
        let failed = |error| Error::io(format!("reading {}", self.path.display()), error);
        while let Some((_, header)) = reader.next_header().map_err(failed)? {
            if header.last {
                durable = Some(header.revision);
            }
        }
        Ok(durable)
    }

    fn note_chain(&self, chain: &[u8], mut offset: u64) {
        let mut rest = chain;
        while let Some(header) = rest.first_chunk().and_then(Header::decode) {
            self.note(&header, offset);
            let Some((_, behind)) = rest.split_at_checked(header.frame_bytes()) else {
                return;
            };
            offset += header.frame_bytes() as u64;
            rest = behind;
        }
    }

    /// Notes that a frame begins at `offset`. Each is, in their order.
    pub(in crate::backend::local) fn note(&self, header: &Header, offset: u64) {
        let mut index = self.index.lock();
        if header.part() == 0 {
            self.last_time.store(header.time, Ordering::Relaxed);
            self.commits.fetch_add(1, Ordering::Relaxed);
            index.changes = 0;
        }
        let position = Position {
            revision: header.revision,
            index: index.changes,
        };
        index.changes = index.changes.saturating_add(header.changes);
        if header.changes > 0 {
            self.last_told.store(header.revision, Ordering::Relaxed);
        }
        index.gaps.extend(header.left_out());
        self.last.store(header.revision, Ordering::Relaxed);
        let last = index.frames.last();
        if last.is_none_or(|(_, last)| offset >= last + INDEX_STRIDE_BYTES) {
            index.frames.push((position, offset));
        }
    }

    /// Cuts what lies behind `length`: a tail that no commit closed.
    pub(in crate::backend::local) fn cut(&self, length: u64) -> Result<()> {
        self.file
            .set_len(length)
            .and_then(|()| self.file.sync_all())
            .map_err(|error| Error::io(format!("cutting {}", self.path.display()), error))?;
        self.length.store(length, Ordering::Release);
        self.reserved.store(length, Ordering::Relaxed);
        *self.indexed.lock() = false;
        // At once: what is appended is noted behind what is there.
        self.build_index()
    }

    /// Says that [`Segment::note`] was called for everything in the file.
    pub(in crate::backend::local) fn noted_all(&self) {
        *self.indexed.lock() = true;
    }

    /// An offset at which a frame begins, no later than that of the first change behind `after`, and how many changes of
    /// its commit come before it.
    pub(in crate::backend::local) fn seek(&self, after: Position) -> Result<(u64, u32)> {
        self.build_index()?;
        let index = self.index.lock();
        let behind = (index.frames).partition_point(|(position, _)| *position <= after);
        let found = behind.checked_sub(1).and_then(|at| index.frames.get(at));
        Ok(
            found.map_or((SEGMENT_HEADER_BYTES, 0), |(position, offset)| {
                (*offset, position.index)
            }),
        )
    }

    fn build_index(&self) -> Result<()> {
        let mut indexed = self.indexed.lock();
        if !*indexed {
            self.forget_notes();
            if let Err(error) = self.note_all() {
                // What lies before the bad place is not the whole, and its last commit not the last one.
                self.forget_notes();
                let doing = format!("reading {}", self.path.display());
                return Err(Error::io(doing, error));
            }
            *indexed = true;
        }
        Ok(())
    }

    fn note_all(&self) -> std::io::Result<()> {
        let mut reader = self.read_from(SEGMENT_HEADER_BYTES);
        while let Some((offset, header)) = reader.next_header()? {
            self.note(&header, offset);
        }
        Ok(())
    }

    fn forget_notes(&self) {
        *self.index.lock() = Index::default();
        let counters = [&self.commits, &self.last, &self.last_told, &self.last_time];
        for counter in counters {
            counter.store(0, Ordering::Relaxed);
        }
    }
}

/// The file of a segment, and how long it is.
fn open_file(directory: &Path, first: u64) -> Result<(PathBuf, File, u64)> {
    let path = path_of(directory, first);
    let opened = OpenOptions::new().read(true).write(true).open(&path);
    let opened = opened.and_then(|file| Ok((file.metadata()?.len(), file)));
    match opened {
        Ok((length, file)) => Ok((path, file, length)),
        Err(error) => Err(opening(&path, error)),
    }
}

fn opening(path: &Path, error: std::io::Error) -> Error {
    Error::io(format!("opening {}", path.display()), error)
}

/// Where the frames of a file of `length` bytes end: at its end, but for zeros behind them.
fn written_bytes(file: &File, seed: Seed, length: u64) -> std::io::Result<u64> {
    let mut last = [0];
    file.read_exact_at(&mut last, length - 1)?;
    if length == SEGMENT_HEADER_BYTES || last != [0] {
        return Ok(length);
    }
    let mut reader = FrameReader::new(file, seed, SEGMENT_HEADER_BYTES, length);
    while reader.next_header()?.is_some() {}
    match reader.only_zeros_follow()? {
        true => Ok(reader.offset()),
        false => Ok(length),
    }
}

/// The first revision in a file name, `None` where it is not the name of a segment.
pub(in crate::backend::local) fn first_revision(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".journal")?;
    let first = (digits.len() == 20).then(|| digits.parse().ok()).flatten();
    // There is no commit of revision 0.
    first.filter(|first| *first > 0)
}

pub(in crate::backend::local) fn path_of(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.journal"))
}

fn header(store_id: &[u8; 16], first: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    let mut rest = &mut bytes[..];
    rest.put_u32(MAGIC);
    rest.put_u32(FORMAT_VERSION);
    rest.put_slice(store_id);
    rest.put_u64(first);
    rest.put_u32(0);
    let crc = crc32fast::hash(&bytes[..36]);
    bytes[36..].copy_from_slice(&crc.to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bytes of a segment: a change here is a change of the format.
    #[test]
    fn golden_bytes() {
        let header = header(b"0123456789abcdef", 0x0102);
        let mut golden = b"KJRN\0\0\0\x020123456789abcdef".to_vec();
        golden.extend([0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0]);
        golden.extend(0x2642_d340_u32.to_be_bytes());
        assert_eq!(header[..], golden);
    }
}
