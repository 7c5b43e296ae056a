//! What makes packs durable, and lets go of the files of those that are.

use std::sync::Arc;

use super::Packs;
use super::table::{Durable, Pack};
use super::writer::Writer;
use crate::error::Result;

impl Packs {
    /// Makes everything durable that was appended to these packs before. Costs nothing where nothing is new, and
    /// one sync for all threads that ask together. Once it failed for a pack, it always fails for it.
    ///
    /// A pack of an earlier process is synced the first time it is named: after a process ended in the
    /// middle of things, name the packs that its journal relies on.
    pub(crate) fn sync(&self, packs: &[u64]) -> Result<()> {
        packs.iter().try_for_each(|pack| self.sync_pack(*pack))
    }

    fn sync_pack(&self, number: u64) -> Result<()> {
        let Some(writer) = self.writer_to_sync(number)? else {
            return Ok(());
        };
        writer.sync()?;
        let mut table = self.table.lock();
        let is_sealed = table.active != Some(number);
        if let Some(pack) = table.packs.get_mut(&number)
            && is_sealed
            && writer.is_settled()
        {
            pack.durable = Durable::Yes;
        }
        Ok(())
    }

    fn writer_to_sync(&self, number: u64) -> Result<Option<Arc<Writer>>> {
        let mut table = self.table.lock();
        let Some(pack) = table.packs.get_mut(&number) else {
            return Ok(None);
        };
        match &pack.durable {
            Durable::Yes => Ok(None),
            Durable::By(writer) => Ok(Some(Arc::clone(writer))),
            Durable::Unknown => {
                let writer = Arc::new(Writer::of_earlier(self.place.path(), self.name(number))?);
                pack.durable = Durable::By(Arc::clone(&writer));
                Ok(Some(writer))
            }
        }
    }

    /// The packs with appends of this process that no sync has covered.
    pub(crate) fn unsynced(&self) -> Vec<u64> {
        let is_unsynced =
            |pack: &Pack| matches!(&pack.durable, Durable::By(writer) if writer.is_unsynced());
        let table = self.table.lock();
        let packs = table.packs.iter().filter(|(_, pack)| is_unsynced(pack));
        packs.map(|(number, _)| *number).collect()
    }

    /// Syncs sealed packs whose files are still open for writing where they are many, as those of a large upload are, of
    /// which no commit tells yet. To be called with nothing locked, after appending.
    pub(crate) fn sync_sealed(&self) -> Result<()> {
        let sealed = std::mem::take(&mut self.table.lock().to_sync);
        self.sync(&sealed)
    }

    /// Whether nothing of a pack is left to sync.
    #[cfg(test)]
    pub(crate) fn was_synced_for_test(&self, pack: u64) -> bool {
        matches!(self.table.lock().packs[&pack].durable, Durable::Yes)
    }

    /// The next sync of this pack fails, which must not be durable yet.
    #[cfg(test)]
    pub(crate) fn fail_next_sync_for_test(&self, pack: u64) {
        let table = self.table.lock();
        let Durable::By(writer) = &table.packs[&pack].durable else {
            panic!("nothing is left to sync");
        };
        let fail = &writer.test.fail_next_sync;
        fail.store(true, crate::sync::atomic::Ordering::Relaxed);
    }

    /// Runs `meanwhile` while no sync of this pack ends, which must not be durable yet; it may ask how many bytes were appended.
    #[cfg(test)]
    pub(crate) fn hold_syncs_for_test<R>(
        &self,
        pack: u64,
        meanwhile: impl FnOnce(&dyn Fn() -> u64) -> R,
    ) -> R {
        let Durable::By(writer) = self.table.lock().packs[&pack].durable.clone() else {
            panic!("nothing is left to sync");
        };
        let _held = writer.hold_for_test();
        meanwhile(&|| writer.finished_for_test())
    }
}
