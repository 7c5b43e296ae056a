//! Small puts, each durable before the next.

use std::path::Path;
use std::thread;

use super::{Figures, Metric, Workload, durable, more};
use crate::data::{content, key};
use crate::engine::{Durability, Kind};
use crate::measure::{rate, timed};

pub const PUT: &str = "put";
const METRICS: &[Metric] = &[more(PUT, "puts/s")];
const BYTES: usize = 300;

pub const ONE_THREAD: Workload = Workload {
    name: "durable-1-thread",
    title: "Small durable puts, 1 thread",
    metrics: METRICS,
    repetitions: 5,
    steps: &[|kind, directory| put(kind, directory, 1, 2_000)],
    suits: durable,
};

pub const EIGHT_THREADS: Workload = Workload {
    name: "durable-8-threads",
    title: "Small durable puts, 8 threads",
    metrics: METRICS,
    repetitions: 5,
    steps: &[|kind, directory| put(kind, directory, 8, 1_000)],
    suits: durable,
};

fn put(kind: Kind, directory: &Path, threads: usize, each: usize) -> Figures {
    let engine = kind.open(directory);
    let value = content(1, BYTES);
    // The first of all makes folders and files.
    engine.put("settings/first", &value, Durability::Immediate);
    let took = timed(|| {
        thread::scope(|scope| {
            for thread in 0..threads {
                let (engine, value) = (&engine, &value);
                scope.spawn(move || {
                    for number in 0..each {
                        let key = key("settings", thread * each + number);
                        engine.put(&key, value, Durability::Immediate);
                    }
                });
            }
        });
    });
    vec![(PUT, rate(threads * each, took))]
}
