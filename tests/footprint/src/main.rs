//! An image of the core alone, which calls the API functions of the broker with arguments that the compiler can't foresee. The image is
//! linked and examined, but never run: how large it is, how much stack its calls take, and that no call leads to a panic.
//!
//! The default image is for a microcontroller without an operating system. With the feature `gateway` it is a program for the machine that
//! builds it, and calls the functions of the gateway too.

#![cfg_attr(not(feature = "gateway"), no_std, no_main)]

#[cfg(feature = "gateway")]
mod gateway;

use core::hint::black_box;
use core::ops::ControlFlow;

use goldcrest_core::{
    Authorize, Broker, ConnectionId, Instant, LocalPublish, Next, Principal, Subject, Subscribable, TopicFilter,
    TopicName, Verdict, codec::QoS,
};

#[cfg(not(feature = "gateway"))]
type Memory = goldcrest_core::resources! {
    connections: 8,
    sessions: 8,
    subscriptions: 32,
    levels: 48,
    messages: 32,
    deliveries: 32,
    blocks: 64,
};

#[cfg(not(feature = "gateway"))]
static mut MEMORY: Memory = Memory::new();

/// Without the feature `allow-panics` no such function exists: the image does not link if a panic can be reached.
#[cfg(not(feature = "allow-panics"))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    unsafe extern "C" {
        fn the_core_can_panic() -> !;
    }
    // SAFETY: this function is never linked, so it never runs.
    unsafe { the_core_can_panic() }
}

#[cfg(all(feature = "allow-panics", not(feature = "gateway")))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// Permissions of an embedder, about which the compiler knows nothing.
struct Unforeseeable;

impl Authorize for Unforeseeable {
    fn publish(&self, who: &Subject<'_>, topic: TopicName<'_>, qos: QoS, retain: bool) -> bool {
        black_box((who, topic, qos, retain)).3
    }

    fn subscribe(&self, who: &Subject<'_>, filter: TopicFilter<'_>, qos: QoS) -> Subscribable {
        Subscribable::wholly_if(black_box((who, filter, qos)).0.principal() == Principal::ANONYMOUS)
    }

    fn receive(&self, who: &Subject<'_>, topic: TopicName<'_>) -> bool {
        black_box((who, topic)).0.principal() == Principal::ANONYMOUS
    }
}

/// The entry point, from which the linker finds all code that is used.
#[cfg(not(feature = "gateway"))]
#[unsafe(no_mangle)]
pub extern "C" fn start() -> ! {
    // SAFETY: no other code names this `static`.
    let memory = unsafe { &mut *(&raw mut MEMORY) };
    call_everything(Broker::new(
        memory.memory(),
        black_box(goldcrest_core::Config::firmware(1)),
        black_box(&Unforeseeable),
    ))
}

#[cfg(feature = "gateway")]
fn main() {
    call_everything(gateway::broker())
}

#[inline(always)]
fn call_everything(mut broker: Broker<'static>) -> ! {
    let mut id: Option<ConnectionId> = None;
    let mut buffer = [0; 64];
    loop {
        let now = Instant::from_millis(black_box(0));
        if black_box(false) {
            id = broker.handle_connected(now).ok();
        }
        let Some(id) = id else { continue };
        match black_box(0) {
            0 => {
                let received = broker.handle_bytes(now, id, black_box(&[]));
                black_box((received.consumed, matches!(received.next, Next::Ask(_))));
            }
            1 => {
                black_box(broker.poll_transmit(now, id, black_box(&mut buffer)));
            }
            2 => {
                black_box(broker.poll_ready());
            }
            3 => broker.handle_closed(now, id),
            4 => broker.handle_timeout(now),
            5 => {
                black_box(broker.poll_timeout());
            }
            6 => broker.handle_verdict(now, id, black_box(Verdict::Continue { data: &[] })),
            7 => broker.shut_down(now),
            8 => {
                let Ok(topic) = TopicName::new(black_box("a")) else { continue };
                let message =
                    LocalPublish { topic, payload: &[], qos: QoS::AtMostOnce, retain: false, expiry_secs: None };
                let _ = black_box(broker.publish(now, black_box(message)));
            }
            9 => {
                black_box((broker.counters(), broker.describe(id), broker.client_id(id, black_box(&mut buffer))));
            }
            #[cfg(feature = "records")]
            10 => {
                black_box((broker.has_records(), broker.poll_record(black_box(&mut buffer)), broker.end_batch()));
            }
            #[cfg(feature = "records")]
            11 => {
                let batch = broker.end_batch();
                broker.handle_persisted(batch);
                broker.record_all();
                broker.set_store_full(black_box(true));
            }
            #[cfg(feature = "records")]
            12 => {
                let Ok(record) = goldcrest_core::record::open(black_box(&[])) else { continue };
                let _ = black_box(broker.restore(record));
                black_box(broker.finish_restore(now));
            }
            #[cfg(feature = "panic-on-purpose")]
            13 => {
                let two: &[u8] = black_box(&[1, 2]);
                black_box(two[black_box(2)]);
            }
            #[cfg(feature = "gateway")]
            14 => gateway::call_the_rest(&mut broker, now, id, black_box(&mut buffer)),
            _ => {
                black_box(broker.visit_sessions(black_box(0), |client_id, info| {
                    black_box((client_id, info));
                    ControlFlow::Continue(())
                }));
                black_box((broker.session(black_box("a")), broker.is_serving()));
            }
        }
    }
}
