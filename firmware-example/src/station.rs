//! The board's own client: it publishes the uptime, obeys commands for the LED, and reports faults.
//!
//! | topic | |
//! |---|---|
//! | `board/uptime` | seconds since the start, each second |
//! | `board/led/set` | a command: `on` or `off` |
//! | `board/led` | the state of the LED, retained |
//! | `$SYS/board/stack` | the most bytes of the stack that were in use, and its size; each second |
//! | `$SYS/board/faults` | counts of faults since the start, each second once there was one |
//!
//! Messages of each second are not retained: that would wear the flash out.

use core::fmt::Write;

use goldcrest_core::codec::QoS;
use goldcrest_core::{
    Broker, ConnectionId, Full, Instant, LocalClient, LocalEvent, LocalPublish, TopicFilter, TopicName,
};
use heapless::String;

use crate::board::{self, Led, stack};
use crate::faults::Faults;
use crate::shown::{Decimal, Words};
use crate::stall;

const LED_SET: &str = "board/led/set";
const COMMANDS: &[&str] = if cfg!(feature = "stall") { &[LED_SET, stall::TOPIC] } else { &[LED_SET] };
const PERIOD_MILLIS: u64 = 1000;

/// The board's sensor and LED, with a client of the broker for both.
pub(crate) struct Station<'b> {
    led: Led,
    local: LocalClient<'b>,
    started: Instant,
    /// When the next reading is due.
    due: Instant,
    /// The faults that were published last; they are published again when they change.
    said: Faults,
}

impl<'b> Station<'b> {
    pub(crate) fn new(now: Instant, led: Led, incoming: &'b mut [u8], outgoing: &'b mut [u8]) -> Self {
        let local = LocalClient::new("board", incoming, outgoing);
        Self { led, local, started: now, due: now, said: Faults::NONE }
    }

    /// When [`Station::turn`] has something to do even if no message has come.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Whether `id` is the station's connection, which the broker has named: there may be a command.
    pub(crate) fn is(&self, id: ConnectionId) -> bool {
        self.local.id() == Some(id)
    }

    /// Obeys commands, and publishes a reading when it is time. Returns whether a reading was published.
    pub(crate) fn turn(&mut self, now: Instant, broker: &mut Broker<'_>, faults: &mut Faults) -> bool {
        let mut is_switched = false;
        while let Some(event) = self.local.poll(broker, now) {
            let command = match event {
                LocalEvent::Message(command) => command,
                LocalEvent::Answer { code, .. } => {
                    faults.connects = faults.connects.wrapping_add(u32::from(code.is_error()));
                    continue;
                }
                // The client connects again when the next reading is due.
                _ => continue,
            };
            if cfg!(feature = "stall") && command.topic == stall::TOPIC {
                stall::stall(command.payload);
                continue;
            }
            match command.payload {
                b"on" => self.led.switch(true),
                b"off" => self.led.switch(false),
                _ => faults.commands = faults.commands.wrapping_add(1),
            }
            is_switched = true;
        }
        if is_switched {
            self.publish_led(now, broker, faults);
        }
        if now < self.due {
            return false;
        }
        self.due = self.due.plus_millis(PERIOD_MILLIS);
        self.connect(now, broker, faults);
        // Seconds in 32 bits are enough for 136 years.
        let uptime = (now.millis_since(self.started) / 1000) as u32;
        publish(now, broker, faults, Kind::Reading, "board/uptime", format_args!("{}", Decimal(uptime)));
        let stack = format_args!("{} of {}", Decimal(stack::most_used() as u32), Decimal(stack::size() as u32));
        publish(now, broker, faults, Kind::Reading, "$SYS/board/stack", stack);
        faults.dropped = broker.counters().dropped.total() as u32;
        if *faults != self.said {
            self.said = *faults;
            board::say(format_args!("{faults}"));
        }
        if self.said != Faults::NONE {
            publish(now, broker, faults, Kind::Reading, "$SYS/board/faults", format_args!("{}", self.said));
        }
        true
    }

    /// Connects if the client is not connected: at the start, or after another client has taken over its Client
    /// Identifier.
    fn connect(&mut self, now: Instant, broker: &mut Broker<'_>, faults: &mut Faults) {
        if self.local.is_connected() {
            return;
        }
        let mut result = self.local.connect(broker, now);
        for topic in COMMANDS {
            let Ok(filter) = TopicFilter::new(topic) else { continue };
            result = result.and_then(|()| self.local.subscribe(broker, now, filter, QoS::ExactlyOnce).map(|_| ()));
        }
        if result.is_err() {
            faults.connects = faults.connects.wrapping_add(1);
        }
        self.publish_led(now, broker, faults);
    }

    fn publish_led(&self, now: Instant, broker: &mut Broker<'_>, faults: &mut Faults) {
        let state = if self.led.is_on() { "on" } else { "off" };
        publish(now, broker, faults, Kind::State, "board/led", format_args!("{}", Words(state)));
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A state, which is published with QoS 1 and retained.
    State,
    /// A reading, which is published with QoS 0, as the next reading comes soon.
    Reading,
}

/// Publishes a message. If the broker has no room for it, that is counted as a fault.
fn publish(
    now: Instant,
    broker: &mut Broker<'_>,
    faults: &mut Faults,
    kind: Kind,
    topic: &'static str,
    payload: core::fmt::Arguments<'_>,
) {
    let mut text = String::<160>::new();
    // A payload that is too long is cut.
    let _ = text.write_fmt(payload);
    let Ok(topic) = TopicName::new(topic) else { return };
    let (qos, retain) = match kind {
        Kind::State => (QoS::AtLeastOnce, true),
        Kind::Reading => (QoS::AtMostOnce, false),
    };
    let message = LocalPublish { topic, payload: text.as_bytes(), qos, retain, expiry_secs: None };
    if let Err(Full) = broker.publish(now, message) {
        faults.publishes = faults.publishes.wrapping_add(1);
    }
}
