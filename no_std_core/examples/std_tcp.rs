//! A broker on TCP with the standard library alone: one thread, and sockets that don't block. `cargo run --example std_tcp --features
//! alloc`

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::sleep;
use std::time::Instant as Clock;

use goldcrest_core::{AllowAll, Broker, Capacity, Config, ConnectionId, Instant, Limits, Memory, Next, Shard, Then};

struct Socket {
    id: ConnectionId,
    stream: TcpStream,
    /// Received bytes that the broker has not consumed.
    incoming: Vec<u8>,
    /// Bytes to be written.
    outgoing: Vec<u8>,
    closes: bool,
}

/// Runs the example.
pub fn main() {
    let listener = TcpListener::bind("127.0.0.1:1883").expect("the port is free");
    println!("try: mosquitto_sub -t hello & mosquitto_pub -t hello -m world");
    serve(&listener, || false);
}

/// Serves until `stops` returns true.
pub fn serve(listener: &TcpListener, stops: impl Fn() -> bool) {
    listener.set_nonblocking(true).expect("a listener can be asked without waiting");
    let started = Clock::now();
    // An attacker who can guess the seed can make the hashes of topics collide: a server draws the seed at random.
    let seed = u128::from(std::process::id());
    let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
    let mut broker = Broker::new(memory, Config::gateway(seed), &AllowAll);
    let mut sockets: Vec<Socket> = Vec::new();
    let mut buffer = [0; 16 * 1024];
    while !stops() {
        let now = Instant::from_millis(started.elapsed().as_millis() as u64);
        if let Ok((stream, _)) = listener.accept()
            && stream.set_nonblocking(true).is_ok()
            && let Ok(id) = broker.handle_connected(now)
        {
            sockets.push(Socket { id, stream, incoming: Vec::new(), outgoing: Vec::new(), closes: false });
        }
        for socket in &mut sockets {
            match socket.stream.read(&mut buffer) {
                Ok(0) => socket.closes = true,
                Ok(count) => socket.incoming.extend_from_slice(&buffer[..count]),
                Err(error) => socket.closes |= error.kind() != ErrorKind::WouldBlock,
            }
            let received = broker.handle_bytes(now, socket.id, &socket.incoming);
            socket.closes |= matches!(received.next, Next::Close) && socket.outgoing.is_empty();
            socket.incoming.drain(..received.consumed);
        }
        if broker.poll_timeout().is_some_and(|due| due <= now) {
            broker.handle_timeout(now);
        }
        while let Some(id) = broker.poll_ready() {
            let Some(socket) = sockets.iter_mut().find(|socket| socket.id == id) else { continue };
            loop {
                let transmit = broker.poll_transmit(now, id, &mut buffer);
                socket.outgoing.extend_from_slice(&buffer[..transmit.written]);
                socket.closes |= transmit.then == Then::Close;
                if transmit.then != Then::More {
                    break;
                }
            }
        }
        for socket in &mut sockets {
            let written = socket.stream.write(&socket.outgoing).unwrap_or(0);
            socket.outgoing.drain(..written);
        }
        sockets.extract_if(.., |socket| socket.closes).for_each(|socket| broker.handle_closed(now, socket.id));
        sleep(std::time::Duration::from_millis(1));
    }
}
