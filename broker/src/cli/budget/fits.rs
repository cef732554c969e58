//! What fits below the ceiling on memory, and what ceiling is needed.
//!
//! These are estimates on the safe side: what tables take when they have just grown, and what the allocator adds.

use super::{PLACE, Rounded, bytes_of_tables};
use crate::config::{Config, MemoryBound, MemoryMax};
use crate::gateway::other_bytes;
use crate::net::{CONNECTION_BYTES, Layered};
use goldcrest_core::{Entries, MemoryCeiling, MemoryUse};
use std::fmt::Write as _;
use std::sync::Arc;

/// The assumed length of each topic, Topic Filter and Client Identifier, in bytes.
const TEXT: usize = 64;
/// The bytes that an allocation of its own takes beside its content: reference counts, and the allocator's word.
const PIECE: usize = 24;
/// The assumed number of replies that a client is owed.
const OWED: usize = 16;
/// The length of a message where none is given, in bytes.
const EXAMPLE: usize = 200;

/// A kind of thing that takes memory and can be named in `--for`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Thing {
    /// Clients that are connected, each with its Session.
    Clients,
    /// Sessions of clients that are away.
    Sessions,
    Subscriptions,
    /// Messages of so many bytes that wait for one Session each.
    Queued(usize),
    /// Retained messages of so many bytes.
    Retained(usize),
}

/// A number of things of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Demand {
    count: usize,
    thing: Thing,
}

/// The value of `--for`. clap would take a plain `Vec` for an option that may be repeated.
pub(super) type Demands = Vec<Demand>;

const ALLOWED: &str =
    "like 10000-clients,50000-subscriptions,1000-sessions,100000-queued-of-500,1000000-retained-of-200 is wanted";

/// Reads the value of `--for`.
///
/// # Errors
/// The value is wrong: a text that says what is allowed.
pub(super) fn demands(text: &str) -> Result<Demands, String> {
    let demand = |text: &str| {
        let (count, thing) = text.split_once('-')?;
        let (name, bytes) = thing.split_once("-of-").map_or((thing, None), |(name, bytes)| (name, Some(bytes)));
        let bytes = bytes.map_or(Some(None), |bytes| bytes.parse().ok().filter(|it| *it <= 1 << 28).map(Some))?;
        let thing = match (name, bytes) {
            ("clients", None) => Thing::Clients,
            ("sessions", None) => Thing::Sessions,
            ("subscriptions", None) => Thing::Subscriptions,
            ("queued", bytes) => Thing::Queued(bytes.unwrap_or(EXAMPLE)),
            ("retained", bytes) => Thing::Retained(bytes.unwrap_or(EXAMPLE)),
            _ => return None,
        };
        let count = count.parse().ok().filter(|count| (1..u32::MAX as usize).contains(count))?;
        Some(Demand { count, thing })
    };
    text.split(',').map(|text| demand(text.trim()).ok_or_else(|| ALLOWED.to_owned())).collect()
}

/// The gateway for which things are counted.
pub(super) struct Setting<'c> {
    pub(super) config: &'c Config,
    pub(super) shards: u16,
}

impl Setting<'_> {
    fn has_store(&self) -> bool {
        !self.config.memory_only
    }

    /// The bytes that one `thing` takes, by use.
    fn each(&self, thing: Thing) -> [usize; MemoryUse::ALL.len()] {
        let mut uses = [0; MemoryUse::ALL.len()];
        let mut add = |purpose: MemoryUse, entries: Entries, beside: usize| {
            let places = if self.has_store() { entries.marks * PLACE } else { 0 };
            let tables = bytes_of_tables(&entries);
            // A table that has just grown has an eighth to spare.
            uses[purpose as usize] += tables + tables / 8 + places + beside;
        };
        let session =
            Entries { sessions: 1, timers: 1, subscribers: 1, buckets: 2, blobs: 1, marks: 1, ..Entries::default() };
        match thing {
            Thing::Clients => {
                add(MemoryUse::Sessions, session, TEXT + PIECE);
                let connection = Entries { connections: 1, timers: 1, owed: OWED, blobs: 1, ..Entries::default() };
                // Where only some listeners have layers, all clients may come through these.
                let layers = if self.config.has_layers() { Layered::BYTES } else { 0 };
                add(MemoryUse::Connections, connection, CONNECTION_BYTES + layers);
            }
            Thing::Sessions => add(MemoryUse::Sessions, session, TEXT + PIECE),
            Thing::Subscriptions => {
                let filter = Entries {
                    subscriptions: 1,
                    nodes: 2,
                    buckets: 4,
                    blobs: 3,
                    marks: 2,
                    filters_elsewhere: usize::from(self.shards - 1),
                    ..Entries::default()
                };
                add(MemoryUse::Subscriptions, filter, TEXT + PIECE);
            }
            Thing::Queued(bytes) => {
                let queued = Entries { messages: 1, deliveries: 1, blobs: 1, marks: 3, ..Entries::default() };
                // With a store the body is on disk alone until its turn.
                let is_in_memory = !self.has_store() || self.config.store.body_bytes == 0;
                add(MemoryUse::Messages, queued, if is_in_memory { body(bytes) } else { 0 });
            }
            Thing::Retained(bytes) => {
                let retained = Entries { messages: 1, nodes: 2, buckets: 2, blobs: 3, marks: 2, ..Entries::default() };
                add(MemoryUse::Messages, retained, body(bytes));
            }
        }
        uses
    }

    /// How many things of a kind the configuration allows in all shards together, and the key that says so.
    fn limit(&self, thing: Thing) -> (usize, &'static str) {
        let capacity = &self.config.capacity;
        let of_shards =
            |limit: Option<usize>| limit.map_or(usize::MAX, |limit| limit.saturating_mul(self.shards.into()));
        let sessions = (of_shards(capacity.sessions), "sessions in [capacity]");
        match thing {
            Thing::Clients => sessions.min((of_shards(capacity.connections), "connections in [capacity]")),
            Thing::Sessions => sessions,
            Thing::Subscriptions => (of_shards(capacity.subscriptions), "subscriptions in [capacity]"),
            Thing::Queued(_) => (of_shards(capacity.messages), "messages in [capacity]"),
            Thing::Retained(_) => {
                let limit = self.config.broker.limits.retained_messages as usize;
                let messages = capacity.messages.unwrap_or(usize::MAX);
                (limit, "retained_messages in [limits]").min((messages, "messages in [capacity]"))
            }
        }
    }

    /// What fits, in words.
    pub(super) fn fits(&self, bound: MemoryBound) -> String {
        let max = usize::try_from(bound.bytes).unwrap_or(usize::MAX);
        let mut text = format!(
            "Memory is at most {bound}. Of it {} are taken by the program and {} shards before a client comes.\n\
             Of each of these alone so many fit into the rest, a third of which is left to everything else:\n\n",
            Rounded(self.other_bytes(max)),
            self.shards,
        );
        let things = [
            ("clients that are connected", Thing::Clients),
            ("Sessions of clients that are away", Thing::Sessions),
            ("subscriptions", Thing::Subscriptions),
            ("queued messages of 200 bytes", Thing::Queued(EXAMPLE)),
            ("retained messages of 200 bytes", Thing::Retained(EXAMPLE)),
        ];
        for (name, thing) in things {
            let each = self.each(thing);
            let is_too_much = |count: usize| !self.is_enough(max, &each.map(|bytes| bytes.saturating_mul(count)));
            let fit = first(1, u32::MAX as usize, is_too_much).map_or(u32::MAX as usize, |count| count - 1);
            let (limit, key) = self.limit(thing);
            let why = if limit < fit { format!(", which {key} allows") } else { String::new() };
            let _ = writeln!(text, "{name:<36}{:>12} of {:>6} B each{why}", fit.min(limit), each.iter().sum::<usize>());
        }
        text + "\n[capacity] may limit each of them further. --for 10000-clients,50000-subscriptions tells what memory is needed, --tables what\neach \
                table takes when it is full.\n"
    }

    /// What is needed, in words.
    pub(super) fn needed(&self, demands: &[Demand]) -> String {
        let mut uses = [0_usize; MemoryUse::ALL.len()];
        let mut text = String::new();
        for Demand { count, thing } in demands {
            let each = self.each(*thing);
            for (sum, bytes) in uses.iter_mut().zip(each) {
                *sum = sum.saturating_add(bytes.saturating_mul(*count));
            }
            let each: usize = each.iter().sum();
            let (name, of) = match thing {
                Thing::Clients => ("clients", String::new()),
                Thing::Sessions => ("sessions", String::new()),
                Thing::Subscriptions => ("subscriptions", String::new()),
                Thing::Queued(bytes) => ("queued", format!(" of {bytes} bytes")),
                Thing::Retained(bytes) => ("retained", format!(" of {bytes} bytes")),
            };
            let name = format!("{count} {name}{of}");
            let _ = writeln!(text, "{name:<40}{each:>8} B each  {}", Rounded(each.saturating_mul(*count)));
        }
        let Some(mib) = self.least_ceiling(&uses) else { return text + "That is more than any ceiling allows.\n" };
        let _ = writeln!(
            text,
            "\nWith {} shards that needs --memory-max {mib}MiB, or max = \"{mib}MiB\" in [memory].",
            self.shards
        );
        text
    }

    /// The least ceiling below which all this fits, in MiB.
    fn least_ceiling(&self, uses: &[usize; MemoryUse::ALL.len()]) -> Option<u64> {
        let is_enough = |mib: usize| self.is_enough(mib << 20, uses);
        first((MemoryMax::LEAST >> 20) as usize, (MemoryMax::MOST >> 20) as usize, is_enough).map(|mib| mib as u64)
    }

    /// Whether all this fits below a ceiling.
    fn is_enough(&self, max: usize, uses: &[usize; MemoryUse::ALL.len()]) -> bool {
        let ceiling = self.ceiling(max);
        for (purpose, bytes) in MemoryUse::ALL.into_iter().zip(uses) {
            ceiling.take_anyway(purpose, *bytes);
        }
        // Whichever use grows last, its last claim has to be granted.
        let has_room = |purpose: &MemoryUse| ceiling.available(*purpose) > 0 || uses[*purpose as usize] == 0;
        ceiling.free() > 0 && MemoryUse::ALL.iter().all(has_room)
    }

    /// What is taken at start.
    fn other_bytes(&self, max: usize) -> usize {
        other_bytes(max, self.shards, self.config.has_doorsteps())
    }

    /// A ceiling of which nothing is taken but what is taken at start.
    fn ceiling(&self, max: usize) -> Arc<MemoryCeiling> {
        let ceiling = MemoryCeiling::new(max);
        ceiling.take_anyway(MemoryUse::Other, self.other_bytes(max));
        ceiling
    }
}

/// The first number from `low` to `high` for which something `holds`; if it holds for one, it holds for all that follow.
fn first(mut low: usize, mut high: usize, holds: impl Fn(usize) -> bool) -> Option<usize> {
    if !holds(high) {
        return None;
    }
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) { high = middle } else { low = middle + 1 }
    }
    Some(low)
}

/// What the body of a message of so many bytes takes, with its topic.
fn body(bytes: usize) -> usize {
    let bytes = bytes + TEXT;
    bytes + bytes / 8 + PIECE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_enough_and_little_less_is_not() {
        let config = Config { memory_only: true, ..Config::default() };
        let setting = Setting { config: &config, shards: 2 };
        let demands = demands("10000-clients,50000-subscriptions, 100000-queued-of-500,1000000-retained").unwrap();
        assert_eq!(demands[2], Demand { count: 100_000, thing: Thing::Queued(500) });
        let text = setting.needed(&demands);
        let (_, rest) = text.split_once("--memory-max ").unwrap();
        let mib: u64 = rest.split_once("MiB").unwrap().0.parse().unwrap();
        // The retained messages have 264 bytes each, at least.
        assert!((300..3000).contains(&mib), "{text}");
        let alone = |text: &str| setting.needed(&super::demands(text).unwrap());
        assert!(alone("1-clients").contains("--memory-max 16MiB"), "{}", alone("1-clients"));
        assert!(alone("4000000000-retained-of-200000000").contains("more than any"));
    }

    #[test]
    fn clients_with_tls_are_dearer() {
        let each = |config: &Config| -> usize { Setting { config, shards: 2 }.each(Thing::Clients).iter().sum() };
        let tls = crate::TlsConfig::new("server.pem", "server.key");
        let listeners = vec![crate::Listener::new("127.0.0.1:0".parse().unwrap()).with_tls(tls)];
        let dearer = each(&Config { listeners, ..Config::default() }) - each(&Config::default());
        assert!((3_300..6_144).contains(&dearer), "{dearer}");
    }

    #[test]
    fn limits_of_the_configuration_bound_what_fits() {
        let mut config = Config::default();
        config.capacity.sessions = Some(100);
        config.capacity.messages = Some(1_000);
        config.broker.limits.retained_messages = 500;
        let text = Setting { config: &config, shards: 2 }.fits(MemoryMax::Bytes(128 << 20).bound());
        for (row, limit) in
            [("clients", "200 of"), ("Sessions", "200 of"), ("queued", "2000 of"), ("retained", "500 of")]
        {
            let line = text.lines().find(|line| line.starts_with(row)).unwrap();
            assert!(line.contains(&format!(" {limit} ")) && line.ends_with(" allows"), "{text}");
        }
        assert!(!text.lines().find(|line| line.starts_with("subscriptions")).unwrap().contains("allows"), "{text}");
    }

    #[test]
    fn what_fits_alone_needs_this_ceiling() {
        let config = Config::default();
        let setting = Setting { config: &config, shards: 1 };
        let text = setting.fits(MemoryMax::Bytes(128 << 20).bound());
        for (row, thing) in [
            ("subscriptions", "subscriptions"),
            ("retained messages of 200", "retained-of-200"),
            ("clients", "clients"),
        ] {
            let line = text.lines().find(|line| line.starts_with(row)).unwrap();
            let count = line.split_whitespace().rev().nth(4).unwrap();
            let needed = setting.needed(&demands(&format!("{count}-{thing}")).unwrap());
            assert!(["127MiB", "128MiB", "129MiB"].iter().any(|mib| needed.contains(mib)), "{row}: {needed} {text}");
        }
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        for wrong in
            ["", "10", "10-", "10-dogs", "0-clients", "10-clients-of-5", "5-queued-of-x", "5-queued,,1-clients"]
        {
            assert!(demands(wrong).unwrap_err().contains("like 10000-clients"), "{wrong}");
        }
    }
}
