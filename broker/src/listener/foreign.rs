//! What begins a connection that is no MQTT: whoever reads the log is told which protocol it probably was.

/// The protocol that `bytes`, which came first, are the beginning of, and what to do. None of them can begin a CONNECT.
pub(super) fn protocol(bytes: &[u8]) -> Option<&'static str> {
    const METHODS: &[&[u8]] = &[
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
        // A record of the type handshake (RFC 8446, section 5.1). As a fixed header: a CONNECT of 3 bytes.
        [0x16, 3, 0..=4, ..] => Some("it speaks TLS, and this listener MQTT without TLS"),
        [b'S', b'S', b'H', b'-', ..] => Some("it speaks SSH, and this listener MQTT"),
        // Both versions of what a load balancer sends ahead.
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] | [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q', ..] => {
            Some("it begins with the PROXY protocol of a load balancer, and this listener with MQTT")
        }
        _ if METHODS.iter().any(|method| bytes.starts_with(method)) => Some(
            "it speaks HTTP, and this listener MQTT without WebSocket; health and metrics are where [http] or --http says",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_mqtt_is_known_by_its_beginning() {
        for (bytes, name) in [
            (&b"\x16\x03\x01\x00\xa5\x01"[..], "TLS"),
            (b"GET /mqtt HTTP/1.1\r\n", "HTTP"),
            (b"POST / HTTP/1.0\r\n", "HTTP"),
            (b"PRI * HTTP/2.0\r\n", "HTTP"),
            (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY"),
            (b"\r\n\r\n\0\r\nQUIT\n!\x11", "PROXY"),
        ] {
            assert!(protocol(bytes).is_some_and(|told| told.contains(name)), "{name}");
        }
        for mqtt in
            [&b""[..], b"\x10", b"\x10\x0d\0\x04MQTT\x04", b"\x16\x0d\0\x06MQIsdp\x03", b"G", b"\xc0\0", b"\r\n"]
        {
            assert_eq!(protocol(mqtt), None);
        }
    }
}
