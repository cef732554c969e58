//! The requirements on a server, statement by statement. `manifest.rs` compares the statements that tests claim with
//! the lists of all statements.
//!
//! Each test runs on every backend and, where its attribute does not name one version, with MQTT 3.1.1 and 5.0: see
//! [`goldcrest_tests::bed`].

mod threads;

mod bridge;
mod codec_differential;
mod connack;
mod connect_form;
mod expired_in_flight;
mod expired_in_queue;
mod fields;
mod fixed_header;
mod flow_control;
mod identifier;
mod keep_alive;
mod loss;
mod manifest;
mod out_of_step;
mod publish;
mod publish_properties;
mod qos_receiver;
mod qos_sender;
mod takeover;
mod text;
mod topic_alias;
mod verdict;

mod auth;
mod disconnect;
mod ordering;
mod retained;
mod session;
mod shared;
mod subscribe;
mod topic;
mod unsubscribe;
mod will;
