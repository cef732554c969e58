//! `goldcrest pub`.

use super::PublisherOptions;
use super::connection::{ClientError, Connection, check};
use goldcrest_core::codec::{Ack, MAX_PACKET_LEN, Packet, Properties, Publish, QoS, ReasonCode};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;

/// Publishes the message, or each line of standard input, and ends when the broker has acknowledged all messages.
pub(crate) fn run(options: &PublisherOptions) -> Result<(), ClientError> {
    let mut connection = Connection::open(&options.common)?;
    check_limits(&connection, options)?;
    match &options.message {
        Some(message) => publish(&mut connection, options, "the message", message.as_bytes())?,
        None => publish_lines(&mut connection, options)?,
    }
    if options.common.qos == QoS::AtMostOnce {
        connection.confirm()?;
    }
    connection.close()
}

/// Refuses a message that the broker does not support, as its CONNACK says [MQTT-3.2.2-11] [MQTT-3.2.2-14].
fn check_limits(connection: &Connection, options: &PublisherOptions) -> Result<(), ClientError> {
    let (limits, qos) = (connection.limits, options.common.qos);
    if qos > limits.qos {
        let (highest, wanted) = (limits.qos.bits(), qos.bits());
        return Err(ClientError::Unavailable(format!(
            "takes no message of QoS {wanted}; its Maximum QoS is {highest}"
        )));
    }
    if options.retain && !limits.retain {
        return Err(ClientError::Unavailable("keeps no retained messages (-r)".to_owned()));
    }
    Ok(())
}

/// Publishes each line of standard input as soon as it has been read. The last line needs no line end.
fn publish_lines(connection: &mut Connection, options: &PublisherOptions) -> Result<(), ClientError> {
    let input = io::stdin();
    let mut chunk = vec![0; 64 * 1024];
    let (mut line, mut number) = (Vec::new(), 1_u64);
    loop {
        connection.wait_for_input(input.as_fd())?;
        let read = match rustix::io::read(&input, &mut chunk) {
            Ok(read) => read,
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => continue,
            Err(error) => return Err(ClientError::Input(error.into())),
        };
        for part in chunk[..read].split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(part);
            if let Some(complete) = line.strip_suffix(b"\n") {
                let name = format!("line {number} of standard input");
                publish(connection, options, &name, complete.strip_suffix(b"\r").unwrap_or(complete))?;
                line.clear();
                number = number.saturating_add(1);
            }
        }
        if line.len() > MAX_PACKET_LEN as usize {
            return Err(ClientError::TooLarge(u32::MAX, MAX_PACKET_LEN));
        }
        if read == 0 {
            break;
        }
    }
    if line.is_empty() {
        return Ok(());
    }
    let name = format!("line {number} of standard input");
    publish(connection, options, &name, line.strip_suffix(b"\r").unwrap_or(&line))
}

/// Publishes `payload`. Errors call the message `name`.
fn publish(
    connection: &mut Connection,
    options: &PublisherOptions,
    name: &str,
    payload: &[u8],
) -> Result<(), ClientError> {
    let qos = options.common.qos;
    let packet_id = (qos > QoS::AtMostOnce).then(|| connection.next_packet_id());
    let message = Packet::Publish(Publish {
        dup: false,
        qos,
        retain: options.retain,
        topic: &options.topic,
        packet_id,
        properties: Properties::EMPTY,
        payload,
    });
    connection.send(message).map_err(|failure| match failure {
        ClientError::TooLarge(len, limit) => ClientError::MessageTooLarge(name.to_owned(), len, limit),
        failure => failure,
    })?;
    let Some(id) = packet_id else { return Ok(()) };
    let answer = |ack: Ack<'_>| (ack.packet_id == id).then(|| check(name, ack));
    connection.wait_for(|packet| match packet {
        Packet::PubAck(ack) if qos == QoS::AtLeastOnce => answer(ack),
        Packet::PubRec(ack) if qos == QoS::ExactlyOnce => answer(ack),
        _ => None,
    })??;
    if qos == QoS::ExactlyOnce {
        connection.send(Packet::PubRel(Ack::new(id, ReasonCode::Success)))?;
        connection.wait_for(|packet| match packet {
            Packet::PubComp(ack) => answer(ack),
            _ => None,
        })??;
    }
    Ok(())
}
