//! Decides who may connect and what each client may do: passwords, a rule by Client Identifier, and rules that change while the broker
//! runs. `cargo run --example auth --features alloc`

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use goldcrest_core::codec::{QoS, ReasonCode};
use goldcrest_core::{
    Ask, Authentication, Authorize, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Next, Principal,
    Shard, Subject, Subscribable, Then, TopicFilter, TopicName, Verdict,
};

/// Each client may publish below its own Client Identifier. Only the operator may subscribe, as long as `is_open` is true.
struct Rules {
    operator: Principal,
    is_open: AtomicBool,
}

impl Authorize for Rules {
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        who.with_client_id(|id| topic.levels().next() == Some(id))
    }

    fn subscribe(&self, who: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::wholly_if(who.principal() == self.operator && self.is_open.load(Ordering::Relaxed))
    }

    fn receive(&self, who: &Subject<'_>, _: TopicName<'_>) -> bool {
        who.principal() == self.operator && self.is_open.load(Ordering::Relaxed)
    }
}

/// A real server looks the user up and compares a slow hash on another thread, while the broker goes on.
fn decide(ask: &Ask<'_>) -> Verdict<'static> {
    match ask {
        Ask::Connect(connect) => match (connect.user_name, connect.password) {
            (Some("operator"), Some(b"secret")) => Verdict::accept(Principal(1)),
            (Some("sensor"), Some(b"1234")) => Verdict::accept(Principal(2)),
            _ => Verdict::Refuse(ReasonCode::BadUserNameOrPassword),
        },
        Ask::Auth(_) => Verdict::Refuse(ReasonCode::BadAuthenticationMethod),
    }
}

/// Hands in bytes of a client, and returns the bytes that the broker sends it.
fn turn(broker: &mut Broker<'_>, now: Instant, id: ConnectionId, bytes: &[u8]) -> Vec<u8> {
    let received = broker.handle_bytes(now, id, bytes);
    if let Next::Ask(ask) = received.next {
        let verdict = decide(&ask);
        broker.handle_verdict(now, id, verdict);
    }
    transmitted(broker, now, id)
}

fn transmitted(broker: &mut Broker<'_>, now: Instant, id: ConnectionId) -> Vec<u8> {
    let (mut sent, mut buffer) = (Vec::new(), [0; 256]);
    loop {
        let transmit = broker.poll_transmit(now, id, &mut buffer);
        sent.extend_from_slice(&buffer[..transmit.written]);
        if transmit.then != Then::More {
            return sent;
        }
    }
}

/// Runs the example.
pub fn main() {
    let now = Instant::from_millis(0);
    let rules = Arc::new(Rules { operator: Principal(1), is_open: AtomicBool::new(true) });
    let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
    let config = Config { authentication: Authentication::Ask, ..Config::gateway(1) };
    let mut broker = Broker::new(memory, config, rules.clone());

    // A CONNECT of MQTT 3.1.1 with a wrong password is answered with CONNACK 4.
    let stranger = broker.handle_connected(now).expect("there is room");
    let answer = turn(&mut broker, now, stranger, b"\x10\x19\0\x04MQTT\x04\xc2\0\0\0\x01x\0\x06sensor\0\x02no");
    assert_eq!(answer, b"\x20\x02\0\x04");
    broker.handle_closed(now, stranger);

    // The operator subscribes to everything: SUBACK grants QoS 0.
    let operator = broker.handle_connected(now).expect("there is room");
    turn(&mut broker, now, operator, b"\x10\x20\0\x04MQTT\x04\xc2\0\0\0\x02op\0\x08operator\0\x06secret");
    assert_eq!(turn(&mut broker, now, operator, b"\x82\x06\0\x01\0\x01#\0"), b"\x90\x03\0\x01\0");

    // A sensor publishes below its own name, and below another name. There the message with QoS 0 is dropped, and a client of MQTT 3.1.1
    // is not told.
    let sensor = broker.handle_connected(now).expect("there is room");
    turn(&mut broker, now, sensor, b"\x10\x1c\0\x04MQTT\x04\xc2\0\0\0\x02s1\0\x06sensor\0\x041234");
    turn(&mut broker, now, sensor, b"\x30\x07\0\x04s1/tx");
    turn(&mut broker, now, sensor, b"\x30\x07\0\x04s2/tx");
    let got = transmitted(&mut broker, now, operator);
    println!("the operator got {:?}", String::from_utf8_lossy(&got));
    assert_eq!(got, b"\x30\x07\0\x04s1/tx");

    // The rules change: what was granted is asked again, and the operator loses its subscription and its connection.
    rules.is_open.store(false, Ordering::Relaxed);
    broker.rules_changed(now);
    broker.handle_timeout(now);
    assert_eq!(broker.counters().subscriptions, 0);
}
