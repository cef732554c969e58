//! Who clients are. What they may do will be decided here too.
//!
//! ```text
//! principals   the names of principals and their numbers
//! record       how the gateway's own records look in the store
//! ```

mod principals;
mod record;
#[cfg(test)]
mod tests;

pub use principals::{NameRefused, Principals};
pub(crate) use record::{GatewayRecord, PrincipalRecord, RecordError, is_gateway_kind, kind_name};
