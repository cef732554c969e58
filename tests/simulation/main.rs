//! The core under a virtual clock: happenings at the same moment and in any order, at limits, under attack, and with power cuts.
//!
//! All these tests are one program, which is linked once. The tests that count allocations are programs of their own:
//! [`allocations.rs`](allocations.rs) and [`memory_ceiling`](memory_ceiling/main.rs).

mod abuse;
mod bodies;
mod collisions;
mod edges;
mod endings;
mod events_told;

mod expired_in_flight;
mod firmware;
mod flash_broker;
mod flash_load;
mod flash_log;
mod fuzz_corpus;
mod grants;
mod greeting;
mod groups_across_shards;
mod groups_left;
mod hostile;
mod interest;
mod keep_alive;
mod limits;
mod local_clients;
mod long_payloads;
mod long_queues;
mod mounts;
mod operators;
mod passing;
mod permissions;
mod power;
mod power_groups;
mod properties;
mod refused_connects;
mod retained_by_owner;
mod server_topics;
mod smoke;
mod wills_after_power_cut;
mod work;
