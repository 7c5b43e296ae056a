//! What every commit must look like, whatever the backend.

use std::collections::HashSet;

use super::{
    Commit, MAX_CHANGE_BYTES, MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, MAX_ROW_BYTES, MAX_ROW_KEY_BYTES,
    Tree, Write,
};
use crate::error::{Error, Result};

impl Commit {
    /// Whether the commit keeps to the form every backend asks for: the limits, public trees only, no key twice.
    ///
    /// A backend calls it before it looks at the requirements.
    ///
    /// # Errors
    /// [`Error::TooLarge`] and [`Error::InvalidArgument`].
    pub fn check(&self) -> Result<()> {
        at_most("rows of a commit", self.writes.len(), MAX_COMMIT_ROWS)?;
        at_most("changes of a commit", self.changes.len(), MAX_COMMIT_ROWS)?;
        at_most("blobs a commit adopts", self.adopts.len(), MAX_COMMIT_ROWS)?;
        at_most(
            "blobs a commit releases",
            self.releases.len(),
            MAX_COMMIT_ROWS,
        )?;
        for write in &self.writes {
            check_row(write)?;
        }
        for change in &self.changes {
            at_most("bytes of a change", change.len(), MAX_CHANGE_BYTES)?;
        }
        at_most("bytes of a commit", self.bytes(), MAX_COMMIT_BYTES)?;
        for required in &self.requires {
            check_tree(required.tree)?;
        }
        check_unique(&self.writes)
    }

    /// Keys, values and changes together: what [`MAX_COMMIT_BYTES`] limits.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rows = self.writes.iter().map(row_bytes);
        let changes = self.changes.iter().map(bytes::Bytes::len);
        rows.chain(changes).fold(0, usize::saturating_add)
    }
}

fn row_bytes(write: &Write) -> usize {
    let value = write.value.as_ref().map_or(0, bytes::Bytes::len);
    write.key.len().saturating_add(value)
}

fn check_row(write: &Write) -> Result<()> {
    check_tree(write.tree)?;
    at_most("bytes of a row's key", write.key.len(), MAX_ROW_KEY_BYTES)?;
    at_most("bytes of a row", row_bytes(write), MAX_ROW_BYTES)
}

fn check_tree(tree: Tree) -> Result<()> {
    if tree.is_public() {
        return Ok(());
    }
    Err(Error::InvalidArgument {
        what: "commit",
        reason: format!("the tree {tree:?} is the backend's own"),
    })
}

fn check_unique(writes: &[Write]) -> Result<()> {
    if writes.len() < 2 {
        return Ok(());
    }
    let mut seen = HashSet::with_capacity(writes.len());
    match writes
        .iter()
        .find(|write| !seen.insert((write.tree, &write.key)))
    {
        None => Ok(()),
        Some(twice) => Err(Error::InvalidArgument {
            what: "commit",
            reason: format!("it writes a row of {:?} twice", twice.tree),
        }),
    }
}

/// `TooLarge` where there is more than the limit.
pub(crate) fn at_most(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found <= limit {
        return Ok(());
    }
    Err(Error::TooLarge {
        what,
        limit: u64::try_from(limit).unwrap_or(u64::MAX),
        found: u64::try_from(found).unwrap_or(u64::MAX),
    })
}
