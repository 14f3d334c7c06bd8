//! libFuzzer's way into `vestibule_fuzz::mcp_message`. Without libFuzzer there is nothing to run.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vestibule_fuzz::mcp_message(data));

#[cfg(not(fuzzing))]
fn main() {}
