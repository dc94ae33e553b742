//! `cargo fuzz run maps`: see `hive_fuzz::maps`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::maps::TARGET.run(data);
});
