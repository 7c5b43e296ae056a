//! One large blob: in, out, and at random.

use std::path::Path;

use super::{Figures, Metric, Workload, anyone, less, more};
use crate::data::{Random, Stream};
use crate::engine::Kind;
use crate::measure::{Meter, disk_bytes, median_micros, mib_a_second, timed};

const MIB: u64 = 1024 * 1024;
const KEY: &str = "media/film.mp4";
const READ_BYTES: usize = 64 * 1024;
const READS: usize = 2_000;

pub const WRITE: &str = "write";
pub const READ: &str = "read";
pub const READ_AT: &str = "64 KiB at random, p50";
pub const PEAK: &str = "peak memory";
pub const WRITTEN: &str = "bytes written";
pub const DISK: &str = "disk after close";

const METRICS: &[Metric] = &[
    more(WRITE, "MiB/s"),
    more(READ, "MiB/s"),
    less(READ_AT, "µs"),
    less(PEAK, "MiB"),
    less(WRITTEN, "× the data"),
    less(DISK, "× the data"),
];

pub const SMALL: Workload = Workload {
    name: "stream-256-mib",
    title: "One blob of 256 MiB streamed in, durable at the end, and read back",
    metrics: METRICS,
    repetitions: 5,
    steps: &[|kind, directory| stream(kind, directory, 256 * MIB)],
    suits: anyone,
};

pub const LARGE: Workload = Workload {
    name: "stream-4-gib",
    title: "One blob of 4 GiB streamed in, durable at the end, and read back",
    metrics: METRICS,
    repetitions: 1,
    steps: &[|kind, directory| stream(kind, directory, 4096 * MIB)],
    suits: anyone,
};

fn stream(kind: Kind, directory: &Path, bytes: u64) -> Figures {
    let mut source = Stream::new(bytes);
    let meter = Meter::start();
    let engine = kind.open(directory);
    let write = timed(|| engine.stream_in(KEY, &mut source));
    let peak = meter.peak_mib();
    // Once unmeasured: what is read is warm.
    let mut read = std::time::Duration::ZERO;
    for _ in 0..2 {
        let mut seen = 0;
        read = timed(|| engine.stream_out(KEY, &mut |piece| seen += piece.len() as u64));
        assert_eq!(seen, bytes, "bytes read back");
    }
    let mut figures = vec![
        (WRITE, mib_a_second(bytes, write)),
        (READ, mib_a_second(bytes, read)),
        (PEAK, peak),
    ];
    if kind.name != "cacache" {
        let mut random = Random::new(1);
        let mut buffer = vec![0; READ_BYTES];
        let mut read_at = engine.read_at(KEY);
        let last = usize::try_from(bytes).unwrap() - READ_BYTES;
        let micros = median_micros(READS, || read_at(random.below(last) as u64, &mut buffer));
        figures.push((READ_AT, micros));
    }
    drop(engine);
    figures.push((WRITTEN, meter.written() / bytes as f64));
    figures.push((DISK, disk_bytes(directory) as f64 / bytes as f64));
    figures
}
