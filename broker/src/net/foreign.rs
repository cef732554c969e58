//! Recognizes connections that do not speak MQTT by their first bytes, so that the log can name the protocol.

/// A protocol that the gateway does not speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Protocol {
    Tls,
    Http,
    Ssh,
    /// The header that a load balancer sends ahead of the client's bytes (the PROXY protocol).
    Proxy,
    /// MQTT, in clear where TLS is wanted.
    Mqtt,
}

impl Protocol {
    pub(crate) const ALL: [Self; 5] = [Self::Tls, Self::Http, Self::Ssh, Self::Proxy, Self::Mqtt];

    /// The protocol that begins with `bytes`, the first bytes of a connection that is to begin with TLS.
    pub(crate) fn instead_of_tls(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // The type of CONNECT; no record of TLS begins with this byte.
            [0x10, ..] => Some(Self::Mqtt),
            _ => Self::of(bytes).filter(|protocol| *protocol != Self::Tls),
        }
    }

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

    /// The protocol that begins with `bytes`, the first bytes of a connection that is to begin with WebSocket.
    pub(crate) fn instead_of_websocket(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0x10, ..] => Some(Self::Mqtt),
            _ => Self::of(bytes).filter(|protocol| *protocol != Self::Http),
        }
    }

    /// The name of the protocol in metrics.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Tls => "speaks_tls",
            Self::Http => "speaks_http",
            Self::Ssh => "speaks_ssh",
            Self::Proxy => "speaks_proxy_protocol",
            Self::Mqtt => "speaks_mqtt",
        }
    }

    /// The fault, in words for the log, at a listener that begins with `expected`.
    pub(crate) fn instead_of(self, expected: Expected) -> &'static str {
        match (self, expected) {
            (Self::Tls, Expected::WebSocket) => "it speaks TLS, and this listener WebSocket without TLS",
            (Self::Tls, _) => "it speaks TLS, and this listener MQTT without TLS",
            (Self::Http, Expected::Mqtt) => {
                "it speaks HTTP, and this listener MQTT without WebSocket; health and metrics are where [http] or --http says"
            }
            (Self::Http, Expected::WebSocket) => "it speaks HTTP, and this listener WebSocket",
            (Self::Http, Expected::Tls) => "it speaks HTTP without TLS, and this listener MQTT with TLS",
            (Self::Ssh, _) => "it speaks SSH, and this listener MQTT",
            (Self::Proxy, Expected::Mqtt) => {
                "it begins with the PROXY protocol of a load balancer, and this listener with MQTT"
            }
            (Self::Proxy, Expected::Tls) => {
                "it begins with the PROXY protocol of a load balancer, and this listener with TLS"
            }
            (Self::Proxy, Expected::WebSocket) => {
                "it begins with the PROXY protocol of a load balancer, and this listener with WebSocket"
            }
            (Self::Mqtt, Expected::WebSocket) => {
                "it speaks MQTT without WebSocket, and this listener MQTT over WebSocket"
            }
            (Self::Mqtt, _) => "it speaks MQTT without TLS, and this listener MQTT with TLS",
        }
    }
}

/// What the first bytes of a connection are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Mqtt,
    Tls,
    WebSocket,
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
            let at_tls = (protocol != Protocol::Tls).then_some(protocol);
            assert_eq!(Protocol::instead_of_tls(bytes), at_tls);
        }
        assert_eq!(Protocol::instead_of_websocket(b"\x10\x0d\0\x04MQTT\x04"), Some(Protocol::Mqtt));
        assert_eq!(Protocol::instead_of_websocket(b"GET /mqtt HTTP/1.1\r\n"), None);
        assert_eq!(Protocol::instead_of_tls(b"\x10\x0d\0\x04MQTT\x04"), Some(Protocol::Mqtt));
        for mqtt in
            [&b""[..], b"\x10", b"\x10\x0d\0\x04MQTT\x04", b"\x16\x0d\0\x06MQIsdp\x03", b"G", b"\xc0\0", b"\r\n"]
        {
            assert_eq!(Protocol::of(mqtt), None);
        }
    }
}
