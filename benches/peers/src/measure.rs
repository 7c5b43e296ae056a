//! What a process took: memory, bytes written, room on the disk, and times.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

const MIB: f64 = 1024.0 * 1024.0;

/// The memory and the bytes written of this process from a moment on.
pub struct Meter {
    resident: u64,
    written: u64,
}

impl Meter {
    pub fn start() -> Meter {
        // Linux: makes the peak begin anew.
        let _ = fs::write("/proc/self/clear_refs", "5");
        Meter {
            resident: status("VmRSS:"),
            written: written_bytes(),
        }
    }

    /// MiB beyond what the process had at the start, at most so far. Pages of mapped files count.
    pub fn peak_mib(&self) -> f64 {
        status("VmHWM:").saturating_sub(self.resident) as f64 / MIB
    }

    /// Bytes that went, or are to go, to the disk.
    pub fn written(&self) -> f64 {
        (written_bytes() - self.written) as f64
    }
}

/// A line of `/proc/self/status` that is in kB, in bytes.
fn status(name: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(name));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.unwrap().parse::<u64>().unwrap() * 1024
}

fn written_bytes() -> u64 {
    let io = fs::read_to_string("/proc/self/io").unwrap();
    let of = |name: &str| -> u64 {
        let line = io.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().parse().unwrap()
    };
    of("write_bytes:").saturating_sub(of("cancelled_write_bytes:"))
}

/// Bytes that everything below a directory takes on the disk.
pub fn disk_bytes(directory: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(directory) else {
        return 0;
    };
    entries
        .map(|entry| {
            let entry = entry.unwrap();
            // What an engine deletes meanwhile takes nothing.
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => disk_bytes(&entry.path()),
                Ok(metadata) => metadata.blocks() * 512,
                Err(_) => 0,
            }
        })
        .sum()
}

/// How often a second.
pub fn rate(count: usize, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

pub fn mib_a_second(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / MIB / took.as_secs_f64()
}

pub fn timed(work: impl FnOnce()) -> Duration {
    let begun = Instant::now();
    work();
    begun.elapsed()
}

/// The median time of so many calls in microseconds.
pub fn median_micros(count: usize, mut call: impl FnMut()) -> f64 {
    let times = (0..count).map(|_| timed(&mut call).as_secs_f64() * 1e6);
    median(times.collect())
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}
