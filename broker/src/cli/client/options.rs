//! The command lines of the clients.

use super::Command;
use crate::cli::args::{name_of, number, once, text, value};
use crate::config::DEFAULT_PORT;
use goldcrest_core::codec::{QoS, Version};
use goldcrest_core::{TopicFilter, TopicName};
use lexopt::prelude::{Long, Short, Value};
use lexopt::{Arg, Parser};
use std::net::Ipv6Addr;

const SUB_HELP: &str = "\
Subscribes and prints the payload of each message as a line

Usage: goldcrest sub -t FILTER [OPTIONS]

Options:
  -t, --topic FILTER    a Topic Filter, like sensors/+/temperature or 'sensors/#'; may be repeated
  -q, --qos N           the highest QoS of deliveries: 0, 1 or 2 [default: 0]
  -v, --verbose         print the topic before each payload
  -C, --count N         leave after so many messages
  -h, --host HOST       [default: localhost]
  -p, --port PORT       [default: 1883]
  -i, --id ID           the Client Identifier [default: the broker chooses one]
      --mqtt VERSION    3.1, 3.1.1 or 5 [default: 5]
      --help            print this
";

const PUB_HELP: &str = "\
Publishes a message, or each line of standard input as one

Usage: goldcrest pub -t TOPIC [OPTIONS]

Options:
  -t, --topic TOPIC        the Topic Name
  -m, --message PAYLOAD    the message; without it each line of standard input is one
  -q, --qos N              0, 1 or 2 [default: 0]
  -r, --retain             let the broker keep the message for later subscribers
  -h, --host HOST          [default: localhost]
  -p, --port PORT          [default: 1883]
  -i, --id ID              the Client Identifier [default: the broker chooses one]
      --mqtt VERSION       3.1, 3.1.1 or 5 [default: 5]
      --help               print this
";

/// What both clients are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) client_id: String,
    pub(crate) version: Version,
    pub(crate) qos: QoS,
}

/// What the command line said of [`Options`].
#[derive(Default)]
struct Given {
    host: Option<String>,
    port: Option<u16>,
    client_id: Option<String>,
    version: Option<Version>,
    qos: Option<QoS>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SubscriberOptions {
    pub(crate) common: Options,
    /// At least one.
    pub(crate) filters: Vec<String>,
    pub(crate) verbose: bool,
    pub(crate) count: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PublisherOptions {
    pub(crate) common: Options,
    pub(crate) topic: String,
    /// `None`: standard input.
    pub(crate) message: Option<Vec<u8>>,
    pub(crate) retain: bool,
}

/// Reads the command line of the subcommand `sub` or `pub`.
pub(crate) fn command(subcommand: &str, parser: Parser) -> Result<Command, lexopt::Error> {
    if subcommand == "sub" { subscriber(parser) } else { publisher(parser) }
}

fn subscriber(mut parser: Parser) -> Result<Command, lexopt::Error> {
    let mut common = Given::default();
    let mut options =
        SubscriberOptions { common: Options::default(), filters: Vec::new(), verbose: false, count: None };
    while let Some(arg) = parser.next()? {
        let name = name_of(&arg);
        match arg {
            Short('t') | Long("topic") => options.filters.push(value(&mut parser, &name, filter)?),
            Short('v') | Long("verbose") => options.verbose = true,
            Short('C') | Long("count") => once(&mut options.count, &name, value(&mut parser, &name, count)?)?,
            Long("help") => return Ok(Command::Help(SUB_HELP)),
            _ => common.read(owned(arg), &name, &mut parser)?,
        }
    }
    options.common = common.options();
    if options.filters.is_empty() {
        return Err("-t FILTER is missing: what to subscribe to".into());
    }
    Ok(Command::Subscribe(options))
}

fn publisher(mut parser: Parser) -> Result<Command, lexopt::Error> {
    let mut common = Given::default();
    let mut topic = None;
    let mut options =
        PublisherOptions { common: Options::default(), topic: String::new(), message: None, retain: false };
    while let Some(arg) = parser.next()? {
        let name = name_of(&arg);
        match arg {
            Short('t') | Long("topic") => once(&mut topic, &name, value(&mut parser, &name, topic_name)?)?,
            Short('m') | Long("message") => {
                use std::os::unix::ffi::OsStringExt;
                once(&mut options.message, &name, parser.value()?.into_vec())?;
            }
            Short('r') | Long("retain") => options.retain = true,
            Long("help") => return Ok(Command::Help(PUB_HELP)),
            _ => common.read(owned(arg), &name, &mut parser)?,
        }
    }
    options.common = common.options();
    options.topic = topic.ok_or("-t TOPIC is missing: what to publish to")?;
    Ok(Command::Publish(options))
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: DEFAULT_PORT,
            client_id: String::new(),
            version: Version::V5,
            qos: QoS::AtMostOnce,
        }
    }
}

/// An option, free of the parser that it came from.
enum Name {
    Short(char),
    Long(String),
    Value(std::ffi::OsString),
}

fn owned(arg: Arg<'_>) -> Name {
    match arg {
        Short(name) => Name::Short(name),
        Long(name) => Name::Long(name.to_owned()),
        Value(value) => Name::Value(value),
    }
}

impl Given {
    fn options(self) -> Options {
        let default = Options::default();
        Options {
            host: self.host.unwrap_or(default.host),
            port: self.port.unwrap_or(default.port),
            client_id: self.client_id.unwrap_or(default.client_id),
            version: self.version.unwrap_or(default.version),
            qos: self.qos.unwrap_or(default.qos),
        }
    }

    fn read(&mut self, name: Name, typed: &str, parser: &mut Parser) -> Result<(), lexopt::Error> {
        let long = match &name {
            Name::Short('h') => "host",
            Name::Short('p') => "port",
            Name::Short('i') => "id",
            Name::Short('q') => "qos",
            Name::Short(short) => return Err(format!("-{short} is no option").into()),
            Name::Long(long) => long,
            Name::Value(value) => return Err(format!("{value:?} belongs to no option").into()),
        };
        match long {
            "host" => once(&mut self.host, typed, value(parser, typed, host)?),
            "port" => once(&mut self.port, typed, value(parser, typed, number(1..=u16::MAX))?),
            "id" => once(&mut self.client_id, typed, client_id(parser, typed)?),
            "qos" => once(&mut self.qos, typed, value(parser, typed, qos)?),
            "mqtt" => once(&mut self.version, typed, value(parser, typed, version)?),
            _ => Err(format!("--{long} is no option").into()),
        }
    }
}

/// IPv6 addresses may stand in brackets, as they do in front of a port.
fn host(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let (address, _) = bare.split_once('%').unwrap_or((bare, ""));
    match address.parse::<Ipv6Addr>() {
        Err(_) if bare.is_empty() => Err("a host name or an IP address is wanted"),
        Err(_) if bare.contains(':') => Err("a host name or an IP address alone is wanted; -p says the port"),
        _ => Ok(bare.to_owned()),
    }
}

/// A Client Identifier is a UTF-8 string of MQTT, whose length has two bytes (section 1.5.4).
fn client_id(parser: &mut Parser, typed: &str) -> Result<String, lexopt::Error> {
    let id = text(parser, typed)?;
    let (len, max) = (id.len(), u16::MAX);
    if len > max.into() {
        return Err(format!("the Client Identifier of {typed} has {len} bytes; {max} are allowed").into());
    }
    Ok(id)
}

fn filter(text: &str) -> Result<String, String> {
    TopicFilter::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn topic_name(text: &str) -> Result<String, String> {
    TopicName::new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn qos(text: &str) -> Result<QoS, &'static str> {
    text.parse().ok().and_then(QoS::from_bits).ok_or("0, 1 or 2 is wanted")
}

fn count(text: &str) -> Result<u64, &'static str> {
    text.parse().ok().filter(|count| *count > 0).ok_or("a number above 0 is wanted")
}

fn version(text: &str) -> Result<Version, &'static str> {
    match text {
        "3.1" => Ok(Version::V3_1),
        "3.1.1" => Ok(Version::V3_1_1),
        "5" | "5.0" => Ok(Version::V5),
        _ => Err("3.1, 3.1.1 or 5 is wanted"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(subcommand: &str, args: &[&str]) -> Result<Command, String> {
        command(subcommand, Parser::from_args(args)).map_err(|error| error.to_string())
    }

    fn mistake(subcommand: &str, args: &[&str]) -> String {
        read(subcommand, args).err().expect("the command line has a mistake")
    }

    #[test]
    fn options_of_a_subscriber_arrive() {
        let args =
            ["-h", "::1", "-p", "7", "-t", "a/+", "--topic=b", "-q2", "-v", "-C", "3", "-i", "me", "--mqtt", "3.1"];
        let Ok(Command::Subscribe(options)) = read("sub", &args) else { panic!("it subscribes") };
        assert_eq!(options.filters, ["a/+", "b"]);
        assert_eq!((options.verbose, options.count), (true, Some(3)));
        let common = Options {
            host: "::1".to_owned(),
            port: 7,
            client_id: "me".to_owned(),
            version: Version::V3_1,
            qos: QoS::ExactlyOnce,
        };
        assert_eq!(options.common, common);
    }

    #[test]
    fn options_of_a_publisher_arrive() {
        let Ok(Command::Publish(options)) = read("pub", &["-t", "a", "-m", "21.5", "-r"]) else {
            panic!("it publishes")
        };
        assert_eq!(
            (options.topic.as_str(), options.message.as_deref(), options.retain),
            ("a", Some(&b"21.5"[..]), true)
        );
        assert_eq!(options.common, Options::default());
    }

    #[test]
    fn an_ipv6_address_may_stand_in_brackets() {
        for (given, taken) in [("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("::1", "::1"), ("h", "h")] {
            let Ok(Command::Publish(options)) = read("pub", &["-t", "a", "-h", given]) else { panic!("{given}") };
            assert_eq!(options.common.host, taken);
        }
        assert!(mistake("pub", &["-t", "a", "--host", "[]"]).contains("\"[]\" of --host: "));
        for with_port in ["localhost:1883", "[::1]:1883", "127.0.0.1:1"] {
            assert!(mistake("pub", &["-t", "a", "-h", with_port]).contains("-p says the port"), "{with_port}");
        }
    }

    /// Whoever mistypes one of many options hears which.
    #[test]
    fn each_value_that_is_wrong_is_told_with_its_option() {
        for option in ["-t", "--topic", "-q", "--qos", "-p", "--port", "--mqtt"] {
            for subcommand in ["sub", "pub"] {
                let mistake = mistake(subcommand, &["-t", "a", option, "#/wrong"]);
                assert!(mistake.contains(&format!(" \"#/wrong\" of {option}: ")), "{mistake}");
            }
        }
        use std::os::unix::ffi::OsStrExt;
        let no_text = std::ffi::OsStr::from_bytes(b"\xff");
        for option in ["-h", "--id", "-t", "-p", "-q", "--mqtt"] {
            let args = [option.as_ref(), no_text];
            let mistake = command("sub", Parser::from_args(args)).err().expect("no text").to_string();
            assert!(mistake.contains(&format!(" of {option}: it is no valid UTF-8")), "{mistake}");
        }
    }

    /// The last value would win without a word, and what the first one names would never be published.
    #[test]
    fn an_option_with_one_value_is_refused_twice() {
        for (subcommand, args) in [
            ("pub", ["-t", "a", "-t", "b"]),
            ("pub", ["-t", "a", "--topic", "a"]),
            ("pub", ["-m", "one", "-m", "two"]),
            ("pub", ["-m", "one", "--message=", "-r"]),
            ("sub", ["-C", "1", "--count", "2"]),
            ("sub", ["-h", "h", "--host", "h"]),
            ("pub", ["-p", "1", "-p", "2"]),
            ("pub", ["-i", "a", "--id", "b"]),
            ("sub", ["-q", "1", "--qos", "1"]),
            ("pub", ["--mqtt", "5", "--mqtt", "5"]),
        ] {
            let option = args[2].trim_end_matches('=');
            assert_eq!(mistake(subcommand, &args), format!("{option} is given more than once, and takes one value"));
        }
    }

    #[test]
    fn a_client_identifier_longer_than_mqtt_allows_is_refused() {
        let longest = "i".repeat(65_535);
        let Ok(Command::Publish(options)) = read("pub", &["-t", "a", "-i", &longest]) else { panic!("it fits") };
        assert_eq!(options.common.client_id, longest);
        let mistake = mistake("pub", &["-t", "a", "-i", &format!("{longest}i")]);
        assert_eq!(mistake, "the Client Identifier of -i has 65536 bytes; 65535 are allowed");
    }

    #[test]
    fn mistakes_are_told() {
        assert!(mistake("sub", &[]).contains("-t FILTER"));
        assert!(mistake("pub", &["-m", "x"]).contains("-t TOPIC"));
        assert!(mistake("pub", &["-t", "a/#"]).contains("a/#"));
        assert!(mistake("sub", &["-t", "a/#/b"]).contains("a/#/b"));
        assert!(mistake("sub", &["-t", "a", "-q", "3"]).contains("0, 1 or 2"));
        assert!(mistake("sub", &["-t", "a", "--mqtt", "4"]).contains("3.1, 3.1.1 or 5"));
        assert!(mistake("sub", &["-t", "a", "-x"]).contains("-x"));
        assert_eq!(
            mistake("sub", &["-p", "99999"]),
            "cannot parse argument \"99999\" of -p: a number from 1 to 65535 is wanted"
        );
        assert!(mistake("sub", &["-t", "a", "b"]).contains("\"b\""));
    }
}
