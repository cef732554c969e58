//! A wire in memory for tests: what one end writes the other reads, in pieces, until it breaks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;
use std::vec::Vec;

use embedded_io::{ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

use crate::Instant;

pub(super) type Memory = crate::resources! {
    connections: 3,
    sessions: 3,
    subscriptions: 4,
    levels: 8,
    messages: 16,
    deliveries: 16,
    blocks: 32,
};
pub(super) const NOW: Instant = Instant::from_millis(1_000);

// MQTT 3.1.1; the topic of the messages is "t", that of the Will "w".
pub(super) const CONNECT: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01c";
pub(super) const CONNECT_OTHER: &[u8] = b"\x10\x0d\0\x04MQTT\x04\x02\0\0\0\x01o";
pub(super) const CONNECT_WITH_WILL: &[u8] = b"\x10\x13\0\x04MQTT\x04\x06\0\0\0\x01c\0\x01w\0\x01x";
pub(super) const CONNACK: &[u8] = b"\x20\x02\0\0";
pub(super) const SUBSCRIBE: &[u8] = b"\x82\x06\0\x01\0\x01t\0";
pub(super) const SUBSCRIBE_WILL: &[u8] = b"\x82\x06\0\x01\0\x01w\0";
pub(super) const SUBACK: &[u8] = b"\x90\x03\0\x01\0";
pub(super) const PUBLISH: &[u8] = b"\x30\x05\0\x01thi";
pub(super) const WILL: &[u8] = b"\x30\x04\0\x01wx";
pub(super) const PING: &[u8] = b"\xc0\0";
#[cfg(feature = "embedded-io-async")]
pub(super) const PINGRESP: &[u8] = b"\xd0\0";
pub(super) const DISCONNECT: &[u8] = b"\xe0\0";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

impl core::fmt::Display for Broken {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("the wire is broken")
    }
}

impl core::error::Error for Broken {}

impl embedded_io::Error for Broken {
    fn kind(&self) -> ErrorKind {
        ErrorKind::ConnectionReset
    }
}

struct State {
    to_broker: VecDeque<u8>,
    from_broker: Vec<u8>,
    closed: bool,
    fails_reading: bool,
    fails_writing: bool,
    read: usize,
    write: usize,
    room: usize,
    /// The waker of the task at the broker's end.
    waker: Option<Waker>,
}

impl State {
    fn wake(&mut self) {
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// The broker's end.
#[derive(Clone)]
pub(super) struct Wire(Rc<RefCell<State>>);

/// The client's end.
#[derive(Clone)]
pub(super) struct Peer(Rc<RefCell<State>>);

pub(super) fn wire() -> (Wire, Peer) {
    let state = Rc::new(RefCell::new(State {
        to_broker: VecDeque::new(),
        from_broker: Vec::new(),
        closed: false,
        fails_reading: false,
        fails_writing: false,
        read: usize::MAX,
        write: usize::MAX,
        room: usize::MAX,
        waker: None,
    }));
    (Wire(state.clone()), Peer(state))
}

impl Peer {
    pub(super) fn send(&self, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        state.to_broker.extend(bytes);
        state.wake();
    }

    pub(super) fn received(&self) -> Vec<u8> {
        core::mem::take(&mut self.0.borrow_mut().from_broker)
    }

    /// From now on no read and no write of the broker's end moves more than these numbers of bytes.
    pub(super) fn cut_into(&self, read: usize, write: usize) {
        let mut state = self.0.borrow_mut();
        (state.read, state.write) = (read, write);
    }

    /// The client reads this many bytes and then no more.
    pub(super) fn take_only(&self, room: usize) {
        let mut state = self.0.borrow_mut();
        state.room = room;
        state.wake();
    }

    pub(super) fn close(&self) {
        let mut state = self.0.borrow_mut();
        state.closed = true;
        state.wake();
    }

    /// Breaks the wire: the next read, or the next write, of the broker's end fails.
    pub(super) fn fail(&self, reading: bool) {
        let mut state = self.0.borrow_mut();
        (state.fails_reading, state.fails_writing) = (reading, !reading);
        state.wake();
    }
}

impl ErrorType for Wire {
    type Error = Broken;
}

impl ReadReady for Wire {
    fn read_ready(&mut self) -> Result<bool, Broken> {
        let state = self.0.borrow();
        Ok(state.closed || state.fails_reading || !state.to_broker.is_empty())
    }
}

impl WriteReady for Wire {
    fn write_ready(&mut self) -> Result<bool, Broken> {
        let state = self.0.borrow();
        Ok(state.fails_writing || state.room > 0)
    }
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
        let mut state = self.0.borrow_mut();
        if core::mem::take(&mut state.fails_reading) {
            return Err(Broken);
        }
        let count = buffer.len().min(state.read).min(state.to_broker.len());
        for (place, byte) in buffer.iter_mut().zip(state.to_broker.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        let mut state = self.0.borrow_mut();
        if core::mem::take(&mut state.fails_writing) {
            return Err(Broken);
        }
        let count = bytes.len().min(state.write).min(state.room);
        state.room -= if state.room == usize::MAX { 0 } else { count };
        state.from_broker.extend(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> Result<(), Broken> {
        Ok(())
    }
}

#[cfg(feature = "embedded-io-async")]
mod with_tasks {
    use core::future::poll_fn;
    use core::task::Poll;

    use super::*;

    impl Wire {
        /// Waits until `is_ready` returns true.
        async fn until(&self, is_ready: fn(&mut Self) -> Result<bool, Broken>) -> Result<(), Broken> {
            poll_fn(|context| {
                if is_ready(&mut self.clone())? {
                    return Poll::Ready(Ok(()));
                }
                self.0.borrow_mut().waker = Some(context.waker().clone());
                Poll::Pending
            })
            .await
        }
    }

    impl embedded_io_async::Read for Wire {
        async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Broken> {
            self.until(ReadReady::read_ready).await?;
            Read::read(self, buffer)
        }
    }

    impl embedded_io_async::Write for Wire {
        async fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
            self.until(WriteReady::write_ready).await?;
            Write::write(self, bytes)
        }

        async fn flush(&mut self) -> Result<(), Broken> {
            Ok(())
        }
    }
}
