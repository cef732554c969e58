//! Recognizes connections that do not speak MQTT by their first bytes, so that the log can name the protocol.

use std::fmt;

/// A protocol that the gateway does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Tls,
    Http,
    Ssh,
    /// The header that a load balancer sends ahead of the client's bytes (the PROXY protocol).
    Proxy,
}

impl Protocol {
    pub(crate) const ALL: [Self; 4] = [Self::Tls, Self::Http, Self::Ssh, Self::Proxy];

    /// The protocol that begins with `bytes`, the first bytes of a connection. No such beginning can be that of a CONNECT.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        const METHODS: [&[u8]; 10] = [
            b"GET ",
            b"HEAD ",
            b"POST ",
            b"PUT ",
            b"DELETE ",
            b"CONNECT ",
            b"OPTIONS ",
            b"PATCH ",
            b"TRACE ",
            b"PRI * HTTP",
        ];
        match bytes {
            // A record of the type handshake (RFC 8446, section 5.1). Read as MQTT these bytes would be a CONNECT of 3
            // bytes, which is too short.
            [0x16, 3, 0..=4, ..] => Some(Self::Tls),
            [b'S', b'S', b'H', b'-', ..] => Some(Self::Ssh),
            // Versions 1 and 2 of the PROXY protocol.
            [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => Some(Self::Proxy),
            [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', ..] => Some(Self::Proxy),
            _ => METHODS.iter().any(|method| bytes.starts_with(method)).then_some(Self::Http),
        }
    }

    /// The name of the protocol in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tls => "speaks_tls",
            Self::Http => "speaks_http",
            Self::Ssh => "speaks_ssh",
            Self::Proxy => "speaks_proxy_protocol",
        }
    }
}

/// The fault, in words for the log.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "it speaks TLS, and this listener MQTT without TLS",
            Self::Http => {
                "it speaks HTTP, and this listener MQTT without WebSocket; health and metrics are where [http] or --http says"
            }
            Self::Ssh => "it speaks SSH, and this listener MQTT",
            Self::Proxy => "it begins with the PROXY protocol of a load balancer, and this listener with MQTT",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_protocols_are_recognized_by_their_first_bytes() {
        for (bytes, protocol) in [
            (&b"\x16\x03\x01\x00\xa5\x01"[..], Protocol::Tls),
            (b"GET /mqtt HTTP/1.1\r\n", Protocol::Http),
            (b"POST / HTTP/1.0\r\n", Protocol::Http),
            (b"PRI * HTTP/2.0\r\n", Protocol::Http),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Protocol::Ssh),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Protocol::Proxy),
            (b"\r\n\r\n\0\r\nQUIT\n!\x11", Protocol::Proxy),
        ] {
            assert_eq!(Protocol::of(bytes), Some(protocol));
        }
        for mqtt in
            [&b""[..], b"\x10", b"\x10\x0d\0\x04MQTT\x04", b"\x16\x0d\0\x06MQIsdp\x03", b"G", b"\xc0\0", b"\r\n"]
        {
            assert_eq!(Protocol::of(mqtt), None);
        }
    }
}
