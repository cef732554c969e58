//! The gateway from outside: over TCP, in the process of a program that embeds it, and as a command.
//!
//! All these tests are in one program, which is linked once, so that their waits overlap. A few tests have programs of their own: the one
//! that counts allocations ([`allocations.rs`](allocations.rs)), and those that measure waits or stop a whole process
//! ([`fairness.rs`](fairness.rs), [`pause.rs`](pause.rs)).

mod authentication;
mod clients;
mod command;
mod connection_ends;
mod deciders;
mod descriptors;
mod dynamic_security;
mod embedded;
mod endings;
mod gateway;
mod http_hook;
mod in_process;
mod large;
mod listener_limits;
mod local_client;
mod operations;
mod passwd;
mod permissions;
mod permissions_revoked;
mod principals;
mod process;
mod proxy_protocol;
mod queues;
mod retained;
mod support;
mod tls;
mod tokens;
mod unix_socket;
mod websocket;
mod wills;
