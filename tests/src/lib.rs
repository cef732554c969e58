//! What the tests share.

pub mod bed;
pub mod link;
pub mod packets;
pub mod peer;
pub mod server;
pub mod transcript;
pub mod watch;
pub mod world;

pub use goldcrest_tests_macros::conformance;
