//! rumqttc as a program, for the matrix of clients: `rumqttc-client pub|sub VERSION URL NAME [CA [CERTIFICATE KEY]]`. The URL begins with
//! `mqtt://` or `mqtts://`; the files are PEM.

use rumqttc::Transport;

use std::time::Duration;

const KEEP_ALIVE: Duration = Duration::from_secs(60);
/// The length of the client's queue of requests, which all requests of a run fit into.
const REQUESTS: usize = 16;
/// How many acknowledgements the six messages need in all: PUBACK for QoS 1, PUBCOMP for QoS 2.
const ACKNOWLEDGED: usize = 6;

/// Where the broker is.
struct Server {
    host: String,
    port: u16,
    transport: Transport,
}

impl Server {
    fn new(url: &str, files: &[String]) -> Self {
        let (scheme, place) = url.split_once("://").expect("a URL");
        let (host, port) = place.rsplit_once(':').expect("a port");
        let read = |file: &String| std::fs::read(file).expect("a file that can be read");
        let transport = match (scheme, files) {
            ("mqtt", []) => Transport::tcp(),
            ("mqtts", [ca]) => Transport::tls(read(ca), None, None),
            ("mqtts", [ca, certificate, key]) => Transport::tls(read(ca), Some((read(certificate), read(key))), None),
            _ => panic!("the files do not fit {url}"),
        };
        Self { host: host.to_owned(), port: port.parse().expect("a port"), transport }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let provider = rustls::crypto::ring::default_provider();
    provider.install_default().expect("nobody else has installed one");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [command, version, url, name, files @ ..] = arguments.as_slice() else {
        panic!("the arguments are: pub|sub 3.1.1|5 URL NAME [CA [CERTIFICATE KEY]]");
    };
    let server = Server::new(url, files);
    match (command.as_str(), version.as_str()) {
        ("pub", "3.1.1") => v3_1_1::publish(server, name).await,
        ("sub", "3.1.1") => v3_1_1::subscribe(server).await,
        ("pub", "5") => v5::publish(server, name).await,
        ("sub", "5") => v5::subscribe(server).await,
        _ => panic!("it can pub and sub in 3.1.1 and 5"),
    }
}

mod v3_1_1 {
    use super::{ACKNOWLEDGED, KEEP_ALIVE, REQUESTS, Server};
    use rumqttc::{AsyncClient, Event, EventLoop, Incoming, MqttOptions, Outgoing, QoS};

    const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

    fn connect(server: Server) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(format!("rumqttc-{}", std::process::id()), server.host, server.port);
        options.set_transport(server.transport);
        options.set_keep_alive(KEEP_ALIVE);
        AsyncClient::new(options, REQUESTS)
    }

    pub(crate) async fn publish(server: Server, name: &str) {
        let (client, mut events) = connect(server);
        for granted in 0..3 {
            for (number, qos) in QOS.into_iter().enumerate() {
                client.publish(format!("q{granted}/{name}/{number}"), qos, false, name).await.expect("room");
            }
        }
        let mut acknowledged = 0;
        loop {
            match events.poll().await.expect("a connection") {
                Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) => {
                    acknowledged += 1;
                    if acknowledged == ACKNOWLEDGED {
                        client.disconnect().await.expect("room");
                    }
                }
                Event::Outgoing(Outgoing::Disconnect) => return,
                _ => {}
            }
        }
    }

    pub(crate) async fn subscribe(server: Server) {
        let (client, mut events) = connect(server);
        for (granted, qos) in QOS.into_iter().enumerate() {
            client.subscribe(format!("q{granted}/#"), qos).await.expect("room");
        }
        loop {
            if let Event::Incoming(Incoming::Publish(message)) = events.poll().await.expect("a connection") {
                println!("{} {} {}", message.topic, message.qos as u8, String::from_utf8_lossy(&message.payload));
            }
        }
    }
}

mod v5 {
    use super::{ACKNOWLEDGED, KEEP_ALIVE, REQUESTS, Server};
    use rumqttc::Outgoing;
    use rumqttc::v5::mqttbytes::QoS;
    use rumqttc::v5::{AsyncClient, Event, EventLoop, Incoming, MqttOptions};

    const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

    fn connect(server: Server) -> (AsyncClient, EventLoop) {
        let mut options = MqttOptions::new(format!("rumqttc-{}", std::process::id()), server.host, server.port);
        options.set_transport(server.transport);
        options.set_keep_alive(KEEP_ALIVE);
        AsyncClient::new(options, REQUESTS)
    }

    pub(crate) async fn publish(server: Server, name: &str) {
        let (client, mut events) = connect(server);
        for granted in 0..3 {
            for (number, qos) in QOS.into_iter().enumerate() {
                let topic = format!("q{granted}/{name}/{number}");
                client.publish(topic, qos, false, name.to_owned()).await.expect("room");
            }
        }
        let mut acknowledged = 0;
        loop {
            match events.poll().await.expect("a connection") {
                Event::Incoming(Incoming::PubAck(_) | Incoming::PubComp(_)) => {
                    acknowledged += 1;
                    if acknowledged == ACKNOWLEDGED {
                        client.disconnect().await.expect("room");
                    }
                }
                Event::Outgoing(Outgoing::Disconnect) => return,
                _ => {}
            }
        }
    }

    pub(crate) async fn subscribe(server: Server) {
        let (client, mut events) = connect(server);
        for (granted, qos) in QOS.into_iter().enumerate() {
            client.subscribe(format!("q{granted}/#"), qos).await.expect("room");
        }
        loop {
            if let Event::Incoming(Incoming::Publish(message)) = events.poll().await.expect("a connection") {
                let topic = String::from_utf8_lossy(&message.topic);
                println!("{topic} {} {}", message.qos as u8, String::from_utf8_lossy(&message.payload));
            }
        }
    }
}
