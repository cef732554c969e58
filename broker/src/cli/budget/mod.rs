//! `goldcrest budget`: what fits into the memory of a gateway, what memory is needed, and what a gateway or a firmware costs at worst, from the
//! tables of the core.

mod fits;

use self::fits::{Demands, Setting, demands};
use super::args::{number, path, text};
use super::read_config;
use super::serve::shards;
use crate::config::{Config, MAX_SHARDS, MemoryMax, shards_for_cores};
use crate::shard::EventLoop;
use goldcrest_core::{Capacity, Counts, Entries, EntryBytes, Limits, Shard};
use std::fmt::Write as _;
use std::path::PathBuf;

/// How many bytes of memory the store uses to remember where one record is.
const PLACE: usize = 8;

/// Print what fits into the memory that a gateway may take, or what memory it needs; or the bytes of a firmware
#[derive(Clone, Debug, Default, PartialEq, Eq, clap::Args)]
pub(super) struct BudgetOptions {
    /// Count what Resources of goldcrest-core take on a 32-bit microcontroller, and not a gateway
    #[arg(long, overrides_with = "firmware")]
    firmware: bool,
    /// The configuration of the gateway
    #[arg(long, value_name = "FILE", value_parser = path())]
    config: Option<PathBuf>,
    /// The worker threads of the gateway [default: one for each core but one]
    #[arg(long, value_name = "N", value_parser = text(shards))]
    shards: Option<u16>,
    /// The most memory that the gateway takes, like 256MiB [default: that of the configuration, or auto]
    #[arg(long, value_name = "BYTES", value_parser = text(MemoryMax::parse))]
    memory_max: Option<MemoryMax>,
    /// Say what memory is needed for so many clients, sessions (of clients that are away), subscriptions, queued and retained messages, like
    /// 10000-clients,50000-subscriptions,1000000-retained-of-200
    #[arg(long = "for", value_name = "N-THINGS,...", value_parser = text(demands))]
    wanted: Option<Demands>,
    /// Print what each table of a gateway takes when it is full. So do the options below
    #[arg(long, overrides_with = "tables")]
    tables: bool,
    /// Clients at once, in each shard of a gateway [firmware: 8]
    #[arg(long, value_name = "N", value_parser = text(count))]
    connections: Option<usize>,
    /// Sessions, connected or not [firmware: as many as connections]
    #[arg(long, value_name = "N", value_parser = text(count))]
    sessions: Option<usize>,
    /// Subscriptions of all sessions [firmware: 4 for each session]
    #[arg(long, value_name = "N", value_parser = text(count))]
    subscriptions: Option<usize>,
    /// Levels of all filters and retained topics [firmware: 2 for each subscription]
    #[arg(long, value_name = "N", value_parser = text(count))]
    topic_levels: Option<usize>,
    /// Stored messages: queued, retained, Wills [firmware: 32]
    #[arg(long, value_name = "N", value_parser = text(count))]
    messages: Option<usize>,
    /// Bytes of each message: topic, properties and payload [firmware: 60; gateway: its capacity for all of them]
    #[arg(long, value_name = "N", value_parser = text(count))]
    message_bytes: Option<usize>,
    /// Messages on their way to sessions [firmware: as many as messages]
    #[arg(long, value_name = "N", value_parser = text(count))]
    deliveries: Option<usize>,
}

impl BudgetOptions {
    /// Whether the tables are asked for.
    fn has_tables(&self) -> bool {
        let counts = [
            self.connections,
            self.sessions,
            self.subscriptions,
            self.topic_levels,
            self.messages,
            self.message_bytes,
            self.deliveries,
        ];
        self.tables || counts.iter().any(Option::is_some)
    }
}

/// Parses a count of table entries. An entry of a table refers to another one by a number of 32 bits, so the count is
/// bounded.
fn count(text: &str) -> Result<usize, String> {
    number(text, 1..=u32::MAX as usize - 1)
}

/// The text that the command prints.
///
/// # Errors
/// Options contradict each other, or the configuration has a mistake.
pub(super) fn text_of(options: BudgetOptions) -> Result<String, String> {
    if options.firmware {
        if options.config.is_some() || options.shards.is_some() || options.memory_max.is_some() {
            return Err("a firmware has no --config, no --shards and no --memory-max".to_owned());
        }
        if options.wanted.is_some() {
            return Err("--for is about a gateway; a firmware has --connections and the other options".to_owned());
        }
        return firmware(&options);
    }
    gateway(options).map_err(|error| error.to_string())
}

fn firmware(options: &BudgetOptions) -> Result<String, String> {
    let connections = options.connections.unwrap_or(8);
    let sessions = options.sessions.unwrap_or(connections);
    if sessions < connections {
        return Err("each connection needs a session".to_owned());
    }
    let subscriptions = options.subscriptions.unwrap_or(sessions.saturating_mul(4));
    let messages = options.messages.unwrap_or(32);
    let message_bytes = options.message_bytes.unwrap_or(60);
    let counts = Counts {
        connections,
        sessions,
        subscriptions,
        // The tree has one level more than filters and topics have: the root.
        levels: options.topic_levels.unwrap_or(subscriptions.saturating_mul(2)).saturating_add(1),
        messages,
        deliveries: options.deliveries.unwrap_or(messages),
        blocks: 0,
    }
    .holding(messages, message_bytes);
    let Counts { levels, deliveries, blocks, .. } = counts;
    let entries = Entries::of_resources(&counts);
    let mut table = MemoryTable::default();
    table.add_all(&entries, &EntryBytes::FIRMWARE);
    table.total("in all", entries.bytes(&EntryBytes::FIRMWARE));
    Ok(format!(
        "On a 32-bit ARM or RISC-V, with {messages} messages of {message_bytes} bytes beside the reserve for those who connect:\n\n\
         {}\n\
         type Memory = goldcrest_core::resources! {{\n\
         \x20   connections: {connections},\n\
         \x20   sessions: {sessions},\n\
         \x20   subscriptions: {subscriptions},\n\
         \x20   levels: {levels},\n\
         \x20   messages: {},\n\
         \x20   deliveries: {deliveries},\n\
         \x20   blocks: {blocks},\n\
         }};\n",
        table.text, counts.messages,
    ))
}

fn gateway(options: BudgetOptions) -> Result<String, crate::ConfigError> {
    let config = options.config.as_deref().map_or_else(|| Ok(Config::default()), read_config)?;
    let shards = match options.shards.unwrap_or(config.shards) {
        0 => shards_for_cores(),
        shards => shards.min(MAX_SHARDS),
    };
    let setting = Setting { config: &config, shards };
    if let Some(wanted) = &options.wanted {
        return Ok(setting.needed(wanted));
    }
    let bound = options.memory_max.unwrap_or(config.memory_max).bound();
    let fits = setting.fits(bound);
    if !options.has_tables() {
        return Ok(fits);
    }
    Ok(format!("{fits}\n{}", full_tables(&options, &config, shards, config.capacity.below(bound.bytes))))
}

/// What each table of a gateway takes when it is full.
fn full_tables(options: &BudgetOptions, config: &Config, shards: u16, mut capacity: Capacity) -> String {
    let set = |limit: &mut usize, option: Option<usize>| *limit = option.unwrap_or(*limit);
    set(&mut capacity.connections, options.connections);
    set(&mut capacity.sessions, options.sessions.or(options.connections));
    set(&mut capacity.subscriptions, options.subscriptions);
    set(&mut capacity.topic_levels, options.topic_levels);
    set(&mut capacity.messages, options.messages);
    set(&mut capacity.deliveries, options.deliveries.or(options.messages));
    set(&mut capacity.bytes, options.message_bytes.map(|bytes| bytes.saturating_mul(capacity.messages)));

    let has_store = !config.memory_only;
    let limits = &if has_store { config.limits_with_store() } else { config.broker.limits };
    let entries = Entries::of_owned(&capacity, limits, Shard { index: 0, count: shards });
    let mut table = MemoryTable::default();
    table.add_all(&entries, &EntryBytes::HERE);
    let core = entries.bytes(&EntryBytes::HERE);
    table.total("broker of a shard", core);
    let packet_bytes = limits.packet_bytes as usize;
    let socket = EventLoop::most_bytes_each(packet_bytes, config.has_layers());
    let sockets = table.add("sockets, packets half received", capacity.connections, socket);
    let in_transit = crate::shard::most_bytes_in_transit(packet_bytes);
    let shared = table.add("messages to other shards", usize::from(shards) - 1, in_transit);
    // For each entry with a mark the store remembers where its record is.
    let places = if has_store { entries.marks } else { 0 };
    let places = table.add("places of records in the store", places, PLACE);
    let shard =
        core.saturating_add(places).saturating_add(sockets).saturating_add(shared).saturating_add(EventLoop::BUFFERS);
    table.total("a shard", shard);
    let unfinished = crate::net::UNFINISHED_BYTES;
    table.total(
        &format!("{shards} shards, and {unfinished} B for CONNECT packets"),
        shard.saturating_mul(shards.into()).saturating_add(unfinished),
    );
    let long = if has_store { long_queues(limits) } else { String::new() };
    format!(
        "What a gateway would take if everything in each of its {shards} shards were full and nothing else bounded it. Nothing is taken before it\n\
         is needed, and all of it together no more than the memory above.\n\n{}{long}",
        table.text
    )
}

/// The memory that long queues in the store take, in words; empty if queues there have no limit of their own.
fn long_queues(limits: &Limits) -> String {
    // The third mark counts if the message is retained.
    let waiting = Entries { messages: 1, deliveries: 1, marks: 3, ..Entries::default() };
    let each = bytes_of_tables(&waiting) + 2 * PLACE;
    let Some(messages) = limits.longest_queue_in_store() else { return String::new() };
    let all = u64::from(messages) * Limits::LONG_QUEUES as u64;
    format!(
        "\nOf that, in all shards: {messages} messages in one queue in the store take {} with {each} B each, and queues there grow no longer\n\
         when all together have {all}, which take {}.\n",
        Rounded(messages as usize * each),
        Rounded(all as usize * each),
    )
}

/// What these entries take in the tables of a gateway's broker, in bytes.
fn bytes_of_tables(entries: &Entries) -> usize {
    entries.tables(&EntryBytes::HERE).iter().map(|table| table.bytes()).sum()
}

/// A table with the columns name, count, bytes of each and bytes in all.
#[derive(Default)]
struct MemoryTable {
    text: String,
}

impl MemoryTable {
    fn add_all(&mut self, entries: &Entries, bytes: &EntryBytes) {
        for table in entries.tables(bytes).iter().filter(|table| table.bytes() > 0) {
            self.add(table.name, table.entries, table.entry_bytes);
        }
    }

    /// Adds a row. Returns the bytes in all.
    fn add(&mut self, name: &str, count: usize, each: usize) -> usize {
        let bytes = count.saturating_mul(each);
        let _ = writeln!(self.text, "{name:<32}{count:>12} x {each:>10} B {bytes:>18} B");
        bytes
    }

    fn total(&mut self, name: &str, bytes: usize) {
        let _ = writeln!(self.text, "{name:<58} {bytes:>18} B  {}", Rounded(bytes));
    }
}

/// Displays bytes in a suitable unit.
struct Rounded(usize);

impl std::fmt::Display for Rounded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = ["KiB", "MiB", "GiB", "TiB"];
        let steps = (self.0.max(1).ilog2() / 10).clamp(1, 4);
        write!(f, "{:.1} {}", self.0 as f64 / f64::from(1 << 10).powi(steps as i32), units[steps as usize - 1])
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::read;
    use super::super::{Command, CommandLine, Stop};
    use super::*;
    use goldcrest_core::Memory;
    use goldcrest_core::record::Kind;

    fn printed(args: &[&str]) -> Result<String, String> {
        match read(&[&["budget"], args].concat()) {
            Ok(CommandLine { command: Some(Command::Budget(options)), .. }) => text_of(options),
            Err(Stop::Mistake(mistake)) => Err(mistake),
            other => panic!("{other:?}"),
        }
    }

    /// The bytes in the row that begins with `row`.
    fn bytes(text: &str, row: &str) -> usize {
        let line = text.lines().find(|line| line.starts_with(row)).unwrap_or_else(|| panic!("{row}: {text}"));
        let words: Vec<&str> = line.split_whitespace().collect();
        words.iter().rev().skip_while(|word| **word != "B").nth(1).unwrap().parse().unwrap()
    }

    #[test]
    fn the_firmware_example_fits_into_its_board() {
        let args = ["--firmware", "--connections=11", "--sessions=12", "--subscriptions=32", "--message-bytes=256"];
        let text = printed(&args).unwrap();
        assert!((24_000..40_000).contains(&bytes(&text, "in all")), "{text}");
        let memory = "goldcrest_core::resources! {\n    connections: 11,\n    sessions: 12,\n    subscriptions: 32,\n    levels: 65,\n";
        assert!(text.contains(memory) && text.contains("\n    messages: 38,\n    deliveries: 32,\n"), "{text}");
        assert!(printed(&["--firmware", "--connections=3", "--sessions=2"]).unwrap_err().contains("needs a session"));
        assert!(printed(&["--firmware", "--shards=2"]).unwrap_err().contains("no --shards"));
    }

    /// The guide's table has rows like `| 2 | 8 | 8 of 60 bytes | 7.0 KiB |`.
    #[test]
    fn the_guide_has_the_same_numbers() {
        let guide = include_str!("../../../../no_std_core/EMBED.md");
        let rows = guide.lines().filter(|line| line.ends_with(" KiB |"));
        let mut seen = 0;
        for row in rows {
            let numbers: Vec<&str> = row.split(['|', ' ']).filter(|word| word.starts_with(char::is_numeric)).collect();
            let [connections, subscriptions, messages, bytes, expected] = numbers[..] else { panic!("{row}") };
            let text = printed(&[
                "--firmware",
                &format!("--connections={connections}"),
                &format!("--subscriptions={subscriptions}"),
                &format!("--messages={messages}"),
                &format!("--message-bytes={bytes}"),
            ])
            .unwrap();
            assert!(text.contains(&format!("B  {expected} KiB\n")), "{row}: {text}");
            seen += 1;
        }
        assert_eq!(seen, 3);
    }

    #[test]
    fn the_memory_of_a_gateway_is_the_sum_of_its_tables() {
        let text = printed(&["--shards=3", "--connections=1000", "--messages=500", "--message-bytes=100"]).unwrap();
        let of_shard = bytes(&text, "broker of a shard");
        let tables = text.lines().take_while(|line| !line.starts_with("broker of")).filter(|line| line.contains(" x "));
        let sum: usize = tables.map(|line| bytes(&text, line)).sum();
        assert_eq!(of_shard, sum.next_multiple_of(8));
        assert_eq!(bytes(&text, "their bytes"), 2 * 50_000, "of messages, and of the router");
        let all = bytes(&text, "3 shards");
        assert_eq!(all, 3 * bytes(&text, "a shard") + crate::net::UNFINISHED_BYTES);
    }

    /// The printed capacity is the one that the shards' brokers get.
    #[test]
    fn a_default_gateway_is_printed_with_its_capacity() {
        let text = printed(&["--shards=1", "--tables"]).unwrap();
        let config = Config::default();
        let capacity = config.capacity.below(config.memory_max.bound().bytes);
        let memory = Memory::owned(&capacity, &Limits::GATEWAY, Shard::ONLY);
        for (kind, limit) in memory.record_slots() {
            let row = match kind {
                Kind::Session => "sessions",
                Kind::Delivery => "deliveries",
                _ => continue,
            };
            let line = text.lines().find(|line| line.starts_with(row)).unwrap();
            assert!(line.contains(&format!(" {limit} x ")), "{line}");
        }
        assert!(bytes(&text, "messages to other shards") == 0);
    }

    #[test]
    fn a_gateway_says_what_fits_and_tables_only_if_asked() {
        let text = printed(&["--shards=1", "--memory-max=64MiB"]).unwrap();
        assert!(text.starts_with("Memory is at most 64 MiB, as configured. Of it ") && !text.contains(" x "), "{text}");
        assert!(printed(&["--tables", "--shards=1", "--memory-max=64MiB"]).unwrap().starts_with(&text));
    }

    /// A measurement gives 108 bytes, see tests/end_to_end/test_queue.py.
    #[test]
    fn long_queues_are_accounted_for() {
        let text = printed(&["--shards=2", "--tables"]).unwrap();
        let marks = bytes(&text, "marks on what is durable");
        assert_eq!(bytes(&text, "places of records"), 8 * marks);
        let expected = "500000 messages in one queue in the store take 51.0 MiB with 107 B each";
        assert!(text.contains(expected) && text.contains("together have 2000000, which take 204.1 MiB"), "{text}");
    }

    #[test]
    fn mistakes_say_what_is_wanted() {
        assert!(printed(&["--for=many"]).unwrap_err().contains("like 10000-clients"));
        assert!(printed(&["--for=1-clients", "--firmware"]).unwrap_err().contains("about a gateway"));
        assert!(printed(&["--messages=0"]).unwrap_err().contains("a number from 1"));
        assert!(printed(&["--mesages=1"]).unwrap_err().contains("--mesages"));
        assert!(printed(&["--config=/no/such/file"]).unwrap_err().contains("/no/such/file"));
    }
}
