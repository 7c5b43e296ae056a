#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let scratch = tempfile::tempdir().unwrap();
    komatik::fuzzing::store_directory(bytes, scratch.path());
});
