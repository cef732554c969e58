//! Closes connections whose certificates were revoked while they are open, and those of users that are gone.

use super::EventLoop;
use crate::net::{Revoked, Socket};
use crate::shard::Mailboxes;
use goldcrest_core::codec::ReasonCode;
use goldcrest_core::{ConnectionId, Instant, Principal};
use std::collections::HashSet;
use std::sync::Arc;

const WHY: &str = "the certificate of the client was revoked";
const GONE: &str = "the user is gone, or has another password or other rights";

impl Mailboxes {
    /// Has all shards close the connections with these certificates.
    pub(crate) fn revoke(&self, revoked: &Arc<Revoked>) {
        for shard in 0..self.shards() {
            self.post(shard, |mail| mail.revoked.push(revoked.clone()));
        }
    }

    /// Has all shards close the connections of these users.
    pub(crate) fn close_users(&self, gone: &Arc<[Principal]>) {
        for shard in 0..self.shards() {
            self.post(shard, |mail| mail.gone.push(gone.clone()));
        }
    }
}

impl EventLoop {
    /// Closes the connections of users that are gone or have other passwords, as the mailbox says.
    pub(super) fn close_gone(&mut self, now: Instant) {
        for gone in std::mem::take(&mut self.mail.gone) {
            let gone: HashSet<_> = gone.iter().collect();
            let ids = self.sockets.iter().flatten().map(|socket| socket.id);
            let is_gone = |id: &ConnectionId| self.broker.principal(*id).is_some_and(|it| gone.contains(&it));
            for id in ids.filter(is_gone).collect::<Vec<_>>() {
                self.broker.disconnect_connection(now, id, ReasonCode::NotAuthorized, GONE);
            }
        }
    }

    /// Closes the connections with certificates that were revoked, as the mailbox says.
    pub(super) fn close_revoked(&mut self, now: Instant) {
        for revoked in std::mem::take(&mut self.mail.revoked) {
            let ids = self.sockets.iter().flatten().filter(|socket| is_in(&revoked, socket)).map(|socket| socket.id);
            for id in ids.collect::<Vec<_>>() {
                self.broker.disconnect_connection(now, id, ReasonCode::NotAuthorized, WHY);
            }
            self.revoked.retain(|before| before.listener != revoked.listener);
            self.revoked.push(revoked);
        }
    }

    /// Closes a new connection if its certificate was revoked after its handshake.
    pub(super) fn close_if_revoked(&mut self, now: Instant, id: ConnectionId) {
        let Self { revoked, sockets, broker, .. } = self;
        let Some(Some(socket)) = sockets.get(id.index()).filter(|_| !revoked.is_empty()) else { return };
        if revoked.iter().any(|revoked| is_in(revoked, socket)) {
            broker.disconnect_connection(now, id, ReasonCode::NotAuthorized, WHY);
        }
    }
}

fn is_in(revoked: &Revoked, socket: &Socket) -> bool {
    socket.listener() == Some(revoked.listener)
        && socket.certificate().is_some_and(|certificate| revoked.has(certificate))
}
