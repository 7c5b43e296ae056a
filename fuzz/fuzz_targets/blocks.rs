#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| komatik::fuzzing::blocks(bytes));
