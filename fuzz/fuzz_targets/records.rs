//! `cargo fuzz run records`: see `hive_fuzz::records`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::records::TARGET.run(data);
});
