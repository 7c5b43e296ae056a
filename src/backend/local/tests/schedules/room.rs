//! Writers wait for a checkpoint where the overlay is full, and readers do not notice.

use super::*;

/// Room for one commit.
fn narrow() -> Options {
    Options {
        overlay_bytes: 1,
        ..slow()
    }
}

fn number(row: &Row) -> u8 {
    row.value[0]
}

/// What two rows hold that are always written together, 0 where they are not there, and the last commit settled since.
fn scan_both(local: &Local) -> (u8, u64) {
    let mut scan = local.scan(Tree::Entries, b"", None).unwrap();
    let moment = local.core.settling.settled();
    let mut seen = Vec::new();
    while let Some((_, row)) = scan.next().unwrap() {
        seen.push(number(&row));
    }
    assert!(scan.is_of_one_moment());
    match seen[..] {
        [] => (0, moment),
        [a, z] if a == z => (a, moment),
        _ => panic!("{seen:?}"),
    }
}

/// No clock helps: every waiter must be woken by who made room.
#[test]
fn who_waits_for_room_is_woken() {
    explore(|| {
        let (local, _directory) = fresh(narrow());
        stop_time();
        thread::scope(|threads| {
            for (number, durability) in [
                (1_u8, Durability::Immediate),
                (2, Durability::Eventual),
                (3, Durability::Eventual),
            ] {
                let local = &local;
                threads.spawn(move || {
                    for round in 0..3_u8 {
                        let write = rows(durability, vec![put([number], [round])]);
                        commit(local, write).unwrap();
                    }
                });
            }
        });
        for number in 1..=3_u8 {
            assert_eq!(read(&local, [number]).unwrap()[..], [2]);
        }
        close(&local);
    });
}

#[test]
fn readers_see_one_moment_while_a_checkpoint_runs() {
    explore(|| {
        let (local, _directory) = fresh(narrow());
        thread::scope(|threads| {
            threads.spawn(|| {
                for round in 1..=4_u8 {
                    let both = vec![put(b"a", [round]), put(b"z", [round])];
                    commit(&local, rows(Durability::Eventual, both)).unwrap();
                }
            });
            threads.spawn(|| {
                let mut last = 0;
                while last < 4 {
                    let (both, moment) = scan_both(&local);
                    assert!(both >= last && u64::from(both) <= moment, "{both}");
                    last = both;
                    thread::yield_now();
                }
            });
            threads.spawn(|| {
                let mut last = 0;
                while last < 4 {
                    let row = local.get(View::Settled, Tree::Entries, b"z").unwrap();
                    let found = row.as_ref().map_or(0, number);
                    assert!(found >= last, "{found} after {last}");
                    last = found;
                    thread::yield_now();
                }
            });
        });
        assert_eq!(read(&local, b"a").unwrap()[..], [4]);
        close(&local);
    });
}
