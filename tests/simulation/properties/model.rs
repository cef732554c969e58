//! The expected behaviour of a broker, written down as naively as possible: lists and loops, and no packets.
//!
//! The model knows which Sessions must get each message. The test notes in it how often a message came, and which losses the broker
//! reported.

use std::collections::{BTreeMap, BTreeSet};

use goldcrest_core::codec::{QoS, RetainHandling, SubscriptionOptions};
use goldcrest_core::{TopicFilter, TopicName};

/// The default of `Config::will_grace_secs`, in milliseconds.
const GRACE_MS: u64 = 10_000;

/// Identifies a message. All messages without payload are number 0.
pub(crate) type Number = u32;

/// A published message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) number: Number,
    /// The client that published the message, for No Local.
    pub(crate) publisher: usize,
    pub(crate) is_will: bool,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// The time at which the message expires, in milliseconds.
    pub(crate) expires: Option<u64>,
}

/// One message that a Session must get.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) message: Message,
    /// The lower of the message's QoS and the greatest QoS of the matching subscriptions.
    pub(crate) qos: QoS,
    /// How often the message must come, or be counted as lost.
    pub(crate) wanted: u32,
    /// How often the message may come.
    pub(crate) most: u32,
    pub(crate) got: u32,
    /// The Subscription Identifiers that the message must carry.
    pub(crate) identifiers: BTreeSet<u32>,
    /// Whether the client was connected when the message was published: then the message may have been given a Packet Identifier at once.
    was_here: bool,
    /// Whether the message may have had a Packet Identifier when the power was lost, so that it may have been sent.
    pub(crate) may_be_sent: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: u32,
}

/// A Session, as far as clients can see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// Tells this Session from earlier and later ones of the same client.
    pub(crate) incarnation: u32,
    pub(crate) connected: bool,
    /// Whether the Session survives a crash.
    durable: bool,
    expiry_secs: u32,
    ends: Option<u64>,
    will: Option<(Message, u32, Option<u64>)>,
    /// Whether its client was connected with a Will when the power was lost.
    was_cut_off: bool,
    pub(crate) subscriptions: BTreeMap<&'static str, Subscription>,
    pub(crate) expected: BTreeMap<Number, Expected>,
    /// Messages that the client received and did not acknowledge. The broker counts them as lost when the Session ends.
    pub(crate) unacknowledged: u32,
}

/// The deliveries of one message to all groups of shared subscriptions together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) wanted: u32,
    pub(crate) got: u32,
    /// Of the messages received, those with QoS 0 or 2, which never come twice.
    pub(crate) got_once: u32,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) sessions: BTreeMap<usize, Session>,
    pub(crate) retained: BTreeMap<&'static str, Message>,
    pub(crate) shared: BTreeMap<Number, Shared>,
    /// Messages that ended Sessions should have got, and did not.
    pub(crate) missing: u64,
    /// How often the broker may have counted a loss of a message that came, for example because it was not acknowledged.
    pub(crate) slack: u64,
    incarnations: u32,
}

fn matches(filter: &str, topic: &str) -> bool {
    TopicFilter::new(filter).unwrap().matches(TopicName::new(topic).unwrap())
}

fn is_shared(filter: &str) -> bool {
    filter.starts_with("$share/")
}

impl Model {
    /// A CONNECT was accepted. Returns whether the client had a Session.
    pub(crate) fn connect(
        &mut self,
        client: usize,
        clean: bool,
        expiry_secs: u32,
        will: Option<(Message, u32)>,
    ) -> bool {
        if self.sessions.get(&client).is_some_and(|session| session.connected) {
            self.lose(client);
        }
        if let Some(session) = self.sessions.get_mut(&client)
            && session.was_cut_off
        {
            // The client is back before its Will was due.
            session.will = None;
            session.was_cut_off = false;
            if session.expiry_secs == 0 {
                self.end(client);
            }
        }
        if clean && self.sessions.contains_key(&client) {
            self.end(client);
        }
        let present = self.sessions.contains_key(&client);
        if !present {
            self.incarnations += 1;
            let durable = expiry_secs > 0;
            let session = Session { incarnation: self.incarnations, durable, ..Session::default() };
            self.sessions.insert(client, session);
        }
        let session = self.sessions.get_mut(&client).unwrap();
        session.connected = true;
        session.expiry_secs = expiry_secs;
        session.ends = None;
        session.will = will.map(|(message, delay)| (message, delay, None));
        present
    }

    /// The client sent DISCONNECT, which discards its Will.
    pub(crate) fn disconnect(&mut self, client: usize) {
        self.sessions.get_mut(&client).unwrap().will = None;
        self.lose(client);
    }

    /// The connection was lost.
    pub(crate) fn lose(&mut self, client: usize) {
        let now = self.now;
        let session = self.sessions.get_mut(&client).unwrap();
        session.connected = false;
        session.ends = match session.expiry_secs {
            u32::MAX => None,
            seconds => Some(now + u64::from(seconds) * 1_000),
        };
        if let Some((_, delay, due)) = &mut session.will {
            *due = Some(now + u64::from(*delay) * 1_000);
        }
        self.advance(now);
    }

    /// The power is lost and returns. A client that had stopped reading may have received a part of any message. Clients have some time
    /// to come back before their Wills are published.
    pub(crate) fn crash(&mut self, had_stopped: impl Fn(usize) -> bool) {
        self.sessions.retain(|_, session| session.durable || session.will.is_some());
        for session in self.sessions.values_mut().filter(|session| !session.durable) {
            // Of a Session that is not durable only the Will survives.
            session.subscriptions.clear();
            session.expected.clear();
            session.unacknowledged = 0;
        }
        for (client, session) in &mut self.sessions {
            for expected in session.expected.values_mut() {
                expected.may_be_sent |= expected.was_here || had_stopped(*client);
                let in_memory = expected.qos == QoS::AtMostOnce || expected.message.qos == QoS::AtMostOnce;
                // An absent client did not keep the message in memory: the message was counted as lost already.
                if in_memory && expected.was_here {
                    // A message in memory alone is lost with the power and not counted, unless it was lost before.
                    self.slack += u64::from(expected.wanted.saturating_sub(expected.got));
                    expected.wanted = expected.wanted.min(expected.got);
                }
                if expected.message.retain {
                    // The sending of retained messages for a new subscription begins again.
                    expected.most += expected.most;
                    self.slack += 1;
                }
            }
        }
        let now = self.now;
        let back_by = now + GRACE_MS;
        for session in self.sessions.values_mut() {
            let was_connected = core::mem::take(&mut session.connected);
            if was_connected && session.expiry_secs != u32::MAX {
                session.ends = Some(now + u64::from(session.expiry_secs) * 1_000);
            }
            if let Some((_, delay, due)) = &mut session.will {
                session.was_cut_off |= was_connected || session.expiry_secs == 0;
                let planned = due.unwrap_or(now + u64::from(*delay) * 1_000);
                *due = Some(planned.max(back_by));
                if session.was_cut_off {
                    session.ends = session.ends.map(|ends| ends.max(back_by));
                }
            }
        }
        self.advance(now);
    }

    /// Time passes, with everything that falls due meanwhile.
    pub(crate) fn advance(&mut self, to: u64) {
        loop {
            let due = |session: &Session| {
                let will = session.will.and_then(|(_, _, due)| due);
                [will, session.ends].into_iter().flatten().min()
            };
            let all = self.sessions.iter().filter_map(|(client, session)| Some((due(session)?, *client)));
            let Some((at, client)) = all.min().filter(|(at, _)| *at <= to) else { break };
            self.now = self.now.max(at);
            if self.sessions[&client].ends.is_some_and(|ends| ends <= at) {
                self.end(client);
            } else {
                self.publish_will(client);
            }
        }
        self.now = to;
    }

    fn publish_will(&mut self, client: usize) {
        if let Some((message, ..)) = self.sessions.get_mut(&client).unwrap().will.take() {
            self.publish(message);
        }
    }

    /// The Session ends. The messages that it did not get are missing for ever.
    pub(crate) fn end(&mut self, client: usize) {
        self.publish_will(client);
        let session = self.sessions.remove(&client).unwrap();
        self.missing += missing(&session);
        self.slack += u64::from(session.unacknowledged);
    }

    /// Publishes a message. Returns whether the broker keeps it, if there is room. It does not if there are no subscribers, or only
    /// absent ones with QoS 0.
    pub(crate) fn publish(&mut self, message: Message) -> bool {
        let mut is_kept = message.retain;
        let mut groups = BTreeSet::new();
        for (client, session) in &mut self.sessions {
            let all = session.subscriptions.iter().filter(|(filter, _)| matches(filter, message.topic));
            let mut mine: Vec<Subscription> = Vec::new();
            for (filter, subscription) in all {
                if is_shared(filter) {
                    is_kept |= session.connected || message.qos > QoS::AtMostOnce;
                    groups.insert(*filter);
                } else if !(subscription.options.no_local && message.publisher == *client) {
                    mine.push(*subscription);
                }
            }
            if let Some(most) = mine.iter().map(|subscription| subscription.options.qos).max() {
                let expected = expect(&mut session.expected, message);
                expected.qos = message.qos.min(most);
                let identifiers = mine.iter().map(|subscription| subscription.identifier);
                expected.identifiers = identifiers.filter(|identifier| *identifier != 0).collect();
                is_kept |= session.connected || message.qos.min(most) > QoS::AtMostOnce;
                expected.was_here = session.connected;
                expected.wanted += 1;
                expected.most += 1;
            }
        }
        if !groups.is_empty() {
            self.shared.entry(message.number).or_default().wanted += groups.len() as u32;
        }
        if message.retain {
            match message.number {
                0 => self.retained.remove(message.topic),
                _ => self.retained.insert(message.topic, message),
            };
        }
        is_kept
    }

    /// A SUBSCRIBE was granted. With `exact` retained messages the client must get them now, since nothing else is on its way.
    pub(crate) fn subscribe(&mut self, client: usize, filter: &'static str, subscription: Subscription, exact: usize) {
        let now = self.now;
        let session = self.sessions.get_mut(&client).unwrap();
        let replaced = session.subscriptions.insert(filter, subscription).is_some();
        let wanted = match subscription.options.retain_handling {
            RetainHandling::Send => true,
            RetainHandling::SendIfNew => !replaced,
            RetainHandling::DoNotSend => false,
        };
        if !wanted || is_shared(filter) {
            return;
        }
        let live = |message: &&Message| message.expires.is_none_or(|expires| expires > now);
        let found: Vec<_> = self.retained.values().filter(|kept| matches(filter, kept.topic)).filter(live).collect();
        let exact = found.len() <= exact;
        for message in &found {
            let expected = expect(&mut session.expected, **message);
            expected.most += 1;
            expected.wanted += u32::from(exact);
            self.slack += u64::from(!exact);
        }
    }

    /// The number of messages that should have come and did not.
    pub(crate) fn missing(&self) -> u64 {
        let living: u64 = self.sessions.values().map(missing).sum();
        let shared: u64 = self.shared.values().map(|shared| u64::from(shared.wanted.saturating_sub(shared.got))).sum();
        self.missing + living + shared
    }
}

fn missing(session: &Session) -> u64 {
    session.expected.values().map(|expected| u64::from(expected.wanted.saturating_sub(expected.got))).sum()
}

fn expect(all: &mut BTreeMap<Number, Expected>, message: Message) -> &mut Expected {
    all.entry(message.number).or_insert_with(|| Expected {
        message,
        qos: message.qos,
        wanted: 0,
        most: 0,
        got: 0,
        identifiers: BTreeSet::new(),
        was_here: false,
        may_be_sent: false,
    })
}
