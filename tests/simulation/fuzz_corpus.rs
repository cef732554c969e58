//! The inputs that fuzzing found, each of which takes a way through the code that no other takes, run again by the functions that the
//! fuzz targets call.
//!
//! An input that a fuzzer fails on is added to `tests/fuzz/corpus/TARGET/` when it is repaired.

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
fn any_bytes_as_packets() {
    replay("decode", targets::decode::run);
}

#[test]
fn any_filters_and_topics() {
    replay("topics", targets::topics::run);
}

#[test]
fn any_packets_of_several_clients() {
    replay("broker", targets::broker::run);
}
