//! Packs: append-only files that hold the chunks too large to live in a tree.
//!
//! Many threads append at once: each reserves a range of the active pack in an instant and writes it by itself. A range
//! whose write fails stays dead, and none is used twice. What lies where is told by rows of the trees; the packs tell
//! it too, frame by frame, for reclaim and repair.

use std::collections::{BTreeSet, HashMap};
use std::fs::{File, Metadata};
use std::io::{ErrorKind, IoSlice};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::durable::sync_directory;
use super::health::readable;
use super::layout::PACKS;
use super::place::Place;
use crate::backend::BlobId;
use crate::error::{Error, Result};
use crate::options::MAX_CHUNK_BYTES;
use crate::sync::Mutex;

mod files;
mod frame;
#[cfg(fuzzing)]
pub(super) mod fuzzing;
mod read;
mod scatter;
mod syncing;
mod table;
mod unwritten;
mod walk;
mod writer;

use files::{OpenFiles, open_file};
pub(crate) use frame::{ChunkLocation, FRAME_HEADER_BYTES, MAX_PACK_NUMBER, chunk_crc};
use frame::{FILE_HEADER_BYTES, Frame, PackName};
use scatter::Spares;
use table::{Durable, Pack, Table};
pub(crate) use table::{Effort, PackStats};
pub(crate) use walk::Walk;
use writer::Writer;

const WHAT: &str = "chunk";
/// A larger append is split, so that packs stay about as large as they should be.
const MAX_RANGE_BYTES: usize = 8 * 1024 * 1024;

/// Bounds of what packs use.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PackOptions {
    /// Every pack grows to at least this, where it is not mostly dead before.
    pub(crate) min_target_bytes: u64,
    /// No pack is appended to from here on.
    pub(crate) max_target_bytes: u64,
    /// Packs kept open for reading.
    pub(crate) open_files: usize,
    /// Whether a pack is read whose header is damaged. Each frame tells by itself whether it is sound, and whose.
    pub(crate) without_headers: bool,
}

impl Default for PackOptions {
    fn default() -> Self {
        PackOptions {
            min_target_bytes: 4 * 1024 * 1024,
            max_target_bytes: 64 * 1024 * 1024,
            open_files: 128,
            without_headers: false,
        }
    }
}

/// The packs of an open store.
pub(crate) struct Packs {
    place: Place,
    store_id: [u8; 16],
    options: PackOptions,
    table: Mutex<Table>,
    files: OpenFiles,
    spares: Spares,
}

/// A range of a pack that is one append's alone.
struct Range {
    name: PackName,
    offset: u64,
    bytes: u64,
    writer: Arc<Writer>,
}

impl Packs {
    /// Where the packs lie.
    pub(super) fn directory(&self) -> &Path {
        self.place.path()
    }

    /// Opens the packs of the store in `store_directory`. All that are there are sealed. None is in use until
    /// [`Packs::set_live`] says so: before, [`Packs::victims`] and [`Packs::sparse`] must not be asked.
    ///
    /// Files of other names, packs of other stores and what is no file are left alone.
    pub(crate) fn open(
        store_directory: &Path,
        store_id: [u8; 16],
        options: PackOptions,
    ) -> Result<Packs> {
        let directory = store_directory.join(PACKS);
        let failed = |error| Error::io(format!("opening {}", directory.display()), error);
        if !directory.try_exists().map_err(failed)? {
            std::fs::create_dir(&directory).map_err(failed)?;
            sync_directory(store_directory)?;
        }
        let table = find_packs(&directory, store_id).map_err(failed)?;
        Ok(Packs {
            place: Place::of(directory),
            store_id,
            options,
            table: Mutex::new(table),
            files: OpenFiles::new(options.open_files),
            spares: Spares::default(),
        })
    }

    /// Appends `bytes` as chunks of `chunk_bytes` each (the last may be shorter), numbered from `first`. They are in
    /// use at once; who discards them calls [`Packs::give_back`]. Durable only after [`Packs::sync`] of their packs.
    pub(crate) fn append(
        &self,
        blob: BlobId,
        first: u64,
        bytes: &[u8],
        chunk_bytes: usize,
    ) -> Result<Vec<ChunkLocation>> {
        if chunk_bytes == 0 || chunk_bytes > MAX_CHUNK_BYTES {
            return Err(Error::InvalidArgument {
                what: "chunk_bytes",
                reason: format!("{chunk_bytes} is not within 1 and {MAX_CHUNK_BYTES}"),
            });
        }
        let chunks_of_range = (MAX_RANGE_BYTES / chunk_bytes).max(1);
        let mut locations = Vec::with_capacity(bytes.len().div_ceil(chunk_bytes));
        for range in bytes.chunks(chunks_of_range * chunk_bytes) {
            let first = first + locations.len() as u64;
            match self.append_range(blob, first, range, chunk_bytes) {
                Ok(appended) => locations.extend(appended),
                Err(error) => {
                    self.give_back(&locations);
                    return Err(error);
                }
            }
        }
        Ok(locations)
    }

    fn append_range(
        &self,
        blob: BlobId,
        first: u64,
        bytes: &[u8],
        chunk_bytes: usize,
    ) -> Result<Vec<ChunkLocation>> {
        let chunks: Vec<&[u8]> = bytes.chunks(chunk_bytes).collect();
        let frame_bytes = bytes.len() + chunks.len() * FRAME_HEADER_BYTES;
        let range = self.reserve(frame_bytes as u64)?;
        let mut locations = Vec::with_capacity(chunks.len());
        let mut headers = Vec::with_capacity(chunks.len());
        let mut offset = range.offset;
        for (index, chunk) in (first..).zip(&chunks) {
            let frame = Frame {
                blob,
                index,
                length: chunk_length(chunk),
                crc: chunk_crc(blob, index, chunk),
            };
            let location = frame.location(range.name.number, offset);
            headers.push(frame.encode(range.name, offset));
            offset += location.frame_bytes();
            locations.push(location);
        }
        let mut parts: Vec<IoSlice<'_>> = headers
            .iter()
            .zip(&chunks)
            .flat_map(|(header, chunk)| [IoSlice::new(header), IoSlice::new(chunk)])
            .collect();
        let written = range.writer.write(range.offset, &mut parts, range.bytes);
        if written.is_err() {
            self.sub_live(range.name.number, range.bytes);
        }
        written.map(|()| locations)
    }

    fn reserve(&self, bytes: u64) -> Result<Range> {
        let mut table = self.table.lock();
        table.seal_when_full(self.options.min_target_bytes, self.options.max_target_bytes);
        let number = match table.active {
            Some(number) => number,
            None => self.create_pack(&mut table)?,
        };
        let name = self.name(number);
        let Some(pack) = table.packs.get_mut(&number) else {
            return Err(missing_writer(name));
        };
        let Durable::By(writer) = &pack.durable else {
            return Err(missing_writer(name));
        };
        let range = Range {
            name,
            offset: pack.total,
            bytes,
            writer: Arc::clone(writer),
        };
        range.writer.begin(bytes);
        pack.total += bytes;
        table.add_live(number, bytes);
        Ok(range)
    }

    fn create_pack(&self, table: &mut Table) -> Result<u64> {
        let number = table.next;
        if number > MAX_PACK_NUMBER {
            let cause = std::io::Error::other("a file or a row has the last number of a pack");
            return Err(Error::io("creating a pack", cause));
        }
        self.place.check()?;
        table.next += 1;
        let writer = Writer::create(self.place.path(), self.name(number))?;
        let pack = Pack {
            live: 0,
            total: FILE_HEADER_BYTES as u64,
            durable: Durable::By(Arc::new(writer)),
        };
        table.packs.insert(number, pack);
        table.active = Some(number);
        Ok(number)
    }

    /// Fails where the packs are no longer where they were opened.
    pub(crate) fn check_place(&self) -> Result<()> {
        self.place.check()
    }

    /// Counts frames as no longer in use.
    pub(crate) fn sub_live(&self, pack: u64, bytes: u64) {
        self.table.lock().sub_live(pack, bytes);
    }

    /// Counts chunks as no longer in use.
    pub(crate) fn give_back(&self, locations: &[ChunkLocation]) {
        let mut table = self.table.lock();
        for location in locations {
            table.sub_live(location.pack, location.frame_bytes());
        }
    }

    /// Says what of a pack is in use, after opening. False where there is no such pack: its chunks are lost.
    #[must_use]
    pub(crate) fn set_live(&self, pack: u64, bytes: u64) -> bool {
        self.table.lock().set_live(pack, bytes)
    }

    /// Whether so many bytes of a pack can be in use; of one that is not there nobody knows.
    pub(crate) fn may_hold(&self, pack: u64, bytes: u64) -> bool {
        let table = self.table.lock();
        (table.packs.get(&pack)).is_none_or(|pack| bytes <= pack.total)
    }

    /// What of each pack is in use: what [`Packs::set_live`] wants to hear at the next opening.
    pub(crate) fn live(&self) -> Vec<(u64, u64)> {
        let table = self.table.lock();
        let packs = table.packs.iter();
        packs.map(|(number, pack)| (*number, pack.live)).collect()
    }

    /// Bytes in use of one pack, none where it is gone.
    pub(crate) fn bytes_in_use(&self, number: u64) -> u64 {
        let table = self.table.lock();
        table.packs.get(&number).map_or(0, |pack| pack.live)
    }

    /// The packs to remove: sealed, and with nothing in use.
    pub(crate) fn victims(&self) -> Vec<u64> {
        self.table.lock().victims()
    }

    /// The pack most worth moving out of, as far as the effort goes; never one of `except`, those that could not be
    /// emptied before. Once it is empty it is a victim.
    pub(crate) fn sparse(&self, effort: Effort, except: &BTreeSet<u64>) -> Option<u64> {
        self.table.lock().sparse(effort, except)
    }

    /// Removes a pack in which nothing is in use. Who reads it now reads on. After a power cut it may be back, for
    /// the next one to find unused.
    pub(crate) fn remove(&self, pack: u64) -> Result<()> {
        let live = self.table.lock().packs.get(&pack).map(|pack| pack.live);
        match live {
            None => return Ok(()),
            Some(0) => {}
            Some(_) => {
                return Err(Error::Misuse {
                    reason: "a pack that is in use is not removed",
                });
            }
        }
        self.place.check()?;
        let path = self.place.path().join(self.name(pack).file_name());
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                return Err(Error::io(format!("removing {}", path.display()), error));
            }
            _ => {}
        }
        // In this order: a reader that opened the file before it was gone asks the table before it keeps it open.
        self.table.lock().forget(pack);
        self.files.remove(pack);
        Ok(())
    }

    /// The frames of a pack, none where it is gone.
    pub(crate) fn walk(&self, pack: u64) -> Result<Walk> {
        let name = self.name(pack);
        match self.file(name)? {
            Some(file) => Walk::new(name, file),
            None => Ok(Walk::empty()),
        }
    }

    /// What is wrong with the headers, by the places of the packs.
    pub(crate) fn damaged_headers(&self) -> Vec<(String, Error)> {
        let numbers: Vec<u64> = self.table.lock().packs.keys().copied().collect();
        let wrong = numbers.into_iter().filter_map(|number| {
            let error = self.check_header_of(number).err()?;
            Some((format!("{PACKS}/{}", self.name(number).file_name()), error))
        });
        wrong.collect()
    }

    /// Fails where the header of a pack is not as it was written, or the pack is gone.
    pub(crate) fn check_header_of(&self, number: u64) -> Result<()> {
        let name = self.name(number);
        let opening = |error| Error::io(format!("opening {}", name.location(0)), error);
        let file = open_file(&self.place.path().join(name.file_name())).map_err(opening)?;
        check_header(&file.ok_or_else(|| no_pack(name))?, name)
    }

    /// Whether something of a pack is in use; else it may be removed at any time.
    pub(crate) fn is_in_use(&self, number: u64) -> bool {
        let table = self.table.lock();
        table.packs.get(&number).is_some_and(|pack| pack.live > 0)
    }

    /// The numbers of all packs, in order.
    #[cfg(test)]
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.table.lock().packs.keys().copied().collect()
    }

    /// Sizes, from counters.
    pub(crate) fn stats(&self) -> PackStats {
        self.table.lock().stats()
    }

    /// Bytes in use.
    pub(crate) fn live_bytes(&self) -> u64 {
        self.table.lock().live_bytes()
    }

    fn name(&self, number: u64) -> PackName {
        PackName {
            store_id: self.store_id,
            number,
        }
    }
}

/// Fails where the header is not that of the pack.
fn check_header(file: &File, name: PackName) -> Result<()> {
    let header = read_header(file)
        .map_err(|error| Error::io(format!("opening {}", name.location(0)), error))?;
    match header == name.file_header() {
        true => Ok(()),
        false => Err(no_pack(name)),
    }
}

/// What has the name of a pack is not that pack.
fn no_pack(name: PackName) -> Error {
    Error::damaged("pack", name.location(0))
}

/// Whose most of the packs in `store_directory` are of which the header is whole: one may be of another store.
///
/// # Errors
/// Where the system lacks files or memory to tell.
pub(crate) fn store_id_in(store_directory: &Path) -> Result<Option<[u8; 16]>> {
    let directory = std::fs::read_dir(store_directory.join(PACKS));
    let Some(directory) = readable("listing the packs", directory)? else {
        return Ok(None);
    };
    let mut counts: HashMap<[u8; 16], usize> = HashMap::new();
    for file in directory.flatten() {
        let name = file.file_name();
        if name.to_str().and_then(PackName::parse_file_name).is_none() {
            continue;
        }
        let header =
            open_file(&file.path()).and_then(|file| file.as_ref().map(read_header).transpose());
        let header = readable("reading the header of a pack", header)?.flatten();
        if let Some(id) = header.and_then(|header| PackName::store_id_in(&header)) {
            *counts.entry(id).or_default() += 1;
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    Ok(most.map(|(id, _)| id))
}

fn find_packs(directory: &Path, store_id: [u8; 16]) -> std::io::Result<Table> {
    let mut table = Table::default();
    for file in std::fs::read_dir(directory)? {
        let file = file?;
        let name = file.file_name();
        let Some(number) = name.to_str().and_then(PackName::parse_file_name) else {
            continue;
        };
        // A number that is taken is not given to another, whosever it is.
        table.next = table.next.max(number.saturating_add(1));
        let name = PackName { store_id, number };
        let Some(found) = std::fs::metadata(file.path())
            .ok()
            .filter(Metadata::is_file)
        else {
            tracing::warn!(
                file = name.file_name(),
                "what has the name of a pack is no file, and left alone"
            );
            continue;
        };
        // Where it cannot be read, who wants a chunk of it is told.
        let header = open_file(&file.path())
            .and_then(|file| file.map(|file| read_header(&file)).transpose());
        if header.is_ok_and(|header| header.is_some_and(|header| name.is_foreign(&header))) {
            tracing::warn!(
                file = name.file_name(),
                "a pack of another store is left alone"
            );
            continue;
        }
        let pack = Pack {
            live: 0,
            total: found.len(),
            durable: Durable::Unknown,
        };
        table.packs.insert(number, pack);
    }
    Ok(table)
}

/// The header of a file, with zeros for what is missing at its end.
fn read_header(file: &File) -> std::io::Result<[u8; FILE_HEADER_BYTES]> {
    let mut header = [0; FILE_HEADER_BYTES];
    match file.read_exact_at(&mut header, 0) {
        Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(error),
        _ => Ok(header),
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a chunk has at most MAX_CHUNK_BYTES, which `append` has checked"
)]
fn chunk_length(chunk: &[u8]) -> u32 {
    chunk.len() as u32
}

/// The active pack has its writer for as long as it is active.
fn missing_writer(name: PackName) -> Error {
    Error::io(
        format!("writing {}", name.location(0)),
        std::io::Error::other("the pack is not open for writing"),
    )
}

#[cfg(test)]
mod tests;
