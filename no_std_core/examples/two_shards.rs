//! Two brokers that behave as one, like the shards of a gateway. Each could run on a thread of its own. `cargo run
//! --example two_shards --features shards`

use goldcrest_core::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Shard, Then};

fn shard(index: u16) -> Broker<'static> {
    let shard = Shard { index, count: 2 };
    // All shards of one gateway have the same seed.
    Broker::new(
        Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, shard),
        Config { shard, ..Config::gateway(1) },
        &AllowAll,
    )
}

/// Hands over all forwards between the shards, in order and without loss, until there are no more.
fn exchange(shards: &mut [Broker<'_>; 2], now: Instant) {
    loop {
        let mut any = false;
        for from in 0..2 {
            while let Some((to, forward)) = shards[from].poll_forward() {
                shards[usize::from(to)].handle_forward(now, from as u16, forward).expect("both have the same seed");
                any = true;
            }
        }
        if !any {
            return;
        }
    }
}

/// Hands in bytes of a client of one shard. Bytes that the broker does not consume, because it asks the other shard first,
/// are handed in again.
fn turn(shards: &mut [Broker<'_>; 2], now: Instant, home: usize, id: ConnectionId, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let received = shards[home].handle_bytes(now, id, bytes);
        bytes = &bytes[received.consumed..];
        exchange(shards, now);
    }
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
    let shards = &mut [shard(0), shard(1)];

    // A Session lives on the home shard of its Client Identifier: a program reads CONNECT first, and hands the socket to
    // that shard.
    let name_on =
        |home| (b'a'..=b'z').find(|name| Shard::home_of(&[*name], 2) == home).expect("one of 26 has that home");
    let connect = |name| [b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01".as_slice(), &[name]].concat();

    let subscriber = shards[0].handle_connected(now).expect("there is room");
    turn(shards, now, 0, subscriber, &connect(name_on(0)));
    turn(shards, now, 0, subscriber, b"\x82\x06\0\x01\0\x01t\0");

    let publisher = shards[1].handle_connected(now).expect("there is room");
    turn(shards, now, 1, publisher, &connect(name_on(1)));
    turn(shards, now, 1, publisher, b"\x30\x05\0\x01thi");

    let sent = transmitted(&mut shards[0], now, subscriber);
    println!("the subscriber on shard 0 got {} bytes", sent.len());
    assert!(sent.ends_with(b"\x30\x05\0\x01thi"), "the message was published on shard 1");
}
