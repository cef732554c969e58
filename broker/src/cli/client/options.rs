//! The command lines of the clients.

use super::super::args::{number, text};
use crate::config::DEFAULT_PORT;
use clap::{ArgAction, Args};
use goldcrest_core::codec::{QoS, Version};
use goldcrest_core::{TopicFilter, TopicName};
use std::ffi::OsString;
use std::net::Ipv6Addr;

/// The options of both clients. As with other MQTT clients `-h` is the host, and not help.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(disable_help_flag = true)]
pub(in crate::cli) struct ClientOptions {
    /// The QoS of messages, and for a subscriber the highest: 0, 1 or 2
    #[arg(short, long, value_name = "N", default_value = "0", value_parser = text(qos))]
    pub(super) qos: QoS,
    /// A host name or an IP address
    #[arg(short = 'h', long, value_name = "HOST", default_value = "localhost", value_parser = text(host))]
    pub(super) host: String,
    /// The port of the broker
    #[arg(short, long, value_name = "PORT", default_value_t = DEFAULT_PORT, value_parser = text(port))]
    pub(super) port: u16,
    /// The Client Identifier [default: the broker chooses one]
    #[arg(short = 'i', long = "id", value_name = "ID", default_value = "", hide_default_value = true, value_parser = text(client_id))]
    pub(super) client_id: String,
    /// The version of MQTT: 3.1, 3.1.1 or 5
    #[arg(long = "mqtt", value_name = "VERSION", default_value = "5", value_parser = text(version))]
    pub(super) version: Version,
    /// Print help
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

/// Subscribe, and print the payload of each message as a line
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(override_usage = "goldcrest sub -t FILTER [OPTIONS]")]
pub(in crate::cli) struct SubscriberOptions {
    /// A Topic Filter, like sensors/+/temperature or 'sensors/#'; may be repeated
    #[arg(short = 't', long = "topic", value_name = "FILTER", required = true, value_parser = text(filter))]
    pub(super) filters: Vec<String>,
    /// Print the topic before each payload
    #[arg(short, long, overrides_with = "verbose")]
    pub(super) verbose: bool,
    /// Leave after so many messages
    #[arg(short = 'C', long, value_name = "N", value_parser = text(count))]
    pub(super) count: Option<u64>,
    #[command(flatten)]
    pub(super) common: ClientOptions,
}

/// Publish a message, or each line of standard input as one
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(override_usage = "goldcrest pub -t TOPIC [OPTIONS]")]
pub(in crate::cli) struct PublisherOptions {
    /// The Topic Name
    #[arg(short, long, value_name = "TOPIC", value_parser = text(topic_name))]
    pub(super) topic: String,
    /// The message; without it each line of standard input is one
    #[arg(short, long, value_name = "PAYLOAD")]
    pub(super) message: Option<OsString>,
    /// Let the broker keep the message for later subscribers
    #[arg(short, long, overrides_with = "retain")]
    pub(super) retain: bool,
    #[command(flatten)]
    pub(super) common: ClientOptions,
}

/// Parses a host name or an address. An IPv6 address may stand in brackets, as it does in front of a port.
fn host(text: &str) -> Result<String, &'static str> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let (address, _) = bare.split_once('%').unwrap_or((bare, ""));
    match address.parse::<Ipv6Addr>() {
        Err(_) if bare.is_empty() => Err("a host name or an IP address is wanted"),
        Err(_) if bare.contains(':') => Err("a host name or an IP address alone is wanted; -p says the port"),
        _ => Ok(bare.to_owned()),
    }
}

/// Parses a Client Identifier: a UTF-8 string of MQTT, whose length has two bytes (section 1.5.4).
fn client_id(text: &str) -> Result<String, String> {
    let (len, max) = (text.len(), u16::MAX);
    if len > max.into() {
        return Err(format!("a Client Identifier of at most {max} bytes is wanted, and this one has {len}"));
    }
    Ok(text.to_owned())
}

fn port(text: &str) -> Result<u16, String> {
    number(text, 1..=u16::MAX)
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
pub(super) mod tests {
    use super::super::super::tests::{mistake, read};
    use super::super::super::{Command, CommandLine, Stop};
    use super::*;

    pub(in super::super) fn subscriber(args: &[&str]) -> SubscriberOptions {
        match read(&[&["sub"], args].concat()) {
            Ok(CommandLine { command: Some(Command::Sub(options)), .. }) => options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    fn publisher(args: &[&str]) -> PublisherOptions {
        match read(&[&["pub"], args].concat()) {
            Ok(CommandLine { command: Some(Command::Pub(options)), .. }) => options,
            other => panic!("{args:?}: {other:?}"),
        }
    }

    #[test]
    fn options_of_a_subscriber_are_parsed() {
        let options = subscriber(&[
            "-h",
            "::1",
            "-p",
            "7",
            "-t",
            "a/+",
            "--topic=b",
            "-q2",
            "-v",
            "-C",
            "3",
            "-i",
            "me",
            "--mqtt",
            "3.1",
        ]);
        assert_eq!(options.filters, ["a/+", "b"]);
        assert_eq!((options.verbose, options.count), (true, Some(3)));
        let common = ClientOptions {
            host: "::1".to_owned(),
            port: 7,
            client_id: "me".to_owned(),
            version: Version::V3_1,
            qos: QoS::ExactlyOnce,
            help: None,
        };
        assert_eq!(options.common, common);
    }

    #[test]
    fn options_of_a_publisher_are_parsed() {
        let options = publisher(&["-t", "a", "-m", "21.5", "-r", "-r"]);
        assert_eq!(
            (options.topic.as_str(), options.message.as_deref(), options.retain),
            ("a", Some("21.5".as_ref()), true)
        );
        let common = ClientOptions {
            host: "localhost".to_owned(),
            port: 1883,
            client_id: String::new(),
            version: Version::V5,
            qos: QoS::AtMostOnce,
            help: None,
        };
        assert_eq!(options.common, common);
    }

    #[test]
    fn a_message_may_be_empty_begin_with_a_hyphen_or_be_no_utf_8() {
        use std::os::unix::ffi::OsStrExt;
        for message in ["-5", "--help", "-", "--", "-r", ""] {
            let options = publisher(&["-t", "a", "-m", message, "-q", "1"]);
            assert_eq!((options.message.as_deref(), options.retain), (Some(message.as_ref()), false), "{message}");
            assert_eq!(options.common.qos, QoS::AtLeastOnce);
        }
        assert_eq!(publisher(&["-t", "-x", "-i", "-1"]).topic, "-x");
        let args = [&b"goldcrest"[..], b"pub", b"-t", b"a", b"-m", b"\xff\xfe"].map(std::ffi::OsStr::from_bytes);
        let line = super::super::super::read(&args.map(OsString::from)).unwrap();
        let Some(Command::Pub(options)) = line.command else { panic!("it publishes") };
        assert_eq!(options.message.unwrap().as_bytes(), b"\xff\xfe");
    }

    #[test]
    fn a_host_may_be_an_ipv6_address_in_brackets() {
        for (given, taken) in [("[::1]", "::1"), ("[fe80::1%eth0]", "fe80::1%eth0"), ("::1", "::1"), ("h", "h")] {
            assert_eq!(publisher(&["-t", "a", "-h", given]).common.host, taken);
        }
        assert!(mistake(&["pub", "-t", "a", "--host", "[]"]).contains("\"[]\" of -h, --host: "));
        for with_port in ["localhost:1883", "[::1]:1883", "127.0.0.1:1"] {
            assert!(mistake(&["pub", "-t", "a", "-h", with_port]).contains("-p says the port"), "{with_port}");
        }
    }

    /// On a command line with many options the option's name tells the user which value is wrong.
    #[test]
    fn the_error_for_a_wrong_value_names_its_option() {
        for (option, names) in [
            ("-t", "-t, --topic"),
            ("--topic", "-t, --topic"),
            ("-q", "-q, --qos"),
            ("--qos", "-q, --qos"),
            ("-p", "-p, --port"),
            ("--port", "-p, --port"),
            ("--mqtt", "--mqtt"),
        ] {
            for (subcommand, others) in
                [("sub", &["-t", "a"][..]), ("pub", if names.contains("-t") { &[] } else { &["-t", "a"] })]
            {
                let mistake = mistake(&[&[subcommand], others, &[option, "#/wrong"]].concat());
                assert!(mistake.contains(&format!(" \"#/wrong\" of {names}: ")), "{mistake}");
            }
        }
        use std::os::unix::ffi::OsStrExt;
        for (option, names) in [
            ("-h", "-h, --host"),
            ("--id", "-i, --id"),
            ("-t", "-t, --topic"),
            ("-p", "-p, --port"),
            ("-q", "-q, --qos"),
            ("--mqtt", "--mqtt"),
        ] {
            let args = [&b"goldcrest"[..], b"sub", option.as_bytes(), b"\xff"].map(std::ffi::OsStr::from_bytes);
            let Err(Stop::Mistake(mistake)) = super::super::super::read(&args.map(OsString::from)) else {
                panic!("{option} takes what is no text")
            };
            assert!(mistake.contains(&format!(" of {names}: it is no valid UTF-8")), "{mistake}");
        }
    }

    /// Otherwise the last value would count, and the first value would be ignored without a word.
    #[test]
    fn an_option_that_takes_one_value_is_refused_if_given_twice() {
        for (args, names) in [
            (["pub", "-t", "a", "-t", "b"], "-t, --topic"),
            (["pub", "-t", "a", "--topic", "a"], "-t, --topic"),
            (["pub", "-m", "one", "-m", "two"], "-m, --message"),
            (["pub", "-m", "one", "--message=", "-r"], "-m, --message"),
            (["sub", "-C", "1", "--count", "2"], "-C, --count"),
            (["sub", "-h", "h", "--host", "h"], "-h, --host"),
            (["pub", "-p", "1", "-p", "2"], "-p, --port"),
            (["pub", "-i", "a", "--id", "b"], "-i, --id"),
            (["sub", "-q", "1", "--qos", "1"], "-q, --qos"),
            (["pub", "--mqtt", "5", "--mqtt", "5"], "--mqtt"),
        ] {
            assert_eq!(mistake(&args), format!("{names} is given more than once, and takes one value"));
        }
    }

    #[test]
    fn a_client_identifier_longer_than_mqtt_allows_is_refused() {
        let longest = "i".repeat(65_535);
        assert_eq!(publisher(&["-t", "a", "-i", &longest]).common.client_id, longest);
        assert!(
            client_id(&format!("{longest}i"))
                .unwrap_err()
                .contains("at most 65535 bytes is wanted, and this one has 65536")
        );
        assert!(mistake(&["pub", "-t", "a", "-i", &format!("{longest}i")]).contains(" of -i, --id: "));
    }

    #[test]
    fn mistakes_in_the_options_of_a_client_are_reported() {
        assert!(mistake(&["sub"]).starts_with("-t, --topic FILTER is missing: A Topic Filter, like"));
        assert!(mistake(&["pub", "-m", "x"]).starts_with("-t, --topic TOPIC is missing: The Topic Name"));
        assert!(mistake(&["pub", "-t", "a/#"]).contains("a/#"));
        assert!(mistake(&["sub", "-t", "a/#/b"]).contains("a/#/b"));
        assert!(mistake(&["sub", "-t", "a", "-q", "3"]).contains("0, 1 or 2"));
        assert!(mistake(&["sub", "-t", "a", "--mqtt", "4"]).contains("3.1, 3.1.1 or 5"));
        assert_eq!(mistake(&["sub", "-t", "a", "-x"]), "-x is no option");
        assert_eq!(mistake(&["sub", "-t", "a", "-p"]), "-p, --port needs a value, which is missing");
        assert_eq!(
            mistake(&["sub", "-p", "99999"]),
            "cannot parse argument \"99999\" of -p, --port: a number from 1 to 65535 is wanted"
        );
        assert_eq!(mistake(&["sub", "-t", "a", "b"]), "\"b\" is one word too many");
    }
}
