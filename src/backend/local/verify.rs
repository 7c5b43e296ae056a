//! Reading everything the backend keeps, and telling what is not as it was written.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Core;
use super::journal::{Found, Header, Segment};
use super::keys::{self, ChunkRow};
use super::row::Totals;
use super::view::LocalScan;
use crate::backend::{BlobId, Row, Scan, Tree, View};
use crate::error::{Error, Result};
use crate::report::{Finding, Progress, Report};

/// Progress is told every so many rows.
const ROWS_A_STEP: u64 = 1024;
/// And every so many chunks.
const CHUNKS_A_STEP: u64 = 64;
/// How often all rows are read in search of a moment at which they are seen together.
const ATTEMPTS: u32 = 5;
/// What to do where rows are not as they should be.
const OPEN_AGAIN: &str = "close the store and open it again, which writes back what the journal still holds; where that \
                          is not enough it refuses to open, and `Store::repair` saves the rest";

/// See [`Backend::verify`](crate::backend::Backend::verify).
pub(super) fn verify(core: &Arc<Core>, progress: &mut Progress<'_>) -> Result<Report> {
    let mut report = Report {
        findings: core.trees.check()?,
        ..Report::default()
    };
    // First the rows alone: the quicker they are read, the likelier is the moment of them all still kept.
    verify_rows(core, &mut report, progress)?;
    let packs = verify_chunks(core, &mut report.findings, progress)?;
    verify_headers(core, &packs, &mut report.findings)?;
    verify_journal(core, &mut report.findings, progress)?;
    Ok(report)
}

/// Reads all rows and compares them with the digest of the commit at which they are seen.
fn verify_rows(core: &Arc<Core>, report: &mut Report, progress: &mut Progress<'_>) -> Result<()> {
    for attempt in 1.. {
        let is_last = attempt == ATTEMPTS;
        let mut findings = Vec::new();
        let seen = read_rows(core, is_last, &mut findings, progress)?;
        let unchecked = match seen {
            Seen::Together => None,
            Seen::Apart if !is_last => continue,
            Seen::Apart => Some("they were overwritten faster than they were read"),
            Seen::Unsettled => Some(
                "a write failed, and whether it was done is not known before the store is opened again",
            ),
        };
        report.findings.extend(findings);
        report.unchecked.extend(unchecked.map(|reason| {
            let problem = format!("{reason}, so whether any is missing is not known");
            Finding::new("trees", ALL_ROWS, problem)
        }));
        break;
    }
    Ok(())
}

/// One of each tree.
type Scans = Vec<(Tree, LocalScan)>;

/// How all rows were seen.
enum Seen {
    /// At one moment, and compared with its digest.
    Together,
    /// Not at one moment.
    Apart,
    /// At a moment before a commit that never settles: the digest is of what is behind it.
    Unsettled,
}

const ALL_ROWS: &str = "all rows together";

/// Reads all rows; where they are not seen at one moment, it goes on only when told so.
fn read_rows(
    core: &Arc<Core>,
    goes_on: bool,
    findings: &mut Vec<Finding>,
    progress: &mut Progress<'_>,
) -> Result<Seen> {
    let (scans, totals) = scans_of_one_moment(core)?;
    let mut found = Totals::default();
    let (mut is_whole, mut is_of_one_moment) = (true, true);
    let mut done = 0;
    for (tree, mut scan) in scans {
        loop {
            match scan.next() {
                Ok(None) => break,
                Ok(Some((key, row))) => {
                    if !keys::is_of_the_trees(tree, &key) {
                        found.add(tree, &key, &row);
                    }
                }
                Err(Error::Damaged { what, location }) => {
                    is_whole = false;
                    core.health.distrust_trees();
                    let problem = format!("it is not as it was written; {OPEN_AGAIN}");
                    findings.push(Finding::new(what, location, problem));
                }
                Err(error) => return Err(error),
            }
            done += 1;
            if done % ROWS_A_STEP == 0 {
                progress.step("rows", done, None)?;
                if !goes_on && !scan.is_of_one_moment() {
                    return Ok(Seen::Apart);
                }
            }
        }
        is_of_one_moment &= scan.is_of_one_moment();
    }
    let Some(totals) = totals else {
        return Ok(Seen::Unsettled);
    };
    if is_whole && is_of_one_moment && found.digest != totals.digest {
        core.health.distrust_trees();
        let problem = "rows are missing, older than what was acknowledged, or were never written";
        findings.push(Finding::new(
            "trees",
            ALL_ROWS,
            format!("{problem}; {OPEN_AGAIN}"),
        ));
    }
    Ok(match is_of_one_moment {
        true => Seen::Together,
        false => Seen::Apart,
    })
}

/// Reads every chunk that lies in a pack. Answers the packs that gave one.
fn verify_chunks(
    core: &Arc<Core>,
    findings: &mut Vec<Finding>,
    progress: &mut Progress<'_>,
) -> Result<BTreeSet<u64>> {
    let mut scan = LocalScan::open(core, Tree::Chunks, b"", None);
    let mut done = 0;
    let mut packs = BTreeSet::new();
    loop {
        match scan.next() {
            Ok(None) => return Ok(packs),
            Ok(Some((key, row))) => {
                findings.extend(check_chunk(core, &key, &row, &mut packs)?);
            }
            // Met before, with the rows.
            Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        done += 1;
        if done % CHUNKS_A_STEP == 0 {
            progress.step("chunks", done, None)?;
        }
    }
}

/// Scans of all trees that see the same commit, and the totals after that commit, `None` where a later one never settles.
/// Writers wait for one sync meanwhile: between two commits of a busy store there would never be time.
fn scans_of_one_moment(core: &Arc<Core>) -> Result<(Scans, Option<Totals>)> {
    let writer = core.writer.lock();
    let totals = match core.settling.settle(writer.revision(), &core.disk()) {
        Ok(()) => Some(writer.totals()),
        Err(Error::Poisoned { .. }) => None,
        Err(error) => return Err(error),
    };
    let scans = Tree::ALL
        .into_iter()
        .map(|tree| (tree, LocalScan::open(core, tree, b"", None)))
        .collect();
    Ok((scans, totals))
}

/// Reads a chunk that lies in a pack; one in the row itself was checked with the row.
fn check_chunk(
    core: &Core,
    key: &[u8],
    row: &Row,
    packs: &mut BTreeSet<u64>,
) -> Result<Option<Finding>> {
    let Some((blob, index)) = keys::parse_chunk(key) else {
        return Ok(None);
    };
    Ok(match ChunkRow::decode(&row.value) {
        Some(ChunkRow::Here(_)) => None,
        Some(ChunkRow::Packed(location)) => match core.get_chunk(blob, index) {
            Ok(_) => {
                packs.insert(location.pack);
                None
            }
            Err(Error::Damaged { what, location }) => {
                let is_missed = !is_gone(core, key)? && !is_nobodys(core, blob)?;
                is_missed.then(|| Finding::new(what, location, "it is not as it was written"))
            }
            Err(error) => return Err(error),
        },
        None => Some(Finding::new(
            "chunk",
            format!("chunk {index} of blob {blob}"),
            "its row cannot be read",
        )),
    })
}

/// Whether a chunk was given back since the scan began.
fn is_gone(core: &Core, key: &[u8]) -> Result<bool> {
    match core.get(View::Latest, Tree::Chunks, key) {
        Ok(row) => Ok(row.is_none()),
        Err(Error::Damaged { .. }) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a blob is an upload that is none yet, or about to be given back: a power cut may have taken of it what it will.
fn is_nobodys(core: &Core, blob: BlobId) -> Result<bool> {
    for key in [keys::upload(blob), keys::doomed(blob)] {
        match core.get(View::Latest, Tree::Pending, &key) {
            Ok(None) => {}
            Ok(Some(_)) | Err(Error::Damaged { .. }) => return Ok(true),
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

/// Of files that are open, which only the next opening would read; of packs from which something was read.
fn verify_headers(core: &Core, packs: &BTreeSet<u64>, findings: &mut Vec<Finding>) -> Result<()> {
    core.journal.check_place()?;
    for segment in core.journal.damaged_headers()? {
        let location = segment.path.display().to_string();
        findings.push(Finding::new(
            "journal",
            location,
            "its header is not as it was written",
        ));
    }
    for pack in packs {
        match core.packs.check_header_of(*pack) {
            Ok(()) => {}
            // Given back meanwhile.
            Err(_) if !core.packs.is_in_use(*pack) => {}
            Err(Error::Damaged { what, location }) => {
                let problem = "the header of its file is not as it was written";
                findings.push(Finding::new(what, location, problem));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the journal up to what was written when the call began.
fn verify_journal(
    core: &Core,
    findings: &mut Vec<Finding>,
    progress: &mut Progress<'_>,
) -> Result<()> {
    // Where the store was moved no segment is found.
    core.journal.check_place()?;
    let segments = core.journal.segments();
    let total = segments.len() as u64;
    let mut before = None;
    for (done, segment) in (0_u64..).zip(&segments) {
        progress.step("journal", done, Some(total))?;
        if !segment.path.exists() {
            // Its history was dropped meanwhile.
            before = None;
            continue;
        }
        if before.is_some_and(|last| segment.first != last + 1) {
            let location = segment.path.display().to_string();
            findings.push(Finding::new(
                "journal",
                location,
                "a commit is missing before it",
            ));
        }
        before = match verify_segment(segment)? {
            Ok(last) => Some(last),
            Err(finding) => {
                findings.push(finding);
                None
            }
        };
    }
    Ok(())
}

/// Its last revision, or what is wrong with it.
fn verify_segment(segment: &Segment) -> Result<Result<u64, Finding>> {
    let mut reader = segment.read();
    let mut last = segment.first - 1;
    // Of the same chain.
    let mut before: Option<Header> = None;
    loop {
        let found = reader
            .next()
            .map_err(|error| Error::io(format!("reading {}", segment.path.display()), error))?;
        let problem = match found {
            Found::End if before.is_some() => (reader.offset(), "the rest of a commit is missing"),
            Found::End => return Ok(Ok(last)),
            Found::Invalid(offset) => (offset, "it is not as it was written"),
            Found::Frame {
                offset,
                header,
                payload,
            } => {
                let follows =
                    header.continues(before.as_ref()) && (before.is_some() || header.follows(last));
                last = header.revision;
                before = (!header.is_last()).then_some(header);
                if !follows {
                    (offset, "a commit is missing before it")
                } else if header.rows(&payload).is_none() {
                    (offset, "its rows cannot be read")
                } else {
                    continue;
                }
            }
        };
        let location = format!("{} at {}", segment.path.display(), problem.0);
        return Ok(Err(Finding::new("journal", location, problem.1)));
    }
}
