//! Queues that are longer than the limit for memory, through `kill -9`, with the defaults of the gateway.

use crate::support::server::{Server, goldcrest};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

/// More messages than `queued_messages`.
const MESSAGES: u32 = 12_000;
/// Messages that the publisher sends before it waits for their acknowledgements.
const AT_ONCE: u32 = 500;

fn start(folder: &Path, shards: &str) -> Server {
    let folder = folder.to_str().unwrap();
    Server::run(&mut goldcrest(&["--data-dir", folder, "--shards", shards]))
}

/// Connects a client of MQTT 3.1.1 with a lasting Session.
fn connect(server: &Server, id: u8) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&[0x10, 13, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 0, 0, 1, id]).unwrap();
    assert_eq!(take::<4>(&mut stream)[3], 0);
    stream
}

fn take<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Publishes all messages, and waits for their acknowledgements.
fn publish(server: &Server) {
    let mut publisher = connect(server, b'p');
    for start in (0..MESSAGES).step_by(AT_ONCE as usize) {
        let mut packets = Vec::new();
        for number in 0..AT_ONCE {
            packets.extend_from_slice(&[0x32, 9, 0, 1, b'q']);
            packets.extend_from_slice(&(number as u16 + 1).to_be_bytes());
            packets.extend_from_slice(&(start + number).to_be_bytes());
        }
        publisher.write_all(&packets).unwrap();
        for number in 0..AT_ONCE {
            let [high, low] = (number as u16 + 1).to_be_bytes();
            assert_eq!(take(&mut publisher), [0x40, 2, high, low]);
        }
    }
}

/// A subscriber that was away for long gets each acknowledged message, in order. A bug of the past: all but 10,000 messages were lost,
/// though they had been acknowledged with success.
#[test]
fn a_queue_in_the_store_is_longer_than_one_in_memory_by_default() {
    for shards in ["1", "2"] {
        let folder = std::env::temp_dir().join(format!("goldcrest-queues-{shards}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        let mut server = start(&folder, shards);
        let mut subscriber = connect(&server, b's');
        subscriber.write_all(&[0x82, 6, 0, 1, 0, 1, b'q', 1]).unwrap();
        assert_eq!(take(&mut subscriber), [0x90, 3, 0, 1, 1]);
        drop(subscriber);
        publish(&server);
        server.child.kill().unwrap();
        server.child.wait().unwrap();
        let server = start(&folder, shards);
        let mut subscriber = connect(&server, b's');
        for number in 0..MESSAGES {
            let packet: [u8; 11] = take(&mut subscriber);
            assert_eq!(packet[0] & 0xF6, 0x32);
            assert_eq!(packet[7..], number.to_be_bytes());
            subscriber.write_all(&[0x40, 2, packet[5], packet[6]]).unwrap();
        }
        drop(server);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
