//! Principals' names and numbers across restarts, losses of power, damage and many threads.

use super::record::PrincipalRecord;
use super::{GatewayRecord, NameRefused, Principals, RecordError};
use crate::testing::Folder;
use goldcrest_core::Principal;
use goldcrest_store::{Batch, Committer, CopyError, Directory, Handle, Key, LogStore, Options, Store as _, requests};
use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

fn open(path: &Path) -> LogStore {
    let options = Options { segment_bytes: 1 << 20, ..Options::new() };
    LogStore::open(Arc::new(Directory::take(path).unwrap()), options).unwrap().0
}

/// Opens the store in a directory, reads the names, runs `act` with them, and closes the store.
fn with_store<T>(path: &Path, act: impl FnOnce(&Principals, &Handle) -> T) -> T {
    let log = open(path);
    let (handle, pending) = requests();
    let principals = Principals::restore(&log, handle.clone()).unwrap();
    let committer = Committer::start((handle.clone(), pending), Box::new(log), 1, |_, _| {}).unwrap();
    let done = act(&principals, &handle);
    committer.close().unwrap();
    done
}

fn append(path: &Path, fill: impl FnOnce(&mut Batch)) {
    let mut log = open(path);
    let mut batch = Batch::default();
    fill(&mut batch);
    log.append_patiently(batch).unwrap();
    log.close().unwrap();
}

fn number(principals: &Principals, name: &str) -> u32 {
    principals.principal(name).unwrap().0
}

#[test]
fn a_name_keeps_its_principal_number_over_restarts() {
    let folder = Folder::new("principals-restart");
    let names = ["ann", "bob", "Ann", "ann ", "ünï", &"x".repeat(Principals::NAME_BYTES)];
    for round in 0..3 {
        with_store(folder.path(), |principals, _| {
            assert_eq!(principals.count(), if round == 0 { 0 } else { names.len() });
            // Each round asks for the names in another order.
            for at in 0..names.len() {
                let at = (at + round) % names.len();
                if round > 0 {
                    assert_eq!(principals.find(names[at]), Some(Principal(at as u32 + 1)));
                }
                assert_eq!(number(principals, names[at]), at as u32 + 1);
                assert_eq!(principals.name(Principal(at as u32 + 1)).as_deref(), Some(names[at]));
            }
        });
    }
}

#[test]
fn no_name_gets_the_principal_number_of_anonymous_clients() {
    let principals = Principals::default();
    assert_ne!(principals.principal("").ok(), Some(Principal::ANONYMOUS));
    assert_ne!(principals.principal("ann"), Ok(Principal::ANONYMOUS));
    assert_eq!(principals.name(Principal::ANONYMOUS), None);
}

#[test]
fn an_empty_or_too_long_principal_name_is_refused() {
    let principals = Principals::default();
    let long = "x".repeat(Principals::NAME_BYTES + 1);
    assert_eq!(principals.principal(""), Err(NameRefused::Length(0)));
    assert_eq!(principals.principal(&long), Err(NameRefused::Length(Principals::NAME_BYTES + 1)));
    assert_eq!(principals.count(), 0);
}

/// A name whose record is lost may still have stored Sessions. Its principal number must not be given to another name.
#[test]
fn the_principal_number_of_a_stored_session_is_given_to_no_other_name() {
    let folder = Folder::new("principals-lost");
    with_store(folder.path(), |principals, _| ["ann", "bob"].map(|name| number(principals, name)));
    append(folder.path(), |batch| batch.delete(Key { shard: Key::COMMON, kind: 0x40, slot: 1 }));
    with_store(folder.path(), |principals, _| {
        principals.reserve_up_to(Principal(2));
        principals.reserve_up_to(Principal(1));
        assert_eq!(principals.find("bob"), None);
        assert_eq!(number(principals, "eve"), 3);
        assert_eq!(number(principals, "bob"), 4);
        assert_eq!(number(principals, "ann"), 1);
    });
    with_store(folder.path(), |principals, _| {
        assert_eq!(["ann", "eve", "bob"].map(|name| number(principals, name)), [1, 3, 4]);
    });
}

#[test]
fn no_new_name_is_accepted_when_all_principal_numbers_are_used_up() {
    let principals = Principals::default();
    // The greatest number is that of the gateway itself.
    principals.reserve_up_to(Principal(u32::MAX - 2));
    assert_eq!(principals.principal("last"), Ok(Principal(u32::MAX - 1)));
    assert_eq!(principals.principal("next"), Err(NameRefused::TooMany));
    assert_eq!(principals.principal("last"), Ok(Principal(u32::MAX - 1)));
}

#[test]
fn principal_records_that_contradict_others_are_left_out() {
    let folder = Folder::new("principals-twice");
    append(folder.path(), |batch| {
        let records = [(1, "ann"), (2, "ann"), (1, "bob"), (Principal::ANONYMOUS.0, "nobody"), (7, "eve")];
        for (slot, (number, name)) in (0..).zip(records) {
            GatewayRecord::Principal(PrincipalRecord { number, name }).put(slot, batch);
        }
        batch.put_bytes(Key { shard: Key::COMMON, kind: 0x40, slot: 9 }, &[1, 8, 200]);
    });
    with_store(folder.path(), |principals, _| {
        assert_eq!(principals.count(), 2);
        assert_eq!(["ann", "eve"].map(|name| principals.find(name)), [Some(Principal(1)), Some(Principal(7))]);
        // The new name gets neither the number nor the slot of a record that is there.
        assert_eq!(number(principals, "bob"), 8);
    });
    with_store(folder.path(), |principals, _| {
        assert_eq!(["ann", "eve", "bob"].map(|name| number(principals, name)), [1, 7, 8]);
    });
}

#[test]
fn principal_records_of_a_newer_program_are_refused_and_left_unchanged() {
    for (kind, bytes, expected) in [
        (0x41, &[1, 2, 3][..], RecordError::UnknownKind(0x41)),
        (0xff, &[], RecordError::UnknownKind(0xff)),
        (0x40, &[2, 1, 0], RecordError::NewerFormat(0x40, 2)),
    ] {
        let folder = Folder::new("principals-newer");
        let key = Key { shard: Key::COMMON, kind, slot: 3 };
        append(folder.path(), |batch| batch.put_bytes(key, bytes));
        let log = open(folder.path());
        let error = Principals::restore(&log, requests().0).unwrap_err();
        assert_eq!(error.downcast_ref(), Some(&expected));
        assert!(error.to_string().ends_with("a newer one wrote it; nothing was changed") || kind != 0x40, "{error}");
        let mut found = Vec::new();
        assert!(log.fetch(key, &mut found).unwrap() && found == bytes);
    }
}

#[test]
fn threads_that_ask_for_the_same_name_get_the_same_principal_number() {
    let folder = Folder::new("principals-threads");
    let seen: Vec<Vec<u32>> = with_store(folder.path(), |principals, _| {
        std::thread::scope(|scope| {
            let asking: Vec<_> = (0..4)
                .map(|thread: usize| {
                    scope.spawn(move || {
                        let mut numbers = vec![0; 200];
                        for at in 0..200 {
                            let at = (at * 7 + thread * 50) % 200;
                            numbers[at] = number(principals, &format!("name {at}"));
                        }
                        numbers
                    })
                })
                .collect();
            asking.into_iter().map(|thread| thread.join().unwrap()).collect()
        })
    });
    assert!(seen.iter().all(|numbers| *numbers == seen[0]));
    assert_eq!(seen[0].iter().collect::<HashSet<_>>().len(), 200);
    with_store(folder.path(), |principals, _| {
        let again: Vec<u32> = (0..200).map(|at| number(principals, &format!("name {at}"))).collect();
        assert_eq!(again, seen[0]);
    });
}

/// A loss of power leaves a prefix of the log, and so does a backup of a running store. So each backup must have the name of every
/// principal that a Session in it belongs to. Another thread hands in the Session as soon as it has learnt the principal number.
#[test]
fn no_loss_of_power_leaves_a_session_without_the_name_of_its_principal() {
    const NAMES: u32 = 3_000;
    let folder = Folder::new("principals-power");
    std::fs::create_dir_all(folder.path()).unwrap();
    let path = folder.path().join("store");
    let copies = with_store(&path, |principals, handle| {
        std::thread::scope(|scope| {
            let (tell, told) = channel();
            scope.spawn(move || {
                for at in 0..NAMES {
                    tell.send(number(principals, &format!("name {at}"))).unwrap();
                    // Leaves time for many groups of batches, and for several backups.
                    std::thread::sleep(Duration::from_micros(500));
                }
            });
            let connecting = scope.spawn(move || {
                for (slot, number) in (0..).zip(told) {
                    let mut session = Batch::default();
                    session.put_bytes(Key { shard: 0, kind: 1, slot }, &u32::to_le_bytes(number));
                    handle.commit(0, slot.into(), session);
                }
            });
            let mut copies = Vec::new();
            while !connecting.is_finished() {
                let copy = folder.path().join(format!("copy {}", copies.len()));
                match goldcrest_store::back_up(&path, &copy) {
                    Ok(_) => copies.push(copy),
                    // Not a single record has been written yet.
                    Err(CopyError::Nothing) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            copies
        })
    });
    let mut sessions = Vec::new();
    for copy in copies.iter().chain([&path]) {
        let log = open(copy);
        let principals = Principals::restore(&log, requests().0).unwrap();
        let mut count = 0;
        log.each(0, &mut |key, bytes| {
            let number = u32::from_le_bytes(bytes.try_into().unwrap());
            let name = principals.name(Principal(number));
            assert_eq!(name.as_deref(), Some(&*format!("name {}", key.slot)), "{}", copy.display());
            count += 1;
            ControlFlow::Continue(())
        })
        .unwrap();
        sessions.push(count);
    }
    assert_eq!(sessions.last(), Some(&NAMES));
    assert!(sessions.iter().any(|count| (1..NAMES).contains(count)), "no copy was made amid the work: {sessions:?}");
}
