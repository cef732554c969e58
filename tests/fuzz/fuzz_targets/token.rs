#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| goldcrest_fuzz::token::run(input));
