//! What becomes of those who read everything while everything is overwritten, and too little of the past is kept.

use std::io::{self, ErrorKind};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::backend::Backend;
use crate::backend::local::{Local, Options};
use crate::options::PutMode;
use crate::report::Step;

const BLOBS: u8 = 60;

fn go_on(_: Step) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// A store of blobs that keeps next to nothing for open scans.
fn forgetful(directory: &tempfile::TempDir) -> Store {
    let options = Options {
        retained_bytes: 1000,
        ..Options::default()
    };
    let path = directory.path().join("store");
    let store = Store::on_backend(Arc::new(Local::open(&path, options).unwrap())).unwrap();
    put_all(&store, 1);
    store.compact(go_on).unwrap();
    store
}

fn put_all(store: &Store, version: u8) {
    store
        .transaction(|all| {
            (0..BLOBS).try_for_each(|number| {
                let bytes = [vec![version; 10_000], vec![number]].concat();
                all.put(&format!("blob{number}"), &bytes[..]).map(drop)
            })
        })
        .unwrap();
}

/// Calls `work` with a progress function that overwrites and gives back everything once, at the step that `is_due`.
fn overtake<R>(
    store: &Store,
    is_due: impl Fn(Step) -> bool,
    work: impl FnOnce(&mut dyn FnMut(Step) -> ControlFlow<()>) -> R,
) -> R {
    let mut is_over = false;
    let worked = work(&mut |step| {
        if !is_over && is_due(step) {
            is_over = true;
            for version in 2..6 {
                put_all(store, version);
                store.compact(go_on).unwrap();
            }
        }
        ControlFlow::Continue(())
    });
    assert!(is_over, "it came to that");
    worked
}

fn is_busy<R>(result: &Result<R, Error>) -> bool {
    matches!(result, Err(Error::Io { source, .. }) if source.kind() == ErrorKind::ResourceBusy)
}

#[test]
fn verify_takes_what_was_replaced_meanwhile_for_no_damage() {
    let directory = tempfile::tempdir().unwrap();
    let store = forgetful(&directory);
    let report = overtake(
        &store,
        |step| step.phase == "entries" && step.done == 10,
        |progress| store.verify(progress),
    );
    let report = report.unwrap();
    assert!(report.is_sound(), "{report:?}");
    assert!(report.entries < u64::from(BLOBS), "some were gone");
    assert_eq!(store.verify(go_on).unwrap().entries, u64::from(BLOBS));
}

#[test]
fn an_export_that_cannot_be_of_one_moment_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let store = forgetful(&directory);
    for due in [0, 10, 30] {
        let exported = overtake(
            &store,
            |step| step.phase == "entries" && step.done == due,
            |progress| store.export(io::sink(), progress),
        );
        assert!(is_busy(&exported), "{exported:?}");
    }
    assert_eq!(store.export(io::sink(), go_on).unwrap(), u64::from(BLOBS));
}

/// Also where every row is there in time, of another moment.
#[test]
fn an_export_of_small_entries_does_not_mix_moments() {
    let directory = tempfile::tempdir().unwrap();
    let store = forgetful(&directory);
    let save_all = |version: u8| {
        (0..250).for_each(|number| drop(store.save(&format!("small{number}"), &version).unwrap()));
    };
    save_all(1);
    let exported = overtake(
        &store,
        |step| step.phase == "entries" && step.done == u64::from(BLOBS) + 1,
        |progress| {
            store.scoped("").unwrap().export(io::sink(), |step| {
                let flow = progress(step);
                if step.done == u64::from(BLOBS) + 2 {
                    save_all(2);
                    store.compact(go_on).unwrap();
                    save_all(3);
                    store.compact(go_on).unwrap();
                }
                flow
            })
        },
    );
    assert!(is_busy(&exported), "{exported:?}");
}

#[test]
fn a_backup_that_cannot_be_of_one_moment_says_so_and_leaves_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let store = forgetful(&directory);
    // Of the size that makes a step of its own.
    store.put("blob0", vec![0; 2_000_000]).unwrap();
    let path = directory.path().join("new/copy");
    for phase in ["rows", "content"] {
        let copied = overtake(
            &store,
            |step| step.phase == phase,
            |progress| store.backup(&path, progress),
        );
        assert!(is_busy(&copied), "{phase}: {copied:?}");
        assert!(!directory.path().join("new").exists());
        store.put("blob0", vec![0; 2_000_000]).unwrap();
    }
    store.backup(&path, go_on).unwrap();
    let copy = Store::open(&path).unwrap();
    assert_eq!(copy.verify(go_on).unwrap().entries, u64::from(BLOBS));
}

#[test]
fn what_was_imported_is_durable_when_the_call_returns() {
    let source = Store::in_memory().unwrap();
    (0..10).for_each(|number| drop(source.save(&number.to_string(), &number).unwrap()));
    let mut archive = Vec::new();
    source.export(&mut archive, go_on).unwrap();
    let directory = tempfile::tempdir().unwrap();
    // Nothing else syncs meanwhile.
    let options = Options {
        eventual_interval: Duration::from_secs(3600),
        ..Options::default()
    };
    let local = Arc::new(Local::open(directory.path(), options).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    let imported = store.import(&archive[..], PutMode::Create, go_on).unwrap();
    assert_eq!(imported, 10);
    assert_eq!(local.durable(), local.history().newest);
    // Also what came before it failed.
    let cut = &archive[..archive.len() / 2];
    let failed = store.import(cut, PutMode::Overwrite, go_on);
    assert!(matches!(failed, Err(Error::Damaged { .. })), "{failed:?}");
    assert!(local.history().newest > 10);
    assert_eq!(local.durable(), local.history().newest);
}

/// When a copy is wanted most.
#[test]
fn a_store_whose_sync_failed_can_still_be_copied_and_looked_at() {
    let directory = tempfile::tempdir().unwrap();
    let local = Arc::new(Local::open(&directory.path().join("store"), Options::default()).unwrap());
    let store = Store::on_backend(local.clone()).unwrap();
    store.put("before", "1").unwrap();
    local.fail_next_sync();
    let failed = store.put("behind", "2");
    assert!(matches!(failed, Err(Error::Poisoned { .. })), "{failed:?}");

    let copy = directory.path().join("copy");
    store.backup(&copy, go_on).unwrap();
    let told = Store::open(&copy).unwrap();
    assert_eq!(told.get("before").unwrap().as_deref(), Some(&b"1"[..]));
    assert!(!told.exists("behind").unwrap());

    let report = store.verify(go_on).unwrap();
    assert!(report.is_sound(), "{report:?}");
    let [unchecked] = &report.unchecked[..] else {
        panic!("{report:?}");
    };
    assert!(
        unchecked.problem.contains("a write failed"),
        "{unchecked:?}"
    );
}

/// As readers do, who read a chunk at a time half as fast.
#[test]
fn a_backup_and_an_export_read_many_chunks_at_once() {
    use crate::backend::local::tests::reads;
    const MIB: usize = 1024 * 1024;
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    let mut bytes = (0..=250).cycle().take(16 * MIB + 5).collect::<Vec<u8>>();
    bytes[3 * MIB] = 251;
    store.put("film", &bytes).unwrap();
    let count = |work: &dyn Fn()| {
        let before = reads();
        work();
        reads() - before
    };
    let chunks = 16 * MIB / 65_536;
    let copy = directory.path().join("copy");
    let mut archive = Vec::new();
    let of_backup = count(&|| store.backup(&copy, go_on).unwrap());
    let of_export = count(&|| assert_eq!(store.export(io::sink(), go_on).unwrap(), 1));
    for reads in [of_backup, of_export] {
        assert!(reads < chunks as u64 / 2, "{reads} for {chunks} chunks");
    }
    assert!(Store::open(&copy).unwrap().get("film").unwrap().unwrap() == bytes);
    store.export(&mut archive, go_on).unwrap();
    let other = Store::in_memory().unwrap();
    other.import(&archive[..], PutMode::Create, go_on).unwrap();
    assert!(other.get("film").unwrap().unwrap() == bytes);
}
