//! What the fuzz targets do with their input. A test replays the inputs of `corpus/` with the same functions.

pub mod broker;
pub mod decode;
pub mod topics;

use arbitrary::{Arbitrary, Unstructured};

/// What `input` stands for, as `libfuzzer_sys` reads it; too few bytes stand for nothing.
fn read<'a, T: Arbitrary<'a>>(input: &'a [u8]) -> Option<T> {
    if input.len() < T::size_hint(0).0 {
        return None;
    }
    T::arbitrary_take_rest(Unstructured::new(input)).ok()
}
