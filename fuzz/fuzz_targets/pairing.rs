//! `cargo fuzz run pairing`: see `hive_fuzz::pairing`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::pairing::TARGET.run(data);
});
