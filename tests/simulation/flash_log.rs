//! The log on NOR flash, with the power cut at every operation on the flash, and again at every operation while the log
//! recovers.
//!
//! For units of 1, 4 and 8 bytes these must hold: a batch whose commit has returned is there; a batch whose commit has not
//! returned is there as a whole or not at all; and what was read after a power cut and settled stays readable ever after.
//!
//! `GOLDCREST_CUTS=N` tears each operation in N ways instead of one.

use std::collections::BTreeMap;

use goldcrest_flash::{Error, Found, Key, Log, Place, Slots};
use goldcrest_tests::nor::{Chip, Nor, Operation};
use goldcrest_tests::random::{Random, setting};

const SECTOR: usize = 256;
const SECTORS: usize = 12;
/// Four slots of each of the kinds 1 to 4, and no others.
const SLOTS: Slots = Slots::new([4, 4, 4, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
const PLACES: usize = 16;

/// The expected contents of the log.
type Model = BTreeMap<Key, Vec<u8>>;

/// A put or a delete.
type Change = (Key, Option<Vec<u8>>);

#[test]
fn no_power_cut_loses_a_committed_batch_on_flash_with_units_of_1_byte() {
    cut_everywhere::<1>();
}

#[test]
fn no_power_cut_loses_a_committed_batch_on_flash_with_units_of_4_bytes() {
    cut_everywhere::<4>();
}

#[test]
fn no_power_cut_loses_a_committed_batch_on_flash_with_units_of_8_bytes() {
    cut_everywhere::<8>();
}

fn cut_everywhere<const UNIT: usize>() {
    let trace = Trace::record::<UNIT>(40, &mut Random::new(11));
    let ways = setting("GOLDCREST_CUTS", 1);
    let mut states = 0;
    let mut chip = Chip::new(UNIT, SECTOR, SECTORS);
    for (index, operation) in trace.operations.iter().enumerate() {
        let committed = trace.committed.iter().filter(|end| **end <= index).count();
        let allowed = &trace.models[committed..(committed + 2).min(trace.models.len())];
        for way in 0..ways {
            let mut random = Random::new((index as u64) << 32 | way);
            let mut torn = chip.clone();
            torn.tear(operation, &mut random);
            states += cut_recovery::<UNIT>(&torn, allowed, &mut random);
        }
        chip.apply(operation);
    }
    println!("{states} states after power cuts, with units of {UNIT}: {} operations", trace.operations.len());
}

/// Recovers from a power cut, then cuts the power at each operation of that recovery. Returns how many states were tried.
fn cut_recovery<const UNIT: usize>(torn: &Chip, allowed: &[Model], random: &mut Random) -> u64 {
    let recovery = Recovery::run::<UNIT>(torn, random);
    let Recovery { first, settled, extra, .. } = &recovery;
    assert!(allowed.contains(first), "a batch is lost, or in pieces");
    assert!(&reopened::<UNIT>(recovery.chip.clone(), random) == extra, "settled, and something else the next time");

    let mut chip = torn.clone();
    for (index, operation) in recovery.operations.iter().enumerate() {
        let mut torn = chip.clone();
        torn.tear(operation, random);
        let again = Recovery::run::<UNIT>(&torn, random);
        let fine = if index < *settled {
            allowed.contains(&again.first)
        } else {
            again.first == *extra || index < recovery.committed && again.first == *first
        };
        assert!(fine, "a batch is lost, or in pieces, at {index} of the recovery, which was settled at {settled}");
        assert!(reopened::<UNIT>(again.chip, random) == again.extra, "settled, and something else the next time");
        chip.apply(operation);
    }
    1 + recovery.operations.len() as u64
}

/// The most delicate moment: the entry that makes an area valid is torn, and the next start reads it as invalid and erases
/// the area. The power is cut again during that erase. The area must not become valid, because its contents are partly
/// erased.
#[test]
fn an_area_once_found_invalid_never_becomes_valid_again() {
    let trace = Trace::record::<4>(40, &mut Random::new(12));
    let starts_area = |address: usize| address.is_multiple_of(SECTOR * SECTORS / 2);
    let mut chip = Chip::new(4, SECTOR, SECTORS);
    let mut tried = 0;
    for (index, operation) in trace.operations.iter().enumerate() {
        let is_entry = matches!(operation, Operation::Write(address, _) if starts_area(*address));
        for way in 0..if is_entry { 300 } else { 0 } {
            let mut random = Random::new((index as u64) << 32 | way);
            let mut torn = chip.clone();
            torn.tear(operation, &mut random);
            let mut erased = torn.clone();
            for operation in Recovery::run::<4>(&torn, &mut random).operations {
                if matches!(operation, Operation::Erase(address) if starts_area(address)) {
                    erased.tear(&operation, &mut random);
                    let again = Recovery::run::<4>(&erased, &mut random);
                    assert!(reopened::<4>(again.chip, &mut random) == again.extra, "what was void came back");
                    tried += 1;
                    break;
                }
                erased.apply(&operation);
            }
        }
        chip.apply(operation);
    }
    assert!(tried > 1000, "{tried}");
}

/// The operations on a flash during a run without power cuts.
struct Trace {
    operations: Vec<Operation>,
    /// For each commit, the number of operations when it returned.
    committed: Vec<usize>,
    /// The contents before the first batch, and after each.
    models: Vec<Model>,
}

impl Trace {
    fn record<const UNIT: usize>(batches: usize, random: &mut Random) -> Self {
        let flash = Nor::<UNIT, SECTOR>::new(Chip::new(UNIT, SECTOR, SECTORS), 0);
        let mut places = [Place::NONE; PLACES];
        let (mut log, found) = Log::open(flash.clone(), whole(), SLOTS, &mut places).unwrap();
        assert!(found.is_new);
        let mut model = Model::new();
        let (mut committed, mut models) = (Vec::new(), vec![model.clone()]);
        for _ in 0..batches {
            let batch = some_batch(random, &model);
            write(&mut log, &batch).unwrap();
            committed.push(flash.operations());
            change(&mut model, batch);
            models.push(model.clone());
            if random.percent(30) {
                log.idle().unwrap();
            }
        }
        assert_eq!(contents(&mut log), model);
        Self { operations: flash.done(), committed, models }
    }
}

/// The operations and contents of one start after a power cut.
struct Recovery {
    /// The contents that the start found.
    first: Model,
    operations: Vec<Operation>,
    /// The number of operations when the log was settled.
    settled: usize,
    /// The number of operations when the first batch after the start was committed.
    committed: usize,
    /// The contents after that first batch.
    extra: Model,
    chip: Chip,
}

impl Recovery {
    fn run<const UNIT: usize>(chip: &Chip, random: &mut Random) -> Self {
        let flash = Nor::<UNIT, SECTOR>::new(chip.clone(), random.draw());
        let mut places = [Place::NONE; PLACES];
        let (mut log, found) = open(flash.clone(), &mut places);
        assert_eq!(found.damaged, 0, "a power cut is no damage");
        let first = contents(&mut log);
        log.commit().unwrap();
        let settled = flash.operations();
        assert_eq!(contents(&mut log), first);

        let mut extra = first.clone();
        let batch = vec![(Key::new(1, 0).unwrap(), Some(sealed(&[7; 21]))), (Key::new(2, 1).unwrap(), None)];
        write(&mut log, &batch).unwrap();
        let committed = flash.operations();
        change(&mut extra, batch);
        while log.idle().unwrap() {}
        Self { first, operations: flash.done(), settled, committed, extra, chip: flash.chip() }
    }
}

#[test]
fn a_batch_that_does_not_fit_is_refused_and_deletes_make_room() {
    let flash = Nor::<4, SECTOR>::new(Chip::new(4, SECTOR, SECTORS), 0);
    let mut places = [Place::NONE; PLACES];
    let (mut log, _) = open(flash, &mut places);
    let mut model = Model::new();
    let keys: Vec<Key> = (0..16).map(|number| Key::new(1 + number / 4, u32::from(number % 4)).unwrap()).collect();
    let record = |number: u8| sealed(&[number; 100]);
    let mut refused = 0;
    for round in 0..20 {
        for (number, key) in keys.iter().enumerate() {
            let fits = log.room() >= 108 || model.contains_key(key);
            match log.put(*key, &record(number as u8 ^ round)) {
                Ok(()) => change(&mut model, vec![(*key, Some(record(number as u8 ^ round)))]),
                Err(error) => {
                    assert_eq!((error, fits), (Error::Full, false));
                    refused += 1;
                }
            }
            log.commit().unwrap();
        }
        for key in keys.iter().skip(usize::from(round) % 5).step_by(3) {
            log.delete(*key).unwrap();
            change(&mut model, vec![(*key, None)]);
        }
        log.commit().unwrap();
        assert_eq!(contents(&mut log), model);
    }
    assert!(refused > 20, "{refused}");
    let (flash, mut places) = (log.into_flash(), [Place::NONE; PLACES]);
    assert_eq!(contents(&mut open(flash, &mut places).0), model);
}

/// A flipped bit damages the record that it is in. In a header it may also bring back an older record, or undo the deletions
/// behind it. In the trailer of the last batch it makes that batch look unfinished.
#[test]
fn a_flipped_bit_damages_few_records_and_is_reported() {
    let mut random = Random::new(5);
    let flash = Nor::<4, SECTOR>::new(Chip::new(4, SECTOR, SECTORS), 0);
    let mut places = [Place::NONE; PLACES];
    let (mut log, _) = open(flash.clone(), &mut places);
    let mut model = Model::new();
    for _ in 0..60 {
        let batch = some_batch(&mut random, &model);
        write(&mut log, &batch).unwrap();
        change(&mut model, batch);
    }
    write(&mut log, &[(Key::new(4, 3).unwrap(), None)]).unwrap();
    model.remove(&Key::new(4, 3).unwrap());
    let last_trailer = match flash.done().pop() {
        Some(Operation::Write(address, bytes)) => address..address + bytes.len(),
        other => panic!("the last operation was {other:?}"),
    };

    let mut counted = 0;
    for address in (0..SECTOR * SECTORS).filter(|address| !last_trailer.contains(address)) {
        let mut chip = flash.chip();
        chip.rot(address, random.below(8));
        let mut places = [Place::NONE; PLACES];
        let (mut log, found) = open(Nor::<4, SECTOR>::new(chip, 0), &mut places);
        let contents = contents(&mut log);
        let different = SLOTS_KEYS.iter().filter(|(kind, slot)| {
            let key = Key::new(*kind, *slot).unwrap();
            contents.get(&key) != model.get(&key)
        });
        let different = different.count();
        assert!(different <= 3, "{different} records at {address}");
        assert!(different == 0 || found.damaged > 0, "{different} records at {address}, and nothing is said");
        counted += usize::from(found.damaged > 0);
    }
    assert!(counted > 200, "{counted}");
}

#[test]
fn a_flash_without_a_readable_area_is_treated_as_new() {
    let mut random = Random::new(1);
    let mut chip = Chip::new(8, SECTOR, SECTORS);
    for address in 0..SECTOR * SECTORS {
        chip.rot(address, random.below(8));
    }
    let mut places = [Place::NONE; PLACES];
    let (mut log, found) = open(Nor::<8, SECTOR>::new(chip, 0), &mut places);
    assert!(found.is_new);
    let key = Key::new(1, 1).unwrap();
    write(&mut log, &[(key, Some(sealed(b"x")))]).unwrap();
    assert_eq!(contents(&mut log).len(), 1);
}

/// Writes as a broker does: many small batches, whose messages are soon deleted.
#[test]
fn sectors_are_erased_equally_often() {
    let mut random = Random::new(3);
    let flash = Nor::<4, 1024>::new(Chip::new(4, 1024, 16), 0);
    let mut places = [Place::NONE; PLACES];
    let (mut log, _) = Log::open(flash.clone(), 0..16 * 1024, SLOTS, &mut places).unwrap();
    let mut model = Model::new();
    let mut given = 0;
    for _ in 0..20_000 {
        let batch = some_batch(&mut random, &model);
        given += batch.iter().filter_map(|(_, record)| record.as_ref()).map(Vec::len).sum::<usize>();
        write(&mut log, &batch).unwrap();
        change(&mut model, batch);
        log.idle().unwrap();
    }
    let written: usize =
        flash.done().iter().map(|done| if let Operation::Write(_, bytes) = done { bytes.len() } else { 0 }).sum();
    let chip = flash.chip();
    let (least, most) = (chip.erases().iter().min().unwrap(), chip.erases().iter().max().unwrap());
    let amplification = written as f64 / given as f64;
    println!(
        "20,000 batches, {given} bytes of records: {amplification:.2} bytes written for each, {least} to {most} erases of a sector"
    );
    assert!(most - least <= 1);
    assert!(amplification < 2.0, "{amplification}");
}

const SLOTS_KEYS: [(u8, u32); PLACES] = {
    let mut keys = [(0, 0); PLACES];
    let mut index = 0;
    while index < PLACES {
        keys[index] = (1 + index as u8 / 4, index as u32 % 4);
        index += 1;
    }
    keys
};

fn whole() -> std::ops::Range<u32> {
    0..(SECTOR * SECTORS) as u32
}

fn open<const UNIT: usize>(flash: Nor<UNIT, SECTOR>, places: &mut [Place]) -> (Log<'_, Nor<UNIT, SECTOR>>, Found) {
    Log::open(flash, whole(), SLOTS, places).unwrap()
}

/// The contents that another start would find.
fn reopened<const UNIT: usize>(chip: Chip, random: &mut Random) -> Model {
    let mut places = [Place::NONE; PLACES];
    contents(&mut open(Nor::<UNIT, SECTOR>::new(chip, random.draw()), &mut places).0)
}

fn write<const UNIT: usize, const SECTOR: usize>(
    log: &mut Log<'_, Nor<UNIT, SECTOR>>,
    batch: &[Change],
) -> Result<(), Error<goldcrest_tests::nor::Misuse>> {
    for (key, record) in batch {
        match record {
            Some(record) => log.put(*key, record)?,
            None => log.delete(*key)?,
        }
    }
    log.commit()
}

fn change(model: &mut Model, batch: Vec<Change>) {
    for (key, record) in batch {
        match record {
            Some(record) => model.insert(key, record),
            None => model.remove(&key),
        };
    }
}

fn contents<const UNIT: usize, const SECTOR: usize>(log: &mut Log<'_, Nor<UNIT, SECTOR>>) -> Model {
    let (mut model, mut cursor, mut buffer) = (Model::new(), 0, [0; 512]);
    while let Some((key, len)) = log.next_record(&mut cursor, &mut buffer).unwrap() {
        assert!(model.keys().all(|before| *before < key), "keys ascend");
        assert_eq!(model.insert(key, buffer[..len].to_vec()), None);
    }
    model
}

/// One to four changes of different keys, at times the same key twice.
fn some_batch(random: &mut Random, model: &Model) -> Vec<Change> {
    (0..1 + random.below(4))
        .map(|_| {
            let (kind, slot) = random.choose(&SLOTS_KEYS);
            let key = Key::new(kind, slot).unwrap();
            let delete = model.contains_key(&key) && random.percent(50);
            let len = 1 + random.below(60);
            // Many bits are 1, so that bytes look erased.
            let bytes: Vec<u8> = (0..len).map(|_| random.draw() as u8 | random.draw() as u8).collect();
            (key, (!delete).then(|| sealed(&bytes)))
        })
        .collect()
}

/// The bytes behind their CRC-32.
fn sealed(bytes: &[u8]) -> Vec<u8> {
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    [&(!crc).to_le_bytes()[..], bytes].concat()
}
