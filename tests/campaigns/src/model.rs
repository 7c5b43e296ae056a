//! C7: operations on stores in memory and on disk against the model of the tests, where the process is killed as well.
//! What was acknowledged is there after it, whether it waited for the disk or not.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[allow(clippy::module_inception, reason = "the name it has there")]
#[path = "../../common/model/mod.rs"]
mod machine;

use komatik::{Durability, History};

use self::machine::{Machine, Setting, operations};
use crate::child::hush_sled;
use crate::common::Random;
use crate::damage::copy;
use crate::tally::{Outcome, Tally};
use crate::{Run, disk};

/// About how many bytes an operation takes.
const OPERATION_BYTES: usize = 16;
/// How many operations a store sees.
const OPERATIONS_A_STORE: u64 = 1_000;
/// One operation in so many is on a store on disk.
const ON_DISK: u64 = 10;
/// Dropping a store whose disk is gone takes no longer.
const LIMIT: Duration = Duration::from_secs(30);

static CRASHES: AtomicU64 = AtomicU64::new(0);

pub fn run(run: &Run) -> crate::Result {
    hush_sled();
    let mut tally = Tally::new("model", run.seed);
    let count = run.count.unwrap_or(1_000_000);
    let on_disk = count / ON_DISK;
    let scratch = tempfile::tempdir_in(&run.scratch)?;
    let path = scratch.path().join("store");
    let (memory, disk) = std::thread::scope(|scope| {
        let memory = scope.spawn(|| stores(run.seed, count - on_disk, in_memory));
        // Only one store on disk at a time can be watched.
        let disk = stores(run.seed, on_disk, |seed| on_disk_at(&path, seed));
        (memory.join().unwrap(), disk)
    });
    tally.add("operations in memory", memory.0);
    tally.add("operations on disk", disk.0);
    tally.add("crashes", CRASHES.load(Ordering::Relaxed));
    memory
        .1
        .into_iter()
        .chain(disk.1)
        .for_each(|violation| tally.violation(violation));
    if on_disk >= 5_000 && tally.count("crashes") == 0 {
        tally.violation("not one crash".to_owned());
    }
    Ok(Outcome::Done(tally))
}

/// Runs so many operations on one store after the other; answers how many there were, and what went wrong.
fn stores(seed: u64, count: u64, setting: impl Fn(u64) -> Setting) -> (u64, Vec<String>) {
    let (mut done, mut violations) = (0, Vec::new());
    for seed in seed.. {
        if done >= count || violations.len() > 10 {
            break;
        }
        let setting = setting(seed);
        let told = format!("seed {seed}: {setting:?}");
        let store =
            AssertUnwindSafe(|| operate(seed, setting, OPERATIONS_A_STORE.min(count - done)));
        match catch_unwind(store) {
            Ok(operations) => done += operations,
            Err(_) => {
                // A long run that is cut short has told its seeds all the same.
                eprintln!("{told}");
                violations.push(told);
            }
        }
    }
    (done, violations)
}

fn operate(seed: u64, setting: Setting, count: u64) -> u64 {
    let directory = setting.directory.clone();
    if let Some(directory) = &directory {
        // What a panic left.
        disk::release();
        let _ = fs::remove_dir_all(directory);
        disk::watch(directory);
    }
    let count = usize::try_from(count).unwrap();
    let bytes = Random::new(seed).bytes(count * OPERATION_BYTES);
    let mut done = 0;
    let counted = operations(&bytes).take(count).inspect(|_| done += 1);
    Machine::open(setting).run(counted);
    if directory.is_some() {
        disk::release();
    }
    done
}

fn in_memory(seed: u64) -> Setting {
    let mut random = Random::new(seed);
    random.next();
    Setting {
        directory: None,
        chunk_bytes: [512, 4096, 65_536][random.below(3)],
        durability: Durability::Immediate,
        history: history(&mut random),
        overlay_bytes: 0,
        crash: None,
    }
}

fn on_disk_at(directory: &Path, seed: u64) -> Setting {
    let mut random = Random::new(seed);
    random.next();
    let chunk_bytes = [512, 4096, 4097, 65_536][random.below(4)];
    Setting {
        directory: Some(directory.to_owned()),
        chunk_bytes,
        durability: [Durability::Immediate, Durability::Eventual][random.below(2)],
        // Chunks in trees are in the journal as well, where one of them would leave the watcher behind.
        history: match chunk_bytes {
            0..=4096 => History::unlimited(),
            _ => history(&mut random),
        },
        overlay_bytes: [16 * 1024, 256 * 1024, 8 * 1024 * 1024][random.below(3)],
        crash: Some(crash),
    }
}

fn history(random: &mut Random) -> History {
    match random.below(3) {
        0 => History::of_bytes(100_000).revisions(50),
        _ => History::unlimited(),
    }
}

/// A kill, for all that the directory can tell: nothing is written any more, and the next process has a directory in
/// which this one, whatever of it is still about, does nothing.
fn crash(directory: &Path, end: &mut dyn FnMut()) {
    disk::freeze();
    let killed = directory.with_extension("killed");
    copy(directory, &killed);
    let begun = Instant::now();
    end();
    assert!(begun.elapsed() < LIMIT, "a store whose disk is gone hangs");
    disk::release();
    fs::remove_dir_all(directory).unwrap();
    fs::rename(killed, directory).unwrap();
    disk::watch(directory);
    CRASHES.fetch_add(1, Ordering::Relaxed);
}
