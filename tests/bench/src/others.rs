//! The loads without a stream of messages: connections that do nothing, and retained messages that are fetched.

use crate::connection::Connection;
use crate::packet::{self, Patch, Version};
use crate::process::Process;
use crate::traffic::{Outcome, Target};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollTimeout};
use std::time::{Duration, Instant};

/// Opens connections, a few at a time, and leaves them idle.
pub fn idle(target: &Target, count: usize) -> Result<Outcome, String> {
    const AT_ONCE: usize = 64;
    // Loads the code for connections into memory first, so that it is not counted as memory of the connections.
    let _first = Connection::open_mqtt(target.address, Version::V3_1_1, "idle", false)?;
    let before = target.process.resident()?;
    let (cpu, own, started) = (target.process.cpu()?, Process::this().cpu()?, Instant::now());
    let mut connections = Vec::with_capacity(count);
    while connections.len() < count {
        let first = connections.len();
        for index in first..count.min(first + AT_ONCE) {
            let mut connection = Connection::open(target.address)?;
            connection.write_all(&packet::connect(Version::V3_1_1, &format!("idle-{index}"), false))?;
            connections.push(connection);
        }
        for connection in &mut connections[first..] {
            connection.expect_connack()?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let (cpu, own) = (target.process.cpu()? - cpu, Process::this().cpu()? - own);
    std::thread::sleep(Duration::from_millis(500));
    let resident = target.process.resident()?;
    Ok(Outcome {
        cpu: cpu.as_secs_f64() * 1e6 / count as f64,
        generator_cpu: own.as_secs_f64() * 1e6 / count as f64,
        rate: count as f64 / seconds,
        resident,
        table: resident.saturating_sub(before),
        ..Outcome::default()
    })
}

/// Publishes retained messages, and lets several clients fetch all of them, one after the other.
pub fn retained(target: &Target, count: usize) -> Result<Outcome, String> {
    const CLIENTS: usize = 3;
    const PAYLOAD: usize = 64;
    let version = Version::V3_1_1;
    let before = target.process.resident()?;
    publish_retained(target, count, PAYLOAD)?;
    let resident = target.process.resident()?;
    let mut outcome = Outcome { resident, table: resident.saturating_sub(before), ..Outcome::default() };
    let (cpu, own, started) = (target.process.cpu()?, Process::this().cpu()?, Instant::now());
    for client in 0..CLIENTS {
        let mut fetching = Connection::open_mqtt(target.address, version, &format!("fetching-{client}"), false)?;
        let epoll = Epoll::new(EpollCreateFlags::empty()).map_err(|error| error.to_string())?;
        fetching.register(&epoll, 0)?;
        fetching.out().extend(packet::subscribe(version, 1, &["#".into()], 0));
        fetching.flush(&epoll)?;
        let mut seen = vec![false; count];
        let mut missing = count;
        let mut buffer = vec![0; 256 * 1024];
        while missing > 0 {
            let patience = EpollTimeout::from(10_000u16);
            if epoll.wait(&mut [EpollEvent::empty()], patience).map_err(|error| error.to_string())? == 0 {
                break;
            }
            fetching.receive(&mut buffer, |frame, _| {
                if frame.kind() == packet::SUBACK {
                    return Ok(());
                }
                let delivery = packet::read_publish(version, frame).ok_or("an unexpected packet")?;
                let seen = seen.get_mut(delivery.seq as usize).ok_or("an unexpected message")?;
                if std::mem::replace(seen, true) {
                    outcome.faults.duplicated += 1;
                } else {
                    missing -= 1;
                }
                Ok(())
            })?;
        }
        outcome.faults.lost += missing as u64;
    }
    let seconds = started.elapsed().as_secs_f64();
    let messages = (count * CLIENTS) as f64;
    outcome.cpu = (target.process.cpu()? - cpu).as_secs_f64() * 1e6 / messages;
    outcome.generator_cpu = (Process::this().cpu()? - own).as_secs_f64() * 1e6 / messages;
    outcome.rate = messages / seconds;
    Ok(outcome)
}

/// Publishes with QoS 1, so that the end is known: all messages are acknowledged.
fn publish_retained(target: &Target, count: usize, payload: usize) -> Result<(), String> {
    const WINDOW: usize = 64;
    let version = Version::V3_1_1;
    let mut connection = Connection::open_mqtt(target.address, version, "retaining", false)?;
    let patch = Patch::new(version, 1, payload);
    let mut bytes = Vec::new();
    for seq in 0..count {
        let topic = format!("plant/{:03}/sensor/{seq:06}", seq % 100);
        let start = bytes.len();
        bytes.extend(packet::publish(version, 1, true, &topic, payload));
        patch.apply(&mut bytes[start..], 0, seq as u32, 0);
        if (seq + 1) % WINDOW == 0 || seq + 1 == count {
            connection.write_all(&bytes)?;
            bytes.clear();
            connection.read_exact(&mut [0; 4 * WINDOW][..4 * (seq % WINDOW + 1)])?;
        }
    }
    Ok(())
}
