//! One Network Connection, in memory or over TCP.

use crate::world::{ClientId, World};
use std::cell::RefCell;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::time::Duration;

/// How long to wait until the gateway has noticed a closed connection, or has passed on what it received.
const SETTLE: Duration = Duration::from_millis(30);

/// The client's end of a Network Connection. Dropping it cuts the connection.
pub enum Link {
    /// A connection to the core in this process.
    Memory {
        /// The brokers.
        world: Rc<RefCell<World>>,
        /// The connection in that world.
        client: ClientId,
    },
    /// A connection to the gateway.
    Tcp(TcpStream),
}

/// The result of [`Link::receive`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrived {
    /// More bytes.
    Bytes,
    /// No more bytes, and the connection is open.
    Nothing,
    /// The server closed the connection.
    Closed,
}

impl Link {
    /// Sends bytes. On a closed connection they are lost, as with a real socket.
    pub fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Memory { world, client } => world.borrow_mut().send(*client, bytes),
            Self::Tcp(stream) => {
                let _ = stream.write_all(bytes);
            }
        }
    }

    /// Appends to `inbox` the bytes that have arrived. In memory all bytes have arrived; over TCP the call waits at
    /// most `patience` for some.
    pub fn receive(&mut self, inbox: &mut Vec<u8>, patience: Duration) -> Arrived {
        match self {
            Self::Memory { world, client } => {
                let mut world = world.borrow_mut();
                let bytes = world.receive(*client);
                inbox.extend_from_slice(&bytes);
                match bytes.is_empty() {
                    false => Arrived::Bytes,
                    true if world.is_closed(*client) => Arrived::Closed,
                    true => Arrived::Nothing,
                }
            }
            Self::Tcp(stream) => {
                stream.set_read_timeout(Some(patience)).expect("a time-out above 0");
                let mut buffer = vec![0; 64 * 1024];
                match stream.read(&mut buffer) {
                    Ok(0) => Arrived::Closed,
                    Ok(len) => {
                        inbox.extend_from_slice(&buffer[..len]);
                        Arrived::Bytes
                    }
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        Arrived::Nothing
                    }
                    Err(_) => Arrived::Closed,
                }
            }
        }
    }

    /// Gives the gateway time to finish its work. In memory no work is left.
    pub fn settle(&self) {
        if matches!(self, Self::Tcp(_)) {
            std::thread::sleep(SETTLE);
        }
    }

    /// Whether all bytes that will come have arrived, as in memory, so that no PINGREQ is needed to be sure.
    pub fn is_exact(&self) -> bool {
        matches!(self, Self::Memory { .. })
    }

    /// Cuts the connection without a DISCONNECT, and waits until the server has noticed.
    pub fn cut(self) {
        let tcp = matches!(self, Self::Tcp(_));
        drop(self);
        if tcp {
            std::thread::sleep(SETTLE);
        }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let Self::Memory { world, client } = self
            && let Ok(mut world) = world.try_borrow_mut()
            && !std::thread::panicking()
        {
            world.cut(*client);
        }
    }
}
