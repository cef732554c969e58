//! Who decides about clients: the embedding program, the sources of users in the configuration, or nobody.

use super::StartError;
use crate::access::{Access, Authenticator, NamedUser, Principals, SourceError};
use crate::config::Config;
use crate::shard::Mailboxes;
use goldcrest_core::MemoryCeiling;
use std::sync::Arc;

/// Adds the sources of users in the configuration to `access`, unless the embedding program decides. `others` are the users of dynamic security.
///
/// # Errors
/// A source can't be used.
pub(super) fn decide_for(
    access: Access,
    config: &Config,
    others: Option<Vec<NamedUser>>,
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
        Authenticator::read(config, others, principals, ceiling, Box::new(close)).map_err(|error| match error {
            SourceError::Passwords(error) => StartError::Passwords(error),
            SourceError::Tokens(error) => StartError::Tokens(error),
            SourceError::Service(error) => StartError::Service(error),
            SourceError::Random(error) => StartError::Random(error),
            SourceError::Thread(error) => StartError::Thread(error),
        })?;
    let Some(authenticator) = authenticator.map(Arc::new) else { return Ok((access, None)) };
    Ok((Access { decider: Some(authenticator.clone()), ..access }, Some(authenticator)))
}
