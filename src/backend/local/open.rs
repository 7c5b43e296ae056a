//! Opening: finding out what is there, bringing trees and journal together, and sweeping what a crash left.
//!
//! The superblock says what the trees held durably; the checkpoint row in the trees says what they hold now. Where the
//! trees are older, or empty, the journal gives back what they lack, if it reaches back so far (`replay`).

use std::collections::VecDeque;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::commit::Writer;
use super::durable::{PRIVATE, create_directories, flush_is_durable, sync_directory};
use super::forked::Process;
use super::headroom::Headroom;
use super::health::Health;
use super::journal::{Journal, SEGMENT_HEADER_BYTES, Seed, Segment, first_revision, path_of};
use super::keys;
use super::layout::{JOURNAL, KNOWN, LOCK, PACKS, SUPERBLOCK, TREES, TREES_ASIDE};
use super::lock_file::LockFile;
use super::overlay::Overlay;
use super::pack::{PackOptions, Packs};
use super::paths::{absolute, resolve};
use super::recent::Recent;
use super::row::{self, MAX_REVISION, Totals};
use super::settle::Settling;
use super::superblock::{Content, Superblock};
use super::trees::Trees;
use super::trees::sled::SledTrees;
use super::{Core, Options, aside, audit, failure, replay};
use crate::backend::Tree;
use crate::error::{Error, Result};
use crate::format::to_micros;
use crate::random;
use crate::sync::{Mutex, RwLock};

/// Opens the trees in the directory of a store, which were left so.
pub(super) type OpenTrees<'a> = dyn Fn(&Path, &Options, Left) -> Result<Arc<dyn Trees>> + 'a;

/// How trees were left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Left {
    /// The checkpoint at which an orderly end left them, where there was one.
    pub(super) at: Option<u64>,
    /// Whether long keys lie in layers.
    pub(super) has_layers: bool,
}

/// Trees that nothing was written to.
const NEW: Left = Left {
    at: None,
    has_layers: true,
};

/// No new trees take more of sled's file (436 bytes are measured), and none that have seen a checkpoint take less.
const NEW_TREES_BYTES: u64 = 512;

/// Opens or creates the store in `directory`.
pub(super) fn open(directory: &Path, options: Options) -> Result<Core> {
    open_with(directory, options, &open_trees)
}

/// As [`open`], on trees that `open_trees` answers.
pub(super) fn open_with(
    directory: &Path,
    options: Options,
    open_trees: &OpenTrees<'_>,
) -> Result<Core> {
    if !flush_is_durable() {
        return Err(Error::Unsupported {
            found: "this program does not use the crate's `sync_file_range`, and without it sled cannot be made \
                    durable on Linux; link the crate statically"
                .to_owned(),
        });
    }
    let directory = absolute(directory)?;
    if options.create {
        make_directory(&directory)?;
    }
    // Where one is made to lead elsewhere, the store stays where it is.
    let directory = &resolve(&directory)
        .map_err(|error| Error::io(format!("opening {}", directory.display()), error))?;
    let is_new = check_contents(directory)?;
    if is_new && !options.create {
        return Err(no_store(directory));
    }
    let lock = LockFile::acquire(directory)?;
    let had_failed = failure::forget_memory(directory);
    if Superblock::load(directory)?.is_none() {
        // What was begun to be made and not finished is none either.
        if !options.create && is_mere_beginning(directory)? {
            return Err(no_store(directory));
        }
        create(directory, is_new, &options, open_trees)?;
    }
    aside::put_back(directory)?;
    let opened = match open_parts(directory, &options, open_trees) {
        Err(error) if aside::may_help(directory, &error) => {
            aside::rebuild(directory, error, || {
                open_parts(directory, &options, open_trees)
            })
        }
        opened => opened,
    };
    // An opening writes and syncs as well.
    let core = opened.inspect_err(|error| failure::note_of(directory, error))?;
    if had_failed {
        failure::clear(directory)?;
    }
    *core.lock.lock() = Some(lock);
    core.bell.ring();
    Ok(core)
}

/// Opens journal, trees and packs, and brings them together. The caller holds the lock.
fn open_parts(directory: &Path, options: &Options, open_trees: &OpenTrees<'_>) -> Result<Core> {
    let superblock = Superblock::load(directory)?
        .ok_or_else(|| Error::damaged("superblock", directory.display().to_string()))?;
    let content = superblock.content();
    let segments = open_segments(directory, &superblock)?;
    if content.checkpoint > 0 && !directory.join(TREES).exists() {
        // Before empty ones are made in their place.
        replay_from(directory, &segments, &content, 0)?;
    }
    let left = Left {
        // Trees of format 2 may have been left in the middle of being brought into layers: they count as after a crash.
        at: (content.clean && superblock.has_layers()).then_some(content.checkpoint),
        has_layers: superblock.has_layers(),
    };
    let trees = open_trees(directory, options, left)?;
    let (base, totals) = base_of(trees.as_ref(), &content)?;
    let replay_from = replay_from(directory, &segments, &content, base)?;
    let was_clean = left.at.is_some();
    let core = Core {
        health: Health::of(directory, Process::present()?),
        headroom: Headroom::of(directory),
        journal: Journal::new(
            directory.join(JOURNAL),
            superblock.store_id(),
            options.history.or(content.history).unwrap_or_default(),
            segments,
        ),
        seed: Seed::of(&superblock.store_id()),
        trees,
        packs: Packs::open(directory, superblock.store_id(), PackOptions::default())?,
        overlay: RwLock::new(Overlay::new(base, options.retained_bytes)),
        recent: Recent::new(),
        room: Default::default(),
        rounds: Default::default(),
        writer: Mutex::new(Writer::new(base, totals)),
        revisions: Default::default(),
        settling: Settling::new(base),
        uploads: Default::default(),
        space: Default::default(),
        superblock: Mutex::new(superblock),
        lock: Mutex::new(None),
        bell: Default::default(),
        options: options.clone(),
    };
    core.revisions.used(base);
    replay::replay(&core, replay_from, base, &content)?;
    // Far from where numbers end: those of a store that is written to for as long as there are disks.
    if core.writer.lock().revision().max(content.reserved) > MAX_REVISION / 2 {
        return Err(Error::damaged("revisions", "they are at their end"));
    }
    // A superblock that lost the word of the last opening says so as well: the commits since then contradict it.
    let is_clean = was_clean && base == content.checkpoint && core.writer.lock().revision() == base;
    audit::audit(&core, base, is_clean)?;
    if !is_clean {
        core.leave_revisions_out(content.reserved)?;
    }
    core.note_opening()?;
    core.find_left_over()?;
    Ok(core)
}

impl Core {
    /// From here on an end without word in the superblock is a crash.
    fn note_opening(&self) -> Result<()> {
        let mut superblock = self.superblock.lock();
        self.note(&mut superblock, |before| Content {
            opens: before.opens.saturating_add(1),
            clean: false,
            history: self.options.history.or(before.history),
            ..before
        })
    }
}

fn make_directory(directory: &Path) -> Result<()> {
    let failed = |error| Error::io(format!("creating {}", directory.display()), error);
    match fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Error::io(
            format!("opening {}", directory.display()),
            ErrorKind::NotADirectory.into(),
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            create_directories(directory, PRIVATE).map(drop)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Refuses a directory that holds something else; answers whether there is nothing of a store.
fn check_contents(directory: &Path) -> Result<bool> {
    let failed = |error: std::io::Error| match error.kind() {
        ErrorKind::NotFound => no_store(directory),
        _ => Error::io(format!("listing {}", directory.display()), error),
    };
    let mut is_new = true;
    let mut stranger = None;
    for entry in fs::read_dir(directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if KNOWN.iter().any(|known| *known == name) {
            is_new &= name == LOCK;
        } else {
            stranger = Some(name);
        }
    }
    match stranger {
        Some(name) if is_new || !directory.join(SUPERBLOCK).exists() => Err(Error::Unsupported {
            found: format!(
                "{} holds {name:?} and is not a store; give an empty directory",
                directory.display()
            ),
        }),
        _ => Ok(is_new),
    }
}

fn no_store(directory: &Path) -> Error {
    Error::NoStore {
        path: directory.to_owned(),
    }
}

/// Makes what a store consists of, the superblock last. A creation that a crash cut short begins again; where there is
/// more than a beginning, the superblock is missing and that is damage.
fn create(
    directory: &Path,
    is_new: bool,
    options: &Options,
    open_trees: &OpenTrees<'_>,
) -> Result<Superblock> {
    if !is_new && !is_mere_beginning(directory)? {
        return Err(Error::damaged(
            "superblock",
            format!("{}: it is missing", directory.display()),
        ));
    }
    let remove = |name: &str| match fs::remove_dir_all(directory.join(name)) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::io(format!("clearing {name}"), error))
        }
        _ => Ok(()),
    };
    // The trees first: where they are and the journal is not, more is missing than a beginning.
    remove(TREES)?;
    remove(JOURNAL)?;
    let store_id = new_store_id()?;
    begin(
        directory,
        options,
        store_id,
        (0, Totals::default()),
        open_trees,
    )
}

/// The name of a new store.
pub(super) fn new_store_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    random::fill(&mut id)?;
    Ok(id)
}

/// Makes journal and superblock for a store whose trees hold everything up to `revision`.
pub(super) fn begin(
    directory: &Path,
    options: &Options,
    store_id: [u8; 16],
    (revision, totals): (u64, Totals),
    open_trees: &OpenTrees<'_>,
) -> Result<Superblock> {
    let journal = directory.join(JOURNAL);
    fs::create_dir(&journal)
        .map_err(|error| Error::io(format!("creating {}", journal.display()), error))?;
    Segment::create(&journal, &store_id, revision + 1)?;
    if revision == 0 {
        open_trees(directory, options, NEW)?.close()?;
    }
    sync_directory(directory)?;
    let content = Content {
        checkpoint: revision,
        digest: totals.digest.to_be_bytes(),
        opens: 0,
        clean: true,
        created_micros: to_micros(SystemTime::now()),
        reserved: revision,
        history: None,
    };
    Superblock::create(directory, store_id, content)
}

/// Whether nothing was ever committed here: the journal of a new store begins with the first revision, and is empty, and its
/// trees have seen no checkpoint.
fn is_mere_beginning(directory: &Path) -> Result<bool> {
    let failed = |error| Error::io(format!("listing {}", directory.display()), error);
    for name in [JOURNAL, PACKS] {
        let entries = match fs::read_dir(directory.join(name)) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(failed(error)),
        };
        for entry in entries {
            let entry = entry.map_err(failed)?;
            let is_first = entry.file_name().to_str().and_then(first_revision) == Some(1);
            let length = entry.metadata().map_err(failed)?.len();
            if !is_first || length > SEGMENT_HEADER_BYTES {
                return Ok(false);
            }
        }
    }
    if directory.join(TREES_ASIDE).exists() {
        return Ok(false);
    }
    if !directory.join(TREES).exists() {
        return Ok(true);
    }
    if !directory.join(JOURNAL).exists() {
        return Ok(false);
    }
    // Not opened: of a creation it may be torn.
    match fs::metadata(directory.join(TREES).join("db")) {
        Ok(found) => Ok(found.len() <= NEW_TREES_BYTES),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(failed(error)),
    }
}

/// Opens sled. After a crash, or where it is at another checkpoint than it was left at, having been put back from somewhere,
/// twice, so that its snapshot covers all of its log and damage in it is found.
pub(super) fn open_trees(
    directory: &Path,
    options: &Options,
    left: Left,
) -> Result<Arc<dyn Trees>> {
    let path = directory.join(TREES);
    let trees = SledTrees::open(&path, options.cache_bytes)?;
    if !left.has_layers {
        trees.take_in()?;
    }
    if trees.is_new() {
        return Ok(Arc::new(trees));
    }
    if let Some(left_at) = left.at {
        // What cannot be read here is told as such: trees that failed a read are not closed in order either.
        let found = checkpoint_of(&trees)?.map_or(0, |(revision, _)| revision);
        if found == left_at {
            return Ok(Arc::new(trees));
        }
    }
    trees.close()?;
    let trees = SledTrees::open(&path, options.cache_bytes)?;
    trees.mend()?;
    Ok(Arc::new(trees))
}

/// What the trees say of their checkpoint: its revision, and the totals there. `None` for new ones.
pub(super) fn checkpoint_of(trees: &dyn Trees) -> Result<Option<(u64, Totals)>> {
    let Some(bytes) = trees.get(Tree::Pending, keys::CHECKPOINT)? else {
        return Ok(None);
    };
    let row = row::open(Tree::Pending, keys::CHECKPOINT, &bytes)?;
    keys::decode_checkpoint(&row.value)
        .filter(|(revision, _)| *revision <= MAX_REVISION)
        .map(Some)
        .ok_or_else(|| Error::damaged("checkpoint", "the trees"))
}

/// The revision up to which the trees can be relied on, and the totals there.
fn base_of(trees: &dyn Trees, content: &Content) -> Result<(u64, Totals)> {
    let Some((revision, totals)) = checkpoint_of(trees)? else {
        if content.checkpoint > 0 {
            tracing::warn!(
                checkpoint = content.checkpoint,
                "the trees came back empty; the journal is to give back everything"
            );
        }
        return Ok((0, Totals::default()));
    };
    if revision < content.checkpoint {
        tracing::warn!(
            checkpoint = content.checkpoint,
            found = revision,
            "the trees came back older; the journal is to give back the rest"
        );
    }
    if revision == content.checkpoint && totals.digest.to_be_bytes() != content.digest {
        return Err(Error::damaged(
            "checkpoint",
            "the digest in the superblock is not that of the trees",
        ));
    }
    Ok((revision, totals))
}

/// Opens the segments, in order.
fn open_segments(directory: &Path, superblock: &Superblock) -> Result<VecDeque<Arc<Segment>>> {
    let journal = directory.join(JOURNAL);
    let failed = |error| Error::io(format!("listing {}", journal.display()), error);
    let mut firsts = Vec::new();
    for entry in fs::read_dir(&journal).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        firsts.extend(name.to_str().and_then(first_revision));
    }
    firsts.sort_unstable();
    let mut segments = VecDeque::new();
    for (number, first) in firsts.iter().enumerate() {
        match Segment::open(&journal, &superblock.store_id(), *first)? {
            Some(segment) => segments.push_back(Arc::new(segment)),
            // A crash while the last one was made; it holds nothing.
            None if number + 1 == firsts.len() && number > 0 => {
                let path = path_of(&journal, *first);
                fs::remove_file(&path).map_err(failed)?;
            }
            None => {
                return Err(Error::damaged(
                    "journal",
                    format!("segment {first}: its header is missing"),
                ));
            }
        }
    }
    Ok(segments)
}

/// The number of the segment in which the commit behind `base` lies, or will lie.
fn replay_from(
    directory: &Path,
    segments: &VecDeque<Arc<Segment>>,
    content: &Content,
    base: u64,
) -> Result<usize> {
    let behind = segments.partition_point(|segment| segment.first <= base + 1);
    match behind.checked_sub(1) {
        Some(from) => Ok(from),
        None => Err(Error::damaged(
            "trees",
            format!(
                "{}: they hold revision {base}, the checkpoint is {}, and the journal begins at {}",
                directory.display(),
                content.checkpoint,
                segments
                    .front()
                    .map_or("nothing".to_owned(), |segment| segment.first.to_string()),
            ),
        )),
    }
}

#[cfg(test)]
mod tests;
