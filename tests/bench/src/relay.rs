//! The relay: what the sockets of the system cost without any protocol.
//!
//! A client begins with nine bytes: `P` for publisher or `S` for subscriber, a channel, and the length of a frame. The relay
//! answers with one byte, and then passes whole frames of that length from each `P` of a channel to all `S` of it. It reads
//! all ready sockets once, and then writes once to each socket that has something to get.

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

/// The first bytes of a client.
pub fn hello(is_publisher: bool, channel: u32, frame: u32) -> [u8; 9] {
    let mut hello = [if is_publisher { b'P' } else { b'S' }; 9];
    hello[1..5].copy_from_slice(&channel.to_le_bytes());
    hello[5..].copy_from_slice(&frame.to_le_bytes());
    hello
}

struct Peer {
    stream: TcpStream,
    channel: usize,
    frame: usize,
    rest: Vec<u8>,
    out: Vec<u8>,
    written: usize,
    is_dirty: bool,
    is_blocked: bool,
}

/// Relays frames until the process is killed.
pub fn run(port: u16) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    let epoll = Epoll::new(EpollCreateFlags::empty())?;
    const LISTENER: u64 = u64::MAX;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut peers: Vec<Peer> = Vec::new();
    let mut channels: Vec<Vec<usize>> = Vec::new();
    let mut events = vec![EpollEvent::empty(); 1024];
    let mut buffer = vec![0; 64 * 1024];
    let mut dirty = Vec::new();
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE)?;
        for event in &events[..count] {
            if event.data() == LISTENER {
                let peer = greet(&listener)?;
                epoll.add(&peer.stream, EpollEvent::new(EpollFlags::EPOLLIN, peers.len() as u64))?;
                if peer.frame == 0 {
                    channels.resize_with(channels.len().max(peer.channel + 1), Vec::new);
                    channels[peer.channel].push(peers.len());
                }
                peers.push(peer);
                continue;
            }
            let index = event.data() as usize;
            if event.events().contains(EpollFlags::EPOLLOUT) {
                dirty.push(index);
            }
            let peer = &mut peers[index];
            let read = match peer.stream.read(&mut buffer) {
                Ok(0) => {
                    epoll.delete(&peer.stream)?;
                    continue;
                }
                Ok(read) => read,
                Err(_) => continue,
            };
            let mut rest = std::mem::take(&mut peer.rest);
            let (channel, frame) = (peer.channel, peer.frame.max(1));
            let mut bytes = &buffer[..read];
            if !rest.is_empty() {
                rest.extend(bytes);
                bytes = &rest;
            }
            let (whole, part) = bytes.split_at(bytes.len() / frame * frame);
            for &to in channels.get(channel).into_iter().flatten() {
                let to_peer = &mut peers[to];
                to_peer.out.extend(whole);
                if !std::mem::replace(&mut to_peer.is_dirty, true) {
                    dirty.push(to);
                }
            }
            peers[index].rest = part.to_vec();
        }
        for index in dirty.drain(..) {
            flush(&epoll, &mut peers[index], index)?;
        }
    }
}

fn greet(listener: &TcpListener) -> io::Result<Peer> {
    let (mut stream, _) = listener.accept()?;
    stream.set_nodelay(true)?;
    let mut hello = [0; 9];
    if stream.read_exact(&mut hello).is_ok() {
        stream.write_all(b"k")?;
    }
    stream.set_nonblocking(true)?;
    let number = |at: usize| u32::from_le_bytes([hello[at], hello[at + 1], hello[at + 2], hello[at + 3]]) as usize;
    let frame = if hello[0] == b'P' { number(5) } else { 0 };
    Ok(Peer {
        stream,
        channel: number(1),
        frame,
        rest: Vec::new(),
        out: Vec::new(),
        written: 0,
        is_dirty: false,
        is_blocked: false,
    })
}

fn flush(epoll: &Epoll, peer: &mut Peer, index: usize) -> io::Result<()> {
    peer.is_dirty = false;
    match peer.stream.write(&peer.out[peer.written..]) {
        Ok(written) => peer.written += written,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
        Err(_) => peer.written = peer.out.len(),
    }
    let is_done = peer.written == peer.out.len();
    if is_done {
        peer.out.clear();
        peer.written = 0;
    }
    if peer.is_blocked == is_done {
        peer.is_blocked = !is_done;
        let flags = if is_done { EpollFlags::EPOLLIN } else { EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT };
        epoll.modify(&peer.stream, &mut EpollEvent::new(flags, index as u64))?;
    }
    Ok(())
}
