//! The number of a principal's name outlives the gateway that gave it.

use crate::support::folder::Folder;
use crate::support::{local, runtime};
use goldcrest::{Config, Gateway, StartError};
use goldcrest_core::Principal;
use goldcrest_core::record::{self, Added, Kind, Record, SessionRecord, Value};
use goldcrest_store::{Batch, Directory, Key, LogStore, Options, Store};
use std::path::Path;
use std::sync::Arc;

fn config(folder: &Folder, shards: u16) -> Config {
    Config { shards, data_dir: Some(folder.path().to_owned()), ..local() }
}

/// Puts a record into a store that no gateway uses.
fn put(path: &Path, key: Key, body: &[u8]) {
    let directory = Arc::new(Directory::take(path).unwrap());
    let (mut log, _) = LogStore::open(directory, Options::new()).unwrap();
    let mut batch = Batch::default();
    batch.put_bytes(key, body);
    log.append_patiently(batch).unwrap();
    log.close().unwrap();
}

#[test]
fn principal_names_keep_their_numbers_over_restarts_with_any_shards() {
    let folder = Folder::new("principals-shards");
    let mut names: Vec<String> = Vec::new();
    for shards in [1, 3, 2, 2, 1] {
        let gateway = Gateway::start(&config(&folder, shards)).unwrap();
        let principals = gateway.principals();
        assert_eq!(principals.count(), names.len());
        let known = names.len();
        names.extend((0..5).map(|more| format!("{shards} shards, {known} names, {more}")));
        for (at, name) in (1..).zip(&names) {
            assert_eq!(principals.principal(name), Ok(Principal(at)));
            assert_eq!(principals.name(Principal(at)).as_deref(), Some(name.as_str()));
        }
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn the_store_commands_show_principals_by_name() {
    let folder = Folder::new("principals-shown");
    let gateway = Gateway::start(&config(&folder, 2)).unwrap();
    gateway.principals().principal("ann").unwrap();
    gateway.principals().principal("bob \u{1b}[31m").unwrap();
    runtime().block_on(gateway.shut_down());
    let store = |command| {
        let mut goldcrest = std::process::Command::new(env!("CARGO_BIN_EXE_goldcrest"));
        let output = goldcrest.args(["store", command, "--data-dir"]).arg(folder.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let dump = store("dump");
    let lines: Vec<&str> = dump.lines().filter(|line| line.contains("Principal")).collect();
    let expected = [
        "{\"kind\":\"Principal\",\"slot\":0,\"number\":1,\"name\":\"ann\"}",
        "{\"kind\":\"Principal\",\"slot\":1,\"number\":2,\"name\":\"bob \\u001b[31m\"}",
    ];
    assert_eq!(lines, expected);
    let stats = store("stats");
    let row: Vec<&str> = stats.lines().last().unwrap().split_whitespace().collect();
    assert_eq!(row[..3], ["all", "Principal", "2"], "{stats}");
    store("check");
}

#[test]
fn a_gateway_in_memory_has_principal_names_until_it_stops() {
    let gateway = Gateway::start(&local()).unwrap();
    let ann = gateway.principals().principal("ann").unwrap();
    assert_eq!(gateway.principals().find("ann"), Some(ann));
    drop(gateway);
    assert_eq!(Gateway::start(&local()).unwrap().principals().find("ann"), None);
}

/// The state after damage of the disk that removed the record of a name, and left the Session of its client.
#[test]
fn a_new_name_never_gets_the_number_of_a_principal_that_has_a_session() {
    for shards in [1, 2] {
        let folder = Folder::new("principals-session");
        runtime().block_on(Gateway::start(&config(&folder, 1)).unwrap().shut_down());
        let session = SessionRecord {
            client_id: "client of somebody",
            principal: 41,
            expiry_secs: u32::MAX,
            ends: goldcrest_core::Instant::NEVER,
            will: None,
            dropped: Default::default(),
            last_packet_id: Added(0),
        };
        let mut sealed = [0; 256];
        let record = Record::Put(record::Key { kind: Kind::Session, slot: 0 }, Value::Session(session));
        let len = record.seal(&mut sealed).unwrap();
        put(folder.path(), Key { shard: 0, kind: Kind::Session as u8, slot: 0 }, &sealed[..len]);

        let gateway = Gateway::start(&config(&folder, shards)).unwrap();
        assert_eq!(gateway.principals().name(Principal(41)), None);
        assert_eq!(gateway.principals().principal("new"), Ok(Principal(42)));
        runtime().block_on(gateway.shut_down());
    }
}

#[test]
fn a_store_with_principal_records_of_a_newer_program_is_refused() {
    let words = [
        (
            Key { shard: Key::COMMON, kind: 0x5a, slot: 0 },
            "it holds records of kind 90, which this program does not know",
        ),
        (
            Key { shard: Key::COMMON, kind: 0x40, slot: 0 },
            "it holds a record of kind 64 in format 9, and this program knows",
        ),
        (Key { shard: 0, kind: 0x5a, slot: 0 }, "it holds records of kind 90, which this program does not know"),
    ];
    for (key, expected) in words {
        // With two shards the store would be rewritten, if it were not refused before that.
        for shards in [1, 2] {
            let folder = Folder::new("principals-newer");
            runtime().block_on(Gateway::start(&config(&folder, 1)).unwrap().shut_down());
            put(folder.path(), key, &[9, 1, 0]);
            let error = Gateway::start(&config(&folder, shards)).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, StartError::Store(..) | StartError::Thread(_)), "{text}");
            assert!(text.contains(expected) && text.ends_with("nothing was changed"), "{text}");
        }
    }
}
