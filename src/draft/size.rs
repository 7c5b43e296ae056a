//! How large a draft may become: what its commit would be refused for is refused by the call that makes it so, before
//! memory holds many times what a commit may.
//!
//! Bytes are counted low, rows and changes without what their form costs: the commit has the last word.

use super::Draft;
use crate::backend::{MAX_COMMIT_BYTES, MAX_COMMIT_ROWS, at_most};
use crate::error::Result;
use crate::format::{Body, ChangeAction, ChangeRecord, EntryRecord};

impl Draft<'_> {
    /// Tells the history of a change to `key`, a whole key: of the content of a record with a view password, nothing. Comes
    /// before what it tells of is done: where it fails, nothing is.
    ///
    /// # Errors
    /// `TooLarge` where the commit could not be made.
    pub(crate) fn tell(
        &mut self,
        action: ChangeAction,
        key: &str,
        record: &EntryRecord,
    ) -> Result<()> {
        let is_hidden = record.lock.as_ref().is_some_and(|lock| lock.view.is_some());
        let change = ChangeRecord {
            action,
            key: key.to_owned(),
            entry: record.kind,
            content: (!is_hidden).then_some((record.size, record.digest)),
            participant: self.store.participant.as_deref().map(str::to_owned),
            time: self.now,
        };
        let change_bytes = self.change_bytes + bytes_of_change(&change);
        at_most("rows of a commit", self.rows.len(), MAX_COMMIT_ROWS)?;
        at_most(
            "changes of a commit",
            self.changes.len() + 1,
            MAX_COMMIT_ROWS,
        )?;
        at_most(
            "bytes of a commit",
            self.row_bytes + change_bytes,
            MAX_COMMIT_BYTES,
        )?;
        self.change_bytes = change_bytes;
        self.changes.push(change);
        Ok(())
    }

    pub(super) fn leave(&mut self, row_key: &str, row: Option<Box<EntryRecord>>) {
        if row.is_some() {
            self.emptied = None;
        }
        self.row_bytes += bytes_of_row(row_key, row.as_deref());
        if let Some(replaced) = self.rows.insert(row_key.to_owned(), row) {
            self.row_bytes -= bytes_of_row(row_key, replaced.as_deref());
        }
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
