//! Asks the embedding program whether a client may connect, and gives the decision to the broker.

use super::mailbox::Mailboxes;
use crate::access::{AccessRequest, ClientConnection, Decide, Decision, Reply};
use crate::net::Socket;
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{Ask, Broker, ConnectionId, Instant, Verdict};
use std::sync::Arc;

/// Who decides about the clients of a shard.
pub(super) struct Decisions {
    pub(super) shard: u16,
    pub(super) mailboxes: Arc<Mailboxes>,
    pub(super) decider: Option<Arc<dyn Decide>>,
}

impl Decisions {
    /// Asks the decider about a client. The decision comes through the mailbox of the shard. At most one question for each
    /// connection is under way.
    pub(super) fn ask(&self, now: Instant, broker: &mut Broker<'static>, socket: &Socket, ask: &Ask<'_>) {
        let id = socket.id;
        let Some(decider) = &self.decider else {
            // Without a decider the broker is told to ask nothing. If it asks all the same, it gets the safe answer: a
            // refusal.
            return broker.handle_verdict(now, id, Verdict::Refuse(ReasonCode::NotAuthorized));
        };
        let (shard, mailboxes) = (self.shard, self.mailboxes.clone());
        let reply = Reply::new(move |decision| {
            mailboxes.tell(shard, Box::new(move |now, broker| decide(now, broker, id, &decision)));
        });
        decider.decide(AccessRequest::new(ClientConnection { shard, id }, socket, ask), reply);
    }
}

fn decide(now: Instant, broker: &mut Broker<'static>, id: ConnectionId, decision: &Decision) {
    let verdict = match decision {
        Decision::Accept { principal, grant, lasts, data } => {
            let millis = |lasts: &std::time::Duration| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
            let grant = match lasts {
                Some(lasts) => grant.clone().until(now.plus_millis(millis(lasts))),
                None => grant.clone(),
            };
            Verdict::Accept { principal: *principal, data: data.as_deref(), grant }
        }
        Decision::Continue(data) => Verdict::Continue { data },
        Decision::Refuse(code) => Verdict::Refuse(*code),
    };
    broker.handle_verdict(now, id, verdict);
}
