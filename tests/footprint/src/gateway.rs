//! The core as the gateway uses it: a broker with other shards and with memory that grows, and the API functions that
//! firmware does not call.

use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::ControlFlow;

use goldcrest_core::codec::{QoS, ReasonCode};
use goldcrest_core::{
    Broker, Capacity, ClientLimits, Config, ConnectionId, Forward, Grant, Instant, LocalClient, LocalPublish, Memory,
    MemoryCeiling, Mount, Principal, Shard, TopicFilter, TopicName, Verdict,
};

use crate::Unforeseeable;

pub fn broker() -> Broker<'static> {
    let shard: Shard = black_box(Shard { index: 0, count: 2 });
    let config = black_box(Config { shard, ..Config::gateway(1) });
    let memory = Memory::owned(black_box(&Capacity::GATEWAY), &config.limits, shard);
    Broker::new(memory.under(&MemoryCeiling::new(black_box(64 << 20))), config, black_box(&Unforeseeable))
}

/// Calls the API functions that `call_everything` does not call.
#[inline(never)]
pub fn call_the_rest(broker: &mut Broker<'static>, now: Instant, id: ConnectionId, buffer: &mut [u8]) {
    connections(broker, now, id, buffer);
    operators(broker, now, id);
    siblings(broker, now);
    store(broker);
    local_client(broker, now);
    while let Some(event) = broker.poll_event() {
        black_box(event);
    }
    black_box((broker.lost_events(), broker.work(), broker.longest_chain(), broker.limits().packet_bytes));
}

fn connections(broker: &mut Broker<'static>, now: Instant, id: ConnectionId, buffer: &mut [u8]) {
    black_box(broker.handle_pings(id, black_box(&[])));
    broker.handle_input_end(now, id);
    broker.handle_pause();
    black_box(broker.poll_transmit_apart(now, id, buffer));
    broker.handle_payload_written(id, black_box(1));
    let mut grant = black_box(Grant::default()).until(now).within(black_box(ClientLimits::default()));
    if let Ok(mount) = Mount::new(black_box("a")) {
        grant = grant.below(mount);
    }
    let principal = black_box(Principal::ANONYMOUS);
    broker.handle_verdict(now, id, black_box(Verdict::Accept { principal, data: None, grant }));
}

fn operators(broker: &mut Broker<'static>, now: Instant, id: ConnectionId) {
    broker.rules_changed(now);
    broker.set_authorize(now, black_box(&Unforeseeable));
    black_box(broker.disconnect(now, black_box("a"), black_box(ReasonCode::Success)));
    black_box(broker.end_session(now, black_box("a")));
    black_box(broker.connection_of(black_box("a")));
    let (from, to) = black_box((Principal::ANONYMOUS, Principal(1)));
    black_box(broker.give_session(now, black_box("a"), from, to));
    black_box(broker.principal(black_box(id)));
    broker.disconnect_connection(now, black_box(id), black_box(ReasonCode::Success), black_box("a"));
    if let Ok(topic) = TopicName::new(black_box("a")) {
        let _ = black_box(broker.remove_retained(now, topic));
    }
    let _ = black_box(broker.reconfigure(now, black_box(Config::gateway(1))));
    black_box(broker.visit_subscriptions(black_box("a"), black_box(0), |info| {
        black_box(info);
        ControlFlow::Continue(())
    }));
    black_box(broker.visit_deliveries(now, black_box("a"), black_box(0), |info| {
        black_box(info);
        ControlFlow::Continue(())
    }));
    black_box(broker.visit_retained(now, black_box(0), |info| {
        black_box(info);
        ControlFlow::Continue(())
    }));
}

fn siblings(broker: &mut Broker<'static>, now: Instant) {
    while let Some((to, forward)) = broker.poll_forward() {
        let _ = black_box(broker.handle_forward(now, black_box(to), black_box(forward)));
    }
    let mut forwards: VecDeque<Forward> = black_box(VecDeque::new());
    let _ = black_box(broker.handle_forwards(now, black_box(1), &mut forwards));
    black_box(broker.poll_forwards(&mut forwards));
    black_box(forwards);
    black_box(Shard::home_of(black_box(b"a"), black_box(2)));
}

fn store(broker: &mut Broker<'static>) {
    broker.expect_retained(black_box([0, 1]).into_iter());
    if let Some(fetch) = broker.poll_fetch() {
        if black_box(false) {
            broker.handle_fetched(fetch, black_box(&[]));
        } else {
            broker.handle_fetch_failed(fetch);
        }
    }
    black_box((broker.poll_commit_urgency(), broker.bytes_to_record(), broker.store_credit()));
    broker.set_store_half_full(black_box(true));
    broker.grant_store_credit(black_box(1));
    broker.spend_store_credit(black_box(1));
    black_box(broker.return_store_credit(black_box(1)));
}

fn local_client(broker: &mut Broker<'static>, now: Instant) {
    let (mut incoming, mut outgoing) = ([0; 64], [0; 64]);
    let mut client = LocalClient::new(black_box("a"), black_box(&mut incoming), black_box(&mut outgoing));
    if black_box(false) {
        client = client.with_principal(black_box(Principal::ANONYMOUS));
    }
    let _ = black_box(client.connect(broker, now));
    if let Ok(filter) = TopicFilter::new(black_box("a")) {
        let _ = black_box(client.subscribe(broker, now, filter, black_box(QoS::AtMostOnce)));
        let _ = black_box(client.unsubscribe(broker, now, filter));
    }
    if let Ok(topic) = TopicName::new(black_box("a")) {
        let message = LocalPublish { topic, payload: &[], qos: QoS::AtMostOnce, retain: false, expiry_secs: None };
        let _ = black_box(client.publish(broker, now, black_box(message)));
    }
    while let Some(event) = client.poll(broker, now) {
        black_box(event);
    }
    black_box((client.id(), client.is_connected(), client.is_waiting()));
    client.disconnect(broker, now);
}
