//! Reading everything the backend keeps, and telling what is not as it was written.

use std::sync::Arc;

use super::journal::Found;
use super::keys::{self, ChunkRow};
use super::row::Totals;
use super::view::LocalScan;
use super::{Core, journal::Segment};
use crate::backend::{Row, Scan, Tree};
use crate::error::{Error, Result};
use crate::report::{Finding, Progress};

/// Progress is told every so many rows.
const ROWS_A_STEP: u64 = 1024;

/// See [`Backend::verify`](crate::backend::Backend::verify).
pub(super) fn verify(core: &Arc<Core>, progress: &mut Progress<'_>) -> Result<Vec<Finding>> {
    let mut findings = core.trees.check();
    let (scans, totals) = scans_of_one_moment(core)?;
    let mut found = Totals::default();
    let mut is_whole = true;
    let mut done = 0;
    for (tree, mut scan) in scans {
        loop {
            match scan.next() {
                Ok(None) => break,
                Ok(Some((key, row))) if keys::is_of_the_trees(tree, &key) => drop((key, row)),
                Ok(Some((key, row))) => {
                    found.add(tree, &key, &row);
                    if tree == Tree::Chunks {
                        findings.extend(check_chunk(core, &key, &row));
                    }
                }
                Err(error @ Error::Damaged { .. }) => {
                    is_whole = false;
                    findings.push(finding("row", &error));
                }
                Err(error) => return Err(error),
            }
            done += 1;
            if done % ROWS_A_STEP == 0 {
                progress.step("rows", done, None)?;
            }
        }
        is_whole &= scan.is_of_one_moment();
    }
    if is_whole && found.digest != totals.digest {
        findings.push(Finding::new(
            "trees",
            "all rows together",
            "rows are missing, older than what was acknowledged, or were never written",
        ));
    }
    verify_journal(core, &mut findings, progress)?;
    Ok(findings)
}

fn finding(what: &'static str, error: &Error) -> Finding {
    match error {
        Error::Damaged { what, location } => {
            Finding::new(what, location.clone(), "it is not as it was written")
        }
        other => Finding::new(what, "", other.to_string()),
    }
}

/// Scans of all trees that see the same commit, and the totals after that commit. Writers wait for one sync meanwhile:
/// between two commits of a busy store there would never be time.
fn scans_of_one_moment(core: &Arc<Core>) -> Result<(Vec<(Tree, LocalScan)>, Totals)> {
    let writer = core.writer.lock();
    core.settling.settle(writer.revision(), &core.disk())?;
    let scans = Tree::ALL
        .into_iter()
        .map(|tree| (tree, LocalScan::open(core, tree, b"", None)))
        .collect();
    Ok((scans, writer.totals()))
}

/// Reads a chunk that lies in a pack; one in the row itself was checked with the row.
fn check_chunk(core: &Core, key: &[u8], row: &Row) -> Option<Finding> {
    let (blob, index) = keys::parse_chunk(key)?;
    match ChunkRow::decode(&row.value) {
        Some(ChunkRow::Here(_)) => None,
        Some(ChunkRow::Packed(_)) => match core.get_chunk(blob, index) {
            Ok(_) => None,
            Err(error) => {
                // Given back since the scan began?
                let is_gone = matches!(
                    core.get(crate::backend::View::Latest, Tree::Chunks, key),
                    Ok(None)
                );
                (!is_gone).then(|| finding("chunk", &error))
            }
        },
        None => Some(Finding::new(
            "chunk",
            format!("chunk {index} of blob {blob}"),
            "its row cannot be read",
        )),
    }
}

/// Reads the journal up to what was written when the call began.
fn verify_journal(
    core: &Core,
    findings: &mut Vec<Finding>,
    progress: &mut Progress<'_>,
) -> Result<()> {
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
    loop {
        let found = reader
            .next()
            .map_err(|error| Error::io(format!("reading {}", segment.path.display()), error))?;
        let problem = match found {
            Found::End => return Ok(Ok(last)),
            Found::Invalid(offset) => (offset, "it is not as it was written"),
            Found::Frame {
                offset,
                header,
                payload,
            } => {
                let follows = match header.part() {
                    0 => header.follows(last),
                    _ => header.revision == last,
                };
                last = header.revision;
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
