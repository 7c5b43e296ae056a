use std::sync::Arc;

use super::*;
use crate::backend::Row;
use crate::backend::local::trees::fault::{FaultTrees, Lasting, Operation};
use crate::backend::local::trees::memory::MemoryTrees;

fn key(number: u32) -> Bytes {
    Bytes::from(format!("key{number:05}"))
}

/// So many rows in trees that can be damaged.
fn filled(count: u32) -> FaultTrees {
    let inner = MemoryTrees::new();
    let mut rows = (0..count).map(|number| {
        let row = Row {
            revision: 1,
            value: Bytes::from(number.to_string()),
        };
        let sealed = row::seal(Tree::Entries, &key(number), &row);
        (Tree::Entries, key(number), Some(sealed))
    });
    inner.apply(&mut rows).unwrap();
    FaultTrees::new(Arc::new(inner))
}

fn saved(trees: &FaultTrees) -> (Vec<Bytes>, Vec<Finding>) {
    let (mut rows, mut findings) = (Rows::new(), Vec::new());
    read_tree(trees, Tree::Entries, &mut rows, &mut findings).unwrap();
    (rows.into_keys().map(|(_, key)| key).collect(), findings)
}

/// By another look, for which sled has read older pages.
#[test]
fn an_older_version_of_a_row_takes_no_place_of_a_newer_one() {
    let (mut rows, mut findings) = (Rows::new(), Vec::new());
    for revision in [2, 1, 3] {
        let value = Bytes::from(revision.to_string());
        let row = Row { revision, value };
        let sealed = row::seal(Tree::Entries, b"key", &row);
        let key = Bytes::from_static(b"key");
        take(Tree::Entries, key, &sealed, &mut rows, &mut findings);
        let (kept, _) = rows[&(Tree::Entries, Bytes::from_static(b"key"))];
        assert_eq!(kept, revision.max(2));
    }
    assert_eq!(findings, []);
}

#[test]
fn bad_leaves_cost_their_own_rows_and_no_others() {
    let trees = filled(5000);
    assert_eq!(saved(&trees).0.len(), 5000);
    let bad = [0..3, 1003..1016, 1025..1026, 1995..2300, 4990..4992];
    for leaf in &bad {
        trees.damage(Tree::Entries, key(leaf.start), Some(&key(leaf.end)));
    }
    let (found, findings) = saved(&trees);
    let is_lost = |number: &u32| bad.iter().any(|leaf| leaf.contains(number));
    let expected: Vec<_> = (0..5000).filter(|n| !is_lost(n)).map(key).collect();
    assert!(found == expected, "{} of {}", found.len(), expected.len());
    let places: Vec<_> = findings
        .iter()
        .map(|finding| &finding.location[..])
        .collect();
    assert_eq!(
        places,
        [
            r#"Entries from "" to "key00003""#,
            r#"Entries from "key01002\x00" to "key01016""#,
            r#"Entries from "key01024\x00" to "key01026""#,
            r#"Entries from "key01994\x00" to "key02300""#,
            r#"Entries from "key04989\x00" to "key04992""#,
        ]
    );
}

#[test]
fn what_lies_before_a_bad_end_is_saved() {
    let trees = filled(3000);
    trees.damage(Tree::Entries, key(1500), None);
    let (found, findings) = saved(&trees);
    assert_eq!(found, (0..1500).map(key).collect::<Vec<_>>());
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].location, r#"Entries from "key01499\x00" on"#);
}

#[test]
fn a_disk_that_refuses_once_costs_nothing() {
    let trees = filled(3000);
    trees.fail(Operation::Range, 2, Lasting::Once);
    let (found, findings) = saved(&trees);
    assert_eq!((found.len(), findings.len()), (3000, 0));
    trees.fail(Operation::Range, 2, Lasting::ForEver);
    let (found, findings) = saved(&trees);
    assert_eq!((found.len(), findings.len()), (ROWS_A_STEP, 1));
}

/// Without a superblock nothing tells whether long keys lie in layers.
#[test]
fn a_damaged_row_hides_no_long_key() {
    let directory = tempfile::tempdir().unwrap();
    let trees = SledTrees::open(&directory.path().join(TREES), CACHE_BYTES).unwrap();
    let long = "l".repeat(295);
    let long = (0..500).map(|number| Bytes::from(format!("{long}{number:05}")));
    let short = (0..50).map(|number| Bytes::from(format!("a/{number}")));
    // They come into the last block of long keys.
    let neighbours = (0..5).map(|number| Bytes::from(format!("m/{number}")));
    let bad = Bytes::from("a/7");
    let apply = |keys: &[Bytes]| {
        let mut sealed = keys.iter().map(|key| {
            let row = Row {
                revision: 1,
                value: Bytes::from("value"),
            };
            let bytes = match *key == bad {
                true => Bytes::from("garbage"),
                false => row::seal(Tree::Entries, key, &row),
            };
            (Tree::Entries, key.clone(), Some(bytes))
        });
        trees.apply(&mut sealed).unwrap();
    };
    let mut keys: Vec<Bytes> = short.chain(long).collect();
    keys.sort();
    apply(&keys);
    let neighbours: Vec<Bytes> = neighbours.collect();
    apply(&neighbours);
    keys.extend(neighbours);
    trees.close().unwrap();

    let scratch = Scratch::beside(&directory.path().join("into")).unwrap();
    let (mut rows, mut findings) = (Rows::new(), Vec::new());
    let base = read(directory.path(), &scratch, false, &mut rows, &mut findings);
    assert_eq!(base.unwrap(), 0);
    let found: Vec<Bytes> = rows.into_keys().map(|(_, key)| key).collect();
    keys.retain(|key| *key != bad);
    assert!(found == keys, "{} of {}", found.len(), keys.len());
    let told: Vec<_> = findings.iter().map(|it| &it.location[..]).collect();
    assert_eq!(told, [r#"Entries "a/7""#]);
}

/// In sled's own file, once it opens at all: some damage it only meets when it reads, and then every leaf that holds one
/// of these rows is lost.
#[test]
fn damage_in_the_file_of_sled_costs_the_leaves_it_is_in() {
    const ROWS: u32 = 4000;
    let value = |number: u32| format!("<value {number:05}>");
    for attempt in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let open = || SledTrees::open(directory.path(), CACHE_BYTES);
        let trees = open().unwrap();
        let mut sealed = (0..ROWS).map(|number| {
            let row = Row {
                revision: 1,
                value: Bytes::from(value(number).repeat(20)),
            };
            let sealed = row::seal(Tree::Entries, &key(number), &row);
            (Tree::Entries, key(number), Some(sealed))
        });
        trees.apply(&mut sealed).unwrap();
        trees.close().unwrap();
        // The second opening writes a snapshot that tells where everything lies.
        open().unwrap().close().unwrap();
        let path = directory.path().join("db");
        let mut bytes = fs::read(&path).unwrap();
        let bad = [1000, 1400, 2500].map(|number| number + attempt * 7);
        for number in bad {
            let value = value(number).into_bytes();
            let places: Vec<_> = (0..bytes.len() - value.len())
                .filter(|at| bytes[*at..].starts_with(&value))
                .collect();
            assert!(!places.is_empty());
            places.into_iter().for_each(|at| bytes[at + 1] ^= 1);
        }
        fs::write(&path, bytes).unwrap();
        let Ok(trees) = open() else {
            continue;
        };
        let (mut rows, mut findings) = (Rows::new(), Vec::new());
        read_tree(&trees, Tree::Entries, &mut rows, &mut findings).unwrap();
        for number in bad {
            assert!(!rows.contains_key(&(Tree::Entries, key(number))));
        }
        assert_eq!(findings.len(), bad.len(), "{findings:?}");
        assert!(rows.len() >= 4000 - 3 * 200, "{}", rows.len());
        return;
    }
    panic!("sled opened none of them");
}
