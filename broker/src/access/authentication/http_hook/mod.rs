//! A web service that decides who may connect.
//!
//! ```text
//! dialect       what the service is asked, and what its answers mean
//! breaker       when a service that does not answer is left alone
//! answer_cache  clients that were accepted
//! endpoint      the service, and the secrets and certificates for it
//! hook_thread   asks the service on a thread of its own
//! ```
//!
//! A client is accepted only by an answer of the service that says so, now or within the times of the configuration: whatever else happens, it is
//! refused.

mod answer_cache;
mod breaker;
mod dialect;
mod endpoint;
mod hook_thread;
#[cfg(test)]
mod tests;

pub use endpoint::ServiceError;
pub(crate) use hook_thread::{HookError, HttpHook};

use super::Secret;
use std::net::IpAddr;
use std::time::Duration;

/// What a client says of itself.
pub(crate) struct HookQuestion {
    pub(crate) user: Box<str>,
    pub(crate) password: Option<Secret>,
    pub(crate) client_id: Box<str>,
    pub(crate) peer: Option<IpAddr>,
    /// The Common Name in the certificate that the client has shown.
    pub(crate) common_name: Option<Box<str>>,
}

/// What the service says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HookAnswer {
    /// The client is who it claims to be, for so long if that is bounded.
    Yes { lasts: Option<Duration> },
    /// It is not.
    No,
    /// The service does not answer, or not what it should.
    Unavailable,
    /// Too many questions wait for an answer.
    Busy,
}
