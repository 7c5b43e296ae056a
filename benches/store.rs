//! What the calls of the store cost. A name says how large the content is and what the write survives: `eventual`
//! the end of the process, `immediate` a power cut.
#![allow(clippy::unwrap_used, reason = "a benchmark that panics is broken")]

use std::hint::black_box;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use komatik::{Durability, ListOptions, Store, UploadOptions};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A write goes to one of so many keys in turn, so that the store does not grow with the length of the run.
const KEYS: u64 = 2_000;
/// Entries of the store that is listed.
const LISTED: u64 = 100_000;
/// Bytes of a blob that is streamed.
const STREAMED: usize = 64 * 1024 * 1024;

const DURABILITIES: [(Durability, &str); 2] = [
    (Durability::Eventual, "eventual"),
    (Durability::Immediate, "immediate"),
];

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    documents(&mut criterion);
    blobs(&mut criterion);
    streams(&mut criterion);
    lists(&mut criterion);
    commits(&mut criterion);
    transactions(&mut criterion);
    criterion.final_summary();
}

/// An empty store. The directory goes with the first value.
fn store() -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let store = Store::open(directory.path().join("store")).unwrap();
    (directory, store)
}

/// Benchmarks that are done in a few seconds each.
fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    group
}

/// The keys of `folder` in turn, for ever.
fn keys(folder: &str) -> impl FnMut() -> String + use<> {
    let folder = folder.to_owned();
    let mut number = 0;
    move || {
        number = (number + 1) % KEYS;
        format!("{folder}/{number}")
    }
}

/// A document of about 300 bytes.
fn document() -> Value {
    json!({
        "name": "Ittoqqortoormiit",
        "size": 345,
        "position": {"latitude": 70.485_278, "longitude": -21.966_667},
        "tags": ["settlement", "harbour", "remote"],
        "text": "x".repeat(160),
    })
}

/// Bytes that look random.
fn content(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(bytes).collect()
}

fn documents(criterion: &mut Criterion) {
    let (_directory, store) = store();
    let document = document();
    let mut group = group(criterion, "document of 300 B");
    for (durability, survives) in DURABILITIES {
        let store = store.with_durability(durability);
        let mut key = keys("documents");
        group.bench_function(format!("save, {survives}"), |bench| {
            bench.iter(|| store.save(&key(), &document).unwrap());
        });
        group.bench_function(format!("merge, {survives}"), |bench| {
            let mut seen = 0_u64;
            bench.iter(|| {
                seen += 1;
                store
                    .merge(&key(), &json!({"seen": {"count": seen}}))
                    .unwrap()
            });
        });
    }
    let mut key = keys("loaded");
    for _ in 0..KEYS {
        store.save(&key(), &document).unwrap();
    }
    group.bench_function("load", |bench| {
        bench.iter(|| store.load::<Value>(&key()).unwrap().unwrap());
    });
    group.finish();
}

fn blobs(criterion: &mut Criterion) {
    for (size, name) in [(4 * 1024, "blob of 4 KiB"), (100 * 1024, "blob of 100 KiB")] {
        let (_directory, store) = store();
        let content = content(size);
        let mut group = group(criterion, name);
        group.throughput(Throughput::Bytes(u64::try_from(size).unwrap()));
        let mut key = keys("blobs");
        for _ in 0..KEYS {
            store
                .with_durability(Durability::Eventual)
                .put(&key(), &content)
                .unwrap();
        }
        store.flush().unwrap();
        group.bench_function("get", |bench| {
            bench.iter(|| store.get(&key()).unwrap().unwrap());
        });
        for (durability, survives) in DURABILITIES {
            let store = store.with_durability(durability);
            group.bench_function(format!("put, {survives}"), |bench| {
                bench.iter(|| store.put(&key(), &content).unwrap());
            });
        }
        group.finish();
    }
}

fn streams(criterion: &mut Criterion) {
    let (_directory, store) = store();
    let content = content(STREAMED);
    let mut group = group(criterion, "stream of 64 MiB");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(8));
    group.throughput(Throughput::Bytes(u64::try_from(STREAMED).unwrap()));
    group.bench_function("in, immediate", |bench| {
        bench.iter(|| {
            store
                .upload("stream", &content[..], UploadOptions::new())
                .unwrap()
        });
    });
    group.bench_function("out, by Read", |bench| {
        let mut buffer = vec![0; 256 * 1024];
        bench.iter(|| {
            let mut reader = store.reader("stream").unwrap().unwrap();
            while reader.read(&mut buffer).unwrap() > 0 {}
        });
    });
    group.bench_function("out, by chunks", |bench| {
        bench.iter(|| {
            let reader = store.reader("stream").unwrap().unwrap();
            reader
                .chunks()
                .for_each(|chunk| drop(black_box(chunk.unwrap())));
        });
    });
    group.finish();
}

fn lists(criterion: &mut Criterion) {
    let (_directory, store) = store();
    let filling = store.with_durability(Durability::Eventual);
    for number in 0..LISTED {
        let key = format!("folder/{:02}/{number:06}", number % 10);
        filling.save(&key, &number).unwrap();
    }
    store.flush().unwrap();
    let mut group = group(criterion, "list of 100,000");
    group.throughput(Throughput::Elements(100));
    group.bench_function("page of 100 entries", |bench| {
        let mut page = 0;
        bench.iter(|| {
            page = (page + 7_919) % 9_000;
            let after = format!("{:06}", page * 10 + 3);
            let options = ListOptions::new().after(after).limit(100);
            let listed = store.list_with("folder/03", options).unwrap();
            assert_eq!(listed.map(|item| drop(item.unwrap())).count(), 100);
        });
    });
    group.throughput(Throughput::Elements(10));
    group.bench_function("10 folders of 10,000 entries", |bench| {
        bench.iter(|| assert_eq!(store.list("folder").unwrap().count(), 10));
    });
    group.sample_size(10);
    group.throughput(Throughput::Elements(LISTED));
    group.bench_function("all, recursive", |bench| {
        bench.iter(|| {
            let listed = store.list_with("", ListOptions::new().recursive()).unwrap();
            let listed = listed.map(|item| drop(item.unwrap())).count();
            assert_eq!(u64::try_from(listed).unwrap(), LISTED);
        });
    });
    group.finish();
}

fn commits(criterion: &mut Criterion) {
    let mut group = group(criterion, "commit of a put of 100 B, immediate");
    group.throughput(Throughput::Elements(1));
    for threads in [1, 8] {
        let (_directory, store) = store();
        group.bench_function(format!("threads: {threads}"), |bench| {
            bench.iter_custom(|commits| commit(&store, threads, commits));
        });
    }
    group.finish();
}

/// How long it takes so many threads to make so many commits together.
fn commit(store: &Store, threads: u64, commits: u64) -> Duration {
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let own = commits / threads + u64::from(thread < commits % threads);
            let mut key = keys(&thread.to_string());
            scope.spawn(move || {
                for _ in 0..own {
                    store.put(&key(), [7; 100]).unwrap();
                }
            });
        }
    });
    began.elapsed()
}

fn transactions(criterion: &mut Criterion) {
    let (_directory, store) = store();
    let document = document();
    let mut group = group(criterion, "transaction of 10 documents of 300 B");
    group.throughput(Throughput::Elements(10));
    for (durability, survives) in DURABILITIES {
        let store = store.with_durability(durability);
        let mut key = keys("documents");
        group.bench_function(survives, |bench| {
            bench.iter(|| {
                let written = store.transaction(|transaction| {
                    (0..10).try_for_each(|_| transaction.save(&key(), &document))
                });
                written.unwrap();
            });
        });
    }
    group.finish();
}
