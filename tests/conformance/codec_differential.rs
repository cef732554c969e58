//! Does another codec understand our packets, and do we understand its packets?
//!
//! The other codec is the crate mqttbytes, for MQTT 3.1.1 and 5.0. Each test starts from a random valid packet in the
//! types of mqttbytes. We encode the same packet, and mqttbytes must read it back unchanged. mqttbytes encodes it too,
//! and we must decode its bytes into a packet that we encode to the same bytes again. So a packet that only our encoder
//! and our decoder agree on does not pass.
//!
//! mqttbytes is compared on valid packets only, and not on these, which mqttbytes gets wrong:
//! - Subscription Identifiers: mqttbytes counts their length twice, and cuts the second length off the fields behind
//!   them.
//! - DISCONNECT without Reason Code or without Property Length in 5.0: mqttbytes refuses both.
//! - AUTH and MQTT 3.1 are unknown to mqttbytes.
//! - A Password that is not UTF-8: mqttbytes refuses it. An empty User Name or Password: mqttbytes reads it as absent.

use bytes::BytesMut;
use goldcrest_core::codec::{
    Ack, Codes, ConnAck, Connect, Disconnect, Encode, Filters, Packet, PacketId, Properties, Property, Publish, QoS,
    ReasonCode, RetainHandling, SubAck, Subscribe, SubscriptionOptions, Topics, UnsubAck, Unsubscribe, Version, Will,
    split,
};
use mqttbytes::{v4, v5};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;

/// Greater than every packet of these tests.
const MAX_PACKET_SIZE: u32 = 1 << 20;

fn encoded(version: Version, packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    packet.encode(version, &mut bytes);
    assert_eq!(bytes.len(), packet.encoded_len(version) as usize);
    bytes
}

/// Runs both directions. `written` is the packet as mqttbytes encodes it, `ours` the same packet in our types; `read`
/// decodes by mqttbytes.
fn agree<T: PartialEq + std::fmt::Debug>(
    version: Version,
    theirs: &T,
    written: &[u8],
    ours: &Packet<'_>,
    read: impl Fn(&mut BytesMut) -> Result<T, mqttbytes::Error>,
) {
    let bytes = encoded(version, ours);
    assert_eq!(read(&mut BytesMut::from(&bytes[..])).as_ref(), Ok(theirs), "we encode {bytes:02X?}");

    let (frame, len) = split(written, MAX_PACKET_SIZE).expect("a valid packet").expect("a whole packet");
    assert_eq!(len, written.len());
    let decoded = Packet::decode(version, frame).expect("a valid packet");
    let again = encoded(version, &decoded);
    assert_eq!(again.len(), written.len());
    assert_eq!(read(&mut BytesMut::from(&again[..])).as_ref(), Ok(theirs), "we decode {written:02X?}");
}

fn agree_in_v4(theirs: &v4::Packet, ours: &Packet<'_>) {
    let mut written = BytesMut::new();
    match theirs {
        v4::Packet::Connect(packet) => packet.write(&mut written),
        v4::Packet::ConnAck(packet) => packet.write(&mut written),
        v4::Packet::Publish(packet) => packet.write(&mut written),
        v4::Packet::PubAck(packet) => packet.write(&mut written),
        v4::Packet::PubRec(packet) => packet.write(&mut written),
        v4::Packet::PubRel(packet) => packet.write(&mut written),
        v4::Packet::PubComp(packet) => packet.write(&mut written),
        v4::Packet::Subscribe(packet) => packet.write(&mut written),
        v4::Packet::SubAck(packet) => packet.write(&mut written),
        v4::Packet::Unsubscribe(packet) => packet.write(&mut written),
        v4::Packet::UnsubAck(packet) => packet.write(&mut written),
        v4::Packet::PingReq => v4::PingReq.write(&mut written),
        v4::Packet::PingResp => v4::PingResp.write(&mut written),
        v4::Packet::Disconnect => v4::Disconnect.write(&mut written),
    }
    .expect("a valid packet");
    agree(Version::V3_1_1, theirs, &written, ours, |bytes| v4::read(bytes, MAX_PACKET_SIZE as usize));
}

fn agree_in_v5(theirs: &v5::Packet, ours: &Packet<'_>) {
    let mut written = BytesMut::new();
    match theirs {
        v5::Packet::Connect(packet) => packet.write(&mut written),
        v5::Packet::ConnAck(packet) => packet.write(&mut written),
        v5::Packet::Publish(packet) => packet.write(&mut written),
        v5::Packet::PubAck(packet) => packet.write(&mut written),
        v5::Packet::PubRec(packet) => packet.write(&mut written),
        v5::Packet::PubRel(packet) => packet.write(&mut written),
        v5::Packet::PubComp(packet) => packet.write(&mut written),
        v5::Packet::Subscribe(packet) => packet.write(&mut written),
        v5::Packet::SubAck(packet) => packet.write(&mut written),
        v5::Packet::Unsubscribe(packet) => packet.write(&mut written),
        v5::Packet::UnsubAck(packet) => packet.write(&mut written),
        v5::Packet::PingReq => v5::PingReq.write(&mut written),
        v5::Packet::PingResp => v5::PingResp.write(&mut written),
        v5::Packet::Disconnect(packet) => packet.write(&mut written),
    }
    .expect("a valid packet");
    agree(Version::V5, theirs, &written, ours, |bytes| v5::read(bytes, MAX_PACKET_SIZE as usize));
}

fn text(len: std::ops::Range<usize>) -> impl Strategy<Value = String> {
    vec(any::<char>().prop_filter("forbidden", |c| !"\0+#".contains(*c)), len)
        .prop_map(|chars| chars.into_iter().collect())
}

fn data() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..200)
}

fn qos() -> impl Strategy<Value = mqttbytes::QoS> {
    select(&[mqttbytes::QoS::AtMostOnce, mqttbytes::QoS::AtLeastOnce, mqttbytes::QoS::ExactlyOnce][..])
}

fn our_qos(qos: mqttbytes::QoS) -> QoS {
    QoS::from_bits(qos as u8).unwrap()
}

fn id(value: u16) -> PacketId {
    PacketId::new(value).unwrap()
}

fn code(value: u8) -> ReasonCode {
    ReasonCode::from_u8(value).unwrap()
}

fn properties(list: Vec<Property<'_>>) -> Properties<'_> {
    Properties::new(list.leak())
}

fn user_properties() -> impl Strategy<Value = Vec<(String, String)>> {
    vec((text(0..10), text(0..10)), 0..3)
}

fn our_user_properties(list: &[(String, String)]) -> impl Iterator<Item = Property<'_>> {
    list.iter().map(|(name, value)| Property::UserProperty(name, value))
}

/// User Name and Password of a CONNECT.
type Credentials = Option<(String, String)>;

fn credentials() -> impl Strategy<Value = Credentials> {
    option::of((text(1..10), text(1..10)))
}

proptest! {
    #[test]
    fn both_codecs_agree_on_connect_of_3_1_1(
        keep_alive: u16,
        client_id in text(0..30),
        clean_session: bool,
        will in option::of((text(1..20), data(), qos(), any::<bool>())),
        login in credentials(),
    ) {
        let theirs = v4::Connect {
            protocol: mqttbytes::Protocol::V4,
            keep_alive,
            client_id: client_id.clone(),
            clean_session,
            last_will: will.clone().map(|(topic, message, qos, retain)| v4::LastWill::new(topic, message, qos, retain)),
            login: login.clone().map(|(username, password)| v4::Login { username, password }),
        };
        let ours = Connect {
            version: Version::V3_1_1,
            is_bridge: false,
            clean_start: clean_session,
            keep_alive,
            properties: Properties::EMPTY,
            client_id: &client_id,
            will: will.as_ref().map(|(topic, payload, qos, retain)| Will {
                qos: our_qos(*qos),
                retain: *retain,
                properties: Properties::EMPTY,
                topic,
                payload,
            }),
            user_name: login.as_ref().map(|(name, _)| &name[..]),
            password: login.as_ref().map(|(_, password)| password.as_bytes()),
        };
        agree_in_v4(&v4::Packet::Connect(theirs), &Packet::Connect(ours));
    }

    #[test]
    fn both_codecs_agree_on_publish_of_3_1_1(
        dup: bool, qos in qos(), retain: bool, topic in text(1..100), pkid in 1..=u16::MAX, payload in data(),
    ) {
        let acknowledged = qos != mqttbytes::QoS::AtMostOnce;
        let dup = dup && acknowledged;
        let mut theirs = v4::Publish::new(&topic, qos, payload.clone());
        (theirs.dup, theirs.retain, theirs.pkid) = (dup, retain, if acknowledged { pkid } else { 0 });
        let ours = Publish {
            dup,
            qos: our_qos(qos),
            retain,
            topic: &topic,
            packet_id: acknowledged.then(|| id(pkid)),
            properties: Properties::EMPTY,
            payload: &payload,
        };
        agree_in_v4(&v4::Packet::Publish(theirs), &Packet::Publish(ours));
    }

    #[test]
    fn both_codecs_agree_on_acknowledgements_of_3_1_1(pkid in 1..=u16::MAX) {
        let ours = Ack::new(id(pkid), ReasonCode::Success);
        agree_in_v4(&v4::Packet::PubAck(v4::PubAck { pkid }), &Packet::PubAck(ours));
        agree_in_v4(&v4::Packet::PubRec(v4::PubRec { pkid }), &Packet::PubRec(ours));
        agree_in_v4(&v4::Packet::PubRel(v4::PubRel { pkid }), &Packet::PubRel(ours));
        agree_in_v4(&v4::Packet::PubComp(v4::PubComp { pkid }), &Packet::PubComp(ours));
        let ours = UnsubAck { packet_id: id(pkid), properties: Properties::EMPTY, codes: Codes::new(&[]) };
        agree_in_v4(&v4::Packet::UnsubAck(v4::UnsubAck { pkid }), &Packet::UnsubAck(ours));
    }

    #[test]
    fn both_codecs_agree_on_subscribe_and_unsubscribe_of_3_1_1(
        pkid in 1..=u16::MAX, filters in vec((text(1..20), qos()), 1..5), granted in vec(option::of(qos()), 1..5),
    ) {
        let packet_id = id(pkid);
        let theirs = v4::Subscribe {
            pkid,
            filters: filters.iter().map(|(path, qos)| v4::SubscribeFilter { path: path.clone(), qos: *qos }).collect(),
        };
        let list: Vec<_> =
            filters.iter().map(|(path, qos)| (&path[..], SubscriptionOptions::with_qos(our_qos(*qos)))).collect();
        let ours = Subscribe { packet_id, properties: Properties::EMPTY, filters: Filters::new(&list) };
        agree_in_v4(&v4::Packet::Subscribe(theirs), &Packet::Subscribe(ours));

        let topics: Vec<_> = filters.iter().map(|(path, _)| &path[..]).collect();
        let theirs = v4::Unsubscribe { pkid, topics: topics.iter().map(|topic| String::from(*topic)).collect() };
        let ours = Unsubscribe { packet_id, properties: Properties::EMPTY, filters: Topics::new(&topics) };
        agree_in_v4(&v4::Packet::Unsubscribe(theirs), &Packet::Unsubscribe(ours));

        let theirs = v4::SubAck {
            pkid,
            return_codes: granted
                .iter()
                .map(|qos| qos.map_or(v4::SubscribeReasonCode::Failure, v4::SubscribeReasonCode::Success))
                .collect(),
        };
        let codes: Vec<_> = granted
            .iter()
            .map(|qos| qos.map_or(ReasonCode::NotAuthorized, |qos| ReasonCode::granted(our_qos(qos))))
            .collect();
        let ours = SubAck { packet_id, properties: Properties::EMPTY, codes: Codes::new(&codes) };
        agree_in_v4(&v4::Packet::SubAck(theirs), &Packet::SubAck(ours));
    }

    #[test]
    fn both_codecs_agree_on_connect_of_5_0(
        keep_alive: u16,
        client_id in text(0..30),
        clean_session: bool,
        login in credentials(),
        numbers in (any::<Option<u32>>(), option::of(1..=u16::MAX), option::of(1..=u32::MAX), any::<Option<u16>>()),
        requests in (option::of(0u8..2), option::of(0u8..2)),
        users in user_properties(),
        authentication in option::of((text(0..10), option::of(data()))),
        will in option::of((text(1..20), data(), qos(), any::<bool>())),
        will_numbers in (any::<Option<u32>>(), option::of(0u8..2), any::<Option<u32>>()),
        will_texts in (option::of(text(0..10)), option::of(text(1..10)), option::of(data())),
        will_users in user_properties(),
    ) {
        let (session_expiry_interval, receive_maximum, max_packet_size, topic_alias_max) = numbers;
        let (request_response_info, request_problem_info) = requests;
        let (method, auth_data) = authentication.map_or((None, None), |(method, data)| (Some(method), data));
        let list: Vec<_> = session_expiry_interval.map(Property::SessionExpiryInterval).into_iter()
            .chain(receive_maximum.map(Property::ReceiveMaximum))
            .chain(max_packet_size.map(Property::MaximumPacketSize))
            .chain(topic_alias_max.map(Property::TopicAliasMaximum))
            .chain(request_response_info.map(|value| Property::RequestResponseInformation(value == 1)))
            .chain(request_problem_info.map(|value| Property::RequestProblemInformation(value == 1)))
            .chain(our_user_properties(&users))
            .chain(method.as_deref().map(Property::AuthenticationMethod))
            .chain(auth_data.as_deref().map(Property::AuthenticationData))
            .collect();
        let their_properties = (!list.is_empty()).then(|| v5::ConnectProperties {
            session_expiry_interval,
            receive_maximum,
            max_packet_size,
            topic_alias_max,
            request_response_info,
            request_problem_info,
            user_properties: users.clone(),
            authentication_method: method.clone(),
            authentication_data: auth_data.clone().map(Into::into),
        });

        let (delay_interval, format, expiry) = will_numbers;
        let (content_type, response_topic, correlation) = &will_texts;
        let will_list: Vec<_> = delay_interval.map(Property::WillDelayInterval).into_iter()
            .chain(format.map(|value| Property::PayloadFormatIndicator(value == 1)))
            .chain(expiry.map(Property::MessageExpiryInterval))
            .chain(content_type.as_deref().map(Property::ContentType))
            .chain(response_topic.as_deref().map(Property::ResponseTopic))
            .chain(correlation.as_deref().map(Property::CorrelationData))
            .chain(our_user_properties(&will_users))
            .collect();
        let their_will_properties = (!will_list.is_empty()).then(|| v5::WillProperties {
            delay_interval,
            payload_format_indicator: format,
            message_expiry_interval: expiry,
            content_type: content_type.clone(),
            response_topic: response_topic.clone(),
            correlation_data: correlation.clone().map(Into::into),
            user_properties: will_users.clone(),
        });

        let theirs = v5::Connect {
            protocol: mqttbytes::Protocol::V5,
            keep_alive,
            client_id: client_id.clone(),
            clean_session,
            last_will: will.clone().map(|(topic, message, qos, retain)| v5::LastWill {
                topic,
                message: message.into(),
                qos,
                retain,
                properties: their_will_properties,
            }),
            login: login.clone().map(|(username, password)| v5::Login { username, password }),
            properties: their_properties,
        };
        let ours = Connect {
            version: Version::V5,
            is_bridge: false,
            clean_start: clean_session,
            keep_alive,
            properties: Properties::new(&list),
            client_id: &client_id,
            will: will.as_ref().map(|(topic, payload, qos, retain)| Will {
                qos: our_qos(*qos),
                retain: *retain,
                properties: Properties::new(&will_list),
                topic,
                payload,
            }),
            user_name: login.as_ref().map(|(name, _)| &name[..]),
            password: login.as_ref().map(|(_, password)| password.as_bytes()),
        };
        agree_in_v5(&v5::Packet::Connect(theirs), &Packet::Connect(ours));
    }

    #[test]
    fn both_codecs_agree_on_connack_of_5_0(
        (session_present, reason) in prop_oneof![
            any::<bool>().prop_map(|present| (present, v5::ConnectReturnCode::Success)),
            select(&[
                v5::ConnectReturnCode::MalformedPacket, v5::ConnectReturnCode::BadUserNamePassword,
                v5::ConnectReturnCode::BadAuthenticationMethod, v5::ConnectReturnCode::ConnectionRateExceeded,
            ][..]).prop_map(|code| (false, code)),
        ],
        numbers in (
            any::<Option<u32>>(),
            option::of(1..=u16::MAX),
            option::of(1..=u32::MAX),
            any::<Option<u16>>(),
            any::<Option<u16>>(),
        ),
        flags in proptest::array::uniform5(option::of(0u8..2)),
        texts in proptest::array::uniform4(option::of(text(0..10))),
        users in user_properties(),
        authentication in option::of((text(0..10), option::of(data()))),
    ) {
        let (session_expiry_interval, receive_max, max_packet_size, topic_alias_max, server_keep_alive) = numbers;
        let [max_qos, retain_available, wildcard, identifiers, shared] = flags;
        let [assigned, reason_string, response_information, server_reference] = &texts;
        let (method, auth_data) = authentication.map_or((None, None), |(method, data)| (Some(method), data));
        let list: Vec<_> = session_expiry_interval.map(Property::SessionExpiryInterval).into_iter()
            .chain(receive_max.map(Property::ReceiveMaximum))
            .chain(max_qos.map(|value| Property::MaximumQoS(QoS::from_bits(value).unwrap())))
            .chain(retain_available.map(|value| Property::RetainAvailable(value == 1)))
            .chain(max_packet_size.map(Property::MaximumPacketSize))
            .chain(assigned.as_deref().map(Property::AssignedClientIdentifier))
            .chain(topic_alias_max.map(Property::TopicAliasMaximum))
            .chain(reason_string.as_deref().map(Property::ReasonString))
            .chain(our_user_properties(&users))
            .chain(wildcard.map(|value| Property::WildcardSubscriptionAvailable(value == 1)))
            .chain(identifiers.map(|value| Property::SubscriptionIdentifierAvailable(value == 1)))
            .chain(shared.map(|value| Property::SharedSubscriptionAvailable(value == 1)))
            .chain(server_keep_alive.map(Property::ServerKeepAlive))
            .chain(response_information.as_deref().map(Property::ResponseInformation))
            .chain(server_reference.as_deref().map(Property::ServerReference))
            .chain(method.as_deref().map(Property::AuthenticationMethod))
            .chain(auth_data.as_deref().map(Property::AuthenticationData))
            .collect();
        let theirs = v5::ConnAck {
            session_present,
            code: reason,
            properties: (!list.is_empty()).then(|| v5::ConnAckProperties {
                session_expiry_interval,
                receive_max,
                max_qos,
                retain_available,
                max_packet_size,
                assigned_client_identifier: assigned.clone(),
                topic_alias_max,
                reason_string: reason_string.clone(),
                user_properties: users.clone(),
                wildcard_subscription_available: wildcard,
                subscription_identifiers_available: identifiers,
                shared_subscription_available: shared,
                server_keep_alive,
                response_information: response_information.clone(),
                server_reference: server_reference.clone(),
                authentication_method: method.clone(),
                authentication_data: auth_data.clone().map(Into::into),
            }),
        };
        let ours = ConnAck { session_present, code: code(reason as u8), properties: Properties::new(&list) };
        agree_in_v5(&v5::Packet::ConnAck(theirs), &Packet::ConnAck(ours));
    }

    #[test]
    fn both_codecs_agree_on_publish_of_5_0(
        dup: bool,
        qos in qos(),
        retain: bool,
        topic in text(1..100),
        pkid in 1..=u16::MAX,
        payload in data(),
        numbers in (option::of(0u8..2), any::<Option<u32>>(), option::of(1..=u16::MAX)),
        texts in (option::of(text(1..10)), option::of(data()), option::of(text(0..10))),
        users in user_properties(),
    ) {
        let acknowledged = qos != mqttbytes::QoS::AtMostOnce;
        let dup = dup && acknowledged;
        let (format, expiry, topic_alias) = numbers;
        let (response_topic, correlation, content_type) = &texts;
        let list: Vec<_> = format.map(|value| Property::PayloadFormatIndicator(value == 1)).into_iter()
            .chain(expiry.map(Property::MessageExpiryInterval))
            .chain(topic_alias.map(Property::TopicAlias))
            .chain(response_topic.as_deref().map(Property::ResponseTopic))
            .chain(correlation.as_deref().map(Property::CorrelationData))
            .chain(our_user_properties(&users))
            .chain(content_type.as_deref().map(Property::ContentType))
            .collect();
        let mut theirs = v5::Publish::new(&topic, qos, payload.clone());
        (theirs.dup, theirs.retain, theirs.pkid) = (dup, retain, if acknowledged { pkid } else { 0 });
        theirs.properties = (!list.is_empty()).then(|| v5::PublishProperties {
            payload_format_indicator: format,
            message_expiry_interval: expiry,
            topic_alias,
            response_topic: response_topic.clone(),
            correlation_data: correlation.clone().map(Into::into),
            user_properties: users.clone(),
            subscription_identifiers: Vec::new(),
            content_type: content_type.clone(),
        });
        let ours = Publish {
            dup,
            qos: our_qos(qos),
            retain,
            topic: &topic,
            packet_id: acknowledged.then(|| id(pkid)),
            properties: Properties::new(&list),
            payload: &payload,
        };
        agree_in_v5(&v5::Packet::Publish(theirs), &Packet::Publish(ours));
    }

    #[test]
    fn both_codecs_agree_on_acknowledgements_of_5_0(
        pkid in 1..=u16::MAX,
        reason_string in option::of(text(0..10)),
        users in user_properties(),
    ) {
        let list = || properties(reason_string.as_deref().map(Property::ReasonString).into_iter()
            .chain(our_user_properties(&users)).collect());
        let empty = reason_string.is_none() && users.is_empty();
        let ours = |code| Ack { packet_id: id(pkid), code, properties: list() };
        use v5::PubAckReason;
        for reason in [PubAckReason::Success, PubAckReason::NoMatchingSubscribers, PubAckReason::QuotaExceeded] {
            let properties = (!empty).then(|| v5::PubAckProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            });
            let theirs = v5::PubAck { pkid, reason, properties };
            agree_in_v5(&v5::Packet::PubAck(theirs), &Packet::PubAck(ours(code(reason as u8))));
        }
        for reason in [v5::PubRecReason::Success, v5::PubRecReason::NotAuthorized] {
            let properties = (!empty).then(|| v5::PubRecProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            });
            let theirs = v5::PubRec { pkid, reason, properties };
            agree_in_v5(&v5::Packet::PubRec(theirs), &Packet::PubRec(ours(code(reason as u8))));
        }
        for reason in [v5::PubRelReason::Success, v5::PubRelReason::PacketIdentifierNotFound] {
            let properties = (!empty).then(|| v5::PubRelProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            });
            let theirs = v5::PubRel { pkid, reason, properties };
            agree_in_v5(&v5::Packet::PubRel(theirs), &Packet::PubRel(ours(code(reason as u8))));
        }
        for reason in [v5::PubCompReason::Success, v5::PubCompReason::PacketIdentifierNotFound] {
            let properties = (!empty).then(|| v5::PubCompProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            });
            let theirs = v5::PubComp { pkid, reason, properties };
            agree_in_v5(&v5::Packet::PubComp(theirs), &Packet::PubComp(ours(code(reason as u8))));
        }
    }

    #[test]
    fn both_codecs_agree_on_subscribe_and_unsubscribe_of_5_0(
        pkid in 1..=u16::MAX,
        filters in vec((text(1..20), qos(), any::<bool>(), any::<bool>(), 0u8..3), 1..5),
        users in user_properties(),
        reason_string in option::of(text(0..10)),
    ) {
        let packet_id = id(pkid);
        let list: Vec<_> = our_user_properties(&users).collect();
        let their_filters = filters.iter().map(|(path, qos, nolocal, preserve_retain, handling)| v5::SubscribeFilter {
            path: path.clone(),
            qos: *qos,
            nolocal: *nolocal,
            preserve_retain: *preserve_retain,
            retain_forward_rule: match handling {
                0 => v5::RetainForwardRule::OnEverySubscribe,
                1 => v5::RetainForwardRule::OnNewSubscribe,
                _ => v5::RetainForwardRule::Never,
            },
        }).collect();
        let theirs = v5::Subscribe {
            pkid,
            filters: their_filters,
            properties: (!users.is_empty()).then(|| v5::SubscribeProperties {
                id: None, user_properties: users.clone(),
            }),
        };
        let our_filters: Vec<_> = filters.iter().map(|(path, qos, no_local, retain_as_published, handling)| {
            let retain_handling = match handling {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                _ => RetainHandling::DoNotSend,
            };
            let (no_local, retain_as_published) = (*no_local, *retain_as_published);
            (&path[..], SubscriptionOptions { qos: our_qos(*qos), no_local, retain_as_published, retain_handling })
        }).collect();
        let ours = Subscribe { packet_id, properties: Properties::new(&list), filters: Filters::new(&our_filters) };
        agree_in_v5(&v5::Packet::Subscribe(theirs), &Packet::Subscribe(ours));

        let topics: Vec<_> = filters.iter().map(|filter| &filter.0[..]).collect();
        let theirs = v5::Unsubscribe {
            pkid,
            filters: topics.iter().map(|topic| String::from(*topic)).collect(),
            properties: (!users.is_empty()).then(|| v5::UnsubscribeProperties { user_properties: users.clone() }),
        };
        let ours = Unsubscribe { packet_id, properties: Properties::new(&list), filters: Topics::new(&topics) };
        agree_in_v5(&v5::Packet::Unsubscribe(theirs), &Packet::Unsubscribe(ours));

        let list = properties(reason_string.as_deref().map(Property::ReasonString).into_iter()
            .chain(our_user_properties(&users)).collect());
        let return_codes = vec![
            v5::SubscribeReasonCode::QoS1,
            v5::SubscribeReasonCode::NotAuthorized,
            v5::SubscribeReasonCode::SubscriptionIdNotSupported,
        ];
        let codes: Vec<_> = return_codes.iter().map(|reason| code(*reason as u8)).collect();
        let theirs = v5::SubAck {
            pkid,
            return_codes,
            properties: (!list.is_empty()).then(|| v5::SubAckProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            }),
        };
        let ours = SubAck { packet_id, properties: list, codes: Codes::new(&codes) };
        agree_in_v5(&v5::Packet::SubAck(theirs), &Packet::SubAck(ours));

        let reasons = vec![v5::UnsubAckReason::Success, v5::UnsubAckReason::NoSubscriptionExisted];
        let codes: Vec<_> = reasons.iter().map(|reason| code(*reason as u8)).collect();
        let theirs = v5::UnsubAck {
            pkid,
            reasons,
            properties: (!list.is_empty()).then(|| v5::UnsubAckProperties {
                reason_string: reason_string.clone(), user_properties: users.clone(),
            }),
        };
        let ours = UnsubAck { packet_id, properties: list, codes: Codes::new(&codes) };
        agree_in_v5(&v5::Packet::UnsubAck(theirs), &Packet::UnsubAck(ours));
    }

    #[test]
    fn both_codecs_agree_on_disconnect_of_5_0(
        reason in select(&[
            v5::DisconnectReasonCode::NormalDisconnection,
            v5::DisconnectReasonCode::DisconnectWithWillMessage,
            v5::DisconnectReasonCode::SessionTakenOver,
            v5::DisconnectReasonCode::WildcardSubscriptionsNotSupported,
        ][..]),
        session_expiry_interval: u32,
        reason_string in option::of(text(0..10)),
        server_reference in option::of(text(0..10)),
        users in user_properties(),
    ) {
        let list: Vec<_> = [Property::SessionExpiryInterval(session_expiry_interval)].into_iter()
            .chain(reason_string.as_deref().map(Property::ReasonString))
            .chain(our_user_properties(&users))
            .chain(server_reference.as_deref().map(Property::ServerReference))
            .collect();
        let ours = Disconnect { code: code(reason as u8), properties: Properties::new(&list) };
        let theirs = v5::Disconnect {
            reason_code: reason,
            properties: Some(v5::DisconnectProperties {
                session_expiry_interval: Some(session_expiry_interval),
                reason_string: reason_string.clone(),
                user_properties: users.clone(),
                server_reference: server_reference.clone(),
            }),
        };
        agree_in_v5(&v5::Packet::Disconnect(theirs), &Packet::Disconnect(ours));
    }
}

#[test]
fn both_codecs_agree_on_pings_and_the_plain_disconnect() {
    agree_in_v4(&v4::Packet::PingReq, &Packet::PingReq);
    agree_in_v4(&v4::Packet::PingResp, &Packet::PingResp);
    agree_in_v4(&v4::Packet::Disconnect, &Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
    agree_in_v5(&v5::Packet::PingReq, &Packet::PingReq);
    agree_in_v5(&v5::Packet::PingResp, &Packet::PingResp);
}

#[test]
fn both_codecs_agree_on_connack_of_3_1_1() {
    let codes = [
        (v4::ConnectReturnCode::Success, ReasonCode::Success),
        (v4::ConnectReturnCode::RefusedProtocolVersion, ReasonCode::UnsupportedProtocolVersion),
        (v4::ConnectReturnCode::BadClientId, ReasonCode::ClientIdentifierNotValid),
        (v4::ConnectReturnCode::ServiceUnavailable, ReasonCode::ServerUnavailable),
        (v4::ConnectReturnCode::BadUserNamePassword, ReasonCode::BadUserNameOrPassword),
        (v4::ConnectReturnCode::NotAuthorized, ReasonCode::NotAuthorized),
    ];
    for (theirs, ours) in codes {
        agree_in_v4(&v4::Packet::ConnAck(v4::ConnAck::new(theirs, false)), &Packet::ConnAck(ConnAck::new(ours)));
    }
    let resumed = ConnAck { session_present: true, ..ConnAck::new(ReasonCode::Success) };
    let theirs = v4::ConnAck::new(v4::ConnectReturnCode::Success, true);
    agree_in_v4(&v4::Packet::ConnAck(theirs), &Packet::ConnAck(resumed));
}

#[test]
fn a_disconnect_with_an_error_code_has_a_property_length() {
    let ours = Disconnect::new(ReasonCode::SessionTakenOver);
    let mut bytes = BytesMut::from(&encoded(Version::V5, &Packet::Disconnect(ours))[..]);
    let theirs = v5::read(&mut bytes, MAX_PACKET_SIZE as usize);
    let expected = v5::Disconnect { reason_code: v5::DisconnectReasonCode::SessionTakenOver, properties: None };
    assert_eq!(theirs, Ok(v5::Packet::Disconnect(expected)));
    assert_eq!(ours.encoded_len(Version::V5), 4);
}
