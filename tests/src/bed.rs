//! The test bed of conformance tests: a fresh broker, which is either the core in memory or the gateway over TCP.
//!
//! A test is written once, as `fn name(bed: &mut Bed)`; [`conformance`](crate::conformance) makes a test of it for each
//! version of MQTT on each [`Backend`]. The bed starts the broker when the first client connects, so [`Bed::configure`]
//! and other settings must be called before.

use crate::firmware;
use crate::got::Got;
use crate::link::Link;
use crate::memory::Storage;
use crate::packets::{Client, Wire, client};
use crate::peer::Peer;
use crate::server::Server;
use crate::transcript::Transcript;
use crate::world::{Judge, Sync, World};
use goldcrest_core::codec::{ReasonCode, Version};
use goldcrest_core::{AllowAll, Authentication, Authorize, Capacity, Config, Limits};
use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::time::Duration;

/// The broker that a test runs against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// The core in this process, under a virtual clock.
    Memory {
        /// The number of brokers.
        shards: u16,
    },
    /// As `Memory`, with one broker that keeps records. They become safe only when nothing else is left to do.
    Recorded,
    /// As `Memory`, in exactly the memory and with the configuration of the firmware example.
    Firmware,
    /// The gateway over TCP: in this process, or in a process of its own where the test configures it.
    Tcp {
        /// The number of shards.
        shards: u16,
    },
}

/// A broker and its clients.
pub struct Bed {
    version: Version,
    backend: Backend,
    config: Config<'static>,
    /// Whether the test has changed the configuration.
    is_configured: bool,
    authorize: &'static dyn Authorize,
    judge: Option<Judge>,
    site: Option<Site>,
    transcript: Transcript,
    honest: Option<Honest>,
}

enum Site {
    Memory(Rc<RefCell<World>>),
    Tcp(Box<Server>),
}

/// Two clients that make no mistake, and must be served while others misbehave.
struct Honest {
    subscriber: Peer,
    publisher: Peer,
    count: u32,
}

/// The topic between the honest clients.
const HONEST: &str = "honest/clients";

/// Runs one test.
pub fn run(backend: Backend, version: Version, test: fn(&mut Bed)) {
    let mut bed = Bed {
        version,
        backend,
        config: if backend == Backend::Firmware { firmware::config(7) } else { Config::gateway(7) },
        is_configured: false,
        authorize: &AllowAll,
        judge: None,
        site: None,
        transcript: Transcript::default(),
        honest: None,
    };
    test(&mut bed);
    bed.check_server();
}

impl Bed {
    /// The version of MQTT that this run of the test uses.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether this run uses MQTT 5.0.
    pub fn is_v5(&self) -> bool {
        self.version.is_v5()
    }

    /// Returns `v3` or `v5`, by the version of this run.
    pub fn either<T>(&self, v3: T, v5: T) -> T {
        if self.is_v5() { v5 } else { v3 }
    }

    /// Whether the core runs in this process. Then every count is exact, and waiting takes no time.
    pub fn is_in_memory(&self) -> bool {
        !matches!(self.backend, Backend::Tcp { .. })
    }

    /// The number of brokers.
    pub fn shards(&self) -> u16 {
        match self.backend {
            Backend::Memory { shards } | Backend::Tcp { shards } => shards,
            Backend::Recorded | Backend::Firmware => 1,
        }
    }

    /// Changes the configuration of the broker that will be started.
    pub fn configure(&mut self, change: impl FnOnce(&mut Config<'static>)) {
        self.not_yet();
        self.is_configured = true;
        change(&mut self.config);
    }

    /// As [`Bed::configure`], but not for the firmware, whose memory is made for its own limits.
    pub fn configure_gateway(&mut self, change: impl FnOnce(&mut Config<'static>)) {
        if self.backend != Backend::Firmware {
            self.configure(change);
        }
    }

    /// The limits in the broker's configuration.
    pub fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// `wanted` messages, or as many as may wait for one Session if that is less.
    pub fn queue(&self, wanted: u32) -> u32 {
        self.queues(wanted, 1)
    }

    /// `wanted` messages, or as many as may wait for each of `sessions` Sessions at the same time if that is less.
    pub fn queues(&self, wanted: u32, sessions: usize) -> u32 {
        let together = match self.backend {
            Backend::Firmware => firmware::Memory::ENTRIES.deliveries / sessions,
            Backend::Memory { .. } | Backend::Recorded | Backend::Tcp { .. } => usize::MAX,
        };
        wanted.min(self.config.limits.queued_messages).min(u32::try_from(together).unwrap_or(u32::MAX))
    }

    /// `wanted` clients, or as many as may be connected beside one more if that is less.
    pub fn clients(&self, wanted: usize) -> usize {
        match self.backend {
            Backend::Firmware => wanted.min(firmware::Memory::ENTRIES.connections - 1),
            Backend::Memory { .. } | Backend::Recorded | Backend::Tcp { .. } => wanted,
        }
    }

    /// Lets `authorize` decide about permissions; in memory alone.
    pub fn authorize(&mut self, authorize: impl Authorize + 'static) {
        self.not_yet();
        assert!(self.is_in_memory(), "the binary's permissions can't be replaced");
        self.authorize = Box::leak(Box::new(authorize));
    }

    /// Lets `judge` decide about each CONNECT; in memory alone.
    pub fn judge(&mut self, judge: Judge) {
        self.not_yet();
        assert!(self.is_in_memory(), "the binary's verdicts can't be replaced");
        self.config.authentication = Authentication::Ask;
        self.judge = Some(judge);
    }

    /// The brokers in this process; in memory alone.
    pub fn world(&mut self) -> RefMut<'_, World> {
        match self.site() {
            Site::Memory(world) => world.borrow_mut(),
            Site::Tcp(_) => panic!("only a test with in_memory = \"WHY\" sees the brokers"),
        }
    }

    /// A new connection on which nothing has been sent. Its packets are read in the test's version until a CONNECT names
    /// another.
    pub fn open(&mut self, name: &str) -> Peer {
        self.open_in(self.version, name)
    }

    /// As [`Bed::open`], in the given version until a CONNECT names another.
    pub fn open_in(&mut self, version: Version, name: &str) -> Peer {
        let link = match self.site() {
            Site::Memory(world) => {
                let client = world.borrow_mut().open();
                Link::Memory { world: world.clone(), client }
            }
            Site::Tcp(server) => Link::Tcp(server.connect()),
        };
        Peer::new(name, version, link, self.transcript.clone())
    }

    /// A connected client.
    pub fn connect<'a>(&mut self, client: impl Into<Client<'a>>) -> Peer {
        self.connect_for(client).0
    }

    /// A connected client, and its CONNACK.
    pub fn connect_for<'a>(&mut self, client: impl Into<Client<'a>>) -> (Peer, Got) {
        let mut peer = self.begin(client);
        let connack = peer.expect_connack(ReasonCode::Success);
        (peer, connack)
    }

    /// A client that has sent its CONNECT, and has not read the answer.
    pub fn begin<'a>(&mut self, client: impl Into<Client<'a>>) -> Peer {
        let client = client.into();
        let mut peer = self.open(client.id);
        peer.send(client);
        peer
    }

    /// Lets time pass: virtual time in memory, real time over TCP.
    pub fn wait(&mut self, millis: u64) {
        self.transcript.remark(format!("+{millis} ms"));
        match self.site() {
            Site::Memory(world) => world.borrow_mut().advance(millis),
            Site::Tcp(_) => {
                assert!(millis <= 5_000, "a test that waits so long says in_memory = \"WHY\"");
                std::thread::sleep(Duration::from_millis(millis));
            }
        }
    }

    /// Forgets the packets sent so far. For tests that send too many to print.
    pub fn forget_transcript(&mut self) {
        self.transcript.clear();
    }

    /// Waits until the effects of one client's packets have reached all others: over TCP for some time, in memory not at
    /// all.
    pub fn settle(&mut self) {
        if !self.is_in_memory() {
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// `peer` sends a packet that the server refuses: by DISCONNECT with one of these codes in MQTT 5.0, by closing
    /// alone in MQTT 3.x. Honest clients notice nothing.
    #[track_caller]
    pub fn refuse(&mut self, mut peer: Peer, packet: impl Wire, codes: &[ReasonCode]) {
        self.check_honest();
        peer.send(packet);
        peer.expect_refused(codes);
        self.check_honest();
    }

    /// Sends a CONNECT that the server refuses: by CONNACK with one of these codes in MQTT 5.0; in MQTT 3.x by CONNACK
    /// with `return_code`, or by closing alone for `None`. Honest clients notice nothing.
    #[track_caller]
    pub fn refuse_connect(&mut self, packet: impl Wire, codes: &[ReasonCode], return_code: Option<u8>) {
        self.check_honest();
        let mut peer = self.open("refused");
        peer.send(packet);
        if peer.is_v5() {
            let connack = peer.expect();
            assert!(codes.contains(&connack.code()), "expected one of {codes:?}");
            assert!(!connack.session_present(), "[MQTT-3.2.2-6]");
        } else if let Some(return_code) = return_code {
            peer.expect_bytes(&[0x20, 2, 0, return_code]);
        }
        peer.expect_closed();
        self.check_honest();
    }

    /// Checks that two honest clients are served.
    pub fn check_honest(&mut self) {
        let mut honest = self.honest.take().unwrap_or_else(|| {
            let mut subscriber = self.connect(client("honest-subscriber").keep_alive(0));
            subscriber.subscribe(1, HONEST, 1);
            let publisher = self.connect(client("honest-publisher").keep_alive(0));
            Honest { subscriber, publisher, count: 0 }
        });
        honest.count += 1;
        let payload = honest.count.to_string();
        honest.publisher.publish(HONEST, &payload, 1);
        honest.subscriber.take_publish(HONEST, &payload, 1);
        self.honest = Some(honest);
    }

    fn site(&mut self) -> &Site {
        let (backend, config, authorize) = (self.backend, &self.config, self.authorize);
        let shards = self.shards();
        let judge = &mut self.judge;
        let storage = if backend == Backend::Firmware { Storage::Firmware } else { Storage::Owned(Capacity::GATEWAY) };
        self.site.get_or_insert_with(|| match backend {
            Backend::Memory { .. } | Backend::Recorded | Backend::Firmware => {
                let durable = backend == Backend::Recorded || config.durable;
                let config = Config { durable, ..config.clone() };
                let mut world = World::in_storage(storage, shards, config, authorize);
                world.sync = Sync::Late;
                if let Some(judge) = judge.take() {
                    world.set_judge(judge);
                }
                Site::Memory(Rc::new(RefCell::new(world)))
            }
            Backend::Tcp { shards } => Site::Tcp(Box::new(Server::start(shards, self.is_configured.then_some(config)))),
        })
    }

    fn not_yet(&self) {
        assert!(self.site.is_none(), "the broker runs already");
    }

    fn check_server(&mut self) {
        if let Some(Site::Tcp(server)) = &mut self.site {
            assert!(server.is_alive(), "the server died");
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what was sent (>) and received (<), with {:?} and MQTT {}:", self.backend, self.version);
            eprint!("{}", self.transcript);
            if let Some(Site::Tcp(server)) = &self.site {
                eprintln!("what the server logged:\n{}", server.log());
            }
        }
    }
}
