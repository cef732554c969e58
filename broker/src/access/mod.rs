//! Who clients are, and what they may do.
//!
//! ```text
//! hooks        what a program decides about clients
//! principals   the names of principals and their numbers
//! record       how the gateway's own records look in the store
//! ```

mod hooks;
mod principals;
mod record;
#[cfg(test)]
mod tests;

pub use hooks::Access;
pub use principals::{NameRefused, Principals};
pub(crate) use record::{GatewayRecord, PrincipalRecord, RecordError, is_gateway_kind, kind_name};
