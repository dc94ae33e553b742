//! `cargo fuzz run codes`: see `hive_fuzz::codes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::codes::TARGET.run(data);
});
