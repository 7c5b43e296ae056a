//! Who waits for the disk is told when it has got there, and not before.

use std::sync::Mutex as Shared;

use super::*;
use crate::sync::atomic::Ordering;

/// What the disk would have kept at the moment when something was settled: read in this order, so that it is no less.
fn settled_and_durable(local: &Local) -> (u64, u64) {
    let settled = local.core.settling.settled();
    (settled, local.core.journal.durable().unwrap())
}

#[test]
fn what_is_acknowledged_is_on_the_disk() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        let (waited, seen) = (Shared::new(Vec::new()), Shared::new(Vec::new()));
        thread::scope(|threads| {
            for number in 0..3_u8 {
                let (local, waited, seen) = (&local, &waited, &seen);
                threads.spawn(move || {
                    for round in 0..2_u8 {
                        let durability = match (number + round) % 3 {
                            0 => Durability::Eventual,
                            _ => Durability::Immediate,
                        };
                        let write = rows(durability, vec![put([number, round], b"")]);
                        let revision = ordered(local, write).unwrap().unwrap();
                        local.settle(revision).unwrap();
                        let (settled, durable) = settled_and_durable(local);
                        assert!(settled >= revision, "{revision} above {settled}");
                        if durability == Durability::Immediate {
                            assert!(durable >= revision, "{revision} above {durable}");
                            waited.lock().unwrap().push(revision);
                        }
                        seen.lock().unwrap().push((settled, durable));
                    }
                });
            }
            threads.spawn(|| {
                let mut look = (0, 0);
                while look.0 < 6 {
                    look = settled_and_durable(&local);
                    seen.lock().unwrap().push(look);
                    thread::yield_now();
                }
            });
        });
        let waited = waited.into_inner().unwrap();
        for (settled, durable) in seen.into_inner().unwrap() {
            let last = waited.iter().filter(|one| **one <= settled).max();
            assert!(
                last.is_none_or(|last| *last <= durable),
                "{last:?} was settled at {settled}, and the disk held {durable}"
            );
        }
        assert_eq!(local.core.settling.settled(), 6);
        assert!(local.core.settling.test.syncs.load(Ordering::Relaxed) <= 6 + 2);
    });
}

#[test]
fn a_failed_sync_is_told_to_all_who_wait_and_to_all_who_come() {
    explore(|| {
        let (local, _directory) = fresh(slow());
        local
            .core
            .settling
            .test
            .fail_next
            .store(true, Ordering::Relaxed);
        thread::scope(|threads| {
            for number in 0..3_u8 {
                let local = &local;
                threads.spawn(move || {
                    for round in 0..2_u8 {
                        let failed = write(local, [number, round], b"");
                        assert!(
                            matches!(failed, Err(Error::Io { .. } | Error::Poisoned { .. })),
                            "{failed:?}"
                        );
                    }
                });
            }
        });
        assert_eq!(local.core.settling.settled(), 0);
        assert_eq!(local.core.journal.durable().unwrap(), 0);
        assert!(matches!(local.flush(), Err(Error::Poisoned { .. })));
    });
}

/// A commit that does not wait adopts a blob; one behind it waits, and takes the chunks along. The journal itself may
/// be there before them, in the instant before the commit is ordered: its frame says so, and replay looks for them.
#[test]
fn chunks_are_on_the_disk_where_a_later_commit_counts_on_them() {
    /// Whether the chunks could be lost with a commit that counts as durable.
    fn assert_kept(local: &Local, durable: u64) {
        // In this order: what is on the disk stays there.
        let unsynced = local.core.packs.unsynced();
        let adopted = local.get(View::Latest, Tree::Entries, &1_u64.to_be_bytes());
        let is_later = adopted.unwrap().is_none_or(|row| row.revision > durable);
        assert!(
            unsynced.is_empty() || is_later,
            "{durable} counts as durable, and {unsynced:?} are not"
        );
    }

    explore(|| {
        let (local, _directory) = fresh(slow());
        thread::scope(|threads| {
            threads.spawn(|| put_blob(&local, 1, 1, Durability::Eventual).unwrap());
            threads.spawn(|| assert_kept(&local, write(&local, b"waits", b"").unwrap()));
            threads.spawn(|| {
                let mut synced = 0;
                while synced < 2 {
                    synced = local.core.settling.synced();
                    assert_kept(&local, synced);
                    thread::yield_now();
                }
            });
        });
        local.flush().unwrap();
        assert!(local.core.packs.unsynced().is_empty());
    });
}
