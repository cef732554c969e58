//! The HTTP request that begins WebSocket, and its answer (RFC 6455, section 4).

use data_encoding::BASE64;
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};
use std::fmt;

/// The longest request, in bytes.
pub(super) const MOST_HEAD: usize = 8 * 1024;
/// The most header fields in a request.
const MOST_FIELDS: usize = 64;

/// The subprotocols that are spoken, the preferred one first: `mqtt` [MQTT-6.0.0-3], and the name that clients of MQTT 3.1 have used.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// Why a request does not begin WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct UpgradeError {
    status: &'static str,
    why: String,
}

impl UpgradeError {
    fn bad(why: impl Into<String>) -> Self {
        Self { status: "400 Bad Request", why: why.into() }
    }

    /// The answer to the client.
    pub(super) fn response(&self) -> Vec<u8> {
        let Self { status, why } = self;
        format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nSec-WebSocket-Version: 13\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n{why}\n",
            why.len() + 1
        )
        .into_bytes()
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "its request for WebSocket was refused: {}", self.why)
    }
}

impl std::error::Error for UpgradeError {}

/// Answers a request, once all of it has come: the answer, and how many bytes the request has.
///
/// # Errors
/// The request is not one for MQTT over WebSocket, or comes from a page of another site.
pub(super) fn answer(head: &[u8], origins: &[String]) -> Result<Option<(Vec<u8>, usize)>, UpgradeError> {
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    let len = match request.parse(head) {
        Ok(httparse::Status::Complete(len)) if len <= MOST_HEAD => len,
        Ok(httparse::Status::Partial) if head.len() <= MOST_HEAD => return Ok(None),
        Ok(_) => {
            let status = "431 Request Header Fields Too Large";
            return Err(UpgradeError { status, why: format!("it has more than {MOST_HEAD} bytes") });
        }
        Err(error) => return Err(UpgradeError::bad(format!("it is no HTTP: {error}"))),
    };
    let fields = HeaderFields(request.headers);
    if request.method != Some("GET") || request.version != Some(1) {
        return Err(UpgradeError::bad("GET of HTTP/1.1 is wanted"));
    }
    let host = fields.one("Host")?.ok_or_else(|| UpgradeError::bad("it names no host"))?;
    if !fields.has_word("Upgrade", "websocket") || !fields.has_word("Connection", "upgrade") {
        return Err(UpgradeError {
            status: "426 Upgrade Required",
            why: "this is MQTT over WebSocket, and it asks for HTTP".to_owned(),
        });
    }
    if fields.one("Sec-WebSocket-Version")? != Some("13") {
        return Err(UpgradeError {
            status: "426 Upgrade Required",
            why: "version 13 of WebSocket is wanted".to_owned(),
        });
    }
    if let Some(origin) = fields.one("Origin")?
        && !is_allowed(origin, host, origins)
    {
        let why = format!("pages of {origin:?} may not connect: origins of this listener does not have them");
        return Err(UpgradeError { status: "403 Forbidden", why });
    }
    let key = fields.one("Sec-WebSocket-Key")?.ok_or_else(|| UpgradeError::bad("it has no key"))?;
    if BASE64.decode(key.as_bytes()).is_ok_and(|key| key.len() == 16) {
        let offered = |name: &&&str| fields.has_word("Sec-WebSocket-Protocol", name);
        let subprotocol = SUBPROTOCOLS.iter().find(offered);
        let subprotocol = subprotocol.ok_or_else(|| UpgradeError::bad("it offers no subprotocol mqtt"))?;
        let accept = accept(key);
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\
             Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        );
        return Ok(Some((answer.into_bytes(), len)));
    }
    Err(UpgradeError::bad("its key does not stand for 16 bytes"))
}

/// Proves that the server has understood the key.
fn accept(key: &str) -> String {
    let mut sha1 = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    sha1.update(key.as_bytes());
    sha1.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    BASE64.encode(sha1.finish().as_ref())
}

/// Whether a page of this origin may connect: one of the same host, or one that is listed. A request without an origin comes from no page.
fn is_allowed(origin: &str, host: &str, listed: &[String]) -> bool {
    let is_listed = listed.iter().any(|known| known == "*" || known.eq_ignore_ascii_case(origin));
    let is_same = match origin.split_once("://") {
        Some((scheme, authority)) => {
            let port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
            let short = |authority: &str| authority.strip_suffix(port).unwrap_or(authority).to_ascii_lowercase();
            short(authority) == short(host)
        }
        None => false,
    };
    is_same || is_listed
}

/// The header fields of a request.
struct HeaderFields<'h>(&'h [httparse::Header<'h>]);

impl<'h> HeaderFields<'h> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'h str> {
        let fields = self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name));
        fields.filter_map(|field| std::str::from_utf8(field.value).ok()).map(str::trim)
    }

    /// The value of a field that may be there once.
    fn one(&self, name: &str) -> Result<Option<&'h str>, UpgradeError> {
        let mut values = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        let Some(value) = values.next() else { return Ok(None) };
        let text = std::str::from_utf8(value.value).map(str::trim);
        match (text, values.next()) {
            (Ok(text), None) => Ok(Some(text)),
            _ => Err(UpgradeError::bad(format!("{name} is not text, or is there twice"))),
        }
    }

    /// Whether a word is in a list of words with commas between. Neither the words of HTTP nor those of subprotocols that are spoken depend on case here.
    fn has_word(&self, name: &str, word: &str) -> bool {
        self.all(name).flat_map(|value| value.split(',')).any(|other| other.trim().eq_ignore_ascii_case(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 6455, section 1.3, with the subprotocol of MQTT.
    const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, mqtt\r\nSec-WebSocket-Version: 13\r\n\r\n";

    fn status(request: &str, origins: &[&str]) -> String {
        let origins: Vec<String> = origins.iter().map(|&origin| origin.to_owned()).collect();
        let answer = match answer(request.as_bytes(), &origins) {
            Ok(answer) => answer.expect("a whole request").0,
            Err(error) => error.response(),
        };
        String::from_utf8(answer).unwrap().split(' ').nth(1).unwrap().to_owned()
    }

    #[test]
    fn the_example_of_the_specification_is_answered_wherever_it_is_cut() {
        let whole = [REQUEST.as_bytes(), b"\x82\x80"].concat();
        let (text, len) = answer(&whole, &[]).unwrap().unwrap();
        assert_eq!(len, REQUEST.len());
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("HTTP/1.1 101 ") && text.ends_with("\r\n\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{text}");
        assert!(text.contains("\r\nSec-WebSocket-Protocol: mqtt\r\n") && !text.contains("Extensions"), "{text}");
        for cut in 0..REQUEST.len() {
            assert_eq!(answer(&REQUEST.as_bytes()[..cut], &[]), Ok(None), "{cut}");
        }
        let old = REQUEST.replace("chat, mqtt", "mqttv3.1");
        assert!(
            String::from_utf8(answer(old.as_bytes(), &[]).unwrap().unwrap().0)
                .unwrap()
                .contains("Protocol: mqttv3.1\r\n")
        );
    }

    #[test]
    fn requests_that_are_none_for_mqtt_are_refused() {
        for (from, to, wanted) in [
            ("GET", "POST", "400"),
            ("HTTP/1.1", "HTTP/1.0", "400"),
            ("Host: server.example.com\r\n", "", "400"),
            ("Upgrade: websocket\r\n", "", "426"),
            ("keep-alive, Upgrade", "keep-alive", "426"),
            ("Version: 13", "Version: 8", "426"),
            ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", "400"),
            ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", "400"),
            ("chat, mqtt", "chat, mqtts", "400"),
            ("Sec-WebSocket-Protocol: chat, mqtt\r\n", "", "400"),
            ("GET ", "GET\0", "400"),
        ] {
            assert_eq!(status(&REQUEST.replacen(from, to, 1), &[]), wanted, "{from} {to}");
        }
        let long = REQUEST.replace("chat", &"x".repeat(MOST_HEAD));
        assert_eq!(status(&long, &[]), "431");
        assert_eq!(
            answer(&long.as_bytes()[..MOST_HEAD + 1], &[]).unwrap_err().status,
            "431 Request Header Fields Too Large"
        );
    }

    /// A broker that had room for 255 bytes of an origin took a longer one for none, and let it in.
    #[test]
    fn pages_of_other_sites_are_refused_unless_they_are_listed() {
        let long = format!("https://{}.example", "x".repeat(300));
        let with = |origin: &str| REQUEST.replace("Upgrade: w", &format!("Origin: {origin}\r\nUpgrade: w"));
        for same in ["http://server.example.com", "https://SERVER.example.com", "https://server.example.com:443"] {
            assert_eq!(status(&with(same), &[]), "101", "{same}");
        }
        let listed = ["https://other.example", &long];
        assert_eq!(status(&with("https://other.example"), &listed), "101");
        assert_eq!(status(&with(&long), &listed), "101");
        assert_eq!(status(&with("https://any.example"), &["*"]), "101");
        for other in [
            "https://other.example",
            "null",
            "",
            &long,
            "https://server.example.com.evil.example",
            "http://server.example.com:8080",
        ] {
            assert_eq!(status(&with(other), &[]), "403", "{other}");
        }
        assert_eq!(status(&with(&format!("{long}x")), &listed), "403");
        let twice = REQUEST
            .replace("Upgrade: w", "Origin: http://server.example.com\r\nOrigin: https://evil.example\r\nUpgrade: w");
        assert_eq!(status(&twice, &[]), "400");
    }
}
