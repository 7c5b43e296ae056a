//! The rows of every whole commit in the journal.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::scratch::Scratch;
use super::{Rows, note_unreadable};
use crate::backend::local::health::is_out_of_resources;
use crate::backend::local::journal::{Found, Header, Segment, first_revision};
use crate::backend::local::layout::JOURNAL;
use crate::backend::local::row::Totals;
use crate::error::{Error, Result};
use crate::report::Finding;

/// How far the journal goes.
pub(super) struct End {
    /// The last whole commit and the totals after it, where there is one.
    pub(super) last: Option<(u64, Totals)>,
    /// The commit that the last segment begins behind.
    pub(super) before: u64,
}

/// Lets the rows of every whole commit behind `base` that can be read stand; answers how far they go.
/// Those before would bring back what was deleted since, where the journal ends early.
pub(super) fn read(
    directory: &Path,
    scratch: &Scratch,
    store_id: &[u8; 16],
    base: u64,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<End> {
    let copies = scratch.path().join(JOURNAL);
    std::fs::create_dir(&copies)
        .map_err(|error| Error::io(format!("creating {}", copies.display()), error))?;
    let (mut last, mut before) = (None, 0);
    for (first, name) in segments_in(directory, findings)? {
        scratch.copy_file(directory, &name, findings)?;
        let location = name.display().to_string();
        match Segment::open(&copies, store_id, first) {
            Ok(Some(segment)) => {
                before = first - 1;
                last = read_segment(&segment, &location, base, rows, findings)?.or(last);
            }
            Ok(None) => {}
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(error) => {
                findings.push(Finding::new("journal", location.clone(), error.to_string()));
                // Each frame tells by itself whether it is sound, and whose.
                if let (Error::Damaged { .. }, Ok(segment)) = (
                    error,
                    Segment::open_without_header(&copies, store_id, first),
                ) {
                    last = read_segment(&segment, &location, base, rows, findings)?.or(last);
                }
            }
        }
        // A copy at a time: the journal may be long.
        let copy = scratch.path().join(name);
        if let Err(error) = std::fs::remove_file(&copy) {
            tracing::debug!(%error, "a copy stays for now: {}", copy.display());
        }
    }
    Ok(End { last, before })
}

/// The segments by their first revisions, each with its path in the store; none where they cannot be listed.
pub(super) fn segments_in(
    directory: &Path,
    findings: &mut Vec<Finding>,
) -> Result<BTreeMap<u64, PathBuf>> {
    let entries = match std::fs::read_dir(directory.join(JOURNAL)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other,
    };
    let listed = entries.and_then(|entries| {
        let names = entries.map(|entry| Ok(entry?.file_name()));
        names.collect::<std::io::Result<Vec<_>>>()
    });
    let names = match listed {
        Ok(names) => names,
        Err(error) => {
            note_unreadable(findings, "journal", JOURNAL.to_owned(), error)?;
            Vec::new()
        }
    };
    let segment = |name: &OsString| {
        let first = first_revision(name.to_str()?)?;
        Some((first, Path::new(JOURNAL).join(name)))
    };
    Ok(names.iter().filter_map(segment).collect())
}

fn read_segment(
    segment: &Segment,
    location: &str,
    base: u64,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<Option<(u64, Totals)>> {
    // Of the copy: it has no places that cannot be read.
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
                    format!("{location} at {offset}"),
                    "it is not as it was written",
                ));
            }
            Found::Frame {
                header, payload, ..
            } => {
                let follows = header.continues(chain.last().map(|(before, _)| before));
                if !follows {
                    chain.clear();
                }
                if follows || header.part() == 0 {
                    chain.push((header, payload));
                }
                if header.is_last() && !chain.is_empty() {
                    let whole = std::mem::take(&mut chain);
                    if header.revision > base {
                        apply(whole, rows);
                    }
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
