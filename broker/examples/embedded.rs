//! A program with a broker in it: it decides who may connect, publishes, subscribes, reads events and counters, reloads and stops.
//! `cargo run --example embedded`

use goldcrest::access::{AccessRequest, Decision, Reply};
use goldcrest::{Access, Config, Gateway, Listener};
use goldcrest_core::codec::{QoS, ReasonCode};
use goldcrest_core::{Authorize, EventSet, Principal, Subject, Subscribable, TopicFilter, TopicName};
use std::error::Error;
use std::sync::Arc;

/// Clients may publish readings; only the program itself may subscribe to them.
struct Rules;

/// The principal of the program's own clients.
const PROGRAM: Principal = Principal(1);

impl Authorize for Rules {
    fn publish(&self, _: &Subject<'_>, topic: TopicName<'_>, _: QoS, _: bool) -> bool {
        topic.levels().next() == Some("readings")
    }

    fn subscribe(&self, who: &Subject<'_>, _: TopicFilter<'_>, _: QoS) -> Subscribable {
        Subscribable::wholly_if(who.principal() == PROGRAM)
    }
}

/// A real program looks the user up on a thread of its own, and sends the reply from there.
fn decide(request: AccessRequest, reply: Reply) {
    let password = request.connect.and_then(|connect| connect.password);
    reply.send(match (request.peer, password.as_deref()) {
        (None, _) => Decision::accept(PROGRAM),
        (Some(_), Some(b"secret")) => Decision::accept(Principal(2)),
        _ => Decision::Refuse(ReasonCode::BadUserNameOrPassword),
    });
}

/// Runs the example.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    // Start.
    let mut config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse()?)], ..Config::default() };
    config.broker.events = EventSet::CONNECTED | EventSet::DROPPED;
    let mut gateway = Gateway::start_with(&config, Access::new().authorized_by(Arc::new(Rules)).decided_by(decide))?;

    // Publish and subscribe.
    let mut client = gateway.client("program").await?;
    client.subscribe("readings/#", QoS::AtLeastOnce).await?;
    client.publish("readings/kitchen", b"21.5", QoS::AtLeastOnce, false).await?;
    let message = client.next().await?;
    println!("{}: {}", message.topic, String::from_utf8_lossy(&message.payload));

    // Events and counters.
    let mut events = gateway.take_events().ok_or("they were taken")?;
    println!("{:?}", events.next().await);
    println!("{} connected", gateway.counters().await?.connected);

    // Reload.
    config.broker.limits.queued_messages = 50;
    gateway.reload(&config).await?;
    gateway.set_authorize(Arc::new(Rules)).await?;

    // Stop.
    client.close().await?;
    gateway.shut_down().await;
    Ok(())
}

#[allow(dead_code, reason = "a test runs the example too")]
fn main() -> Result<(), Box<dyn Error>> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(run())
}
