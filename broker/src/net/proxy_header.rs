//! The header that a load balancer sends ahead of the client's bytes (the PROXY protocol, versions 1 and 2): who the client is.
//!
//! Nothing is read here. [`look`] says how many bytes are missing at least. Whoever reads exactly as many reads no byte beyond the header, so what follows is
//! left to TLS, WebSocket or MQTT.

use proxy_header::{ParseConfig, Protocol, ProxyHeader};
use std::fmt;
use std::net::SocketAddr;

/// The most bytes of a header. Version 1 has at most 107, and version 2 some hundred where it tells of TLS.
pub(super) const MOST: usize = 4096;
/// The most bytes of version 1 (section 2.1).
const MOST_V1: usize = 107;
const BEGIN_V1: &[u8] = b"PROXY ";
const BEGIN_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2 begins with these bytes, its version and command, the kind of its addresses, and how many bytes follow.
const FIXED_V2: usize = BEGIN_V2.len() + 4;

/// What is known after some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderSoFar {
    /// At least so many bytes are missing.
    Missing(usize),
    /// The header is whole. `None`: it names no client, because the proxy connects for itself, as for a health check.
    Whole(Option<SocketAddr>),
}

/// Why bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    /// They begin with something else.
    Missing,
    TooLong,
    Malformed,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str(
                "it comes from a network in proxy_protocol, and does not begin with the header of the PROXY protocol",
            ),
            Self::TooLong => write!(f, "its header of the PROXY protocol has more than {MOST} bytes"),
            Self::Malformed => f.write_str("its header of the PROXY protocol is malformed"),
        }
    }
}

/// Looks at the first bytes of a connection, which are at most those of the header.
///
/// # Errors
/// They are not the beginning of a header.
pub(crate) fn look(bytes: &[u8]) -> Result<HeaderSoFar, HeaderFault> {
    let begins = |with: &[u8]| bytes.iter().zip(with).all(|(have, want)| have == want);
    if begins(BEGIN_V1) {
        look_at_v1(bytes)
    } else if begins(BEGIN_V2) {
        look_at_v2(bytes)
    } else {
        Err(HeaderFault::Missing)
    }
}

fn look_at_v1(bytes: &[u8]) -> Result<HeaderSoFar, HeaderFault> {
    let shortest = b"PROXY UNKNOWN\r\n".len();
    match bytes.iter().position(|byte| *byte == b'\r') {
        Some(end) if end + 2 == bytes.len() && bytes.ends_with(b"\n") => parse(bytes),
        Some(end) if end + 1 < bytes.len() => Err(HeaderFault::Malformed),
        _ if bytes.len() >= MOST_V1 => Err(HeaderFault::Malformed),
        Some(_) => Ok(HeaderSoFar::Missing(1)),
        // The end has two bytes.
        None => Ok(HeaderSoFar::Missing(shortest.saturating_sub(bytes.len()).max(2).min(MOST_V1 - bytes.len()))),
    }
}

fn look_at_v2(bytes: &[u8]) -> Result<HeaderSoFar, HeaderFault> {
    let Some((&[version, _, high, low], _)) = bytes.get(BEGIN_V2.len()..).and_then(<[u8]>::split_first_chunk) else {
        return Ok(HeaderSoFar::Missing(FIXED_V2 - bytes.len()));
    };
    let whole = FIXED_V2 + usize::from(u16::from_be_bytes([high, low]));
    match whole.checked_sub(bytes.len()) {
        _ if version >> 4 != 2 => Err(HeaderFault::Malformed),
        _ if whole > MOST => Err(HeaderFault::TooLong),
        Some(missing @ 1..) => Ok(HeaderSoFar::Missing(missing)),
        _ => parse(bytes),
    }
}

/// Reads a header of which all bytes are there, and no others.
fn parse(bytes: &[u8]) -> Result<HeaderSoFar, HeaderFault> {
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(bytes, config) {
        Ok((header, len)) if len == bytes.len() => match header.proxied_address() {
            Some(client) if client.protocol == Protocol::Datagram => Err(HeaderFault::Malformed),
            client => Ok(HeaderSoFar::Whole(client.map(|client| client.source))),
        },
        _ => Err(HeaderFault::Malformed),
    }
}

/// For fuzzing: reads a header from any bytes as a connection does, and checks that it takes no byte too many.
pub(crate) fn check_any(bytes: &[u8]) {
    let mut taken = 0;
    loop {
        match look(&bytes[..taken]) {
            Ok(HeaderSoFar::Missing(more)) => {
                assert!(more > 0 && taken + more <= MOST, "{taken} and {more} more");
                if taken + more > bytes.len() {
                    return;
                }
                taken += more;
            }
            Ok(HeaderSoFar::Whole(client)) => {
                let (header, len) = ProxyHeader::parse(bytes, ParseConfig::default()).expect("it was read");
                assert_eq!((len, header.proxied_address().map(|it| it.source)), (taken, client));
                return;
            }
            Err(_) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a header from the beginning of `bytes`, and returns what it says and how long it is.
    fn read(bytes: &[u8]) -> Result<(Option<SocketAddr>, usize), HeaderFault> {
        let mut taken = 0;
        loop {
            match look(&bytes[..taken])? {
                HeaderSoFar::Missing(more) => taken += more,
                HeaderSoFar::Whole(client) => return Ok((client, taken)),
            }
        }
    }

    fn v2(command: u8, kind: u8, contents: &[u8]) -> Vec<u8> {
        let len = u16::try_from(contents.len()).unwrap().to_be_bytes();
        [BEGIN_V2, &[command, kind], &len, contents].concat()
    }

    /// The addresses and ports 192.0.2.7:1000 to 192.0.2.1:8883.
    const IPV4: [u8; 12] = [192, 0, 2, 7, 192, 0, 2, 1, 3, 232, 34, 179];

    fn good() -> Vec<(Vec<u8>, Option<&'static str>)> {
        let mut ipv6 = [0; 36];
        (ipv6[0], ipv6[1], ipv6[15], ipv6[33]) = (0x20, 1, 7, 9);
        let tls = [&IPV4[..], &[0x20, 0, 3, 1, 2, 3]].concat();
        vec![
            (b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 8883\r\n".to_vec(), Some("192.0.2.7:1000")),
            (b"PROXY TCP4 1.1.1.1 1.1.1.1 1 1\r\n".to_vec(), Some("1.1.1.1:1")),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 1000 8883\r\n".to_vec(), Some("[2001:db8::7]:1000")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n".to_vec(), None),
            (v2(0x21, 0x11, &IPV4), Some("192.0.2.7:1000")),
            (v2(0x21, 0x11, &tls), Some("192.0.2.7:1000")),
            (v2(0x21, 0x21, &ipv6), Some("[2001::7]:9")),
            // The proxy connects for itself, with and without addresses; or for a client of a Unix socket.
            (v2(0x20, 0x11, &IPV4), None),
            (v2(0x20, 0, &[]), None),
            (v2(0x21, 0, &[1; 30]), None),
            (v2(0x21, 0x31, &[0; 216]), None),
        ]
    }

    #[test]
    fn a_header_tells_the_client_and_takes_no_byte_of_what_follows() {
        for (header, client) in good() {
            let client = client.map(|text| text.parse().unwrap());
            for follows in [&b""[..], b"\x10\x0c\0\x04MQTT", b"\r\n", b"\n"] {
                assert_eq!(read(&[&header, follows].concat()), Ok((client, header.len())), "{header:?}");
            }
            for cut in 0..header.len() {
                let Ok(HeaderSoFar::Missing(more)) = look(&header[..cut]) else { panic!("{header:?} cut at {cut}") };
                assert!(more > 0 && cut + more <= header.len(), "{header:?} cut at {cut} lacks {more}");
            }
        }
    }

    #[test]
    fn what_does_not_begin_with_a_header_is_refused_at_the_first_byte_that_differs() {
        for bytes in
            [&b"\x10\x0c\0\x04MQTT"[..], b"\x16\x03\x01", b"GET / HTTP/1.1", b"PROXX", b"PROXYTCP4", b"\r\n\r\n\r"]
        {
            assert_eq!(look(bytes), Err(HeaderFault::Missing));
        }
    }

    #[test]
    fn a_damaged_header_is_refused() {
        let too_long = |v1: &str| format!("PROXY UNKNOWN {v1}\r\n").into_bytes();
        for bytes in [
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1000 88830\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1000\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 2001:db8::1 1000 8883\r\n".to_vec(),
            b"PROXY TCP5 192.0.2.7 192.0.2.1 1000 8883\r\n".to_vec(),
            b"PROXY UNKNOWN\rX".to_vec(),
            too_long(&"x".repeat(100)),
            v2(0x31, 0x11, &IPV4),
            v2(0x22, 0x11, &IPV4),
            v2(0x21, 0x11, &IPV4[..11]),
            v2(0x21, 0x41, &IPV4),
            // The addresses of a datagram.
            v2(0x21, 0x12, &IPV4),
        ] {
            assert_eq!(read(&bytes), Err(HeaderFault::Malformed), "{bytes:?}");
        }
        assert_eq!(read(&v2(0x21, 0x11, &[0; MOST])), Err(HeaderFault::TooLong));
        read(&v2(0x21, 0x11, &[&IPV4[..], &[0; MOST - FIXED_V2 - 12]].concat())).unwrap();
    }

    #[test]
    fn any_change_of_a_byte_is_read_or_refused() {
        for (header, _) in good() {
            for place in 0..header.len() {
                for byte in [0, b'\r', b'\n', b' ', b'0', 0x7f, 0xff] {
                    let mut changed = header.clone();
                    changed[place] = byte;
                    changed.extend_from_slice(b"\x10\x0c\0\x04MQTT and more");
                    check_any(&changed);
                }
            }
        }
    }
}
