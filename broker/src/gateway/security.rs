//! Dynamic security for all shards: rules that administrators change while the gateway runs.

use crate::access::{Answered, Authenticator, DenialCounts, Denials, DynamicSecurity, Effects, Principals};
use crate::shard::{Mailboxes, NoAnswer, ShardRules};
use goldcrest_core::{Permissions, Principal};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

/// A client whose rights have changed is closed after this time, so that it gets the answer if it asked for the change itself.
const CLOSE_DELAY: Duration = Duration::from_millis(200);

/// The rules of all shards, and what changes them.
pub(crate) struct SecurityOfShards {
    security: Arc<DynamicSecurity>,
    principals: Arc<Principals>,
    /// The notes of each shard.
    denials: Vec<Arc<Denials>>,
    mailboxes: Arc<Mailboxes>,
    authenticator: Arc<Authenticator>,
}

impl SecurityOfShards {
    pub(super) fn new(
        security: Arc<DynamicSecurity>,
        authenticator: Arc<Authenticator>,
        principals: Arc<Principals>,
        mailboxes: Arc<Mailboxes>,
    ) -> Self {
        let denials = (0..mailboxes.shards()).map(|_| security.denials()).collect();
        Self { security, principals, denials, mailboxes, authenticator }
    }

    /// The Client Identifier of the client that receives requests.
    pub(super) fn client_id(&self) -> &str {
        self.authenticator.own_client_id()
    }

    /// What each shard asks, and where it notes what was denied, in the order of the shards.
    pub(super) fn of_shards(&self) -> Vec<ShardRules> {
        let rules = self.security.rules(self.principals.clone());
        let of_shard = |denials: &Arc<Denials>| {
            let authorizer = DynamicSecurity::authorizer(&rules, denials);
            (Permissions::from(Arc::new(authorizer)), denials.clone())
        };
        self.denials.iter().map(of_shard).collect()
    }

    /// For operators.
    pub(super) fn counts(&self) -> Arc<DenialCounts> {
        self.security.counts().clone()
    }

    /// Does a request. When this returns all shards that are well have the new rules, and new users may connect.
    pub(super) async fn answer(&self, request: Vec<u8>) -> Answered {
        let answered = self.security.answer(request);
        if answered.effects.has_changed {
            self.authenticator.replace_users(self.security.users());
            let rules = self.of_shards();
            let of_shard = |shard: u16| {
                let (permissions, _) = rules[usize::from(shard)].clone();
                move |now, broker: &mut goldcrest_core::Broker<'static>| broker.set_authorize(now, permissions)
            };
            // Not being answered means that a shard is late, and will change its rules all the same. Being too busy does not.
            while let Err(NoAnswer::Busy) = self.mailboxes.ask_all(of_shard).await {}
        }
        answered
    }

    /// Closes the connections of clients whose rights have changed, a moment later.
    pub(super) fn close_soon(&self, effects: Effects) {
        let known = effects.closed.iter().filter_map(|user| self.principals.find(user));
        let anonymous = effects.closes_anonymous.then_some(Principal::ANONYMOUS);
        let closed: Arc<[Principal]> = known.chain(anonymous).collect();
        if closed.is_empty() {
            return;
        }
        let mailboxes = self.mailboxes.clone();
        tokio::spawn(async move {
            sleep(CLOSE_DELAY).await;
            mailboxes.close_users(&closed);
        });
    }
}

impl fmt::Debug for SecurityOfShards {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SecurityOfShards").finish_non_exhaustive()
    }
}
