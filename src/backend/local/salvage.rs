//! Reading what can be read of a store that is damaged, whatever does not open of it.
//!
//! The trees are copied and the copy is opened; the rows of the journal, where it can be read, stand over those of the
//! trees; chunks are read where their rows say, else where the packs themselves say. The store itself is not changed.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::journal::{Found, Header, Segment, first_revision};
use super::keys::{self, ChunkRow};
use super::lock_file::LockFile;
use super::open::{JOURNAL, TREES};
use super::pack::{ChunkLocation, PackOptions, Packs};
use super::row::{self, Totals};
use super::superblock::Superblock;
use super::trees::Trees;
use super::trees::sled::SledTrees;
use crate::backend::{BlobId, Row, Tree};
use crate::error::{Error, Result};
use crate::report::Finding;

/// Memory for sled while it reads the copy.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Rows read at once.
const ROWS_A_STEP: usize = 1024;

/// Rows as some commit left them; no value where it deleted them.
type Rows = BTreeMap<(Tree, Bytes), (u64, Option<Bytes>)>;

/// What could be read. See the [module](self).
pub(crate) struct Salvage {
    rows: Rows,
    packs: Packs,
    frames: OnceCell<HashMap<(BlobId, u64), Vec<ChunkLocation>>>,
    revision: u64,
    findings: Vec<Finding>,
    _lock: LockFile,
}

impl Salvage {
    /// Reads the store in `directory`, with room for a copy of its trees in `scratch`.
    pub(crate) fn read(directory: &Path, scratch: &Path) -> Result<Salvage> {
        if !directory.is_dir() {
            return Err(Error::io(
                format!("opening {}", directory.display()),
                ErrorKind::NotFound.into(),
            ));
        }
        let lock = LockFile::acquire(directory)?;
        let mut findings = Vec::new();
        let (store_id, checkpoint) = identify(directory, &mut findings)?;
        let mut rows = Rows::new();
        read_trees(directory, scratch, &mut rows, &mut findings)?;
        let last = read_journal(directory, &store_id, &mut rows, &mut findings)?;
        let newest_row = rows.values().map(|(revision, _)| *revision).max();
        let revision = newest_row.unwrap_or(0).max(checkpoint);
        if let Some((last, totals)) = last
            && last == revision
            && digest_of(&rows) != totals.digest
            && findings.is_empty()
        {
            findings.push(Finding::new(
                "trees",
                "all rows together",
                "rows are missing or older than what was acknowledged",
            ));
        }
        Ok(Salvage {
            rows,
            packs: Packs::open(directory, store_id, PackOptions::default())?,
            frames: OnceCell::new(),
            revision,
            findings,
            _lock: lock,
        })
    }

    /// The highest revision met.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// What is wrong with the files as such.
    pub(crate) fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// The rows of a tree, in order.
    pub(crate) fn rows(&self, tree: Tree) -> impl Iterator<Item = (&Bytes, Row)> {
        self.rows
            .range((tree, Bytes::new())..)
            .take_while(move |((other, _), _)| *other == tree)
            .filter_map(|((_, key), (revision, value))| {
                let row = Row {
                    revision: *revision,
                    value: value.clone()?,
                };
                Some((key, row))
            })
    }

    /// A chunk: where its row says, else where a pack has it.
    pub(crate) fn chunk(&self, blob: BlobId, index: u64) -> Result<Bytes> {
        let name = (Tree::Chunks, keys::chunk(blob, index));
        let row = self.rows.get(&name).and_then(|(_, value)| value.as_ref());
        let noted = match row.and_then(ChunkRow::decode) {
            Some(ChunkRow::Here(bytes)) => return Ok(bytes),
            Some(ChunkRow::Packed(location)) => Some(location),
            None => None,
        };
        let frames = self.frames.get_or_init(|| find_frames(&self.packs));
        let found = frames.get(&(blob, index)).into_iter().flatten().copied();
        noted
            .into_iter()
            .chain(found)
            .find_map(|location| self.packs.read(blob, index, &location).ok().flatten())
            .ok_or_else(|| Error::damaged("chunk", format!("chunk {index} of blob {blob}")))
    }
}

fn digest_of(rows: &Rows) -> u128 {
    let mut totals = Totals::default();
    for ((tree, key), (revision, value)) in rows {
        if let Some(value) = value {
            let row = Row {
                revision: *revision,
                value: value.clone(),
            };
            totals.add(*tree, key, &row);
        }
    }
    totals.digest
}

/// Whose store it is, and its checkpoint: from the superblock, else from the journal.
fn identify(directory: &Path, findings: &mut Vec<Finding>) -> Result<([u8; 16], u64)> {
    match Superblock::load(directory) {
        Ok(Some(superblock)) => {
            return Ok((superblock.store_id(), superblock.content().checkpoint));
        }
        Ok(None) => findings.push(Finding::new("superblock", "superblock", "it is missing")),
        Err(Error::Damaged { what, location }) => {
            findings.push(Finding::new(what, location, "it is not as it was written"));
        }
        Err(error) => return Err(error),
    }
    let journal = directory.join(JOURNAL);
    let mut ids = segments_in(&journal)?
        .into_iter()
        .filter_map(|first| Segment::store_id(&journal, first));
    let id = ids.next_back().ok_or_else(|| {
        Error::damaged(
            "superblock",
            format!(
                "{}: nothing tells whose store this was",
                directory.display()
            ),
        )
    })?;
    Ok((id, 0))
}

fn read_trees(
    directory: &Path,
    scratch: &Path,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let copy = scratch.join(TREES);
    let failed = |error| Error::io("copying the trees", error);
    match copy_directory(&directory.join(TREES), &copy) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            findings.push(Finding::new("trees", TREES, "they are missing"));
            return Ok(());
        }
        other => other.map_err(failed)?,
    }
    let trees = match SledTrees::open(&copy, CACHE_BYTES) {
        Err(Error::Damaged { .. }) => {
            // Without its snapshots sled reads its log from the beginning.
            for entry in fs::read_dir(&copy).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_name().to_string_lossy().starts_with("snap.") {
                    fs::remove_file(entry.path()).map_err(failed)?;
                }
            }
            SledTrees::open(&copy, CACHE_BYTES)
        }
        other => other,
    };
    let trees = match trees {
        Ok(trees) => trees,
        Err(error) => {
            findings.push(Finding::new("trees", TREES, error.to_string()));
            return Ok(());
        }
    };
    for tree in Tree::ALL {
        if let Err(error) = read_tree(&trees, tree, rows, findings) {
            findings.push(Finding::new("tree", format!("{tree:?}"), error.to_string()));
        }
    }
    Ok(())
}

fn read_tree(
    trees: &SledTrees,
    tree: Tree,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut start = Vec::new();
    loop {
        let found = trees.range(tree, &start, None, ROWS_A_STEP)?;
        let Some((last, _)) = found.last() else {
            return Ok(());
        };
        start = [&last[..], &[0]].concat();
        for (key, bytes) in found {
            if keys::is_of_the_trees(tree, &key) {
                continue;
            }
            match row::open(tree, &key, &bytes) {
                Ok(row) => drop(rows.insert((tree, key), (row.revision, Some(row.value)))),
                Err(error) => findings.push(Finding::new(
                    "row",
                    format!("{tree:?} {}", key.escape_ascii()),
                    error.to_string(),
                )),
            }
        }
    }
}

/// Lets the rows of every whole commit that can be read stand; answers the last one and the totals after it.
fn read_journal(
    directory: &Path,
    store_id: &[u8; 16],
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<Option<(u64, Totals)>> {
    let journal = directory.join(JOURNAL);
    let mut last = None;
    for first in segments_in(&journal)? {
        let segment = match Segment::open(&journal, store_id, first) {
            Ok(Some(segment)) => segment,
            Ok(None) => continue,
            Err(error) => {
                findings.push(Finding::new(
                    "journal",
                    first.to_string(),
                    error.to_string(),
                ));
                continue;
            }
        };
        last = read_segment(&segment, rows, findings)?.or(last);
    }
    Ok(last)
}

fn read_segment(
    segment: &Segment,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<Option<(u64, Totals)>> {
    let failed = |error| Error::io(format!("reading {}", segment.path.display()), error);
    let mut reader = segment.read();
    let mut chain: Vec<(Header, Bytes)> = Vec::new();
    let mut last = None;
    loop {
        match reader.next().map_err(failed)? {
            Found::End => return Ok(last),
            Found::Invalid(offset) => {
                chain.clear();
                if !reader.skip_to_frame().map_err(failed)? {
                    // A tail that no commit closed, as any crash leaves it.
                    return Ok(last);
                }
                findings.push(Finding::new(
                    "journal",
                    format!("{} at {offset}", segment.path.display()),
                    "it is not as it was written",
                ));
            }
            Found::Frame {
                header, payload, ..
            } => {
                let follows = chain.last().map_or(header.part() == 0, |(before, _)| {
                    before.revision == header.revision && before.part() + 1 == header.part()
                });
                if !follows {
                    chain.clear();
                }
                if follows || header.part() == 0 {
                    chain.push((header, payload));
                }
                if header.is_last() && !chain.is_empty() {
                    apply(std::mem::take(&mut chain), rows);
                    last = Some((header.revision, header.totals));
                }
            }
        }
    }
}

fn apply(chain: Vec<(Header, Bytes)>, rows: &mut Rows) {
    for (header, payload) in chain {
        for write in header.rows(&payload).unwrap_or_default() {
            let row = rows.entry((write.tree, write.key)).or_insert((0, None));
            if row.0 <= header.revision {
                *row = (header.revision, write.value);
            }
        }
    }
}

fn segments_in(journal: &Path) -> Result<Vec<u64>> {
    let entries = match fs::read_dir(journal) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other,
    };
    let failed = |error| Error::io(format!("listing {}", journal.display()), error);
    let mut firsts = Vec::new();
    for entry in entries.map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        firsts.extend(name.to_str().and_then(first_revision));
    }
    firsts.sort_unstable();
    Ok(firsts)
}

/// Every frame of every pack, newest packs first.
fn find_frames(packs: &Packs) -> HashMap<(BlobId, u64), Vec<ChunkLocation>> {
    let mut frames: HashMap<_, Vec<ChunkLocation>> = HashMap::new();
    for (number, _) in packs.live().into_iter().rev() {
        let Ok(walk) = packs.walk(number) else {
            continue;
        };
        for (blob, index, location) in walk.flatten() {
            frames.entry((blob, index)).or_default().push(location);
        }
    }
    frames
}

fn copy_directory(from: &Path, to: &PathBuf) -> std::io::Result<()> {
    let entries = fs::read_dir(from)?;
    fs::create_dir_all(to)?;
    for entry in entries {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
