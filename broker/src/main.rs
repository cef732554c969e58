//! The Goldcrest gateway.
fn main() {}
