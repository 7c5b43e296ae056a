//! What may be on the disk after a power cut: the write log up to some moment, less what no sync covers.
//!
//! * A sync of a file makes its bytes and its length durable. Of the writes behind the last sync each is there, or not, or
//!   torn at sectors of 512 bytes, whatever became of earlier and later ones. The length that a lost write had given the
//!   file may be there all the same, with zeros behind it.
//! * Names (made, moved, removed) and cuts of files are metadata, which ext4 and XFS write to a log of their own in the
//!   order in which they were made: so a prefix of them is there, at least up to the last one that a sync of its
//!   directory covers. A sync of a file says nothing of its name, though these file systems are kinder than that.
//! * A file whose cut is not there has nothing of what was written to it behind the cut.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use crate::common::Random;
use crate::disk::{Event, FileId, moved_name};

const SECTOR: usize = 512;

/// What becomes of writes that no sync covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// All are there, as after a kill.
    Whole,
    /// None is there.
    Lost,
    /// Each is there, not there or torn, so many of a hundred there.
    Chance(usize),
    /// One is lost or torn, all others are there.
    OneLost,
    /// One is there, all others are lost.
    OneThere,
}

impl Fate {
    /// Every fourth state is a plain prefix.
    pub fn of(state: u64, random: &mut Random) -> Fate {
        match state % 4 {
            0 => Fate::Whole,
            1 => Fate::OneLost,
            2 => [Fate::Lost, Fate::OneThere][random.below(2)],
            _ => Fate::Chance(5 + random.below(91)),
        }
    }
}

/// The files of a disk.
#[derive(Debug, Default)]
pub struct Image {
    directories: BTreeSet<PathBuf>,
    files: BTreeMap<PathBuf, Vec<u8>>,
}

/// What a sync has made durable up to the moment.
struct Synced {
    /// By file, the number of the first event that is not covered.
    files: HashMap<FileId, usize>,
    /// As much of the metadata is there in any case.
    metadata: usize,
}

impl Image {
    /// What may be there after these events.
    pub fn after(events: &[Event], fate: Fate, random: &mut Random) -> Image {
        let synced = Synced::of(events);
        let metadata = match (fate, random.below(4)) {
            (Fate::Whole, _) | (Fate::OneLost, 1..) => events.len(),
            (_, 0) => synced.metadata,
            (_, 1) => events.len(),
            _ => synced.metadata + random.below(events.len() - synced.metadata + 1),
        };
        let mut image = Image::default();
        let mut names = BTreeMap::new();
        for event in &events[..metadata] {
            image.rename(event, &mut names);
        }
        let wanted: BTreeMap<FileId, PathBuf> =
            names.into_iter().map(|(name, id)| (id, name)).collect();
        let loose = |number: usize, event: &Event| matches!(event, Event::Write(id, ..) if wanted.contains_key(id) && number >= synced.of_file(*id));
        let count = events
            .iter()
            .enumerate()
            .filter(|(number, event)| loose(*number, event));
        let chosen = random.below(count.count().max(1));

        let mut contents: BTreeMap<FileId, Content> = BTreeMap::new();
        let mut place = 0;
        for (number, event) in events.iter().enumerate() {
            match event {
                Event::Write(id, offset, bytes) if wanted.contains_key(id) => {
                    let content = contents.entry(*id).or_default();
                    if !loose(number, event) {
                        content.write(*offset, bytes);
                        continue;
                    }
                    let is_chosen = place == chosen;
                    place += 1;
                    content.write_loosely(*offset, bytes, fate, is_chosen, random);
                }
                Event::Truncate(id, length) if wanted.contains_key(id) => {
                    let is_there = number < synced.of_file(*id).max(metadata);
                    contents.entry(*id).or_default().cut(*length, is_there);
                }
                _ => {}
            }
        }
        for (id, name) in wanted {
            let content = contents.remove(&id).unwrap_or_default();
            image.files.insert(name, content.bytes);
        }
        image
    }

    /// Follows a change of a name.
    fn rename(&mut self, event: &Event, names: &mut BTreeMap<PathBuf, FileId>) {
        match event {
            Event::MakeDirectory(name) => drop(self.directories.insert(name.clone())),
            Event::RemoveDirectory(name) => drop(self.directories.remove(name)),
            Event::Create(name, id) => drop(names.insert(name.clone(), *id)),
            Event::Unlink(name) => drop(names.remove(name)),
            Event::Rename(from, to) => {
                let files = names.extract_if(.., |name, _| name.starts_with(from));
                let files: Vec<_> = files.collect();
                names.extend(
                    files
                        .into_iter()
                        .map(|(name, id)| (moved_name(&name, from, to), id)),
                );
                let directories = self
                    .directories
                    .extract_if(.., |name| name.starts_with(from));
                let directories: Vec<_> = directories.collect();
                let moved = directories.iter().map(|name| moved_name(name, from, to));
                self.directories.extend(moved);
            }
            _ => {}
        }
    }

    /// Puts the files into an empty directory.
    pub fn write(&self, root: &Path) -> std::io::Result<()> {
        for directory in &self.directories {
            std::fs::create_dir(root.join(directory))?;
        }
        for (name, bytes) in &self.files {
            std::fs::write(root.join(name), bytes)?;
        }
        Ok(())
    }
}

impl Synced {
    fn of(events: &[Event]) -> Synced {
        let mut synced = Synced {
            files: HashMap::new(),
            metadata: 0,
        };
        // By directory, the numbers of the events that changed a name in it.
        let mut changes: HashMap<&Path, Vec<usize>> = HashMap::new();
        for (number, event) in events.iter().enumerate() {
            let names: &[&PathBuf] = match event {
                Event::MakeDirectory(name)
                | Event::RemoveDirectory(name)
                | Event::Create(name, _)
                | Event::Unlink(name) => &[name],
                Event::Rename(from, to) => &[from, to],
                Event::Sync(id, covers) => {
                    let known = synced.files.entry(*id).or_default();
                    *known = (*known).max(*covers);
                    continue;
                }
                Event::SyncDirectory(name, covers) => {
                    let covered = changes.get(&**name).into_iter().flatten();
                    let last = covered.filter(|number| *number < covers).max();
                    let there = last.map_or(0, |last| last + 1);
                    synced.metadata = synced.metadata.max(there);
                    continue;
                }
                Event::Write(..) | Event::Truncate(..) | Event::Note(_) => continue,
            };
            for name in names {
                let directory = name.parent().unwrap_or(Path::new(""));
                changes.entry(directory).or_default().push(number);
            }
        }
        synced
    }

    fn of_file(&self, id: FileId) -> usize {
        self.files.get(&id).copied().unwrap_or(0)
    }
}

/// The bytes of a file.
#[derive(Default)]
struct Content {
    bytes: Vec<u8>,
    /// Nothing more comes to it.
    is_closed: bool,
}

impl Content {
    fn grow(&mut self, length: usize) {
        if self.bytes.len() < length {
            self.bytes.resize(length, 0);
        }
    }

    fn write(&mut self, offset: u64, bytes: &[u8]) {
        if self.is_closed {
            return;
        }
        let offset = offset as usize;
        self.grow(offset + bytes.len());
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// A write that no sync covers.
    fn write_loosely(
        &mut self,
        offset: u64,
        bytes: &[u8],
        fate: Fate,
        is_chosen: bool,
        random: &mut Random,
    ) {
        let is_there = match fate {
            Fate::Whole => true,
            Fate::Lost => false,
            Fate::Chance(percent) => random.below(100) < percent,
            Fate::OneLost => !is_chosen,
            Fate::OneThere => is_chosen,
        };
        let may_tear = match fate {
            Fate::Chance(_) => true,
            Fate::OneLost | Fate::OneThere => is_chosen,
            Fate::Whole | Fate::Lost => false,
        };
        if may_tear && random.below(3) == 0 {
            self.tear(offset, bytes, random);
        } else if is_there {
            self.write(offset, bytes);
        }
        // The length is metadata, which may be ahead of the bytes.
        if fate != Fate::Whole && !self.is_closed && random.below(3) == 0 {
            self.grow(offset as usize + bytes.len());
        }
    }

    /// Some sectors of a write are there: those before a place, those behind it, or any.
    fn tear(&mut self, offset: u64, bytes: &[u8], random: &mut Random) {
        let first = offset as usize / SECTOR;
        let last = (offset as usize + bytes.len()).div_ceil(SECTOR);
        let (kind, place) = (random.below(3), first + random.below(last - first + 1));
        for sector in first..last {
            let is_there = match kind {
                0 => sector < place,
                1 => sector >= place,
                _ => random.below(2) == 0,
            };
            if is_there {
                let start = (sector * SECTOR).max(offset as usize);
                let end = ((sector + 1) * SECTOR).min(offset as usize + bytes.len());
                let part = &bytes[start - offset as usize..end - offset as usize];
                self.write(start as u64, part);
            }
        }
    }

    fn cut(&mut self, length: u64, is_there: bool) {
        if !is_there {
            self.is_closed = true;
        } else if !self.is_closed {
            self.bytes.resize(length as usize, 0);
        }
    }
}
