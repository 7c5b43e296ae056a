#![no_main]
//! Operations on a store against the model of the tests. The first byte says on which kind of store.

#[path = "../../tests/common/model/mod.rs"]
mod model;

use komatik::{Durability, History};
use model::{Machine, Setting, operations};

/// Later ones only cost time.
const MAX_OPERATIONS: usize = 300;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((kind, bytes)) = bytes.split_first() else {
        return;
    };
    // A store on disk takes a hundred times as long to open.
    let directory = (kind % 8 == 0).then(|| tempfile::tempdir().unwrap());
    let setting = Setting {
        directory: directory.as_ref().map(|it| it.path().join("store")),
        chunk_bytes: [512, 4096, 4097, 65_536][usize::from(kind >> 3 & 3)],
        durability: Durability::Eventual,
        history: History::unlimited(),
        overlay_bytes: if kind & 32 == 0 {
            16 * 1024
        } else {
            8 * 1024 * 1024
        },
        crash: None,
    };
    Machine::open(setting).run(operations(bytes).take(MAX_OPERATIONS));
});
