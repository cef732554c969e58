//! What a server must do, statement by statement; `manifest.rs` holds the claims against the lists.
//!
//! Each test runs on every backend and, where it says nothing else, with MQTT 3.1.1 and 5.0: see
//! [`goldcrest_tests::bed`].

mod connack;
mod connect;
mod fields;
mod fixed_header;
mod out_of_step;
mod publish;
mod text;
