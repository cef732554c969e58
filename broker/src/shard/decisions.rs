//! Asks the embedding program whether a client may connect, and gives the decision to the broker.

use super::mailbox::Mailboxes;
use crate::access::{AccessRequest, ClientConnection, Decide, Decision, Reply};
use crate::net::Socket;
use crate::output::log::Escaped;
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{Ask, Broker, ConnectionId, Grant, Instant, Mount, Principal, Verdict};
use std::sync::Arc;

/// Who decides about the clients of a shard.
pub(super) struct Decisions {
    pub(super) shard: u16,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) decider: Option<Arc<dyn Decide>>,
    /// The mount of each listener, by its index.
    pub(super) mounts: Arc<[Option<Mount>]>,
}

impl Decisions {
    /// Asks the decider about a client. The decision comes through the mailbox of the shard. At most one question for each
    /// connection is under way.
    pub(super) fn ask(&self, now: Instant, broker: &mut Broker<'static>, socket: &Socket, ask: &Ask<'_>) {
        let id = socket.id;
        let mount = socket.listener().and_then(|index| self.mounts.get(usize::from(index))?.clone());
        let Some(decider) = &self.decider else {
            return broker.handle_verdict(now, id, undecided(ask, mount));
        };
        let (shard, mailboxes) = (self.shard, self.mailboxes.clone());
        let adopter = match ask {
            Ask::Connect(connect) if decider.adopts_anonymous_sessions() => Some(Box::<str>::from(connect.client_id)),
            _ => None,
        };
        let reply = Reply::new(move |decision| {
            // Not the mailboxes themselves, which would own themselves by their mail.
            let ends = mailboxes.connection_ends.clone();
            let decided = move |now: Instant, broker: &mut Broker<'static>| {
                // The end of a connection takes the note. One that has ended meanwhile would leave its note for good.
                if let Decision::RefuseBecause(_, why) = &decision
                    && broker.describe(id).is_some()
                {
                    ends.note(shard, id, why);
                }
                if let Some(client_id) = adopter {
                    adopt(now, broker, &client_id, &decision);
                }
                decide(now, broker, id, &decision, mount);
            };
            mailboxes.tell(shard, Box::new(decided));
        });
        decider.decide(AccessRequest::new(ClientConnection { shard, id }, socket, ask), reply);
    }
}

/// The verdict where nobody decides: who connects is let in below the mount of the listener. There is no enhanced authentication.
fn undecided(ask: &Ask<'_>, mount: Option<Mount>) -> Verdict<'static> {
    match ask {
        Ask::Connect(connect) if connect.properties.authentication_method().is_none() => {
            let grant = mount.map_or_else(Grant::default, |mount| Grant::default().below(mount));
            Verdict::Accept { principal: Principal::ANONYMOUS, data: None, grant }
        }
        _ => Verdict::Refuse(ReasonCode::BadAuthenticationMethod),
    }
}

/// Gives the client that is accepted the Session that an anonymous client with its Client Identifier has left.
fn adopt(now: Instant, broker: &mut Broker<'static>, client_id: &str, decision: &Decision) {
    if let Decision::Accept { principal, .. } = decision
        && *principal != Principal::ANONYMOUS
        && broker.give_session(now, client_id, Principal::ANONYMOUS, *principal)
    {
        tracing::info!(client = %Escaped(client_id), "the Session of an anonymous client belongs to a user from now on");
    }
}

fn decide(now: Instant, broker: &mut Broker<'static>, id: ConnectionId, decision: &Decision, mount: Option<Mount>) {
    let verdict = match decision {
        Decision::Accept { principal, grant, lasts, data } => {
            let millis = |lasts: &std::time::Duration| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
            let grant = match lasts {
                Some(lasts) => grant.clone().until(now.plus_millis(millis(lasts))),
                None => grant.clone(),
            };
            // What was decided about this client comes before what the listener has for all.
            let grant = match mount {
                Some(mount) if grant.mount.is_none() => grant.below(mount),
                _ => grant,
            };
            Verdict::Accept { principal: *principal, data: data.as_deref(), grant }
        }
        Decision::Continue(data) => Verdict::Continue { data },
        Decision::Refuse(code) | Decision::RefuseBecause(code, _) => Verdict::Refuse(*code),
    };
    broker.handle_verdict(now, id, verdict);
}
