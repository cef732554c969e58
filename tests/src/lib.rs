//! What the tests share.

pub mod honest;
pub mod memory;
pub mod random;
pub mod world;
