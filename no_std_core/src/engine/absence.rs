//! The absence of a client: the time until its Will is published and its Session ends.

use crate::codec::{QoS, ReasonCode};
use crate::engine::Engine;
use crate::engine::messages::Delivery;
use crate::engine::neighbours::happenings::{Happening, Observer};
use crate::engine::sessions::Session;
use crate::engine::siblings::Siblings;
use crate::engine::timeout::TimerKey;
use crate::mem::Handle;
use crate::seam::counters::DropReason;
use crate::seam::kind::Kind;
use crate::seam::work;
use crate::time::Instant;

impl Engine<'_> {
    /// The client is away from now on. Its Will is published after the Will Delay Interval, and its Session ends after the
    /// Session Expiry Interval. `code` says why the connection ended; `None` if the Network Connection broke.
    pub(crate) fn begin_absence(&mut self, now: Instant, session: Handle<Session>, code: Option<ReasonCode>) {
        if self.sessions[session].connection.take().is_some() {
            self.counters.connected = self.counters.connected.saturating_sub(1);
            self.happened(Happening::Disconnected { session, code });
        }
        let entry = &mut self.sessions[session];
        if entry.expiry_secs == 0 {
            self.end_session(now, session);
            return;
        }
        entry.ends = match entry.expiry_secs {
            u32::MAX => Instant::NEVER,
            seconds => now.plus_secs(u64::from(seconds)),
        };
        if let Some(will) = &mut entry.will {
            will.due = now.plus_secs(u64::from(will.delay_secs));
        }
        self.note_session(session);
        // The home shards of the Session's groups learn first that the client is away. Otherwise they would send the messages
        // that they are given back here again.
        self.client_went(session);
        self.member_went(session);
        self.watch_absence(now, session);
    }

    /// Publishes the Will of an absent client, or ends its Session, if that is due, and sets the timer for the rest.
    pub(crate) fn watch_absence(&mut self, now: Instant, session: Handle<Session>) {
        if self.sessions[session].ends <= now {
            self.end_session(now, session);
            return;
        }
        if self.sessions[session].will.is_some_and(|will| will.due <= now) {
            self.publish_will(now, session);
        }
        let entry = &self.sessions[session];
        let due = entry.will.map_or(Instant::NEVER, |will| will.due).min(entry.ends);
        if due != Instant::NEVER {
            self.sessions[session].timer = self.timers.arm(due, TimerKey::Session(session));
        }
    }

    /// Does the work of an absent client's timer, even if the timer has not fired yet.
    pub(crate) fn look_at_absence(&mut self, now: Instant, session: Handle<Session>) {
        if let Some(timer) = self.sessions[session].timer.take() {
            self.timers.cancel(timer);
            self.watch_absence(now, session);
        }
    }

    /// The client is back before its Session ended: a Will that is still delayed is not published `[MQTT-3.1.3-9]`.
    pub(crate) fn end_absence(&mut self, session: Handle<Session>) {
        self.remove_will(session);
        let entry = &mut self.sessions[session];
        entry.ends = Instant::NEVER;
        entry.was_cut_off = false;
        if let Some(timer) = entry.timer.take() {
            self.timers.cancel(timer);
        }
    }

    /// Ends the Session, and frees all its memory. Its Will is published now at the latest (section 3.1.3.2.2).
    pub(crate) fn end_session(&mut self, now: Instant, session: Handle<Session>) {
        self.publish_will(now, session);
        self.happened(Happening::SessionEnded(session));
        if let Some(timer) = self.sessions[session].timer.take() {
            self.timers.cancel(timer);
        }
        // Messages in flight come first. They were sent before the queued ones, and some of them may go to another member of the
        // group.
        while let Some(delivery) = self.sessions[session].outbound.take_any(&mut self.messages) {
            self.work.count(work::DELIVERY, 1);
            self.end_with_session(session, delivery);
        }
        self.unsubscribe_all(session);
        let entry = &mut self.sessions[session];
        while let Some(receipt) = self.receipts.release_any(&mut entry.inbound) {
            self.work.count(work::DELIVERY, 1);
            if entry.is_durable {
                self.messages.journal.mark(Kind::Receipt, receipt.index());
            }
        }
        self.note_session(session);
        self.session_index.remove(&mut self.sessions, session);
        let ended = self.sessions.remove(session);
        self.messages.bytes.release(ended.client_id);
        self.look_after_removal();
    }

    fn end_with_session(&mut self, session: Handle<Session>, delivery: Handle<Delivery>) {
        let entry = self.messages.deliveries[delivery];
        let begun = entry.is(Delivery::SENT);
        if entry.is_shared() && entry.message.is_some() && !(begun && entry.qos == QoS::ExactlyOnce) {
            self.give_back_to_group(session, delivery);
            return;
        }
        if entry.message.is_some() {
            self.drop_delivery(Some(session), delivery, DropReason::SessionEnded);
        } else {
            self.messages.end_delivery(delivery);
        }
    }

    /// After a restart the absence of all clients goes on. Called once more when the shards have greeted each other: no client
    /// could come back before that.
    pub(crate) fn resume_absences(&mut self, now: Instant) {
        for slot in 0..self.sessions.slots() {
            let session = Handle::from_index(slot);
            if self.sessions.is_live(session) && self.sessions[session].is_local() {
                self.resume_absence(now, session);
            }
        }
    }

    /// The client's absence begins now if the client was connected when the broker stopped. Its Will is not due before the client
    /// has had time to come back. If a power cut ended its connection, its Session does not end before that either.
    fn resume_absence(&mut self, now: Instant, session: Handle<Session>) {
        let back_by = now.plus_secs(u64::from(self.config.will_grace_secs));
        let entry = &mut self.sessions[session];
        let mut has_changed = false;
        if entry.ends == Instant::NEVER && entry.expiry_secs != u32::MAX {
            entry.ends = now.plus_secs(u64::from(entry.expiry_secs));
            has_changed = true;
        }
        if let Some(will) = &mut entry.will {
            if will.due == Instant::NEVER {
                will.due = now.plus_secs(u64::from(will.delay_secs));
                entry.was_cut_off = true;
            }
            // A Session with a Session Expiry Interval of 0 is recorded for its Will alone.
            entry.was_cut_off |= entry.expiry_secs == 0;
            will.due = will.due.max(back_by);
            if entry.was_cut_off {
                entry.ends = entry.ends.max(back_by);
            }
            has_changed = true;
        }
        // A Will or an end that is due already is handled at the next time-out: other Sessions may have to be restored first.
        let due = entry.will.map_or(Instant::NEVER, |will| will.due).min(entry.ends);
        match entry.timer {
            Some(timer) => self.timers.rearm(timer, due),
            None if due != Instant::NEVER => entry.timer = self.timers.arm(due, TimerKey::Session(session)),
            None => {}
        }
        if has_changed {
            self.note_session(session);
        }
    }
}
