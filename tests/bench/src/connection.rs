//! A client's Network Connection. It is nonblocking once it is set up, reads once for each readiness event, and writes all
//! waiting bytes at once.

use crate::packet::{self, Frame, Version};
use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long to wait for an answer while a run is prepared.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct Connection {
    stream: TcpStream,
    /// Received bytes that are not a whole packet yet.
    rest: Vec<u8>,
    /// Bytes to be written, from `written` on.
    out: Vec<u8>,
    written: usize,
    waits_to_write: bool,
    token: u64,
}

impl Connection {
    pub fn open(address: SocketAddr) -> Result<Self, String> {
        let stream = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
        let set = stream.set_nodelay(true).and_then(|()| stream.set_read_timeout(Some(PATIENCE)));
        set.map_err(|error| error.to_string())?;
        Ok(Self { stream, rest: Vec::new(), out: Vec::new(), written: 0, waits_to_write: false, token: 0 })
    }

    /// Connects, sends CONNECT, and waits for CONNACK.
    pub fn open_mqtt(address: SocketAddr, version: Version, client_id: &str, stays: bool) -> Result<Self, String> {
        let mut connection = Self::open(address)?;
        connection.write_all(&packet::connect(version, client_id, stays))?;
        connection.expect_connack()?;
        Ok(connection)
    }

    pub fn expect_connack(&mut self) -> Result<(), String> {
        self.expect(packet::CONNACK, |frame| frame.body.get(1) == Some(&0))
    }

    /// Subscribes with many filters in one packet, and a few packets at a time.
    pub fn subscribe(&mut self, version: Version, filters: &[String], qos: u8) -> Result<(), String> {
        for (id, filters) in (1..).zip(filters.chunks(200)) {
            self.write_all(&packet::subscribe(version, id, filters, qos))?;
            self.expect(packet::SUBACK, |frame| {
                frame.packet_id() == Some(id)
                    && frame.body.len() >= filters.len()
                    && frame.body[frame.body.len() - filters.len()..].iter().all(|&code| code == qos)
            })?;
        }
        Ok(())
    }

    pub fn write_all(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream.write_all(bytes).map_err(|error| format!("cannot write: {error}"))
    }

    /// Reads exactly `bytes`, and waits for them.
    pub fn read_exact(&mut self, bytes: &mut [u8]) -> Result<(), String> {
        self.stream.read_exact(bytes).map_err(|error| format!("no answer: {error}"))
    }

    /// Waits for a packet of this type. Any other packet is an error.
    fn expect(&mut self, kind: u8, is_good: impl Fn(&Frame<'_>) -> bool) -> Result<(), String> {
        loop {
            if let Some(frame) = packet::split(&self.rest) {
                if frame.kind() != kind || !is_good(&frame) {
                    let shown = &self.rest[..frame.len.min(32)];
                    return Err(format!("instead of success in a packet of type {kind} came {shown:02x?}"));
                }
                self.rest.drain(..frame.len);
                return Ok(());
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err("the broker closed the connection".into()),
                Ok(read) => self.rest.extend(&chunk[..read]),
                Err(error) => return Err(format!("no answer: {error}")),
            }
        }
    }

    /// Lets `epoll` report events of this connection as `token`.
    pub fn register(&mut self, epoll: &Epoll, token: u64) -> Result<(), String> {
        self.token = token;
        self.stream.set_nonblocking(true).map_err(|error| error.to_string())?;
        epoll.add(&self.stream, EpollEvent::new(EpollFlags::EPOLLIN, token)).map_err(|error| error.to_string())
    }

    /// The buffer for bytes to be sent; [`Connection::flush`] sends them.
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes the waiting bytes, once. The rest is written when `epoll` reports that there is room.
    pub fn flush(&mut self, epoll: &Epoll) -> Result<(), String> {
        if self.out.len() > self.written {
            match self.stream.write(&self.out[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(format!("cannot write: {error}")),
            }
        }
        let is_done = self.written == self.out.len();
        if is_done {
            self.out.clear();
            self.written = 0;
        }
        if self.waits_to_write == is_done {
            self.waits_to_write = !is_done;
            let flags = if is_done { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT };
            let mut event = EpollEvent::new(flags, self.token);
            epoll.modify(&self.stream, &mut event).map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Reads once and hands each whole packet to `take`, with the buffer for answers.
    pub fn receive(
        &mut self,
        buffer: &mut [u8],
        mut take: impl FnMut(&Frame<'_>, &mut Vec<u8>) -> Result<(), String>,
    ) -> Result<(), String> {
        let read = match self.stream.read(buffer) {
            Ok(0) => return Err("the broker closed the connection".into()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(format!("cannot read: {error}")),
        };
        let mut bytes = &buffer[..read];
        let mut rest = std::mem::take(&mut self.rest);
        if !rest.is_empty() {
            rest.extend(bytes);
            bytes = &rest;
        }
        while let Some(frame) = packet::split(bytes) {
            take(&frame, &mut self.out)?;
            bytes = &bytes[frame.len..];
        }
        self.rest = bytes.to_vec();
        Ok(())
    }
}
