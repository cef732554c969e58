//! Who decides about clients: the embedding program, the sources of users in the configuration, or nobody.

use super::StartError;
use crate::access::{Access, Authenticator, Principals, SourceError};
use crate::config::Config;
use crate::shard::Mailboxes;
use goldcrest_core::MemoryCeiling;
use std::sync::Arc;

/// Adds the sources of users in the configuration to `access`, unless the embedding program decides.
///
/// # Errors
/// A source can't be used.
pub(super) fn decide_for(
    access: Access,
    config: &Config,
    principals: &Arc<Principals>,
    ceiling: &Arc<MemoryCeiling>,
    mailboxes: &Arc<Mailboxes>,
) -> Result<(Access, Option<Arc<Authenticator>>), StartError> {
    if access.decider.is_some() {
        return Ok((access, None));
    }
    let (known, mailboxes) = (principals.clone(), mailboxes.clone());
    let close = move |users: &[Box<str>]| {
        let gone: Arc<[_]> = users.iter().filter_map(|user| known.find(user)).collect();
        if !gone.is_empty() {
            mailboxes.close_users(&gone);
        }
    };
    let authenticator =
        Authenticator::read(config, principals, ceiling, Box::new(close)).map_err(|error| match error {
            SourceError::Passwords(error) => StartError::Passwords(error),
            SourceError::Random(error) => StartError::Random(error),
            SourceError::Thread(error) => StartError::Thread(error),
        })?;
    let Some(authenticator) = authenticator.map(Arc::new) else { return Ok((access, None)) };
    Ok((Access { decider: Some(authenticator.clone()), ..access }, Some(authenticator)))
}
