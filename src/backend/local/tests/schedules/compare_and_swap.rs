//! Reading, deciding and writing at the same time: what one decides on is what the others left.

use super::*;
use crate::backend::Requirement;

const KEY: &[u8] = b"count";

/// Adds 1 on condition that nobody else has written; answers whether nobody had.
fn add_one(local: &Local, durability: Durability) -> bool {
    let row = local.get(View::Latest, Tree::Entries, KEY).unwrap();
    let (revision, count) = row.map_or((None, 0), |row| (Some(row.revision), row.value[0]));
    let adding = Commit {
        requires: vec![Requirement {
            tree: Tree::Entries,
            key: Bytes::from_static(KEY),
            revision,
        }],
        ..rows(durability, vec![put(KEY, [count + 1])])
    };
    let ordered = ordered(local, adding).unwrap();
    ordered.inspect(|revision| local.settle(*revision).unwrap());
    ordered.is_some()
}

#[test]
fn no_addition_is_lost() {
    explore(|| {
        let options = Options {
            overlay_bytes: 1,
            ..slow()
        };
        let (local, _directory) = fresh(options);
        thread::scope(|threads| {
            for durability in [
                Durability::Eventual,
                Durability::Eventual,
                Durability::Immediate,
            ] {
                let local = &local;
                threads.spawn(move || {
                    for _ in 0..2 {
                        while !add_one(local, durability) {}
                    }
                });
            }
        });
        assert_eq!(read(&local, KEY).unwrap()[..], [6]);
        assert_eq!(local.core.settling.settled(), 6);
    });
}
