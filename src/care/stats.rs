//! How large a store is.

use crate::backend::HistoryRange;
use crate::error::Result;
use crate::store::Store;

/// Sizes of a store, from [`Store::stats`]. What does not apply to a store, such as bytes on disk to one in memory, is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Documents, blobs and explicit folders.
    pub entries: u64,
    /// Tokens, expired ones that nobody has met yet included.
    pub tokens: u64,
    /// Bytes of all rows, keys included: entries with the contents that lie in their records, tokens, and where chunks lie
    /// (with `chunk_bytes` of at most 4,096 the chunks as well).
    pub row_bytes: u64,
    /// Bytes of the larger contents; what entries share by a copy counts once.
    pub chunk_bytes: u64,
    /// Bytes on disk that wait to be given back.
    pub dead_bytes: u64,
    /// Bytes of the journal on disk.
    pub journal_bytes: u64,
    /// Bytes of the sled trees on disk.
    pub tree_bytes: u64,
    /// Bytes of the packs on disk.
    pub pack_bytes: u64,
    /// How far the history reaches.
    pub history: HistoryRange,
}

impl Store {
    /// Sizes of the whole store, whatever the scope. Cheap: nothing is read through.
    ///
    /// ```
    /// let store = komatik::Store::in_memory()?;
    /// store.put("a", "1")?;
    /// assert_eq!(store.stats()?.entries, 1);
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// The operating system.
    pub fn stats(&self) -> Result<Stats> {
        let stats = self.shared.backend.stats()?;
        Ok(Stats {
            entries: stats.entries,
            tokens: stats.tokens,
            row_bytes: stats.row_bytes,
            chunk_bytes: stats.chunk_bytes,
            dead_bytes: stats.dead_bytes,
            journal_bytes: stats.journal_bytes,
            tree_bytes: stats.tree_bytes,
            pack_bytes: stats.pack_bytes,
            history: self.history(),
        })
    }
}
