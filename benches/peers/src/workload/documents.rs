//! 100,000 documents: saved, loaded at random, merged.

use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{Figures, Metric, Workload, less, more};
use crate::data::{Random, document, key};
use crate::engine::{Durability, Engine, FILES, Kind, Work};
use crate::measure::{Meter, disk_bytes, rate, timed};

pub const SAVE: &str = "save";
pub const LOAD: &str = "load";
pub const MERGE: &str = "merge";

const COUNT: usize = 100_000;
const METRICS: &[Metric] = &[
    more(SAVE, "documents/s"),
    more(LOAD, "documents/s"),
    more(MERGE, "documents/s"),
    less("peak memory", "MiB"),
    less("disk after close", "MiB"),
];

pub const ONE_THREAD: Workload = Workload {
    name: "documents-1-thread",
    title: "100,000 documents of 300 B saved, loaded at random and merged, 1 thread",
    metrics: METRICS,
    repetitions: 3,
    steps: &[|kind, directory| documents(kind, directory, 1)],
    suits,
};

pub const TWO_THREADS: Workload = Workload {
    name: "documents-2-threads",
    title: "100,000 documents of 300 B saved, loaded at random and merged, 2 threads",
    metrics: METRICS,
    repetitions: 3,
    steps: &[|kind, directory| documents(kind, directory, 2)],
    suits,
};

/// A file a document is no way to keep 100,000 of them.
fn suits(kind: Kind) -> bool {
    kind.work == Work::Same || (kind.name != FILES && kind.name != "cacache")
}

fn documents(kind: Kind, directory: &Path, threads: usize) -> Figures {
    let documents: Vec<_> = (0..COUNT).map(document).collect();
    let keys: Vec<_> = (0..COUNT).map(|number| key("catalogue", number)).collect();
    let meter = Meter::start();
    let engine = kind.open(directory);
    let engine = engine.as_ref();
    // Saves and merges end with what makes them durable.
    let save = side_by_side(engine, threads, true, |_, number| {
        engine.save(&keys[number], &documents[number], Durability::Eventual);
    });
    let load = side_by_side(engine, threads, false, |random, _| {
        let number = random.below(COUNT);
        assert_eq!(engine.load(&keys[number])["size"], number);
    });
    let merge = side_by_side(engine, threads, true, |random, number| {
        let patch = json!({"seen": {"count": number}, "size": 1});
        engine.merge(&keys[random.below(COUNT)], &patch);
    });
    vec![
        (SAVE, rate(COUNT, save)),
        (LOAD, rate(COUNT, load)),
        (MERGE, rate(COUNT, merge)),
        ("peak memory", meter.peak_mib()),
        (
            "disk after close",
            disk_bytes(directory) as f64 / 1024.0 / 1024.0,
        ),
    ]
}

/// Each number once, in turn over the threads.
fn side_by_side(
    engine: &dyn Engine,
    threads: usize,
    flushes: bool,
    work: impl Fn(&mut Random, usize) + Sync,
) -> Duration {
    timed(|| {
        thread::scope(|scope| {
            for thread in 0..threads {
                let work = &work;
                scope.spawn(move || {
                    let mut random = Random::new(1 + thread as u64);
                    for number in (thread..COUNT).step_by(threads) {
                        work(&mut random, number);
                    }
                });
            }
        });
        if flushes {
            engine.flush();
        }
    })
}
