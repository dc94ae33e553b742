//! `cargo fuzz run frames`: see `hive_fuzz::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::frames::TARGET.run(data);
});
