//! Replays the inputs that fuzzing found through the functions that the fuzz targets call. Each input takes a way through the code
//! that no other input takes.
//!
//! When a fault that a fuzzer found is repaired, its input is added to `tests/fuzz/corpus/TARGET/`.

#[allow(unreachable_pub)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::panic::catch_unwind;
use std::path::Path;

/// Runs all inputs of a target.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut count = 0;
    for input in inputs {
        let path = input.expect("an entry of a folder of this repository").path();
        let bytes = std::fs::read(&path).expect("an input is a file");
        assert!(catch_unwind(|| run(&bytes)).is_ok(), "it fails with {}", path.display());
        count += 1;
    }
    assert!(count >= 100, "{} has {count} inputs alone: the corpus is not whole", folder.display());
}

#[test]
fn fuzzed_bytes_as_packets_do_no_harm() {
    replay("decode", targets::decode::run);
}

#[test]
fn fuzzed_files_of_permissions_grant_what_they_allow() {
    replay("permissions", targets::permissions::run);
}

#[test]
fn fuzzed_filters_and_topics_match_as_the_model_says() {
    replay("topics", targets::topics::run);
}

#[test]
fn fuzzed_packets_of_several_clients_do_no_harm() {
    replay("broker", targets::broker::run);
}

#[test]
fn fuzzed_bytes_as_frames_of_websocket_do_no_harm() {
    replay("websocket", targets::websocket::run);
}

#[test]
fn fuzzed_bytes_as_headers_of_proxies_do_no_harm() {
    replay("proxy_header", targets::proxy_header::run);
}

#[test]
fn fuzzed_bytes_as_tokens_and_keys_do_no_harm() {
    replay("token", targets::token::run);
}
