//! Each example runs and does what its documentation says.
#![cfg(all(feature = "alloc", feature = "durable"))]
#![allow(missing_docs, unreachable_pub)]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

#[path = "../examples/auth.rs"]
mod auth;
#[path = "../examples/persist_to_file.rs"]
mod persist_to_file;
#[path = "../examples/std_tcp.rs"]
mod std_tcp;
#[cfg(feature = "shards")]
#[path = "../examples/two_shards.rs"]
mod two_shards;

#[test]
fn the_example_auth_changes_permissions_while_the_broker_runs() {
    auth::main();
}

#[test]
fn the_example_persist_to_file_keeps_a_message_over_a_crash() {
    let _ = persist_to_file::main as fn();
    let folder = std::env::temp_dir().join(format!("goldcrest-examples-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    persist_to_file::run(&folder.join("records"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[cfg(feature = "shards")]
#[test]
fn the_example_two_shards_sends_a_message_between_shards() {
    two_shards::main();
}

#[test]
fn the_example_std_tcp_sends_a_message_between_clients() {
    let _ = std_tcp::main as fn();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stops = Arc::new(AtomicBool::new(false));
    let server = std::thread::spawn({
        let stops = stops.clone();
        move || std_tcp::serve(&listener, || stops.load(Ordering::Relaxed))
    });
    let connect = |name: u8| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01".as_slice(), &[name]].concat()).unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"\x20\x02\0\0");
        stream
    };
    let (mut subscriber, mut publisher) = (connect(b's'), connect(b'p'));
    subscriber.write_all(b"\x82\x06\0\x01\0\x01t\0").unwrap();
    let mut answer = [0; 5];
    subscriber.read_exact(&mut answer).unwrap();
    publisher.write_all(b"\x30\x05\0\x01thi").unwrap();
    let mut message = [0; 7];
    subscriber.read_exact(&mut message).unwrap();
    assert_eq!(&message, b"\x30\x05\0\x01thi");
    // DISCONNECT: the server closes the connection.
    publisher.write_all(b"\xe0\0").unwrap();
    assert_eq!(publisher.read(&mut message).unwrap(), 0);
    stops.store(true, Ordering::Relaxed);
    server.join().unwrap();
}
