//! What one shard does in one turn: it hands in what has arrived for all sockets that are ready, then sends forwards
//! to the siblings in one batch each, then writes once to each connection that has something to send.

mod paused_reads;
mod timers;

use self::timers::Timers;
use super::clock::Clock;
use super::connection_ends::{ConnectionEnd, EndReason};
use super::mailbox::{Handover, Mail, Mailboxes};
use super::persistence::Persistence;
use super::ready_queue::ReadyQueue;
use crate::net::ByteQueue;
use crate::net::ConnectionPermit;
use crate::net::{Asking, CHUNK, READ_BUFFER, ReadOutcome, Reading, Socket};
use crate::output::log::Escaped;
use goldcrest_core::{
    Broker, Config, ConnectionId, Forward, Instant, Limits, Next, Shortage, Then, Verdict, codec::ReasonCode,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use tokio::net::TcpStream;

/// Connections that are written to in the stead of a shard that sleeps.
const MOST_IN_STEAD: usize = 16;

/// Bytes that are taken at once from the core for a client to which nothing can be written any more: replies, and few messages.
const DISCARDED: usize = 4096;

/// What a connection may have done for it in a turn, as the core counts work; and all together that had too much done before.
const SHARE: u64 = Config::gateway(0).work_share as u64;

/// Who has had so much done for it waits for its next turn behind the others.
const MUCH: u64 = SHARE / 4;

/// A turn in which so much was done ends without having looked at all sockets.
const MOST_IN_TURN: u64 = 4 * SHARE;

/// A core broker with its sockets, and what all of them share.
pub(crate) struct EventLoop {
    shard: u16,
    mailboxes: Arc<Mailboxes>,
    clock: Clock,
    /// Read once a turn; `None` before the first event of a turn.
    now: Option<Instant>,
    timers: Timers,
    /// When those are looked after of whom nothing is taken.
    held_due: Instant,
    broker: Broker<'static>,
    /// Unless all is in memory alone.
    persistence: Option<Persistence>,
    /// By [`ConnectionId::index`].
    sockets: Vec<Option<Socket>>,
    /// How many of `sockets` are there.
    open: usize,
    /// Held by each connection that takes leave.
    leaving: Arc<()>,
    read_buffer: Box<[u8]>,
    write_buffer: Box<[u8]>,
    /// Connections that have more to send than the core names: a write of theirs was cut short, or ended with a long payload.
    again: Vec<ConnectionId>,
    /// Connections for which much was done, and what of that they have not paid back by letting others go first. Until then nothing
    /// is read from them, or sent to them.
    late: VecDeque<(ConnectionId, u64)>,
    /// What the core had done when the turn began.
    done_before: u64,
    /// What came for the shard; taken in each turn, and kept for its memory.
    mail: Mail,
    /// What siblings sent, and the core has not taken yet.
    forwards: Vec<(u16, Forward)>,
    /// Connections that have come home.
    pub(crate) handovers: Vec<Handover>,
    /// The gateway stops.
    pub(crate) is_stopping: bool,
    /// A batch for each sibling.
    outgoing: Box<[Vec<Forward>]>,
    /// Siblings that sleep, and are to be seen to at the end of the turn.
    pub(crate) asleep: Vec<u16>,
    /// Which sockets are to be looked after; with their wakers in it.
    ready_queue: Arc<ReadyQueue>,
    /// Of the task that turns, and whether it was woken.
    task: Option<Waker>,
    flush_is_due: bool,
    /// For when that task has set its timer. It may fire in vain: most deadlines move on before they come, and moving the
    /// timer each time would cost more.
    pub(crate) armed: Instant,
}

impl EventLoop {
    /// Bytes of what all sockets share.
    pub(crate) const BUFFERS: usize = READ_BUFFER + CHUNK + ByteQueue::SPARE_BYTES;

    /// The most that one connection takes, beside what its core holds for it.
    pub(crate) const fn most_bytes_each(packet_bytes: usize) -> usize {
        size_of::<Option<Socket>>().saturating_add(Socket::most_bytes(packet_bytes))
    }

    pub(crate) fn new(
        shard: u16,
        mailboxes: Arc<Mailboxes>,
        clock: Clock,
        broker: Broker<'static>,
        persistence: Option<Persistence>,
    ) -> Self {
        Self {
            shard,
            clock,
            now: None,
            timers: Timers::new(clock.now()),
            held_due: Instant::NEVER,
            broker,
            persistence,
            sockets: Vec::new(),
            open: 0,
            leaving: Arc::default(),
            read_buffer: vec![0; READ_BUFFER].into(),
            write_buffer: vec![0; CHUNK].into(),
            again: Vec::new(),
            late: VecDeque::new(),
            done_before: 0,
            mail: Mail::default(),
            forwards: Vec::new(),
            handovers: Vec::new(),
            is_stopping: false,
            asleep: Vec::new(),
            armed: Instant::NEVER,
            outgoing: (0..mailboxes.shards()).map(|_| Vec::new()).collect(),
            ready_queue: Arc::default(),
            task: None,
            flush_is_due: false,
            mailboxes,
        }
    }

    /// Whether there is no connection, not even one that takes leave.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0 && Arc::strong_count(&self.leaving) == 1
    }

    /// Gives a connection to the core, with the bytes that were read from it so far; `None` if the core has no room.
    pub(crate) fn open_connection(
        &mut self,
        stream: TcpStream,
        bytes: &[u8],
        permit: ConnectionPermit,
    ) -> Option<ConnectionId> {
        let now = self.begin();
        let Ok(id) = self.broker.handle_connected(now) else { return None };
        let mut socket = Socket::new(id, stream, ReadyQueue::waker(&self.ready_queue, id), permit);
        socket.wake();
        socket.keep_unread(bytes);
        if self.sockets.len() <= id.index() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        self.sockets[id.index()] = Some(socket);
        self.open += 1;
        self.hand_in_unread(id);
        Some(id)
    }

    /// Looks after the sockets that the system has news of, one after the other. `ready` is for their list, to keep its
    /// memory, and those that had no turn in this turn.
    pub(crate) fn poll_sockets(&mut self, ready: &mut Vec<ConnectionId>) {
        self.ready_queue.collect(ready);
        let mut looked_after = 0;
        while let Some(&id) = ready.get(looked_after)
            && self.done_in_turn() < MOST_IN_TURN
        {
            looked_after += 1;
            if let Some(socket) = self.socket(id) {
                let waker = socket.waker();
                self.poll_socket(&mut Context::from_waker(&waker), id);
            }
        }
        ready.drain(..looked_after);
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.is_blocked() {
            match socket.poll_unblock(cx) {
                Poll::Ready(Ok(())) => {
                    self.begin();
                    self.again.push(id);
                }
                Poll::Ready(Err(_)) => self.break_off(id),
                Poll::Pending => {}
            }
        }
        self.poll_receive(cx, id, Asking::Runtime);
    }

    /// Takes what came for the shard: what siblings sent, what the store says, and what somebody who looks after the gateway
    /// asks for. The rest is left for the shard's own thread: `handovers` and `is_stopping`.
    pub(crate) fn collect(&mut self) {
        self.done_before = self.broker.work();
        if !self.mailboxes.collect(self.shard, &mut self.mail) && self.forwards.is_empty() {
            return;
        }
        let now = self.begin();
        let Self { broker, persistence, mail, forwards, .. } = self;
        if forwards.is_empty() {
            std::mem::swap(forwards, &mut mail.forwards);
        } else {
            forwards.append(&mut mail.forwards);
        }
        broker.handle_forwards(now, forwards);
        if let Some(persistence) = persistence {
            for answer in mail.answers.drain(..) {
                persistence.receive(broker, now, answer);
            }
        }
        for call in mail.calls.drain(..) {
            call(now, broker);
        }
        self.handovers.append(&mut self.mail.handovers);
        if std::mem::take(&mut self.mail.shut_down) && !std::mem::replace(&mut self.is_stopping, true) {
            // What clients have said by now counts.
            self.receive_all();
            self.broker.shut_down(now);
        }
    }

    /// Turns in the stead of the shard's own thread, which sleeps. News of sockets are left to that, as they wake it, and what
    /// would take long is: meanwhile whoever stands in does nothing else.
    pub(crate) fn run_for_sleeping(&mut self) {
        self.flush_is_due = true;
        self.collect();
        if self.is_stopping {
            // Its connections take leave on its own thread.
            return self.mailboxes.wake(self.shard);
        }
        let due = self.flush(MOST_IN_STEAD);
        for sibling in self.asleep.drain(..) {
            self.mailboxes.wake(sibling);
        }
        if due < self.armed || !self.handovers.is_empty() || self.goes_on() {
            self.mailboxes.wake(self.shard);
        }
    }

    /// Hands in what is left to be recorded when the shard ends.
    pub(crate) fn record_last(&mut self) {
        if let Some(persistence) = &mut self.persistence {
            persistence.record_last(&mut self.broker);
        }
    }

    /// The task that turns runs: it need not be woken for what comes up until [`EventLoop::flush`], which is to follow.
    pub(crate) fn begin_turn(&mut self, task: &Waker) {
        if self.task.is_none() {
            self.task = Some(task.clone());
            self.ready_queue.listen(task);
        }
        self.flush_is_due = true;
    }

    /// Ends a turn: what all its events led to is sent, to so many connections at most; with more there is another turn.
    /// The moment when a turn is due without any event.
    pub(crate) fn flush(&mut self, most: usize) -> Instant {
        let now = self.begin();
        self.judge(now);
        self.look_after_held(now);
        self.serve_late(now);
        self.send_forwards();
        self.record(now);
        // What comes up from here on is for the next turn.
        let left_over = self.again.len();
        // First, as they may make others ready.
        for place in 0..left_over {
            self.attend(now, self.again[place]);
        }
        self.again.drain(..left_over);
        let mut rest = most;
        while rest > 0
            && let Some(id) = self.broker.poll_ready()
        {
            self.attend(now, id);
            rest -= 1;
        }
        self.send_forwards();
        let is_settled = self.record(now);
        if let Some(persistence) = &mut self.persistence {
            if rest > 0 {
                persistence.give_back_room(&mut self.broker);
            }
            persistence.fetch(&mut self.broker);
        }
        self.flush_is_due = false;
        if is_settled || rest == 0 || !self.again.is_empty() {
            self.wake_task();
        }
        self.now = None;
        let due = self.persistence.as_ref().map_or(Instant::NEVER, Persistence::due).min(self.held_due);
        self.broker.poll_timeout().map_or(due, |timeout| self.timers.wake_at(timeout).min(due))
    }

    /// Whether there is more to do without any event. It is for a turn after the system was asked who else has something.
    pub(crate) fn goes_on(&self) -> bool {
        !self.late.is_empty() || !self.forwards.is_empty()
    }

    /// What the core has done since the turn began.
    pub(crate) fn done_in_turn(&self) -> u64 {
        self.broker.work().wrapping_sub(self.done_before)
    }

    /// Notes what was done for a connection since `before`: with much it waits.
    fn charge(&mut self, id: ConnectionId, before: u64) {
        let spent = self.broker.work().wrapping_sub(before);
        if spent >= MUCH
            && let Some(socket) = self.socket(id)
            && !socket.is_late
        {
            socket.is_late = true;
            self.late.push_back((id, spent));
        }
    }

    /// Lets the connections go on that have waited for what was done for them, as many as fit into one share.
    fn serve_late(&mut self, now: Instant) {
        let before = self.broker.work();
        for _ in 0..self.late.len() {
            if self.broker.work().wrapping_sub(before) >= SHARE {
                return;
            }
            let Some((id, debt)) = self.late.pop_front() else { return };
            let Some(socket) = self.socket(id) else { continue };
            if debt > MUCH {
                self.late.push_back((id, debt - MUCH));
                continue;
            }
            socket.is_late = false;
            socket.wake();
            if socket.reading == Reading::Open {
                self.hand_in_unread(id);
            }
            self.transmit(now, id);
        }
    }

    /// The current time of this turn, which begins with the first call; the flush that ends it will come.
    fn begin(&mut self) -> Instant {
        self.wake_task();
        if let Some(now) = self.now {
            return now;
        }
        let now = self.clock.now();
        self.now = Some(now);
        self.look_for_pause(now);
        now
    }

    fn wake_task(&mut self) {
        if !self.flush_is_due {
            self.flush_is_due = true;
            if let Some(task) = &self.task {
                task.wake_by_ref();
            }
        }
    }

    fn socket(&mut self, id: ConnectionId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(id.index())?.as_mut()?;
        (socket.id == id).then_some(socket)
    }

    /// Takes what has arrived on a socket, a chunk at a time; with more to come the others have their turn first.
    fn poll_receive(&mut self, cx: &mut Context<'_>, id: ConnectionId, asking: Asking) {
        let mut taken = 0;
        while taken < CHUNK {
            let Self { sockets, read_buffer, .. } = self;
            let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
            match socket.reading {
                Reading::Open if socket.is_late => return,
                Reading::Open => {}
                Reading::Closed if socket.is_broken() => return self.lose(id),
                Reading::Waiting | Reading::Closed => return,
            }
            let arrived = match socket.poll_read(cx, asking, read_buffer) {
                Poll::Pending => return,
                Poll::Ready(Err(_)) => return self.lose(id),
                Poll::Ready(Ok(arrived)) => arrived,
            };
            let now = self.begin();
            match arrived {
                ReadOutcome::End => return self.end_input(now, id),
                ReadOutcome::InSocket(added) => {
                    taken += added;
                    self.hand_in_unread(id);
                }
                ReadOutcome::InBuffer(len) => {
                    taken += len;
                    let Self { broker, sockets, read_buffer, .. } = self;
                    let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
                    let (bytes, before) = (&read_buffer[..len], broker.work());
                    let received = broker.handle_bytes(now, id, bytes);
                    socket.keep_unread(&bytes[received.consumed..]);
                    let reading = after(broker, now, id, &received.next);
                    socket.reading = reading;
                    self.note_held(now, reading);
                    self.charge(id, before);
                }
            }
        }
        cx.waker().wake_by_ref();
    }

    /// Takes what has arrived by now for any connection, whether the runtime has heard of it or not.
    fn receive_all(&mut self) {
        for place in 0..self.sockets.len() {
            let Some(socket) = &self.sockets[place] else { continue };
            let (id, waker) = (socket.id, socket.waker());
            self.poll_receive(&mut Context::from_waker(&waker), id, Asking::System);
        }
    }

    /// Offers the core what it left before, with what has come since.
    fn hand_in_unread(&mut self, id: ConnectionId) {
        let now = self.begin();
        let Self { broker, sockets, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
        let before = broker.work();
        let received = broker.handle_bytes(now, id, socket.unread());
        let consumed = received.consumed;
        let reading = after(broker, now, id, &received.next);
        socket.consume_unread(consumed);
        if socket.reading == Reading::Waiting && reading == Reading::Open {
            socket.wake();
        }
        socket.reading = reading;
        self.note_held(now, reading);
        self.charge(id, before);
    }

    /// The peer sends no more. It may still listen: what it is owed is sent before the connection is closed from here, what has to
    /// be safe on disk first too.
    fn end_input(&mut self, now: Instant, id: ConnectionId) {
        // While the connection is open it gets what is queued for it too, as far as the system takes it.
        self.transmit(now, id);
        let Some(socket) = self.socket(id) else { return };
        if socket.is_broken() {
            return self.lose(id);
        }
        socket.reading = Reading::Closed;
        self.broker.handle_input_end(now, id);
    }

    /// Does what the core named a connection for.
    fn attend(&mut self, now: Instant, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.is_late {
            // What it was named for comes when it has waited.
            if socket.reading == Reading::Waiting {
                socket.reading = Reading::Open;
            }
            return;
        }
        if socket.reading == Reading::Waiting {
            self.hand_in_unread(id);
        }
        self.transmit(now, id);
    }

    /// Writes once what the core has for a connection, unless an earlier write is not through: then it comes after that.
    fn transmit(&mut self, now: Instant, id: ConnectionId) {
        let Self { broker, sockets, write_buffer, .. } = self;
        let Some(Some(socket)) = sockets.get_mut(id.index()) else { return };
        if socket.is_broken() {
            let reading = socket.reading;
            // Answers go nowhere, but the core takes no more from a client that it owes too many.
            let is_closed = reading == Reading::Closed
                || (reading == Reading::Waiting
                    && broker.poll_transmit(now, id, &mut write_buffer[..DISCARDED]).then == Then::Close);
            if is_closed {
                self.lose(id);
            }
            return;
        }
        if socket.is_blocked() {
            // The core gives up in the end on a client that does not even read why it is disconnected.
            let is_closing = broker.describe(id).is_some_and(|info| info.closing.is_some());
            if is_closing && broker.poll_transmit(now, id, &mut []).then == Then::Close {
                self.finish(now, id);
            }
            return;
        }
        let before = broker.work();
        let (transmit, payload) = broker.poll_transmit_apart(now, id, write_buffer);
        match socket.write(&write_buffer[..transmit.written], payload) {
            Ok(0) => {}
            Ok(written) => broker.payload_written(id, written),
            Err(_) if transmit.then == Then::Close => return self.lose(id),
            Err(_) => return self.break_off(id),
        }
        match transmit.then {
            Then::Idle => {}
            Then::More if socket.is_blocked() => {}
            Then::More => {
                self.again.push(id);
                self.charge(id, before);
            }
            Then::Close => self.finish(now, id),
        }
    }

    /// The core has closed a connection: it keeps nothing of it, but the peer is to read what was said last.
    fn finish(&mut self, now: Instant, id: ConnectionId) {
        if let Some(socket) = self.take(now, id) {
            let leaving = self.leaving.clone();
            tokio::task::spawn_local(async move {
                socket.linger().await;
                drop(leaving);
            });
        }
    }

    /// Nothing can be written to the client any more. What it sent before may still be there to be read: its last messages, and
    /// perhaps a DISCONNECT behind them.
    fn break_off(&mut self, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.reading == Reading::Closed {
            return self.lose(id);
        }
        socket.break_off();
        if socket.reading == Reading::Waiting {
            // What the core waits for may be that answers leave.
            self.again.push(id);
        }
    }

    /// The Network Connection is gone.
    fn lose(&mut self, id: ConnectionId) {
        let now = self.begin();
        self.take(now, id);
    }

    fn take(&mut self, now: Instant, id: ConnectionId) -> Option<Socket> {
        let socket = self.sockets.get_mut(id.index())?.take_if(|socket| socket.id == id)?;
        self.open -= 1;
        self.tell_closed(&socket);
        self.broker.handle_closed(now, id);
        Some(socket)
    }

    /// Counts why a connection ends, and tells of it where it is worth a line.
    fn tell_closed(&self, socket: &Socket) {
        let info = self.broker.describe(socket.id);
        let was_open = info.is_some_and(|info| info.was_open);
        let (end, why) = match info.and_then(|info| Some((info.closing?, info.is_by_client))) {
            Some(((code, why), true)) if code.is_error() => {
                let why = format_args!("{why}: {:#04x} {}", code as u8, code.name());
                return self.tell_end(socket, EndReason::DisconnectedWithError, was_open, why);
            }
            Some(((_, why), true)) => (EndReason::Disconnected, why),
            Some(((ReasonCode::Success, why), false)) => (EndReason::Lost, why),
            Some(((code, why), false)) => (EndReason::Code(code), why),
            None if was_open => (EndReason::Lost, "the connection was lost"),
            None => (EndReason::LostBeforeConnect, "the connection was lost"),
        };
        let connection_ends = &self.mailboxes.connection_ends;
        match end {
            EndReason::Code(ReasonCode::ServerShuttingDown)
            | EndReason::Disconnected
            | EndReason::Lost
            | EndReason::LostBeforeConnect => {
                connection_ends.count(end);
                if tracing::enabled!(tracing::Level::DEBUG) {
                    let (mut client, address) = ([0; 256], socket.peer().map(tracing::field::display));
                    tracing::debug!(client = %Escaped(&self.client_id(socket, &mut client)), address, "closed: {why}");
                }
            }
            _ => {
                let tell = |why: std::fmt::Arguments<'_>| self.tell_end(socket, end, was_open, why);
                if let Some(bytes) = info.and_then(|info| info.too_large) {
                    let limit = self.broker.limits().packet_bytes;
                    if bytes <= limit {
                        let most = Limits::OTHER_PACKET_BYTES;
                        return tell(format_args!(
                            "it sends a packet of {bytes} bytes, and others than PUBLISH may have {most}"
                        ));
                    }
                    return tell(format_args!(
                        "it sends a packet of {bytes} bytes, and packet_bytes in [limits] allows {limit}"
                    ));
                }
                match info.and_then(|info| info.shortage) {
                    Some(Shortage::Sessions) => {
                        let limit = self.broker.counters().sessions_limit;
                        tell(format_args!("{why}: sessions in [capacity] allows {limit} on each shard"));
                    }
                    Some(Shortage::Store) => tell(format_args!(
                        "{why}: the files of the store are as large as max_bytes in [store] allows, or its disk has no space left"
                    )),
                    Some(Shortage::Memory) => {
                        tell(format_args!("{why}: messages and bytes in [capacity] bound it on each shard"))
                    }
                    None => tell(format_args!("{why}")),
                }
            }
        }
    }

    fn tell_end(&self, socket: &Socket, end: EndReason, was_open: bool, why: std::fmt::Arguments<'_>) {
        let mut client = [0; 256];
        let client = &self.client_id(socket, &mut client);
        let address = socket.peer();
        self.mailboxes.connection_ends.tell(&ConnectionEnd { end, client, address, was_open, why });
    }

    fn client_id<'b>(&self, socket: &Socket, buffer: &'b mut [u8; 256]) -> std::borrow::Cow<'b, str> {
        let len = self.broker.client_id(socket.id, buffer);
        String::from_utf8_lossy(&buffer[..len])
    }

    fn record(&mut self, now: Instant) -> bool {
        self.persistence.as_mut().is_some_and(|persistence| persistence.record(&mut self.broker, now))
    }

    fn send_forwards(&mut self) {
        while let Some((to, forward)) = self.broker.poll_forward() {
            self.outgoing[usize::from(to)].push(forward);
        }
        for (to, batch) in (0..).zip(&mut self.outgoing) {
            if !batch.is_empty() && self.mailboxes.forward(self.shard, to, batch) {
                self.asleep.push(to);
            }
        }
    }
}

/// What the core wants of the socket next.
fn after(broker: &mut Broker<'static>, now: Instant, id: ConnectionId, next: &Next<'_>) -> Reading {
    match next {
        // Who has more has had its share, and is late.
        Next::Read | Next::Yield => Reading::Open,
        Next::Wait => Reading::Waiting,
        Next::Ask(_) => {
            // Nobody is asked before there are users; a core that asks all the same gets the safe answer.
            broker.handle_verdict(now, id, Verdict::Refuse(ReasonCode::NotAuthorized));
            Reading::Waiting
        }
        Next::Close => Reading::Closed,
    }
}

#[cfg(test)]
mod endings;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Admission;
    use crate::testing::WakeCounter;
    use goldcrest_core::codec::{PacketType, split};
    use goldcrest_core::{AllowAll, Capacity, Config, LocalPublish, Memory, Shard, TopicName};
    use std::time::Duration;
    use tokio::net::TcpListener;
    use tokio::time::sleep;

    /// It was named while the last piece of an earlier write was sent, when nobody asked any more who is named.
    #[tokio::test]
    async fn a_client_that_owes_too_much_is_read_again_when_it_has_read() {
        const MESSAGES: u16 = 1500;
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        let mut event_loop = EventLoop::new(0, Arc::new(Mailboxes::new(1)), Clock::start_at(0), broker, None);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let permit = Arc::new(Admission::new(1, 1, Duration::from_secs(1), 1024)).permit().unwrap();
        let begin = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01a\x82\x06\0\x01\0\x01t\0";
        let id = event_loop.open_connection(stream, begin, permit).unwrap();
        let (woken, mut seen) = (Arc::new(WakeCounter::default()), 0);
        let waker = Waker::from(woken.clone());
        let cycle = |event_loop: &mut EventLoop| {
            event_loop.begin_turn(&waker);
            event_loop.poll_sockets(&mut Vec::new());
            event_loop.flush(usize::MAX);
        };
        cycle(&mut event_loop);
        let payload = vec![7; 200_000];
        let topic = TopicName::new("t").unwrap();
        // The system takes more for a while after it took no more.
        let mut blocked_for = 0;
        while blocked_for < 50 {
            if event_loop.socket(id).unwrap().is_blocked() {
                blocked_for += 1;
            } else {
                blocked_for = 0;
                let qos = Default::default();
                let message = LocalPublish { topic, payload: &payload, qos, retain: false, expiry_secs: None };
                event_loop.broker.publish(Instant::from_millis(0), message).unwrap();
            }
            cycle(&mut event_loop);
            sleep(Duration::from_millis(1)).await;
        }
        // Each of them is owed an answer, and it does not read.
        let publish = |id: u16| [0x32, 6, 0, 1, b'x', (id >> 8) as u8, id as u8, b'p'];
        let packets: Vec<u8> = (1..=MESSAGES).flat_map(publish).collect();
        assert_eq!(peer.try_write(&packets).unwrap(), packets.len());
        let (mut come, mut acknowledged) = (Vec::new(), 0);
        for _ in 0..2_000 {
            sleep(Duration::from_millis(1)).await;
            if woken.count() > seen {
                seen = woken.count();
                cycle(&mut event_loop);
            }
            let is_choked = event_loop.socket(id).unwrap().reading == Reading::Waiting;
            let has_begun = !come.is_empty();
            while (is_choked || has_begun) && peer.try_read_buf(&mut come).is_ok_and(|read| read > 0) {}
            let mut rest = &come[..];
            while let Ok(Some((frame, len))) = split(rest, 1 << 20) {
                acknowledged += u16::from(frame.packet_type() == PacketType::PubAck);
                rest = &rest[len..];
            }
            come.drain(..come.len() - rest.len());
            come.reserve(1);
            if acknowledged == MESSAGES {
                return;
            }
        }
        panic!("{acknowledged} of {MESSAGES} acknowledgements come");
    }
}
