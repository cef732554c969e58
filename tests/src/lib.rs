//! Test beds, clients and stores that several test programs use.

pub mod attentive;
pub mod bed;
pub mod disk;
#[path = "../../firmware-example/src/memory.rs"]
pub mod firmware;
pub mod got;
pub mod honest;
pub mod link;
pub mod memory;
pub mod nor;
pub mod outages;
pub mod packets;
pub mod peer;
pub mod random;
pub mod server;
pub mod store;
pub mod transcript;
pub mod untiring;
pub mod watch;
pub mod world;

pub use goldcrest_tests_macros::conformance;
