//! Backups of a store during writes, restoring them, looking into a store without writing, and repairing one.

use super::*;
use crate::disk::Directory;
use crate::tests::Folder;
use crate::{CopyError, Examined, back_up, repair, restore};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Tells the other thread to end when dropped, also after a panic.
struct EndWith<'a>(&'a AtomicBool);

impl Drop for EndWith<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn open_at(path: &Path) -> (LogStore, Report) {
    LogStore::open(Arc::new(Directory::take(path).unwrap()), options(Sync::Always)).unwrap()
}

/// A closed store with `records` records of 100 bytes.
fn filled(path: &Path, records: u32) -> Model {
    let (mut log, _) = open_at(path);
    let mut model = Model::new();
    for slot in 0..records {
        let mut batch = Batch::default();
        put(&mut model, &mut batch, key(slot), &[b'a' + (slot % 26) as u8; 100]);
        append(&mut log, &[batch]).unwrap();
    }
    log.close().unwrap();
    model
}

fn bytes_of(path: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
    entries.map(|entry| (entry.file_name().into_string().unwrap(), std::fs::read(entry.path()).unwrap())).collect()
}

fn examined(store: &Examined) -> Model {
    let mut model = Model::new();
    for shard in 0..2 {
        let visit = |key: Key, bytes: &[u8]| {
            model.insert(key, bytes.to_vec());
            ControlFlow::Continue(())
        };
        store.each(shard, visit).unwrap();
    }
    model
}

/// Batch `n` writes `n` to two keys, adds a record of its own, and deletes the one that batch `n - 50` added. So segments are
/// filled, emptied, recycled and removed all the time. Each backup is the state after one batch, which is no earlier than the
/// last batch that was acknowledged when the backup began.
#[test]
fn a_backup_under_load_is_one_past_state_with_all_acknowledged_batches() {
    let (store, backup, restored) = (Folder::new("load"), Folder::new("load-backup"), Folder::new("load-restored"));
    let (acknowledged, stop) = (AtomicU32::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let ended = EndWith(&stop);
        let (mut log, _) = open_at(&store.0);
        let (acknowledged, stop) = (&acknowledged, &stop);
        scope.spawn(move || {
            let mut number = 0_u32;
            while !stop.load(Ordering::Relaxed) {
                number += 1;
                let mut batch = Batch::default();
                for slot in [0, 1, 10 + number] {
                    batch.put_bytes(key(slot), format!("{number}").repeat(30).as_bytes());
                }
                if number > 50 {
                    batch.delete(key(10 + number - 50));
                }
                append(&mut log, &[batch]).unwrap();
                acknowledged.store(number, Ordering::SeqCst);
            }
            log.close().unwrap();
        });
        let rounds = long_or(25);
        let mut last = 0;
        for _ in 0..rounds {
            while acknowledged.load(Ordering::SeqCst) < last + 60 {
                std::thread::yield_now();
            }
            let before = acknowledged.load(Ordering::SeqCst);
            let report = back_up(&store.0, &backup.0).unwrap();
            last = acknowledged.load(Ordering::SeqCst);
            assert!(report.damage.is_none(), "{report:?}");
            restore(&backup.0, &restored.0).unwrap();
            let (log, report) = open_at(&restored.0);
            assert!(report.damage.is_none(), "{report:?}");
            let found = contents(&log);
            let number: u32 = (before..=last + 1)
                .find(|number| found[&key(0)] == number.to_string().repeat(30).into_bytes())
                .expect("what was acknowledged before the backup is in it");
            let first = number.saturating_sub(49).max(1);
            let expected: Vec<u32> = [0, 1].into_iter().chain((first..=number).map(|number| 10 + number)).collect();
            assert_eq!(found.keys().map(|key| key.slot).collect::<Vec<_>>(), expected);
            assert_eq!(found[&key(0)], found[&key(1)], "a batch is whole");
            drop(log);
            std::fs::remove_dir_all(&backup.0).unwrap();
            std::fs::remove_dir_all(&restored.0).unwrap();
        }
        drop(ended);
        println!("{rounds} backups while {} batches were written", acknowledged.load(Ordering::SeqCst));
    });
}

#[test]
fn a_copy_needs_a_store_and_an_empty_directory() {
    let (store, backup, other) = (Folder::new("copy"), Folder::new("copy-backup"), Folder::new("copy-other"));
    let model = filled(&store.0, 50);
    back_up(&store.0, &backup.0).unwrap();
    assert!(matches!(restore(&backup.0, &store.0), Err(CopyError::NotEmpty)));
    std::fs::create_dir(&other.0).unwrap();
    assert!(matches!(restore(&other.0, &backup.0), Err(CopyError::Nothing)));
    std::fs::write(other.file("notes"), "mine").unwrap();
    assert!(matches!(restore(&backup.0, &other.0), Err(CopyError::NotEmpty)));
    assert_eq!(std::fs::read(other.file("notes")).unwrap(), b"mine");
    std::fs::remove_file(other.file("notes")).unwrap();
    let taken = Directory::take(&other.0).unwrap();
    assert!(matches!(restore(&backup.0, &other.0), Err(CopyError::To(OpenError::InUse))));
    drop(taken);
    restore(&backup.0, &other.0).unwrap();
    assert!(contents(&open_at(&other.0).0) == model);
    // A copy that was begun and not finished is no store.
    std::fs::write(other.file("copying"), "").unwrap();
    assert!(matches!(Examined::open(&other.0), Err(OpenError::Unfinished)));
    let directory = Arc::new(Directory::take(&other.0).unwrap());
    assert!(matches!(LogStore::open(directory, options(Sync::Always)), Err(OpenError::Unfinished)));
}

#[test]
fn a_backup_of_a_newer_format_is_refused() {
    let (store, other) = (Folder::new("newer"), Folder::new("newer-other"));
    filled(&store.0, 1);
    let name = bytes_of(&store.0).into_keys().find(|name| name.ends_with(".segment")).unwrap();
    let mut bytes = std::fs::read(store.file(&name)).unwrap();
    bytes[8..12].copy_from_slice(&9u32.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..12]);
    bytes[12..16].copy_from_slice(&crc.to_le_bytes());
    std::fs::write(store.file(&name), bytes).unwrap();
    let before = bytes_of(&store.0);
    assert!(matches!(restore(&store.0, &other.0), Err(CopyError::From(OpenError::Newer { format: 9, .. }))));
    assert!(matches!(repair(&store.0), Err(OpenError::Newer { format: 9, .. })));
    assert_eq!(bytes_of(&store.0), before);
    assert!(!other.0.exists());
}

#[test]
fn a_check_finds_damage_without_writing_and_repair_keeps_whole_records() {
    let store = Folder::new("repair");
    let model = filled(&store.0, 200);
    assert!(Examined::open(&store.0).unwrap().report.damage.is_none());
    // Damages one record in each of three segments, and the header of a fourth.
    let names: Vec<String> = bytes_of(&store.0).into_keys().filter(|name| name.ends_with(".segment")).collect();
    for (number, name) in names.iter().take(4).enumerate() {
        let mut bytes = std::fs::read(store.file(name)).unwrap();
        let body = bytes.windows(50).position(|bytes| bytes[0] >= b'a' && bytes.iter().all(|byte| *byte == bytes[0]));
        bytes[if number < 3 { body.unwrap() } else { 17 }] ^= 4;
        std::fs::write(store.file(name), bytes).unwrap();
    }
    let before = bytes_of(&store.0);
    let looked = Examined::open(&store.0).unwrap();
    assert_eq!((looked.report.damage.places, looked.report.damage.records.get(&1)), (4, Some(&3)));
    let left = examined(&looked);
    drop(looked);
    assert_eq!(bytes_of(&store.0), before, "looking writes nothing");
    let found = repair(&store.0).unwrap();
    assert_eq!(found.damage.places, 4);
    assert_eq!(left.len(), model.len() - 3);
    assert!(left.iter().all(|(key, body)| model[key] == *body));
    let after = Examined::open(&store.0).unwrap();
    assert!(after.report.damage.is_none(), "{:?}", after.report);
    assert_eq!((after.report.instant_ms, after.report.shards), (7, 2));
    assert!(examined(&after) == left);
    assert_eq!(bytes_of(&store.0).into_keys().filter(|name| name.starts_with("damaged-")).count(), 4);
}

#[test]
fn only_the_owner_may_read_the_files_of_a_store() {
    use std::os::unix::fs::PermissionsExt;
    let store = Folder::new("mode");
    filled(&store.0, 1);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.0), 0o700);
    for name in bytes_of(&store.0).into_keys() {
        assert_eq!(mode(&store.file(&name)), 0o600, "{name}");
    }
    assert!(!Directory::look_at(&store.0).unwrap().is_open_to_others().unwrap());
    std::fs::set_permissions(&store.0, std::fs::Permissions::from_mode(0o750)).unwrap();
    assert!(Directory::look_at(&store.0).unwrap().is_open_to_others().unwrap());
}
