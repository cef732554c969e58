//! A message that a group on another shard gives to a member may arrive after the member has left that group and joined another one.

use goldcrest_core::codec::{
    Filters, Packet, Properties, QoS, ReasonCode, Subscribe, SubscriptionOptions, Topics, Unsubscribe, Version,
};
use goldcrest_core::{Config, Shard};
use goldcrest_tests::honest::{Got, Honest, Opening, bytes_of, id};
use goldcrest_tests::world::World;

/// A name with this beginning and end that is at home on that one of three shards.
fn name_on(shard: u16, name: &str, behind: &str) -> String {
    let home = |text: &String| Shard::home_of(text.as_bytes(), 3) == shard;
    (0..).map(|number| format!("{name}{number}{behind}")).find(home).unwrap()
}

/// A client with a Receive Maximum of 1: further messages wait in its queue, and go back to their group when the client leaves.
fn opening(id: &str) -> Opening<'_> {
    Opening { expiry_secs: 600, clean_start: false, window: Some(1), ..Opening::new(id) }
}

fn client(world: &mut World, id: &str) -> Honest {
    Honest::accepted(world, Version::V5, &opening(id))
}

fn topics_of(got: Vec<Got>) -> Vec<String> {
    let topic = |got| if let Got::Message(message) = got { Some(message.topic) } else { None };
    got.into_iter().filter_map(topic).collect()
}

/// A member leaves a group whose messages are on their way to it, and joins another group. A bug of the past: the new subscription got
/// the same slot in memory as the old one. The late messages then counted as messages of the second group, and went to that group's other
/// members when the client left.
#[test]
fn a_late_message_of_a_group_never_goes_to_another_group() {
    let world = &mut World::new(3, Config::gateway(1));
    let member_id = name_on(1, "member ", "");
    let (left, joined) = (name_on(0, "$share/left", "/x"), name_on(2, "$share/joined", "/y"));
    let mut other = client(world, &name_on(2, "other ", ""));
    let mut member = client(world, &member_id);
    let publisher = client(world, &name_on(0, "publisher ", ""));
    assert_eq!(other.subscribe(world, &joined, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);
    assert_eq!(member.subscribe(world, &left, QoS::AtLeastOnce), ReasonCode::GrantedQoS1);

    world.slow_down(0, 1, true);
    for number in 1..=3 {
        publisher.publish(world, "x", b"late", QoS::AtLeastOnce, false, number);
    }
    let filters = [&left[..]];
    let (packet_id, properties) = (id(1), Properties::EMPTY);
    let unsubscribe = Unsubscribe { packet_id, properties, filters: Topics::new(&filters) };
    member.send(world, &Packet::Unsubscribe(unsubscribe));
    world.cut(member.at);
    let mut member = client(world, &member_id);
    let filters = [(&joined[..], SubscriptionOptions::with_qos(QoS::AtLeastOnce))];
    let subscribe = Packet::Subscribe(Subscribe { packet_id, properties, filters: Filters::new(&filters) });
    world.send(member.at, &bytes_of(Version::V5, &subscribe));

    world.slow_down(0, 1, false);
    let got = topics_of(member.take(world));
    assert_eq!(got, ["x"], "what was given before stays the member's");
    world.cut(member.at);
    assert_eq!(topics_of(other.take(world)), [""; 0], "nobody else subscribed to it");
    let mut member = Honest::connect(world, Version::V5, &opening(&member_id));
    assert_eq!(member.take_messages(world).len(), 3, "none is lost");
}
