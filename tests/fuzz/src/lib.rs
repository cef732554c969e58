//! The functions of the fuzz targets. A test in `tests/simulation` replays the inputs of `corpus/` with the same
//! functions.

pub mod broker;
pub mod decode;
pub mod permissions;
pub mod proxy_header;
pub mod token;
pub mod topics;
pub mod websocket;

use arbitrary::{Arbitrary, Unstructured};

/// Decodes `input` as `libfuzzer_sys` does; `None` if there are too few bytes.
fn read<'a, T: Arbitrary<'a>>(input: &'a [u8]) -> Option<T> {
    if input.len() < T::size_hint(0).0 {
        return None;
    }
    T::arbitrary_take_rest(Unstructured::new(input)).ok()
}
