//! A client's last packets are handled, whatever the turn finds out first about the client's connection.

use super::LoopWithClient;
use std::task::Waker;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

impl LoopWithClient {
    /// The peer publishes ten messages, sends DISCONNECT, and closes with unread bytes: so its system sends a reset.
    async fn leave(&mut self) {
        self.peer.readable().await.unwrap();
        let mut last_words = b"\x30\x04\0\x01xp".repeat(10);
        last_words.extend(b"\xe0\0");
        assert_eq!(self.peer.try_write(&last_words).unwrap(), last_words.len());
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpStream::connect(elsewhere.local_addr().unwrap()).await.unwrap();
        drop(std::mem::replace(&mut self.peer, other));
    }

    /// Expects that all packets of the client are handled, and that the connection ends by the client's DISCONNECT.
    async fn expect_last_words(&mut self) {
        for _ in 0..2_000 {
            if self.event_loop.socket(self.id).is_none() {
                break;
            }
            sleep(Duration::from_millis(1)).await;
            self.cycle();
        }
        assert!(self.event_loop.socket(self.id).is_none(), "the connection is gone");
        let counters = self.event_loop.broker.counters();
        assert_eq!(counters.publish_received, [10, 0, 0]);
        // These packets are CONNECT and SUBSCRIBE, ten PUBLISH, and DISCONNECT.
        assert_eq!(counters.packets_received, 13);
    }
}

/// Runs a test like a shard, which has a separate task for a connection that sends its last bytes.
async fn run(test: impl Future<Output = ()>) {
    tokio::task::LocalSet::new().run_until(test).await;
}

#[tokio::test]
async fn the_last_packets_of_a_client_count_though_the_rest_of_a_write_fails_first() {
    run(async {
        let mut client = LoopWithClient::new().await;
        client.block().await;
        client.leave().await;
        client.expect_last_words().await;
    })
    .await;
}

#[tokio::test]
async fn the_last_packets_of_a_client_count_though_a_write_fails_first() {
    run(async {
        let mut client = LoopWithClient::new().await;
        client.leave().await;
        // A write that fails shows the reset, in a turn that has not looked for arrived bytes.
        while client.event_loop.socket(client.id).is_some_and(|socket| !socket.is_broken()) {
            client.publish(b"p");
            client.event_loop.begin_turn(&Waker::from(client.woken.clone()));
            client.event_loop.flush(usize::MAX);
        }
        client.expect_last_words().await;
    })
    .await;
}

/// A bug of the past: packets that clients sent while the gateway was told to stop were lost, and the clients' Wills were
/// sent.
#[tokio::test]
async fn the_last_packets_of_clients_count_when_the_gateway_stops() {
    run(async {
        let mut client = LoopWithClient::new().await;
        client.publish(b"p");
        client.cycle();
        client.leave().await;
        client.event_loop.mailboxes.shut_down();
        client.event_loop.begin_turn(&Waker::from(client.woken.clone()));
        client.event_loop.collect();
        assert_eq!(client.event_loop.broker.counters().publish_received, [10, 0, 0]);
        client.expect_last_words().await;
    })
    .await;
}
