//! Giving space back at once.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::report::{Progress, Step};
use crate::store::Store;

impl Store {
    /// Gives back all the space of blobs on disk that is worth it, now: packs of which more than a sixteenth is dead are
    /// rewritten. Without being asked, dead space is kept below the sum of what is in use and 8 MiB; this is for who wants the
    /// rest, or wants to wait for it. Readers and writers may go on meanwhile; what an open reader still
    /// needs stays until it is dropped. What sled itself holds of overwritten rows it reuses, and does not return.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// let store = komatik::Store::in_memory()?;
    /// store.compact(|_step| ControlFlow::Continue(()))?;
    /// # Ok::<(), komatik::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Cancelled`](crate::Error::Cancelled) where `progress` answers `Break`: what was given back until then
    /// stays so. [`Error::Misuse`](crate::Error::Misuse) from within its own `progress`; `Poisoned`; `NoSpace`; the operating system.
    pub fn compact(&self, mut progress: impl FnMut(Step) -> ControlFlow<()>) -> Result<()> {
        self.shared
            .backend
            .compact(&mut Progress::new(&mut progress))
    }
}
