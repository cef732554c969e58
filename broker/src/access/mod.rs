//! Who clients are, and what they may do.
//!
//! ```text
//! authentication  who clients are, decided by the configuration
//! decide       whether a client may connect, decided by a program
//! permissions  what clients may do, by rules from a file
//! dynamic_security  users, groups and roles that administrators change, as in Mosquitto
//! hooks        the decisions of an embedding program about clients
//! principals   the names of principals and their numbers
//! record       how the gateway's own records look in the store
//! secret       bytes that prove who a client is
//! ```

mod authentication;
mod decide;
mod dynamic_security;
mod hooks;
mod permissions;
mod principals;
mod record;
mod secret;
#[cfg(test)]
mod tests;

pub use crate::net::ClientCertificate;
pub(crate) use authentication::{
    Authenticator, NamedUser, PasswordHash, PasswordLine, RefusalCounts, SourceError, check_name, check_token, lines,
    read_text,
};
pub use authentication::{KeyFileError, PasswordFileError, ServiceError};
pub use decide::{AccessRequest, ClientConnection, ConnectRequest, Decide, Decision, Reply};
pub(crate) use dynamic_security::{Answered, DynamicSecurity, Effects, REQUEST_TOPIC, RESPONSE_TOPIC};
pub use hooks::Access;
pub(crate) use permissions::{Denial, DenialCounts, Denials, PermissionFile, RuleAuthorizer, check_permissions};
pub use principals::{NameRefused, Principals};
pub(crate) use record::{GatewayRecord, PrincipalRecord, RecordError, is_gateway_kind, kind_name};
pub use secret::Secret;
