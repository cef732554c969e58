//! A broker whose connections are served by tasks of an executor.

use core::cell::RefCell;
use core::future::{Future, pending, poll_fn};
use core::pin::pin;
use core::task::{Poll, Waker};

use embedded_io_async::{Read, Write};

use super::buffer::Buffer;
use crate::api::broker::Broker;
use crate::codec::ReasonCode;
use crate::engine::connections::ConnectionId;
use crate::engine::outcomes::{Next, Then};
use crate::seam::authorize::{Ask, Verdict};
use crate::time::Instant;

/// A broker that several tasks of one executor share: one task for each Network Connection, which awaits
/// [`serve`](Self::serve), and one that calls [`tick`](Self::tick).
///
/// For executors that poll all these tasks in one thread, as embassy's do. Dropping a task closes its connection.
///
/// ```
/// use embedded_io_async::{Read, Write};
/// use goldcrest_core::io::{Hub, Seat};
/// use goldcrest_core::{AllowAll, Broker, Config, Instant, resources};
///
/// /// The task for one connection.
/// async fn connection(hub: &Hub<'_, '_, impl Fn() -> Instant>, reader: impl Read, writer: impl Write) {
///     let (mut input, mut output) = ([0; 1024], [0; 256]);
///     if let Err(error) = hub.serve(reader, writer, &mut input, &mut output).await {
///         println!("a connection was lost: {error}");
///     }
/// }
///
/// type Memory = resources! {
///     connections: 4, sessions: 4, subscriptions: 8, levels: 16, messages: 16, deliveries: 16, blocks: 16
/// };
/// let mut resources = Memory::new();
/// let broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
/// let mut seats = [const { Seat::EMPTY }; 4];
/// let hub = Hub::new(broker, &mut seats, || Instant::from_millis(0));
/// # use core::future::Future;
/// # let mut sent = [0u8; 8];
/// # let mut task = core::pin::pin!(connection(&hub, &b""[..], &mut sent[..]));
/// # let mut context = core::task::Context::from_waker(core::task::Waker::noop());
/// # // The end of the input wakes the task, which then closes the connection.
/// # let ended = (0..2).any(|_| task.as_mut().poll(&mut context).is_ready());
/// # assert!(ended);
/// ```
pub struct Hub<'h, 'm, C> {
    broker: RefCell<Broker<'m>>,
    seats: RefCell<&'h mut [Seat]>,
    clock: C,
    decide: Decide<'h>,
}

/// Answers [`Next::Ask`]: see [`Hub::deciding`].
type Decide<'h> = &'h dyn Fn(ConnectionId, &Ask<'_>) -> Option<Verdict<'h>>;

/// The state that a [`Hub`] keeps for one Network Connection.
#[derive(Clone, Debug, Default)]
pub struct Seat {
    waker: Option<Waker>,
    /// The broker has named the connection since it last transmitted, or since it last consumed bytes.
    may_transmit: bool,
    may_receive: bool,
}

impl Seat {
    /// A seat without a connection.
    pub const EMPTY: Self = Self { waker: None, may_transmit: false, may_receive: false };
}

/// Why [`Hub::serve`] ended, if neither the client nor the broker closed the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeError<R, W> {
    /// The broker has no room for the connection, or the hub no seat.
    Full,
    /// A packet does not fit into the buffer for input.
    TooLarge,
    /// Reading failed.
    Read(R),
    /// Writing failed.
    Write(W),
}

impl<R: core::fmt::Display, W: core::fmt::Display> core::fmt::Display for ServeError<R, W> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Full => f.write_str("there is no room for the connection"),
            Self::TooLarge => f.write_str("a packet is larger than the buffer for it"),
            Self::Read(error) => write!(f, "reading failed: {error}"),
            Self::Write(error) => write!(f, "writing failed: {error}"),
        }
    }
}

impl<R: core::error::Error, W: core::error::Error> core::error::Error for ServeError<R, W> {}

impl<'h, 'm, C: Fn() -> Instant> Hub<'h, 'm, C> {
    /// A hub with a seat for each of the broker's connections, and a clock that never runs backwards.
    pub fn new(broker: Broker<'m>, seats: &'h mut [Seat], clock: C) -> Self {
        let refuse: Decide<'h> = &|_, _| Some(Verdict::Refuse(ReasonCode::NotAuthorized));
        Self { broker: RefCell::new(broker), seats: RefCell::new(seats), clock, decide: refuse }
    }

    /// The same hub, with answers for [`Authentication::Ask`](crate::Authentication::Ask); without them all clients are refused
    /// with 0x87 Not authorized. If `decide` returns `None` the client waits for
    /// [`Broker::handle_verdict`](crate::Broker::handle_verdict).
    pub fn deciding(self, decide: &'h dyn Fn(ConnectionId, &Ask<'_>) -> Option<Verdict<'h>>) -> Self {
        Self { decide, ..self }
    }

    /// Calls `act` with the broker, for example to publish, and wakes the connections that have something to do then.
    ///
    /// # Panics
    /// If it is called within itself.
    pub fn with<A>(&self, act: impl FnOnce(&mut Broker<'m>, Instant) -> A) -> A {
        let mut broker = self.broker.borrow_mut();
        let done = act(&mut broker, (self.clock)());
        while let Some(id) = broker.poll_ready() {
            self.seat(id, |seat| {
                (seat.may_transmit, seat.may_receive) = (true, true);
                if let Some(waker) = &seat.waker {
                    waker.wake_by_ref();
                }
            });
        }
        done
    }

    /// Handles timers: Keep Alive, Wills, the ends of Sessions. To be called several times a second, or when
    /// [`Broker::poll_timeout`](crate::Broker::poll_timeout) is due.
    pub fn tick(&self) {
        self.with(|broker, now| broker.handle_timeout(now));
    }

    /// Serves one client until it leaves, is closed, or is lost. Close the transport afterwards.
    ///
    /// `input` must hold the largest packet that may come: [`Limits::packet_bytes`](crate::Limits::packet_bytes). `output` may
    /// be of any size but 0; a larger one means fewer writes.
    ///
    /// # Errors
    /// See [`ServeError`]. The broker treats the connection as lost, and publishes the Will.
    pub async fn serve<R: Read, W: Write>(
        &self,
        reader: R,
        writer: W,
        input: &mut [u8],
        output: &mut [u8],
    ) -> Result<(), ServeError<R::Error, W::Error>> {
        let id = self.with(|broker, now| broker.handle_connected(now)).map_err(|_| ServeError::Full)?;
        let _end = End { hub: self, id };
        self.seat(id, |seat| *seat = Seat { waker: None, may_transmit: true, may_receive: true })
            .ok_or(ServeError::Full)?;
        let mut receive = pin!(self.receive(id, reader, Buffer::new(input)));
        let mut transmit = pin!(self.transmit(id, writer, output));
        poll_fn(|context| {
            self.seat(id, |seat| seat.waker = Some(context.waker().clone()));
            if let Poll::Ready(ended) = transmit.as_mut().poll(context) {
                return Poll::Ready(ended.map_err(ServeError::Write));
            }
            receive.as_mut().poll(context).map(|ended| {
                ended.map_err(|error| match error {
                    Some(error) => ServeError::Read(error),
                    None => ServeError::TooLarge,
                })
            })
        })
        .await
    }

    /// Receives until an error. `Err(None)`: a packet is too large for the buffer.
    async fn receive<R: Read>(
        &self,
        id: ConnectionId,
        mut reader: R,
        mut input: Buffer<'_>,
    ) -> Result<(), Option<R::Error>> {
        loop {
            self.seat(id, |seat| seat.may_receive = false);
            let (consumed, goes_on) = self.with(|broker, now| {
                let received = broker.handle_bytes(now, id, input.filled());
                let goes_on = match received.next {
                    Next::Read => GoesOn::Read,
                    Next::Yield => GoesOn::AfterOthers,
                    Next::Wait => GoesOn::WhenNamed,
                    Next::Ask(ask) => {
                        if let Some(verdict) = (self.decide)(id, &ask) {
                            broker.handle_verdict(now, id, verdict);
                        }
                        GoesOn::WhenNamed
                    }
                    Next::Close => GoesOn::Never,
                };
                (received.consumed, goes_on)
            });
            input.take(consumed);
            match goes_on {
                GoesOn::Read if input.space().is_empty() => return Err(None),
                GoesOn::Read => match reader.read(input.space()).await? {
                    0 => {
                        // The peer has closed its sending side, and may still read the replies that it is owed.
                        self.with(|broker, now| broker.handle_input_end(now, id));
                        pending().await
                    }
                    count => input.put(count),
                },
                GoesOn::AfterOthers => after_others().await,
                GoesOn::WhenNamed => self.named(id, |seat| &mut seat.may_receive).await,
                // The transmitting half ends the connection when all is sent.
                GoesOn::Never => pending().await,
            }
        }
    }

    /// Transmits until the broker ends the connection.
    async fn transmit<W: Write>(&self, id: ConnectionId, mut writer: W, output: &mut [u8]) -> Result<(), W::Error> {
        loop {
            self.named(id, |seat| &mut seat.may_transmit).await;
            loop {
                let transmit = self.with(|broker, now| broker.poll_transmit(now, id, output));
                writer.write_all(output.get(..transmit.written).unwrap_or(&[])).await?;
                match transmit.then {
                    Then::More if transmit.written == 0 => after_others().await,
                    Then::More => {}
                    Then::Idle => break,
                    Then::Close => return writer.flush().await,
                }
            }
            writer.flush().await?;
        }
    }

    /// Ready when the broker has named the connection; then clears that note.
    fn named(&self, id: ConnectionId, note: fn(&mut Seat) -> &mut bool) -> impl Future<Output = ()> {
        poll_fn(move |_| {
            let was_named = self.seat(id, |seat| core::mem::take(note(seat)));
            if was_named == Some(true) { Poll::Ready(()) } else { Poll::Pending }
        })
    }

    fn seat<A>(&self, id: ConnectionId, act: impl FnOnce(&mut Seat) -> A) -> Option<A> {
        self.seats.borrow_mut().get_mut(id.index()).map(act)
    }
}

/// When the next bytes may be handed in.
enum GoesOn {
    Read,
    AfterOthers,
    WhenNamed,
    Never,
}

/// Lets the executor poll the other tasks first.
fn after_others() -> impl Future<Output = ()> {
    let mut is_first = true;
    poll_fn(move |context| {
        if core::mem::take(&mut is_first) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
}

/// Ends a connection in the broker when its task ends or is dropped.
struct End<'e, 'h, 'm, C: Fn() -> Instant> {
    hub: &'e Hub<'h, 'm, C>,
    id: ConnectionId,
}

impl<C: Fn() -> Instant> Drop for End<'_, '_, '_, C> {
    fn drop(&mut self) {
        self.hub.seat(self.id, |seat| *seat = Seat::EMPTY);
        self.hub.with(|broker, now| broker.handle_closed(now, self.id));
    }
}

#[cfg(all(test, feature = "v3"))]
mod tests {
    use std::boxed::Box;
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Context, Wake};
    use std::vec::Vec;

    use super::super::testing::*;
    use super::*;
    use crate::{AllowAll, Authentication, Config, Principal};

    /// A task that is polled only after it was woken.
    struct Task<'t> {
        future: Pin<Box<dyn Future<Output = Served> + 't>>,
        woken: Arc<Flag>,
        ended: Option<Served>,
    }

    type Served = Result<(), ServeError<Broken, Broken>>;

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn run(tasks: &mut [Task<'_>]) {
        while let Some(task) =
            tasks.iter_mut().find(|task| task.ended.is_none() && task.woken.0.swap(false, Ordering::Relaxed))
        {
            let waker = Waker::from(task.woken.clone());
            if let Poll::Ready(ended) = task.future.as_mut().poll(&mut Context::from_waker(&waker)) {
                task.ended = Some(ended);
            }
        }
    }

    fn serve<'t, C: Fn() -> Instant>(hub: &'t Hub<'_, '_, C>) -> (Task<'t>, Peer) {
        let (wire, peer) = wire();
        let future = Box::pin(async move {
            let (mut input, mut output) = ([0; 1024], [0; 7]);
            hub.serve(wire.clone(), wire, &mut input, &mut output).await
        });
        (Task { future, woken: Arc::new(Flag(AtomicBool::new(true))), ended: None }, peer)
    }

    fn with_hub(config: Config<'static>, test: impl FnOnce(&Hub<'_, '_, fn() -> Instant>)) {
        let mut resources = Memory::new();
        let broker = Broker::new(resources.memory(), config, &AllowAll);
        let mut seats = [const { Seat::EMPTY }; 3];
        let accept = |_: ConnectionId, _: &Ask<'_>| Some(Verdict::accept(Principal(1)));
        let hub = Hub::new(broker, &mut seats, (|| NOW) as fn() -> Instant).deciding(&accept);
        test(&hub);
        hub.with(|broker, _| assert_eq!(broker.counters().connections, 0));
    }

    #[test]
    fn clients_of_a_hub_exchange_messages_whatever_the_pieces_of_their_bytes() {
        for authentication in [Authentication::Open, Authentication::Ask] {
            for (read, write) in [(1, 1), (3, 2), (1000, 1000)] {
                with_hub(Config { authentication, ..Config::firmware(1) }, |hub| {
                    let ((one, subscriber), (two, publisher)) = (serve(hub), serve(hub));
                    let mut tasks = [one, two];
                    subscriber.cut_into(read, write);
                    subscriber.send(&[CONNECT, SUBSCRIBE].concat());
                    publisher.send(CONNECT_OTHER);
                    run(&mut tasks);
                    publisher.send(&[PUBLISH, PING].concat());
                    run(&mut tasks);
                    assert_eq!(subscriber.received(), [CONNACK, SUBACK, PUBLISH].concat());
                    assert_eq!(publisher.received(), [CONNACK, PINGRESP].concat());
                    subscriber.send(DISCONNECT);
                    publisher.close();
                    run(&mut tasks);
                    assert_eq!(tasks.map(|task| task.ended), [Some(Ok(())), Some(Ok(()))]);
                });
            }
        }
    }

    #[test]
    fn a_peer_of_a_hub_that_stops_reading_gets_the_rest_later() {
        with_hub(Config::firmware(1), |hub| {
            let (task, peer) = serve(hub);
            let mut tasks = [task];
            peer.take_only(5);
            peer.send(&[CONNECT, SUBSCRIBE, PUBLISH].concat());
            run(&mut tasks);
            peer.take_only(usize::MAX);
            run(&mut tasks);
            assert_eq!(peer.received(), [CONNACK, SUBACK, PUBLISH].concat());
            // The task is dropped in the middle of everything, and closes its connection.
        });
    }

    #[test]
    fn a_lost_connection_of_a_hub_publishes_the_will_and_returns_the_error() {
        for (reading, error) in [(true, ServeError::Read(Broken)), (false, ServeError::Write(Broken))] {
            with_hub(Config::firmware(1), |hub| {
                let ((one, lost), (two, watcher)) = (serve(hub), serve(hub));
                let mut tasks = [one, two];
                lost.send(CONNECT_WITH_WILL);
                watcher.send(&[CONNECT_OTHER, SUBSCRIBE_WILL].concat());
                run(&mut tasks);
                assert_eq!(watcher.received(), [CONNACK, SUBACK].concat());
                lost.fail(reading);
                if !reading {
                    lost.send(PING);
                }
                run(&mut tasks);
                assert_eq!(tasks[0].ended, Some(Err(error)));
                assert_eq!(watcher.received(), WILL);
            });
        }
    }

    #[test]
    fn a_connection_or_packet_without_room_in_a_hub_ends_with_an_error() {
        with_hub(Config::firmware(1), |hub| {
            let mut tasks: Vec<_> = (0..4).map(|_| serve(hub).0).collect();
            run(&mut tasks);
            assert_eq!(tasks[3].ended, Some(Err(ServeError::Full)));
            drop(tasks);
            let mut config = Config::firmware(1);
            config.limits.packet_bytes = 4096;
            with_hub(config, |hub| {
                let (task, peer) = serve(hub);
                let mut tasks = [task];
                peer.send(CONNECT);
                peer.send(&[&[0x30, 0x80, 0x10], &[b'x'; 2048][..]].concat());
                run(&mut tasks);
                assert_eq!(tasks[0].ended, Some(Err(ServeError::TooLarge)));
            });
        });
    }

    #[test]
    fn a_silent_client_of_a_hub_is_closed_in_time() {
        let mut resources = Memory::new();
        let broker = Broker::new(resources.memory(), Config::firmware(1), &AllowAll);
        let mut seats = [const { Seat::EMPTY }; 3];
        let now = core::cell::Cell::new(NOW);
        let hub = Hub::new(broker, &mut seats, || now.get());
        let (task, _peer) = serve(&hub);
        let mut tasks = [task];
        run(&mut tasks);
        hub.tick();
        run(&mut tasks);
        assert_eq!(tasks[0].ended, None);
        now.set(NOW.plus_secs(11));
        hub.tick();
        run(&mut tasks);
        assert_eq!(tasks[0].ended, Some(Ok(())));
    }
}
