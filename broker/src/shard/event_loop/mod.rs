//! The event loop of a shard. Each turn hands the core the bytes that have arrived on all ready sockets, sends forwards to other shards in
//! one batch each, and writes once to each connection that has something to send.
//!
//! ```text
//! receive       bytes in
//! transmit      bytes out
//! closing       the end of a connection
//! denials       what the rules denied, for the log
//! revoked       the end of connections whose certificates were revoked
//! fair_share    connections with much work wait until others had their turn
//! paused_reads  PINGRESP for clients whose packets are not read for a while
//! timers        when the core's timers may fire
//! ```

mod closing;
mod denials;
mod fair_share;
mod memory;
mod paused_reads;
mod receive;
mod revoked;
mod timers;
mod transmit;

use self::denials::DenialLog;
use self::fair_share::{MOST_IN_TURN, read_share};
use self::memory::MemoryWaits;
use self::timers::Timers;
use super::clock::Clock;
use super::decisions::Decisions;
use super::events::EventSender;
use super::forwards::Forwards;
use super::mailbox::{Handover, LocalConnection, Mail, Mailboxes, SleepingEventLoop};
use super::persistence::Persistence;
use super::ready_queue::ReadyQueue;
use crate::access::Decide;
use crate::net::{
    Asking, ByteQueue, CHUNK, ConnectionPermit, Layered, READ_BUFFER, Reading, Revoked, Socket, Transport,
};
use goldcrest_core::{Broker, ConnectionId, Forward, Instant, Mount};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

/// The most connections that are served while another thread runs the event loop of a shard that sleeps.
const MAX_SERVED_FOR_SLEEPING: usize = 16;

/// A core broker with its sockets, and the state of the loop.
pub(crate) struct EventLoop {
    shard: u16,
    mailboxes: Arc<Mailboxes>,
    clock: Clock,
    /// The time of this turn, read once a turn; `None` before the first event of a turn.
    now: Option<Instant>,
    timers: Timers,
    /// When to look for PINGREQs of clients whose packets the core does not read for now; see `paused_reads`.
    paused_due: Instant,
    memory_waits: MemoryWaits,
    broker: Broker<'static>,
    decisions: Decisions,
    /// Events for the program that embeds the gateway.
    events: Option<EventSender>,
    /// `None`: the gateway has no file of permissions.
    denials: Option<DenialLog>,
    /// `None`: the gateway has no store.
    persistence: Option<Persistence>,
    /// The sockets by [`ConnectionId::index`].
    sockets: Vec<Option<Socket>>,
    /// How many of `sockets` are not `None`.
    open: usize,
    /// Each connection whose last bytes are still being sent holds a clone, so that they can be counted.
    leaving: Arc<()>,
    read_buffer: Box<[u8]>,
    write_buffer: Box<[u8]>,
    /// Connections that have more to write though the core does not name them: the system took only a part of a write, or the write ended
    /// with a long payload.
    to_write_again: Vec<ConnectionId>,
    /// Connections for which much work was done. The number is how much work may still be done for others first. Until then nothing is read
    /// from the connection or written to it.
    deferred: VecDeque<(ConnectionId, u64)>,
    /// The core's count of work when the turn began.
    done_before: u64,
    /// The contents of the mailbox, which are taken out in each turn. The memory is used again.
    mail: Mail,
    /// Forwards that other shards sent and the core has not handled yet.
    forwards: Forwards,
    /// Connections that other shards accepted, and whose home is this shard.
    pub(crate) handovers: Vec<Handover>,
    /// New connections from within this process.
    pub(crate) local_connections: Vec<LocalConnection>,
    /// The certificates that were revoked since the start, for each listener.
    revoked: Vec<Arc<Revoked>>,
    /// Whether the gateway is stopping.
    pub(crate) is_stopping: bool,
    /// Forwards that are about to be sent to another shard. Empty between two uses, and kept for its memory.
    outgoing: VecDeque<Forward>,
    /// Shards that sleep and got mail in this turn: [`Mailboxes::run_or_wake`] is called for them at its end.
    pub(crate) asleep: Vec<u16>,
    /// Which sockets are ready.
    ready_queue: Arc<ReadyQueue>,
    /// Wakes the shard's task.
    task: Option<Waker>,
    /// The shard's task was woken, or runs: it will call [`EventLoop::flush`].
    flush_is_due: bool,
    /// The time for which the task has set its timer. The timer may fire in vain: most deadlines are put off before they come, and setting
    /// the timer anew each time would cost more.
    pub(crate) armed: Instant,
}

impl EventLoop {
    /// The length of the buffers that all sockets of a shard share, in bytes.
    pub(crate) const BUFFERS: usize = READ_BUFFER + CHUNK + ByteQueue::SPARE_BYTES;

    /// The most bytes of memory that one connection needs, besides its state in the core. `has_layers`: with TLS or the like.
    pub(crate) const fn most_bytes_each(packet_bytes: usize, has_layers: bool) -> usize {
        let layers = if has_layers { Layered::BYTES + Layered::MOST_HELD } else { 0 };
        size_of::<Option<Socket>>().saturating_add(Socket::most_bytes(packet_bytes)).saturating_add(layers)
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
            paused_due: Instant::NEVER,
            memory_waits: MemoryWaits::default(),
            broker,
            decisions: Decisions { shard, mailboxes: mailboxes.clone(), decider: None, mounts: Arc::default() },
            events: None,
            denials: None,
            persistence,
            sockets: Vec::new(),
            open: 0,
            leaving: Arc::default(),
            read_buffer: vec![0; READ_BUFFER].into(),
            write_buffer: vec![0; CHUNK].into(),
            to_write_again: Vec::new(),
            deferred: VecDeque::new(),
            done_before: 0,
            mail: Mail::default(),
            forwards: Forwards::default(),
            handovers: Vec::new(),
            local_connections: Vec::new(),
            revoked: Vec::new(),
            is_stopping: false,
            asleep: Vec::new(),
            armed: Instant::NEVER,
            outgoing: VecDeque::new(),
            ready_queue: Arc::default(),
            task: None,
            flush_is_due: false,
            mailboxes,
        }
    }

    /// Makes the loop ask `decider` who may connect, and lets clients live below the mount of their listener.
    pub(crate) fn decide_by(&mut self, decider: Option<Arc<dyn Decide>>, mounts: Arc<[Option<Mount>]>) {
        self.decisions.decider = decider;
        self.decisions.mounts = mounts;
    }

    /// Sends all later events to `events`.
    pub(crate) fn tell_events(&mut self, events: EventSender) {
        self.events = Some(events);
    }

    /// Whether there is no connection, not even one whose last bytes are being sent.
    pub(crate) fn is_idle(&self) -> bool {
        self.open == 0 && Arc::strong_count(&self.leaving) == 1
    }

    /// Gives a connection to the core, with the bytes that were read from it so far; `None` if the core has no room.
    pub(crate) fn open_connection(
        &mut self,
        transport: Transport,
        bytes: &[u8],
        permit: ConnectionPermit,
    ) -> Option<ConnectionId> {
        let now = self.begin();
        let Ok(id) = self.broker.handle_connected(now) else { return None };
        let mut socket = Socket::new(id, transport, ReadyQueue::waker(&self.ready_queue, id), permit);
        socket.wake();
        socket.keep_unread(bytes);
        if self.sockets.len() <= id.index() {
            self.sockets.resize_with(id.index() + 1, || None);
        }
        self.sockets[id.index()] = Some(socket);
        self.open += 1;
        self.close_if_revoked(now, id);
        self.hand_in_unread(id);
        Some(id)
    }

    /// Reads from and writes to the sockets that are ready, one after the other. If much was done in this turn, the remaining sockets stay in
    /// `ready` for the next turn.
    pub(crate) fn poll_sockets(&mut self, ready: &mut Vec<ConnectionId>) {
        self.ready_queue.collect(ready);
        let share = read_share(ready.len());
        let mut looked_after = 0;
        while let Some(&id) = ready.get(looked_after)
            && self.done_in_turn() < MOST_IN_TURN
        {
            looked_after += 1;
            if let Some(socket) = self.socket(id) {
                let waker = socket.waker();
                self.poll_socket(&mut Context::from_waker(&waker), id, share);
            }
        }
        ready.drain(..looked_after);
    }

    fn poll_socket(&mut self, cx: &mut Context<'_>, id: ConnectionId, share: usize) {
        let Some(socket) = self.socket(id) else { return };
        if socket.is_blocked() {
            match socket.poll_unblock(cx) {
                Poll::Ready(Ok(())) => {
                    let now = self.begin();
                    self.claim_memory(now, id, 0);
                    self.to_write_again.push(id);
                }
                Poll::Ready(Err(_)) => self.break_off(id),
                Poll::Pending => {}
            }
        }
        self.poll_receive(cx, id, Asking::Runtime, share);
    }

    /// Handles the contents of the mailbox: forwards of other shards, answers of the store, and calls. The rest stays in `handovers`,
    /// `local_connections` and `is_stopping`, for the shard's own thread.
    pub(crate) fn collect(&mut self) {
        self.done_before = self.broker.work();
        if !self.mailboxes.collect(self.shard, &mut self.mail) && self.forwards.is_empty() {
            return;
        }
        let now = self.begin();
        let Self { broker, persistence, mail, forwards, .. } = self;
        forwards.put_all(&mut mail.forwards);
        forwards.hand_in(broker, now);
        if let Some(persistence) = persistence {
            for answer in mail.answers.drain(..) {
                persistence.receive(broker, answer);
            }
        }
        for call in mail.calls.drain(..) {
            call(now, broker);
        }
        self.close_revoked(now);
        self.close_gone(now);
        self.handovers.append(&mut self.mail.handovers);
        self.local_connections.append(&mut self.mail.local_connections);
        self.mail.forget_large_lists();
        if std::mem::take(&mut self.mail.shut_down) && !std::mem::replace(&mut self.is_stopping, true) {
            // Packets that clients have sent by now are still handled.
            self.receive_all();
            self.broker.shut_down(now);
        }
    }

    /// Hands the store the remaining records when the shard ends.
    pub(crate) fn record_last(&mut self) {
        if let Some(persistence) = &mut self.persistence {
            persistence.record_last(&mut self.broker);
        }
    }

    /// The shard's task runs. Until it calls [`EventLoop::flush`], it need not be woken.
    pub(crate) fn begin_turn(&mut self, task: &Waker) {
        if self.task.is_none() {
            self.task = Some(task.clone());
            self.ready_queue.listen(task);
        }
        self.flush_is_due = true;
    }

    /// Ends a turn: writes to the connections that the events of the turn made ready, at most `most` of them; if there are more, another turn
    /// follows. Returns when the next turn is due if no event comes before.
    pub(crate) fn flush(&mut self, most: usize) -> Instant {
        let now = self.begin();
        self.run_due_timers(now);
        self.answer_pings_of_paused(now);
        self.look_for_memory(now);
        self.serve_deferred(now);
        self.send_forwards();
        self.record(now);
        // Connections that are added from here on are for the next turn.
        let left_over = self.to_write_again.len();
        // These connections come first, because serving them may make others ready.
        for place in 0..left_over {
            self.serve_ready(now, self.to_write_again[place]);
        }
        self.to_write_again.drain(..left_over);
        let mut rest = most;
        while rest > 0
            && let Some(id) = self.broker.poll_ready()
        {
            self.serve_ready(now, id);
            rest -= 1;
        }
        self.send_forwards();
        let is_settled = self.record(now);
        if let Some(persistence) = &mut self.persistence {
            if rest > 0 {
                persistence.return_credit(&mut self.broker);
            }
            persistence.fetch(&mut self.broker);
        }
        if let Some(events) = &mut self.events {
            events.send_all(&mut self.broker);
        }
        self.tell_denials();
        self.flush_is_due = false;
        if is_settled || rest == 0 || !self.to_write_again.is_empty() {
            self.wake_task();
        }
        self.now = None;
        let due = self.persistence.as_ref().map_or(Instant::NEVER, Persistence::due);
        let due = due.min(self.paused_due).min(self.memory_waits.due);
        self.broker.poll_timeout().map_or(due, |timeout| self.timers.wake_at(timeout).min(due))
    }

    /// Whether work is left that no event will announce. The work waits until the runtime has asked the system for events of other sockets.
    pub(crate) fn has_more_to_do(&self) -> bool {
        !self.deferred.is_empty() || !self.forwards.is_empty()
    }

    /// The time of this turn. The first call in a turn reads the clock, and makes the runtime wake the task for the flush that ends the
    /// turn.
    fn begin(&mut self) -> Instant {
        self.wake_task();
        if let Some(now) = self.now {
            return now;
        }
        let now = self.clock.now();
        self.now = Some(now);
        self.note_pause(now);
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

    /// Serves a connection that the core named as ready: offers the core the bytes that waited, and writes.
    fn serve_ready(&mut self, now: Instant, id: ConnectionId) {
        let Some(socket) = self.socket(id) else { return };
        if socket.is_deferred {
            // The connection is deferred, and will be served when its turn comes.
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

    fn record(&mut self, now: Instant) -> bool {
        self.persistence.as_mut().is_some_and(|persistence| persistence.record(&mut self.broker, now))
    }

    fn send_forwards(&mut self) {
        while let Some(to) = self.broker.poll_forwards(&mut self.outgoing) {
            if self.mailboxes.forward(self.shard, to, &mut self.outgoing) {
                self.asleep.push(to);
            }
        }
    }
}

impl SleepingEventLoop for EventLoop {
    /// Events of sockets wake the shard's own thread, and are left to that thread. Long work is left to it too, because the thread that
    /// runs this function serves no client of its own meanwhile.
    fn run_for_sleeping(&mut self) {
        self.flush_is_due = true;
        self.collect();
        if self.is_stopping {
            // The shard's own thread sends the last bytes of its connections.
            return self.mailboxes.wake(self.shard);
        }
        let due = self.flush(MAX_SERVED_FOR_SLEEPING);
        for sibling in self.asleep.drain(..) {
            self.mailboxes.wake(sibling);
        }
        if due < self.armed || !self.handovers.is_empty() || !self.local_connections.is_empty() || self.has_more_to_do()
        {
            self.mailboxes.wake(self.shard);
        }
    }
}

#[cfg(test)]
mod tests;
