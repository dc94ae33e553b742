//! `cargo fuzz run sync`: see `hive_fuzz::sync`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::sync::TARGET.run(data);
});
