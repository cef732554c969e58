//! The recorded time, from which the clock goes on at the next start.

use super::*;
use crate::log::format::HEADER;
use std::sync::Mutex;

/// A jump of the time of day is recorded at once; otherwise a start soon after would take the jump for time that has passed.
/// The time is also recorded now and then if nothing is appended, whatever room the active segment has.
#[test]
fn the_time_is_recorded_at_a_clock_jump_and_at_intervals() {
    const WALL: u64 = 1_800_000_000_000;
    let disk = FaultyDisk::new(Files::new(), 3);
    let time = Arc::new(Mutex::new((1_000, WALL)));
    let source = time.clone();
    let options = Options { time: Arc::new(move || *source.lock().unwrap()), ..options(Sync::Always) };
    let (mut log, _) = LogStore::open(Arc::new(disk.clone()), options.clone()).unwrap();
    log.upkeep(Duration::ZERO).unwrap();
    assert_eq!(open_files(disk.files()).1.instant_ms, 0, "nothing is in it that could expire");
    let mut batch = Batch::default();
    batch.put_bytes(key(0), b"stays");
    append(&mut log, &[batch]).unwrap();
    drop(log);
    let (mut log, _) = LogStore::open(Arc::new(disk.clone()), options).unwrap();
    let recorded = || {
        let report = open_files(disk.crash()).1;
        (report.instant_ms, report.wall_ms)
    };
    let mut upkeep = |now| {
        *time.lock().unwrap() = now;
        log.upkeep(Duration::ZERO).unwrap();
        recorded()
    };
    // A start records the time before anything is appended. Then the clock of a machine without a battery is set.
    assert_eq!(upkeep((1_100, WALL + 100)), (1_100, WALL + 100));
    assert_eq!(upkeep((1_500, WALL + 500)), (1_100, WALL + 100));
    assert_eq!(upkeep((2_000, WALL + 86_400_000)), (2_000, WALL + 86_400_000));
    assert_eq!(upkeep((2_100, WALL + 86_400_100)), (2_000, WALL + 86_400_000));
    assert_eq!(upkeep((2_200, 100)), (2_200, 100));
    assert_eq!(upkeep((2_300, WALL)), (2_300, WALL));
    // The time of day moves off slowly, as when a clock runs fast: at most a second of it is not recorded.
    assert_eq!(upkeep((3_300, WALL + 1_999)), (2_300, WALL));
    assert_eq!(upkeep((4_300, WALL + 3_000)), (4_300, WALL + 3_000));
    let mut now = (4_300, WALL + 3_000);
    for _ in 0..3 * SEGMENT / HEADER as u64 {
        now = (now.0 + 60_000, now.1 + 60_000);
        assert_eq!(upkeep(now), now);
    }
    assert!(disk.used() <= 6 * SEGMENT, "{}", disk.used());
}

/// A bug of the past: the last segment held nothing but the time, so the next start used that segment again. The start after
/// that read the time from an older segment, so all time that had passed and all jumps of the clock counted once more.
#[test]
fn the_recorded_time_is_not_lost_with_its_segment() {
    for sync in [Sync::Always, Sync::Interval(Duration::from_secs(1)), Sync::Never] {
        let disk = FaultyDisk::new(Files::new(), 7);
        let (mut recorded, mut now) = (0, 1_000);
        for start in 0..12 {
            let options = Options { time: Arc::new(move || (now, 1_800_000_000_000 + now)), ..options(sync) };
            disk.take_images();
            let (mut log, report) = open(&disk, options).unwrap();
            assert!(report.instant_ms >= recorded, "start {start}");
            if start == 0 {
                let mut batch = Batch::default();
                batch.put_bytes(key(0), b"stays");
                append(&mut log, &[batch]).unwrap();
            }
            for _ in 0..6 {
                log.upkeep(Duration::ZERO).unwrap();
            }
            if start % 3 == 0 {
                log.close().unwrap();
            }
            for image in disk.take_images() {
                let (log, report) = open_files(image);
                assert!(report.instant_ms >= recorded, "start {start}: {} after {recorded}", report.instant_ms);
                drop(log);
            }
            assert_eq!(open_files(disk.crash()).1.instant_ms, now, "start {start}");
            (recorded, now) = (now, now + 1_000);
        }
        assert!(disk.used() <= 6 * SEGMENT, "{}", disk.used());
    }
}
