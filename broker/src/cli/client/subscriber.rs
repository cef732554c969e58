//! `goldcrest sub`.

use super::SubscriberOptions;
use super::connection::{ClientError, Connection, Limits, reason};
use goldcrest_core::codec::{
    Ack, Filters, Packet, PacketId, Properties, Publish, QoS, ReasonCode, SubAck, Subscribe, SubscriptionOptions,
};
use std::collections::HashSet;
use std::io;
use std::os::fd::AsFd;

/// Prints messages until as many as wanted were printed, or for ever.
pub(crate) fn run(options: &SubscriberOptions) -> Result<(), ClientError> {
    let mut connection = Connection::open(&options.common)?;
    check_limits(connection.limits, options)?;
    let wanted = SubscriptionOptions::with_qos(options.common.qos);
    let filters: Vec<_> = options.filters.iter().map(|filter| (filter.as_str(), wanted)).collect();
    let packet_id = connection.next_packet_id();
    connection.send(Packet::Subscribe(Subscribe {
        packet_id,
        properties: Properties::EMPTY,
        filters: Filters::new(&filters),
    }))?;
    let mut printer = Printer { options, text: Vec::new(), printed: 0, unreleased: HashSet::new() };
    let out = io::stdout();
    while !printer.is_done() {
        let answer = connection.next(None, |packet| printer.handle(packet))?;
        match connection.write_out(out.as_fd(), &printer.text) {
            Ok(()) => printer.text.clear(),
            // The reader of the pipe has gone: nobody reads the output.
            Err(ClientError::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => break,
            Err(failure) => return Err(failure),
        }
        if let Some(answer) = answer {
            connection.send(answer)?;
        }
    }
    connection.close()
}

/// Refuses subscriptions that the broker does not support, as its CONNACK says (sections 3.2.2.3.11 and 3.2.2.3.13).
fn check_limits(limits: Limits, options: &SubscriberOptions) -> Result<(), ClientError> {
    for filter in &options.filters {
        let unavailable = |what| Err(ClientError::Unavailable(format!("has no {what}, as {filter} is")));
        if !limits.wildcards && filter.contains(['+', '#']) {
            return unavailable("subscriptions with wildcards");
        }
        if !limits.shared_subscriptions && filter.starts_with("$share/") {
            return unavailable("shared subscriptions");
        }
    }
    Ok(())
}

struct Printer<'a> {
    options: &'a SubscriberOptions,
    /// Text that is still to be printed.
    text: Vec<u8>,
    printed: u64,
    /// QoS 2 messages that were printed and whose PUBREL has not arrived yet.
    unreleased: HashSet<PacketId>,
}

impl Printer<'_> {
    fn has_enough(&self) -> bool {
        self.options.count.is_some_and(|count| self.printed >= count)
    }

    fn is_done(&self) -> bool {
        self.has_enough() && self.unreleased.is_empty()
    }

    /// Handles a packet, and returns the packet to answer with.
    fn handle(&mut self, packet: Packet<'_>) -> Result<Option<Packet<'static>>, ClientError> {
        Ok(match packet {
            Packet::SubAck(ack) => {
                self.check(ack)?;
                None
            }
            Packet::Publish(publish) => match (publish.qos, publish.packet_id) {
                (QoS::AtLeastOnce, Some(id)) => {
                    self.print(publish);
                    Some(Packet::PubAck(Ack::new(id, ReasonCode::Success)))
                }
                (QoS::ExactlyOnce, Some(id)) => {
                    if self.unreleased.insert(id) {
                        self.print(publish);
                    }
                    Some(Packet::PubRec(Ack::new(id, ReasonCode::Success)))
                }
                _ => {
                    self.print(publish);
                    None
                }
            },
            Packet::PubRel(ack) => {
                self.unreleased.remove(&ack.packet_id);
                Some(Packet::PubComp(Ack::new(ack.packet_id, ReasonCode::Success)))
            }
            _ => None,
        })
    }

    fn check(&self, ack: SubAck<'_>) -> Result<(), ClientError> {
        match self.options.filters.iter().zip(ack.codes).find(|(_, code)| code.is_error()) {
            Some((filter, code)) => {
                Err(ClientError::Rejected(format!("the subscription to {filter}"), code, reason(&ack.properties)))
            }
            None => Ok(()),
        }
    }

    fn print(&mut self, publish: Publish<'_>) {
        if self.has_enough() {
            return;
        }
        self.printed += 1;
        if self.options.verbose {
            self.text.extend_from_slice(publish.topic.as_bytes());
            self.text.push(b' ');
        }
        self.text.extend_from_slice(publish.payload);
        self.text.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goldcrest_core::codec::Codes;

    fn options(count: u64) -> SubscriberOptions {
        super::super::options::tests::subscriber(&["-t", "a", "-t", "b", "-v", "-C", &count.to_string()])
    }

    fn printer(options: &SubscriberOptions) -> Printer<'_> {
        Printer { options, text: Vec::new(), printed: 0, unreleased: HashSet::new() }
    }

    fn message(qos: QoS, id: u16) -> Packet<'static> {
        let packet_id = PacketId::new(id);
        let properties = Properties::EMPTY;
        Packet::Publish(Publish { dup: false, qos, retain: false, topic: "a", packet_id, properties, payload: b"hi" })
    }

    #[test]
    fn a_qos_2_message_is_printed_once_and_completed_before_the_command_ends() {
        let options = options(1);
        let mut printer = printer(&options);
        let ack = Ack::new(PacketId::MIN, ReasonCode::Success);
        for _ in 0..2 {
            assert_eq!(printer.handle(message(QoS::ExactlyOnce, 1)).unwrap(), Some(Packet::PubRec(ack)));
        }
        assert!(!printer.is_done());
        assert_eq!(printer.handle(Packet::PubRel(ack)).unwrap(), Some(Packet::PubComp(ack)));
        assert!(printer.is_done());
        assert_eq!(printer.text, b"a hi\n");
    }

    #[test]
    fn no_more_messages_are_printed_than_wanted() {
        let options = options(2);
        let mut printer = printer(&options);
        assert_eq!(printer.handle(message(QoS::AtMostOnce, 0)).unwrap(), None);
        let ack = Ack::new(PacketId::MIN, ReasonCode::Success);
        assert_eq!(printer.handle(message(QoS::AtLeastOnce, 1)).unwrap(), Some(Packet::PubAck(ack)));
        assert!(printer.is_done());
        printer.handle(message(QoS::AtMostOnce, 0)).unwrap();
        assert_eq!(printer.text, b"a hi\na hi\n");
    }

    #[test]
    fn the_error_for_a_refused_subscription_names_the_filter() {
        let codes = Codes::new(&[ReasonCode::GrantedQoS1, ReasonCode::NotAuthorized]);
        let refusal = SubAck { packet_id: PacketId::MIN, properties: Properties::EMPTY, codes };
        let failure = printer(&options(1)).handle(Packet::SubAck(refusal)).unwrap_err();
        assert_eq!(failure.to_string(), "the broker refused the subscription to b: Not authorized (0x87)");
    }
}
