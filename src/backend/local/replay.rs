//! Replaying the journal behind the checkpoint.
//!
//! First the journal is read to its end. What no evidence contradicts is an ordinary crash: what lies behind the last
//! whole commit is cut. Evidence is a later frame that says the missing one was durable, or a checkpoint beyond the end.
//! Then the commits behind the checkpoint enter the overlay. A commit that had not waited for its chunks to be durable,
//! and that nothing later proves to have been, is looked at: where a power cut took its chunks, the journal ends before it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::checkpoint::sealed;
use super::commit::Writer;
use super::journal::{Found, Header, SEGMENT_HEADER_BYTES, Segment};
use super::keys::{self, ChunkRow};
use super::overlay::Version;
use super::superblock::Content;
use super::view::LATEST;
use super::{Core, journal::RowWrite};
use crate::backend::{BlobId, Tree};
use crate::error::{Error, Result};

/// So much of the history is taken to the trees at once: what they take is flushed each time.
const REPLAY_BYTES: usize = 8 * 1024 * 1024;
/// What a row takes besides its key and value, roughly.
const ROW_BYTES: usize = 128;

/// No commit is as large, with all that is written beside its rows.
const MAX_CHAIN_BYTES: usize = 256 * 1024 * 1024;

/// Brings into the overlay what the journal holds behind `base`, from the segment of this number on.
pub(super) fn replay(core: &Core, from: usize, base: u64, content: &Content) -> Result<()> {
    let proof = find_end(core, from, base, content)?.max(content.checkpoint);
    let segments = core.journal.segments();
    for segment in segments.iter().skip(from) {
        // The process before may have ended before its syncs; a checkpoint of now must not be ahead of the journal.
        core.journal.doubt(segment);
        let mut chains = Chains::of(segment);
        while let Some(chain) = chains.next()? {
            if chain.revision() <= base {
                continue;
            }
            if !apply(core, &chain, proof)? {
                tracing::warn!(
                    revision = chain.revision(),
                    "a commit that did not wait for the disk lost its chunks in a power cut"
                );
                return end_at(core, segment, chain.offset);
            }
        }
    }
    Ok(())
}

/// Finds the end of the journal, cuts what lies behind it, and answers the highest revision a frame proves durable.
fn find_end(core: &Core, from: usize, base: u64, content: &Content) -> Result<u64> {
    let segments = &core.journal.segments()[from..];
    let durable = base.max(content.checkpoint);
    let mut last = segments.first().map_or(base, |segment| segment.first - 1);
    let mut proof = 0;
    for (number, segment) in segments.iter().enumerate() {
        let mut chains = Chains::of(segment);
        while let Some(chain) = chains.next()? {
            if !chain.follows(last) {
                return Err(damaged_at(&segment.path, chain.offset));
            }
            check_digest(segment, &chain, content)?;
            chain.note_in(segment);
            last = chain.revision();
            proof = proof.max(chain.last.synced);
        }
        segment.noted_all();
        let later = &segments[number + 1..];
        // A power cut may have taken the end of a segment, and left the next one.
        let is_followed = later.first().is_none_or(|next| next.first == last + 1);
        if chains.whole == segment.length() && is_followed {
            continue;
        }
        check_evidence(segment, chains.whole, last + 1, durable, later)?;
        end_at(core, segment, chains.whole)?;
        break;
    }
    if last < durable {
        return Err(Error::damaged(
            "journal",
            format!(
                "{}: it ends at revision {last}, before the checkpoint {durable}",
                core.journal.directory().display(),
            ),
        ));
    }
    Ok(proof)
}

/// Cuts what lies behind this place. The later segments first: those without the earlier ones would be taken for damage.
fn end_at(core: &Core, segment: &Segment, offset: u64) -> Result<()> {
    core.journal.drop_behind(segment)?;
    segment.cut(offset)
}

fn damaged_at(path: &Path, offset: u64) -> Error {
    Error::damaged("journal", format!("{} at {offset}", path.display()))
}

fn check_digest(segment: &Segment, chain: &Chain, content: &Content) -> Result<()> {
    let digest = chain.last.totals.digest.to_be_bytes();
    if chain.revision() == content.checkpoint && digest != content.digest {
        return Err(damaged_at(&segment.path, chain.offset));
    }
    Ok(())
}

/// Fails where something proves that the commit `missing`, which is not whole, had been `durable`. Nothing is cut then.
fn check_evidence(
    segment: &Segment,
    cut: u64,
    missing: u64,
    durable: u64,
    later: &[Arc<Segment>],
) -> Result<()> {
    if durable >= missing {
        return Err(damaged_at(&segment.path, cut));
    }
    let readers = std::iter::once((segment, segment.read_from(cut)))
        .chain(later.iter().map(|other| (&**other, other.read())));
    for (other, mut reader) in readers {
        while let Some(header) = reader
            .find_frame()
            .map_err(|error| Error::io(format!("reading {}", other.path.display()), error))?
        {
            if header.synced >= missing {
                return Err(damaged_at(&segment.path, cut));
            }
        }
    }
    Ok(())
}

/// One commit as the journal holds it.
struct Chain {
    /// Where it begins in its segment.
    offset: u64,
    last: Header,
    frames: Vec<(Header, Bytes)>,
}

impl Chain {
    fn revision(&self) -> u64 {
        self.last.revision
    }

    fn note_in(&self, segment: &Segment) {
        let mut offset = self.offset;
        for (header, _) in &self.frames {
            segment.note(header, offset);
            offset += header.frame_bytes() as u64;
        }
    }

    /// Whether nothing is missing between the commit `before` and this one.
    fn follows(&self, before: u64) -> bool {
        self.frames
            .first()
            .is_some_and(|(header, _)| header.follows(before))
    }

    fn rows(&self) -> Option<Vec<RowWrite>> {
        let mut rows = Vec::new();
        for (header, payload) in &self.frames {
            rows.extend(header.rows(payload)?);
        }
        Some(rows)
    }
}

/// The whole commits of a segment, one after the other.
struct Chains<'a> {
    segment: &'a Segment,
    reader: super::journal::FrameReader<'a>,
    /// The offset behind the last whole commit.
    whole: u64,
}

impl<'a> Chains<'a> {
    fn of(segment: &'a Segment) -> Chains<'a> {
        Chains {
            segment,
            reader: segment.read(),
            whole: SEGMENT_HEADER_BYTES,
        }
    }

    /// The next commit; `None` behind the last whole one.
    fn next(&mut self) -> Result<Option<Chain>> {
        let mut frames: Vec<(Header, Bytes)> = Vec::new();
        let mut bytes = 0;
        loop {
            let found = self.reader.next().map_err(|error| {
                Error::io(format!("reading {}", self.segment.path.display()), error)
            })?;
            let Found::Frame {
                offset,
                header,
                payload,
            } = found
            else {
                return Ok(None);
            };
            if !header.continues(frames.last().map(|(header, _)| header)) {
                return Err(damaged_at(&self.segment.path, offset));
            }
            bytes += payload.len();
            if bytes > MAX_CHAIN_BYTES {
                return Err(damaged_at(&self.segment.path, offset));
            }
            frames.push((header, payload));
            if header.is_last() {
                let start = std::mem::replace(&mut self.whole, self.reader.offset());
                return Ok(Some(Chain {
                    offset: start,
                    last: header,
                    frames,
                }));
            }
        }
    }
}

/// Writes into the trees again what the whole journal holds of the commits up to `base`; for trees that lost some of
/// it. Rows are whole, so that the last one of a key is what it was, and those before it are left out where they are near.
pub(super) fn replay_into_trees(core: &Core, base: u64) -> Result<()> {
    let mut rows = BTreeMap::new();
    let mut bytes = 0;
    for segment in core.journal.segments() {
        let mut chains = Chains::of(&segment);
        while let Some(chain) = chains.next()? {
            let revision = chain.revision();
            if revision > base {
                break;
            }
            for row in chain.rows().unwrap_or_default() {
                bytes += ROW_BYTES + row.key.len() + row.value.as_ref().map_or(0, Bytes::len);
                let value = row.value;
                rows.insert((row.tree, row.key), Version { revision, value });
            }
            if bytes >= REPLAY_BYTES {
                replay_rows(core, std::mem::take(&mut rows))?;
                bytes = 0;
            }
        }
    }
    replay_rows(core, rows)?;
    core.trees.flush()
}

fn replay_rows(core: &Core, rows: BTreeMap<(Tree, Bytes), Version>) -> Result<()> {
    let rows = rows.into_iter();
    let mut rows = rows.map(|((tree, key), version)| sealed((tree, key, version)));
    core.trees.apply(&mut rows)?;
    core.recent.forget();
    Ok(())
}

/// Brings a commit into the overlay; false where a power cut took its chunks.
fn apply(core: &Core, chain: &Chain, proof: u64) -> Result<bool> {
    let revision = chain.revision();
    let rows = chain
        .rows()
        .ok_or_else(|| Error::damaged("journal", format!("the rows of revision {revision}")))?;
    let mut packs = BTreeSet::new();
    let is_unproven = chain.last.unsynced_chunks && revision > proof;
    if is_unproven && !has_its_chunks(core, &rows, &mut packs)? {
        return Ok(false);
    }
    let mut overlay = core.overlay.write();
    for row in rows {
        let version = Version {
            revision,
            value: row.value,
        };
        overlay.insert(row.tree, row.key, version);
    }
    let is_full = overlay.fresh_bytes() >= core.options.overlay_bytes;
    drop(overlay);
    *core.writer.lock() = Writer::new(revision, chain.last.totals);
    core.revisions.used(revision);
    // The process before wrote them, and may not have come to their sync.
    core.settling.order(revision, false, &packs);
    if is_full {
        // The journal stays whole until the opening has succeeded: it may be all there is.
        core.bring_to_trees()?;
    }
    Ok(true)
}

/// Whether no chunk that the rows bring, or that an upload they adopt brought before, looks unwritten. Adds the packs in
/// which they lie.
fn has_its_chunks(core: &Core, rows: &[RowWrite], packs: &mut BTreeSet<u64>) -> Result<bool> {
    for row in rows {
        let is_there = match (row.tree, &row.value) {
            (Tree::Chunks, Some(value)) => is_written(core, &row.key, value, packs)?,
            (Tree::Pending, None) => match keys::parse_blob(keys::UPLOADS, &row.key) {
                Some(blob) => has_earlier_chunks(core, blob, packs)?,
                None => true,
            },
            _ => true,
        };
        if !is_there {
            return Ok(false);
        }
    }
    Ok(true)
}

fn has_earlier_chunks(core: &Core, blob: BlobId, packs: &mut BTreeSet<u64>) -> Result<bool> {
    const ROWS_A_STEP: usize = 1024;
    let end = [&keys::chunk(blob, u64::MAX)[..], &[0]].concat();
    let mut start = keys::chunk(blob, 0).to_vec();
    loop {
        let (rows, more) = core.rows(Tree::Chunks, &start, Some(&end), LATEST, ROWS_A_STEP)?;
        for (key, row) in rows {
            if !is_written(core, &key, &row?.value, packs)? {
                return Ok(false);
            }
        }
        match more {
            Some(last) => start = [&last[..], &[0]].concat(),
            None => return Ok(true),
        }
    }
}

fn is_written(core: &Core, key: &[u8], value: &Bytes, packs: &mut BTreeSet<u64>) -> Result<bool> {
    let (Some((blob, index)), Some(ChunkRow::Packed(location))) =
        (keys::parse_chunk(key), ChunkRow::decode(value))
    else {
        return Ok(true);
    };
    packs.insert(location.pack);
    match core.packs.read(blob, index, &location) {
        Ok(Some(_)) => Ok(true),
        Ok(None) | Err(Error::Damaged { .. }) => Ok(!core.packs.looks_unwritten(&location)?),
        Err(error) => Err(error),
    }
}
