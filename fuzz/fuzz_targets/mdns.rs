//! `cargo fuzz run mdns`: see `hive_fuzz::mdns`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    hive_fuzz::mdns::TARGET.run(data);
});
