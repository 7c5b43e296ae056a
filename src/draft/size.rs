//! How large a draft may become: what its commit would be refused for is refused by the call that makes it so, before
//! memory holds many times what a commit may.
//!
//! Bytes are counted low, rows and changes without what their form costs: the commit has the last word.

use crate::backend::{MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, at_most};
use crate::error::Result;
use crate::format::{Body, ChangeAction, ChangeRecord, EntryRecord};

/// About how many bytes the rows and the changes of a draft have.
#[derive(Default)]
pub(super) struct Size {
    of_rows: usize,
    of_changes: usize,
}

impl Size {
    /// A row as the draft leaves it, `None` where it is erased.
    pub(super) fn add_row(&mut self, row_key: &str, row: Option<&EntryRecord>) {
        self.of_rows += bytes_of_row(row_key, row);
    }

    /// A row that was added, before another takes its place.
    pub(super) fn remove_row(&mut self, row_key: &str, row: Option<&EntryRecord>) {
        self.of_rows -= bytes_of_row(row_key, row);
    }

    /// A change behind so many others, beside so many rows. Where it fails, nothing is added.
    ///
    /// # Errors
    /// `TooLarge` where the commit could not be made.
    pub(super) fn add_change(
        &mut self,
        rows: usize,
        changes: usize,
        change: &ChangeRecord,
    ) -> Result<()> {
        let of_changes = self.of_changes + bytes_of_change(change);
        at_most("rows of a commit", rows, MAX_COMMIT_ROWS)?;
        at_most("changes of a commit", changes + 1, MAX_COMMIT_ROWS)?;
        let bytes = self.of_rows + of_changes;
        at_most("bytes of a commit", bytes, MAX_COMMIT_BYTES)?;
        self.of_changes = of_changes;
        Ok(())
    }
}

fn bytes_of_row(row_key: &str, record: Option<&EntryRecord>) -> usize {
    let Some(record) = record else {
        return row_key.len();
    };
    let body_bytes = match &record.body {
        Body::Inline(bytes) => bytes.len(),
        Body::Parts(_) => 0,
    };
    let attributes = record.attributes.iter();
    let attribute_bytes: usize = attributes.map(|(name, text)| name.len() + text.len()).sum();
    row_key.len() + body_bytes + attribute_bytes
}

fn bytes_of_change(change: &ChangeRecord) -> usize {
    let from_bytes = match &change.action {
        ChangeAction::Move { from } => from.len(),
        ChangeAction::Put | ChangeAction::Delete => 0,
    };
    change.key.len() + from_bytes + change.participant.as_ref().map_or(0, String::len)
}
