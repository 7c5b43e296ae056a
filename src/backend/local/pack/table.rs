//! Which packs there are, what of them is in use, and which are worth giving back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::frame::FILE_HEADER_BYTES;
use super::writer::Writer;

/// Dead bytes that are not worth a rewrite, whatever the size of the store.
const SLACK_BYTES: u64 = 8 * 1024 * 1024;
/// So many sealed packs may wait for a sync.
const MOST_WAITING: usize = 16;
/// A mostly dead active pack is closed to appends from here on, so that its space can be given back.
const MIN_SEALED_BYTES: u64 = 1024 * 1024;

/// Bytes of the packs of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PackStats {
    /// Of the files.
    pub(crate) total_bytes: u64,
    /// Of frames in use.
    pub(crate) live_bytes: u64,
}

impl PackStats {
    /// Bytes that wait to be given back, headers of files included.
    pub(crate) fn dead_bytes(&self) -> u64 {
        self.total_bytes.saturating_sub(self.live_bytes)
    }
}

/// What a pack may need to be durable.
#[derive(Clone)]
pub(super) enum Durable {
    /// Nothing.
    Yes,
    /// A sync, should anyone rely on it: it is of an earlier process, which may not have come to it.
    Unknown,
    /// The syncs of its writer.
    By(Arc<Writer>),
}

pub(super) struct Pack {
    /// Bytes of frames in use, those being written included.
    pub(super) live: u64,
    /// Bytes of the file, as far as they are reserved.
    pub(super) total: u64,
    pub(super) durable: Durable,
}

impl Pack {
    fn is_sparse(&self) -> bool {
        self.live.saturating_mul(2) < self.total
    }

    /// Whether a rewrite is worth it for who asks. The header is not counted: a rewritten pack has one as well, and
    /// would be rewritten for ever where it is the larger part.
    fn is_noticeably_dead(&self) -> bool {
        let used = self.live.saturating_add(FILE_HEADER_BYTES as u64);
        self.total.saturating_sub(used) > self.total / NOTICEABLE
    }

    fn is_busy(&self) -> bool {
        matches!(&self.durable, Durable::By(writer) if writer.is_busy())
    }
}

/// How much is rewritten to give dead space back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As much as keeps dead space within bounds; for the background.
    Bounded,
    /// Everything noticeable; for who asks.
    Thorough,
}

/// With [`Effort::Thorough`] a pack is rewritten when more than one part in so many is dead.
const NOTICEABLE: u64 = 16;

/// All packs of a store. At most one, the active one, takes appends; the others are sealed.
#[derive(Default)]
pub(super) struct Table {
    pub(super) packs: BTreeMap<u64, Pack>,
    pub(super) active: Option<u64>,
    /// The number of the next pack: none is given twice to one process.
    pub(super) next: u64,
    live: u64,
    /// Sealed packs that wait for a sync, where they are many: each is an open file.
    pub(super) to_sync: Vec<u64>,
}

impl Table {
    pub(super) fn add_live(&mut self, pack: u64, bytes: u64) {
        if let Some(pack) = self.packs.get_mut(&pack) {
            pack.live = pack.live.saturating_add(bytes);
            self.live = self.live.saturating_add(bytes);
        }
    }

    pub(super) fn sub_live(&mut self, pack: u64, bytes: u64) {
        if let Some(pack) = self.packs.get_mut(&pack) {
            debug_assert!(pack.live >= bytes, "more given back than was in use");
            let bytes = bytes.min(pack.live);
            pack.live -= bytes;
            self.live = self.live.saturating_sub(bytes);
        }
    }

    pub(super) fn set_live(&mut self, pack: u64, bytes: u64) -> bool {
        // Rows that name a pack which is gone must never mean a new one.
        self.next = self.next.max(pack.saturating_add(1));
        let Some(pack) = self.packs.get_mut(&pack) else {
            return false;
        };
        self.live = self.live.saturating_sub(pack.live).saturating_add(bytes);
        pack.live = bytes;
        true
    }

    pub(super) fn forget(&mut self, pack: u64) {
        if self.active == Some(pack) {
            self.active = None;
        }
        if let Some(pack) = self.packs.remove(&pack) {
            self.live = self.live.saturating_sub(pack.live);
        }
    }

    /// Without a look at each pack.
    pub(super) fn live_bytes(&self) -> u64 {
        self.live
    }

    pub(super) fn stats(&self) -> PackStats {
        PackStats {
            total_bytes: self.packs.values().map(|pack| pack.total).sum(),
            live_bytes: self.live,
        }
    }

    /// Closes the active pack to appends once it has reached its size: an eighth of what the store holds, within bounds.
    /// So a small store can give space back in small steps, and a large one does not drown in files.
    pub(super) fn seal_when_full(&mut self, min_bytes: u64, max_bytes: u64) {
        let target = (self.live / 8).min(max_bytes).max(min_bytes);
        self.seal_active_if(|pack| pack.total >= target);
    }

    fn seal_active_if(&mut self, condition: impl FnOnce(&Pack) -> bool) {
        let Some(number) = self.active else {
            return;
        };
        if !self.packs.get(&number).is_some_and(condition) {
            return;
        }
        self.active = None;
        if let Some(pack) = self.packs.get_mut(&number)
            && let Durable::By(writer) = &pack.durable
            && writer.is_settled()
        {
            // Nobody will name it again for a sync.
            pack.durable = Durable::Yes;
        }
        let waits = |pack: &Pack| matches!(&pack.durable, Durable::By(writer) if !writer.is_busy());
        let waiting = self.packs.iter().filter(|(_, pack)| waits(pack));
        let waiting: Vec<u64> = waiting.map(|(number, _)| *number).collect();
        if waiting.len() > MOST_WAITING {
            self.to_sync = waiting;
        }
    }

    /// The sealed packs that are wholly dead.
    pub(super) fn victims(&mut self) -> Vec<u64> {
        self.seal_active_if(|pack| pack.live == 0 && pack.total >= MIN_SEALED_BYTES);
        let is_dead = |(number, pack): (&u64, &Pack)| {
            (pack.live == 0 && self.active != Some(*number)).then_some(*number)
        };
        self.packs.iter().filter_map(is_dead).collect()
    }

    /// The sealed pack that gives back most for each byte rewritten, where the effort is worth it.
    ///
    /// With [`Effort::Bounded`] that is while the packs that are not wholly dead take more than twice what is in use,
    /// and the slack. Then at least one of them is less than half in use: a rewrite never copies more than it gives back.
    pub(super) fn sparse(&mut self, effort: Effort, except: &BTreeSet<u64>) -> Option<u64> {
        let in_use = self.packs.values().filter(|pack| pack.live > 0);
        let total: u64 = in_use.map(|pack| pack.total).sum();
        let bound = self.live.saturating_mul(2).saturating_add(SLACK_BYTES);
        if effort == Effort::Bounded && total <= bound {
            return None;
        }
        let is_worth = |pack: &Pack| match effort {
            Effort::Bounded => pack.is_sparse(),
            Effort::Thorough => pack.is_noticeably_dead(),
        };
        self.seal_active_if(|pack| {
            is_worth(pack) && (effort == Effort::Thorough || pack.total >= MIN_SEALED_BYTES)
        });
        let is_candidate = |number: u64, pack: &Pack| {
            self.active != Some(number)
                && !except.contains(&number)
                && pack.live > 0
                && is_worth(pack)
                && !pack.is_busy()
        };
        self.packs
            .iter()
            .filter(|(number, pack)| is_candidate(**number, pack))
            .min_by(|(_, a), (_, b)| {
                let cross = |a: &Pack, b: &Pack| u128::from(a.live) * u128::from(b.total);
                cross(a, b).cmp(&cross(b, a))
            })
            .map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1024 * 1024;

    /// Packs of so many MiB in use and in total; the last one is active.
    fn table(packs: &[(u64, u64)]) -> Table {
        let mut table = Table::default();
        for (number, (live, total)) in (0..).zip(packs) {
            let pack = Pack {
                live: 0,
                total: total * MIB,
                durable: Durable::Yes,
            };
            table.packs.insert(number, pack);
            table.add_live(number, live * MIB);
            table.active = Some(number);
        }
        table
    }

    fn sparse(table: &mut Table, except: &[u64]) -> Option<u64> {
        table.sparse(Effort::Bounded, &except.iter().copied().collect())
    }

    #[test]
    fn who_asks_gets_everything_noticeable_back() {
        let mut table = table(&[(30, 32), (29, 32), (0, 8), (1, 2)]);
        let none = BTreeSet::new();
        assert_eq!(table.sparse(Effort::Bounded, &none), None);
        // The active one is the emptiest, and is closed for it.
        assert_eq!(table.sparse(Effort::Thorough, &none), Some(3));
        assert_eq!(table.sparse(Effort::Thorough, &[3].into()), Some(1));
        assert_eq!(table.sparse(Effort::Thorough, &[1, 3].into()), None);
    }

    #[test]
    fn twice_the_live_bytes_and_the_slack_are_left_alone() {
        assert_eq!(sparse(&mut table(&[(10, 28), (1, 2)]), &[]), None);
        assert_eq!(sparse(&mut table(&[(10, 29), (1, 2)]), &[]), Some(0));
        assert_eq!(sparse(&mut table(&[]), &[]), None);
    }

    #[test]
    fn the_emptiest_pack_comes_first_and_none_that_is_half_full() {
        let packs = [(8, 64), (1, 4), (2, 64), (20, 39), (1, 1)];
        assert_eq!(sparse(&mut table(&packs), &[]), Some(2));
        assert_eq!(sparse(&mut table(&packs), &[2]), Some(0));
        assert_eq!(sparse(&mut table(&packs), &[2, 0]), Some(1));
        assert_eq!(sparse(&mut table(&packs), &[2, 0, 1]), None);
    }

    #[test]
    fn dead_packs_are_victims_and_no_reason_to_rewrite() {
        let mut table = table(&[(0, 64), (10, 12), (1, 2)]);
        assert_eq!(sparse(&mut table, &[]), None);
        assert_eq!(table.victims(), [0]);
        assert_eq!(table.active, Some(2));
    }

    #[test]
    fn the_active_pack_is_sealed_once_dead_or_sparse_enough() {
        let mut dead = table(&[(1, 1), (0, 1)]);
        assert_eq!(dead.victims(), [1]);
        assert_eq!(dead.active, None);
        let mut thin = table(&[(1, 1), (1, 40)]);
        assert_eq!(sparse(&mut thin, &[]), Some(1));
        assert_eq!(thin.active, None);
        let mut dense = table(&[(1, 40), (1, 1)]);
        assert_eq!(sparse(&mut dense, &[]), Some(0));
        assert_eq!(dense.active, Some(1));
    }

    #[test]
    fn taking_the_sparse_one_again_and_again_keeps_the_bound() {
        let mut table = table(&[(3, 64), (30, 64), (40, 64), (5, 30), (0, 9), (7, 9)]);
        while let Some(pack) = sparse(&mut table, &[]) {
            let live = table.packs[&pack].live;
            table.forget(pack);
            table.packs.get_mut(&5).unwrap().total += live;
            table.add_live(5, live);
        }
        for pack in table.victims() {
            table.forget(pack);
        }
        let stats = table.stats();
        assert_eq!(stats.live_bytes, 85 * MIB);
        assert!(
            stats.total_bytes <= 2 * stats.live_bytes + SLACK_BYTES,
            "{stats:?}"
        );
    }

    #[test]
    fn packs_grow_with_the_store() {
        let is_sealed = |live: u64, total: u64| {
            let mut table = table(&[(live, live), (0, total)]);
            table.seal_when_full(4 * MIB, 64 * MIB);
            table.active.is_none()
        };
        assert!(!is_sealed(0, 3) && is_sealed(0, 4));
        assert!(!is_sealed(80, 9) && is_sealed(80, 10));
        assert!(!is_sealed(9999, 63) && is_sealed(9999, 64));
    }

    #[test]
    fn counts_follow_every_change() {
        let mut table = table(&[(1, 2), (1, 2)]);
        assert!(table.set_live(0, 5));
        assert!(!table.set_live(9, 5));
        table.add_live(0, 2);
        table.sub_live(0, 3);
        table.add_live(9, 1);
        table.sub_live(9, 1);
        assert_eq!(table.stats().live_bytes, MIB + 4);
        table.forget(1);
        table.forget(1);
        assert_eq!(table.stats().live_bytes, 4);
        assert_eq!(table.stats().total_bytes, 2 * MIB);
        assert_eq!(table.active, None);
    }
}
