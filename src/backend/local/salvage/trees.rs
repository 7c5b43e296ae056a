//! The rows of the trees, read from a copy of them.

use std::fs;
use std::path::Path;

use bytes::Bytes;

use super::scratch::Scratch;
use super::{Rows, digest_of, unreadable};
use crate::backend::Tree;
use crate::backend::local::health::is_out_of_resources;
use crate::backend::local::layout::{TREES, TREES_ASIDE};
use crate::backend::local::open::checkpoint_of;
use crate::backend::local::trees::sled::SledTrees;
use crate::backend::local::trees::{Trees, gap};
use crate::backend::local::{keys, row};
use crate::error::{Error, Result};
use crate::report::Finding;

/// Memory for sled while it reads the copy.
const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// Rows read at once.
const ROWS_A_STEP: usize = 1024;
/// How many times fewer are read at once where they cannot all be read. Before sled gives a read up it may look a million times.
const FEWER: usize = 32;

/// Reads every row that can be read; answers the revision up to which the rows are known to be whole, 0 where they are not.
pub(super) fn read(
    directory: &Path,
    scratch: &Scratch,
    has_layers: bool,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<u64> {
    // Where they were being made anew, those that were put aside are whole, and the new ones are not.
    let name = match directory.join(TREES_ASIDE).is_dir() {
        true => TREES_ASIDE,
        false => TREES,
    };
    if !scratch.copy_directory(directory, Path::new(name), findings)? {
        findings.push(Finding::new("trees", name, "they are missing"));
        return Ok(0);
    }
    let copy = scratch.path().join(name);
    let known = findings.len();
    let Some(trees) = or_told(open(&copy, has_layers), name, findings)? else {
        return Ok(0);
    };
    let base = read_all(&trees, rows, findings)?;
    drop(trees);
    if has_layers {
        return Ok(base);
    }
    // Some long keys may lie in layers, and were passed over. The rest can be moved there: it is a copy. Where it is not sound,
    // that could end halfway, and the rest was read already.
    let is_sound = findings.len() == known;
    let trees = open(&copy, true).and_then(|trees| {
        if is_sound {
            trees.take_in()?;
        }
        Ok(trees)
    });
    let Some(trees) = or_told(trees, name, findings)? else {
        return Ok(base);
    };
    let mut again = Vec::new();
    let base = read_all(&trees, rows, &mut again)?;
    again.retain(|finding| !findings[known..].contains(finding));
    findings.append(&mut again);
    Ok(base)
}

/// What was opened; where that failed it is told as a finding.
fn or_told(
    opened: Result<SledTrees>,
    name: &str,
    findings: &mut Vec<Finding>,
) -> Result<Option<SledTrees>> {
    match opened {
        Ok(trees) => Ok(Some(trees)),
        // For the copy, not of the store.
        Err(error) if is_out_of_resources(&error) => Err(error),
        Err(error) => {
            findings.push(Finding::new("trees", name, error.to_string()));
            Ok(None)
        }
    }
}

/// Answers the revision up to which the rows are known to be whole, 0 where they are not.
fn read_all(trees: &SledTrees, rows: &mut Rows, findings: &mut Vec<Finding>) -> Result<u64> {
    // What a crash left twice is told by the digest where this cannot take it out.
    let _ = trees.mend();
    for tree in Tree::ALL {
        read_tree(trees, tree, rows, findings)?;
    }
    match checkpoint_of(trees) {
        Ok(Some((revision, totals))) if digest_of(rows) == totals.digest => Ok(revision),
        _ => Ok(0),
    }
}

fn open(copy: &Path, has_layers: bool) -> Result<SledTrees> {
    match SledTrees::open_anyhow(copy, CACHE_BYTES, has_layers) {
        Err(Error::Damaged { .. }) => {}
        other => return other,
    }
    // Without its snapshots sled reads its log from the beginning.
    let failed = |error| Error::io(format!("reading {}", copy.display()), error);
    for entry in fs::read_dir(copy).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_string_lossy().starts_with("snap.") {
            fs::remove_file(entry.path()).map_err(failed)?;
        }
    }
    SledTrees::open_anyhow(copy, CACHE_BYTES, has_layers)
}

/// Reads up to each place that cannot be read, row by row in the end, and on behind it.
fn read_tree(
    trees: &dyn Trees,
    tree: Tree,
    rows: &mut Rows,
    findings: &mut Vec<Finding>,
) -> Result<()> {
    let mut start = Vec::new();
    let mut limit = ROWS_A_STEP;
    loop {
        match trees.range(tree, &start, None, limit) {
            Ok(found) => {
                let Some((last, _)) = found.last() else {
                    return Ok(());
                };
                start = [&last[..], &[0]].concat();
                for (key, bytes) in found {
                    take(tree, key, &bytes, rows, findings);
                }
            }
            Err(error) if is_out_of_resources(&error) => return Err(error),
            Err(_) if limit > 1 => limit /= FEWER,
            Err(error) => {
                let behind = gap::behind(trees, tree, &start, None);
                let from = format!("{tree:?} from \"{}\"", start.escape_ascii());
                let place = match &behind {
                    Some(behind) => format!("{from} to \"{}\"", behind.escape_ascii()),
                    None => format!("{from} on"),
                };
                findings.push(Finding::new("rows", place, unreadable(&error)));
                let Some(behind) = behind else {
                    return Ok(());
                };
                start = behind;
                limit = ROWS_A_STEP;
            }
        }
    }
}

fn take(tree: Tree, key: Bytes, bytes: &Bytes, rows: &mut Rows, findings: &mut Vec<Finding>) {
    if keys::is_of_the_trees(tree, &key) {
        return;
    }
    match row::open(tree, &key, bytes) {
        Ok(row) => {
            // A second look may find what sled has read out of older pages.
            let known = rows.entry((tree, key)).or_default();
            if known.0 <= row.revision {
                *known = (row.revision, Some(row.value));
            }
        }
        Err(error) => findings.push(Finding::new(
            "row",
            format!("{tree:?} \"{}\"", key.escape_ascii()),
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests;
