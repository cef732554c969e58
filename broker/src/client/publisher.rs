//! `goldcrest pub`.

use super::PublisherOptions;
use super::connection::{Connection, Failure};
use goldcrest_core::codec::{Ack, Packet, PacketId, Properties, Publish, QoS, ReasonCode};
use std::io::{self, BufRead};

/// Publishes all there is to publish, and leaves when the broker has taken it.
pub(crate) fn run(options: &PublisherOptions) -> Result<(), Failure> {
    let mut connection = Connection::open(&options.common)?;
    match &options.message {
        Some(message) => publish(&mut connection, options, message)?,
        None => {
            let mut input = io::stdin().lock();
            let mut line = Vec::new();
            while input.read_until(b'\n', &mut line).map_err(Failure::Input)? > 0 {
                let end = line.strip_suffix(b"\n").unwrap_or(&line);
                publish(&mut connection, options, end.strip_suffix(b"\r").unwrap_or(end))?;
                line.clear();
            }
        }
    }
    connection.close()
}

fn publish(connection: &mut Connection, options: &PublisherOptions, payload: &[u8]) -> Result<(), Failure> {
    let qos = options.common.qos;
    let packet_id = (qos > QoS::AtMostOnce).then(|| connection.next_packet_id());
    connection.send(Packet::Publish(Publish {
        dup: false,
        qos,
        retain: options.retain,
        topic: &options.topic,
        packet_id,
        properties: Properties::EMPTY,
        payload,
    }))?;
    let Some(id) = packet_id else { return Ok(()) };
    let code = connection.wait_for(|packet| match packet {
        Packet::PubAck(ack) => code_for(ack, id),
        Packet::PubRec(ack) => code_for(ack, id),
        _ => None,
    })?;
    if code.is_error() {
        return Err(Failure::Rejected("the message".to_owned(), code));
    }
    if qos == QoS::ExactlyOnce {
        connection.send(Packet::PubRel(Ack::new(id, ReasonCode::Success)))?;
        connection.wait_for(|packet| match packet {
            Packet::PubComp(ack) => code_for(ack, id),
            _ => None,
        })?;
    }
    Ok(())
}

fn code_for(ack: Ack<'_>, id: PacketId) -> Option<ReasonCode> {
    (ack.packet_id == id).then_some(ack.code)
}
