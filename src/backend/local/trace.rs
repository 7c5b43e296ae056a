//! What a store that is not open shows of who has been in it.

use std::path::Path;

use super::superblock::Superblock;

/// What the superblock of a directory tells to who does not open the store.
///
/// Every opening counts up in it before it commits anything for its caller. So whoever noted the count at an opening finds it
/// changed where anything may have been committed since, even by a process that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    store_id: [u8; 16],
    opens: u64,
    /// The last revision, where it was closed in good order.
    closed_at: Option<u64>,
}

impl Trace {
    /// Reads it, also while another process has the store; `None` where it cannot be read.
    #[must_use]
    pub fn of(directory: &Path) -> Option<Trace> {
        let superblock = Superblock::load(directory).ok().flatten()?;
        let content = superblock.content();
        Some(Trace {
            store_id: superblock.store_id(),
            opens: content.opens,
            closed_at: content.clean.then_some(content.checkpoint),
        })
    }

    /// Whether nothing was committed since this process had the store open, found `seen` then and `newest` as the last
    /// revision.
    #[must_use]
    pub fn is_quiet_since(&self, seen: &Trace, newest: u64) -> bool {
        self.store_id == seen.store_id
            && (self.opens == seen.opens || self.closed_at == Some(newest))
    }
}
