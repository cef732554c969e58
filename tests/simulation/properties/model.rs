//! What a broker does, written down as naively as possible: lists and loops, and no packets.
//!
//! The model knows who is to get what. How often it came, and what the broker says it has lost, is put down beside it.

use std::collections::{BTreeMap, BTreeSet};

use goldcrest_core::codec::{QoS, RetainHandling, SubscriptionOptions};
use goldcrest_core::{TopicFilter, TopicName};

/// `Config::will_grace_secs` as it is by default.
const GRACE_MS: u64 = 10_000;

/// A message by its number; all without payload are number 0.
pub(crate) type Number = u32;

/// A message as it was published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) number: Number,
    /// The client that published it, for No Local.
    pub(crate) publisher: usize,
    pub(crate) is_will: bool,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// In ms.
    pub(crate) expires: Option<u64>,
}

/// What a Session is to get of one message.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) message: Message,
    /// The lower of the message's and the greatest subscription's.
    pub(crate) qos: QoS,
    /// Times it has to come, or to be counted as lost.
    pub(crate) wanted: u32,
    /// Times it may come.
    pub(crate) most: u32,
    pub(crate) got: u32,
    /// Subscription Identifiers.
    pub(crate) identifiers: BTreeSet<u32>,
    /// It was published while the client was connected: then it may have its Packet Identifier at once.
    was_here: bool,
    /// It had its Packet Identifier when the power went, for all that is known: it may have been sent.
    pub(crate) may_be_sent: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Subscription {
    pub(crate) options: SubscriptionOptions,
    pub(crate) identifier: u32,
}

/// Session State as far as others can see it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Session {
    /// The number that tells this Session from all others.
    pub(crate) incarnation: u32,
    pub(crate) connected: bool,
    /// It survives a crash.
    durable: bool,
    expiry_secs: u32,
    ends: Option<u64>,
    will: Option<(Message, u32, Option<u64>)>,
    /// Its client was connected when the power went, and left a Will.
    was_cut_off: bool,
    pub(crate) subscriptions: BTreeMap<&'static str, Subscription>,
    pub(crate) expected: BTreeMap<Number, Expected>,
    /// Received, and not acknowledged: the broker counts them as lost when the Session ends.
    pub(crate) unacknowledged: u32,
}

/// What all groups of shared subscriptions together are to get of one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shared {
    pub(crate) wanted: u32,
    pub(crate) got: u32,
    /// Of these, with QoS 0 or 2, which never come twice.
    pub(crate) got_once: u32,
}

#[derive(Default)]
pub(crate) struct Model {
    pub(crate) now: u64,
    pub(crate) sessions: BTreeMap<usize, Session>,
    pub(crate) retained: BTreeMap<&'static str, Message>,
    pub(crate) shared: BTreeMap<Number, Shared>,
    /// Messages that Sessions which have ended were to get, and did not.
    pub(crate) missing: u64,
    /// Times the broker may have counted a loss that is not missing: it came and was not acknowledged, for example.
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
    /// CONNECT was accepted; whether there was a Session.
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
            // The client is back.
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

    /// DISCONNECT without a Will to publish.
    pub(crate) fn disconnect(&mut self, client: usize) {
        self.sessions.get_mut(&client).unwrap().will = None;
        self.lose(client);
    }

    /// The connection is gone.
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

    /// The power goes and comes back. To a client that had stopped to read anything may be half sent. Clients have some time to come
    /// back before their Wills are published.
    pub(crate) fn crash(&mut self, had_stopped: impl Fn(usize) -> bool) {
        self.sessions.retain(|_, session| session.durable || session.will.is_some());
        for session in self.sessions.values_mut().filter(|session| !session.durable) {
            // Nothing but its Will survives.
            session.subscriptions.clear();
            session.expected.clear();
            session.unacknowledged = 0;
        }
        for (client, session) in &mut self.sessions {
            for expected in session.expected.values_mut() {
                expected.may_be_sent |= expected.was_here || had_stopped(*client);
                let in_memory = expected.qos == QoS::AtMostOnce || expected.message.qos == QoS::AtMostOnce;
                // For a client that was away the message did not wait: it was counted as lost.
                if in_memory && expected.was_here {
                    // A message that waited in memory alone is lost without being counted, unless it was lost before.
                    self.slack += u64::from(expected.wanted.saturating_sub(expected.got));
                    expected.wanted = expected.wanted.min(expected.got);
                }
                if expected.message.retain {
                    // Retained messages for a new subscription start over.
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

    /// Time passes, with everything that falls due on the way.
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

    /// The Session ends; what it did not get is missing for ever.
    pub(crate) fn end(&mut self, client: usize) {
        self.publish_will(client);
        let session = self.sessions.remove(&client).unwrap();
        self.missing += missing(&session);
        self.slack += u64::from(session.unacknowledged);
    }

    /// A message is published. Whether it is kept, if there is room: not where nobody subscribed, or only clients that are away and would
    /// get it with QoS 0.
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

    /// SUBSCRIBE was granted. `exact`: all retained messages come now, since nothing else is on its way.
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

    /// Messages that were to come and did not.
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
