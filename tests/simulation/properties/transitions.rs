//! The transitions of a run. They are drawn without looking at the state, so that a seed always means the same
//! transitions. The system skips a transition that makes no sense at the moment.

use goldcrest_core::codec::{QoS, RetainHandling, SubscriptionOptions};
use goldcrest_tests::random::Random;

/// The topics of all messages. Topics below `s/` have shared subscriptions only.
pub(crate) const TOPICS: [&str; 9] = ["a/b", "a/c", "a/b/c", "b", "b/b", "a", "$x/a", "s/1", "s/2"];

/// The Topic Filters of all subscriptions. The first [`PLAIN`] of them match no topic below `s/`.
const FILTERS: [&str; 14] = [
    "a/#",
    "a/+",
    "a/b",
    "+/b",
    "b",
    "b/#",
    "a/b/#",
    "a/+/c",
    "$x/#",
    "a/+/+",
    "a",
    "$share/g/s/#",
    "$share/g/s/1",
    "$share/h/s/+",
];

/// The number of filters that are not shared; they come first.
const PLAIN: usize = 11;

/// The kinds of transitions that a run may have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mix {
    /// The number of clients.
    pub(crate) clients: usize,
    /// Whether clients stop reading at times.
    pub(crate) stalls: bool,
    /// Whether several clients publish at the same time.
    pub(crate) bursts: bool,
    /// Whether there are shared subscriptions.
    pub(crate) shared: bool,
    /// Whether Wills may be retained.
    pub(crate) retained_wills: bool,
    /// Whether the power is lost at times.
    pub(crate) crashes: bool,
}

/// One transition.
#[derive(Clone, Debug)]
pub(crate) enum Transition {
    Connect {
        client: usize,
        clean: bool,
        expiry_secs: u32,
        window: Option<u16>,
        aliases: u16,
        will: Option<Last>,
    },
    Disconnect {
        client: usize,
        keeps_will: bool,
    },
    Cut {
        client: usize,
    },
    Publish(Publication),
    /// Several messages at once.
    Burst(Vec<Publication>),
    /// A client sends a QoS 2 message again before its PUBREL.
    Repeat {
        client: usize,
        pick: usize,
    },
    /// A client sends PUBREL.
    Release {
        client: usize,
        pick: usize,
    },
    /// A client sends `count` of the acknowledgements that are due, from the front or from anywhere.
    Acknowledge {
        client: usize,
        count: usize,
        in_order: bool,
        refuse: bool,
        pick: usize,
    },
    Subscribe {
        client: usize,
        filter: &'static str,
        options: SubscriptionOptions,
        identifier: u32,
    },
    Unsubscribe {
        client: usize,
        filter: &'static str,
    },
    /// The client reads this many bytes and no more, or all.
    Read {
        client: usize,
        room: Option<usize>,
    },
    Pass {
        millis: u64,
    },
    /// The power is lost and returns.
    Crash,
}

/// A message to be published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Publication {
    pub(crate) client: usize,
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    /// Whether the message has no payload.
    pub(crate) empty: bool,
    /// The number of filling bytes.
    pub(crate) size: usize,
    pub(crate) expiry_secs: Option<u32>,
}

/// A Will.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Last {
    pub(crate) topic: &'static str,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) delay_secs: u32,
}

impl Transition {
    /// Draws a random transition.
    pub(crate) fn draw(random: &mut Random, mix: &Mix) -> Self {
        let client = random.below(mix.clients);
        match random.below(100) {
            0..=7 => Self::Connect {
                client,
                clean: random.percent(25),
                expiry_secs: random.choose(&[0, 3, 30, 3_000, u32::MAX]),
                window: random.choose(&[None, None, Some(1), Some(3), Some(20)]),
                aliases: random.choose(&[0, 0, 2, 10]),
                will: random.percent(30).then(|| Last {
                    topic: random.choose(&TOPICS[..7]),
                    qos: qos(random),
                    retain: mix.retained_wills && random.percent(30),
                    delay_secs: random.choose(&[0, 0, 2, 20]),
                }),
            },
            8..=9 => Self::Disconnect { client, keeps_will: random.percent(30) },
            10..=12 => Self::Cut { client },
            13..=42 => Self::Publish(publication(random, mix, client, true)),
            43..=47 => {
                let all: Vec<_> = (0..2 + random.below(6)).map(|_| random.below(mix.clients)).collect();
                let burst = all.into_iter().map(|client| publication(random, mix, client, false));
                let burst: Vec<_> = burst.collect();
                if mix.bursts { Self::Burst(burst) } else { Self::Publish(burst[0]) }
            }
            48..=49 => Self::Repeat { client, pick: random.below(100) },
            50..=55 => Self::Release { client, pick: random.below(100) },
            56..=75 => Self::Acknowledge {
                client,
                count: random.choose(&[1, 2, 5, 100]),
                in_order: random.percent(70),
                refuse: random.percent(2),
                pick: random.below(1_000),
            },
            76..=84 => Self::Subscribe {
                client,
                filter: FILTERS[random.below(if mix.shared { FILTERS.len() } else { PLAIN })],
                options: SubscriptionOptions {
                    qos: qos(random),
                    no_local: random.percent(20),
                    retain_as_published: random.percent(20),
                    retain_handling: random.choose(&[
                        RetainHandling::Send,
                        RetainHandling::SendIfNew,
                        RetainHandling::DoNotSend,
                    ]),
                },
                identifier: random.choose(&[0, 1, 2, 300]),
            },
            85..=88 => Self::Unsubscribe {
                client,
                filter: FILTERS[random.below(if mix.shared { FILTERS.len() } else { PLAIN })],
            },
            89..=93 => {
                let room = random.choose(&[None, None, Some(0), Some(1), Some(17), Some(200)]);
                Self::Read { client, room: room.filter(|_| mix.stalls) }
            }
            94 if mix.crashes => Self::Crash,
            _ => Self::Pass { millis: random.choose(&[1, 300, 1_000, 5_000, 60_000]) },
        }
    }
}

fn qos(random: &mut Random) -> QoS {
    random.choose(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce])
}

fn publication(random: &mut Random, mix: &Mix, client: usize, may_retain: bool) -> Publication {
    let topics = if mix.shared { &TOPICS[..] } else { &TOPICS[..7] };
    let retain = random.percent(20);
    let empty = random.percent(20);
    Publication {
        client,
        topic: random.choose(topics),
        qos: qos(random),
        retain: retain && may_retain,
        empty: retain && may_retain && empty,
        size: random.choose(&[0, 0, 1, 70, 400]),
        expiry_secs: random.choose(&[None, None, None, Some(1), Some(10), Some(1_000)]),
    }
}
