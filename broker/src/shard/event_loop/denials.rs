//! Logs what the rules denied.
//!
//! A client has one line a minute for each thing that it is denied, and all clients of the shard together have few lines a second.

use super::EventLoop;
use crate::access::{Denial, Denials};
use crate::output::log::Escaped;
use crate::shard::connection_ends::ToldLately;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Instant;

/// The denials of a shard, and which lines were logged lately.
pub(super) struct DenialLog {
    denials: Arc<Denials>,
    told: ToldLately,
    hasher: RandomState,
}

impl EventLoop {
    /// Logs what is noted in `denials` from now on.
    pub(crate) fn log_denials(&mut self, denials: Option<Arc<Denials>>) {
        self.denials =
            denials.map(|denials| DenialLog { denials, told: ToldLately::default(), hasher: RandomState::new() });
    }

    /// Logs what was denied in this turn.
    pub(super) fn tell_denials(&mut self) {
        let Some(log) = &mut self.denials else { return };
        for denial in log.denials.take() {
            let Denial { action, reason, principal, user, client_id, topic, rule } = &denial;
            // The topic is left out: a client may name any number of topics.
            let key = log.hasher.hash_one((action, reason, rule, client_id));
            let Some((again, others)) = log.told.pass(key, Instant::now()) else { continue };
            let id = self.broker.connection_of(client_id);
            let socket = id.and_then(|id| self.sockets.get(id.index())?.as_ref().filter(|socket| socket.id == id));
            let address = socket.and_then(|socket| socket.peer()).map(tracing::field::display);
            let user = user.as_deref().map(|user| tracing::field::display(Escaped(user)));
            let principal = user.is_none().then_some(principal.0).filter(|number| *number > 0);
            tracing::warn!(
                client = %Escaped(client_id),
                address,
                user,
                principal,
                rule = rule.as_deref().map(|rule| tracing::field::display(Escaped(rule))),
                again = (again > 0).then_some(again),
                others = (others > 0).then_some(others),
                "denied to {}: {}: {}",
                action.in_words(),
                Escaped(topic),
                reason.in_words()
            );
        }
    }
}
