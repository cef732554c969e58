use std::collections::BTreeSet;

use super::*;
use crate::mem::testing::Random;

fn journal<'m>(slots: impl Fn() -> Slots<'m, u8>) -> Journal<'m> {
    let memory = JournalMemory {
        sessions: slots(),
        groups: slots(),
        subscriptions: slots(),
        messages: slots(),
        retained: slots(),
        deliveries: slots(),
        receipts: slots(),
    };
    Journal::new(memory, true)
}

fn both(mut test: impl FnMut(Journal<'_>)) {
    test(journal(|| Slots::borrowed(std::vec![0xFF; 100].leak())));
    #[cfg(feature = "alloc")]
    test(journal(|| Slots::owned(100)));
}

#[test]
fn each_marked_slot_is_polled_once() {
    both(|mut journal| {
        let mut random = Random::new(11);
        let mut dirty = BTreeSet::new();
        for _ in 0..5_000 {
            let (kind, slot) = (Kind::ALL[random.below(7)], random.below(100));
            match random.below(3) {
                0 => match journal.next() {
                    Some((kind, slot)) => {
                        assert!(dirty.remove(&(kind, slot as usize)));
                        journal.recorded(kind, slot, true, true);
                    }
                    None => assert!(dirty.is_empty()),
                },
                _ => {
                    journal.mark(kind, slot);
                    dirty.insert((kind, slot));
                }
            }
        }
    });
}

#[test]
fn a_lazy_mark_is_recorded_only_together_with_another_mark() {
    both(|mut journal| {
        journal.mark_lazily(Kind::Session, 3);
        assert!(!journal.has_records() && journal.next().is_none());
        journal.mark(Kind::Message, 1);
        for expected in [(Kind::Session, 3), (Kind::Message, 1)] {
            assert_eq!(journal.next(), Some(expected));
            journal.recorded(expected.0, expected.1, true, true);
        }
        assert_eq!(journal.next(), None);
    });
}

/// A bug of the past: the body was not counted if another message in the same slot had just ended.
#[cfg(feature = "alloc")]
#[test]
fn a_body_counts_even_if_its_slot_is_already_marked() {
    both(|mut journal| {
        journal.mark(Kind::Message, 1);
        assert_eq!(journal.gathered(), RECORD_BYTES);
        journal.mark_with_body(Kind::Message, 1, 1_000);
        assert_eq!(journal.gathered(), RECORD_BYTES + 1_000);
        journal.recorded(Kind::Message, 1, true, true);
        assert_eq!(journal.next(), None);
        journal.end_batch();
        assert_eq!(journal.gathered(), 0);
    });
}

#[test]
fn a_batch_is_unsafe_until_it_is_set_safe_and_never_again() {
    both(|mut journal| {
        let first = journal.gathering();
        assert!(journal.is_unsafe(first) && !journal.is_unsafe(0));
        let one = journal.end_batch();
        let second = journal.gathering();
        let two = journal.end_batch();
        assert!(first != second && journal.is_unsafe(first) && journal.is_unsafe(second));
        journal.set_safe(one);
        assert!(!journal.is_unsafe(first) && journal.is_unsafe(second));
        journal.set_safe(two);
        journal.set_safe(one);
        assert!(!journal.is_unsafe(second));
        assert_eq!((journal.end_batch(), journal.barrier()), (two, 0), "there is nothing new");
    });
}

#[test]
fn a_batch_does_not_end_before_all_its_records_are_polled() {
    both(|mut journal| {
        let before = journal.end_batch();
        journal.mark(Kind::Receipt, 5);
        let batch = journal.gathering();
        assert_eq!(journal.end_batch(), before);
        journal.set_safe(before);
        assert!(journal.is_unsafe(batch));
        assert_eq!(journal.next(), Some((Kind::Receipt, 5)));
        journal.recorded(Kind::Receipt, 5, true, true);
        assert_eq!(journal.next(), None);
        let ended = journal.end_batch();
        assert_ne!(ended, before);
        journal.set_safe(ended);
        assert!(!journal.is_unsafe(batch));
    });
}

#[test]
fn batch_numbers_wrap_around_and_an_old_number_counts_as_safe() {
    both(|mut journal| {
        let forgotten = journal.gathering();
        (journal.batches.gathering, journal.batches.ended, journal.batches.safe) =
            (u32::MAX - 1, u32::MAX - 2, u32::MAX - 2);
        for _ in 0..5 {
            let batch = journal.gathering();
            assert!(batch != 0 && journal.is_unsafe(batch));
            let ended = journal.end_batch();
            assert!(journal.is_unsafe(batch));
            journal.set_safe(ended);
            assert!(!journal.is_unsafe(batch) && !journal.is_unsafe(u32::MAX / 2));
        }
        assert!(!journal.is_unsafe(forgotten));
    });
}

#[cfg(feature = "alloc")]
#[test]
fn a_forgotten_slot_is_not_polled_until_it_is_marked_again() {
    let mut journal = journal(|| Slots::owned(100));
    for slot in [3, 5, 7] {
        journal.mark(Kind::Message, slot);
    }
    assert_eq!(journal.dirty_at(Kind::Message, 1), Some(5));
    journal.forget(Kind::Message, 1);
    assert_eq!(journal.dirty(Kind::Message), 2);
    journal.mark(Kind::Message, 5);
    journal.mark(Kind::Message, 3);
    let mut met = BTreeSet::new();
    while let Some((kind, slot)) = journal.next() {
        assert!(met.insert(slot));
        journal.recorded(kind, slot, true, true);
    }
    assert_eq!(met, BTreeSet::from([3, 5, 7]));
}

#[cfg(feature = "alloc")]
#[test]
fn a_released_batch_counts_as_safe_and_its_marks_stay() {
    let mut journal = journal(|| Slots::owned(100));
    assert!(!journal.release());
    journal.mark(Kind::Message, 3);
    let waited_for = journal.gathering();
    journal.mark_lazily(Kind::Message, 4);
    assert!(journal.is_unsafe(waited_for) && !journal.is_under_way());
    assert!(journal.release() && !journal.is_unsafe(waited_for));
    // The marks stay, for the next batch.
    assert!(journal.has_records());
    assert!(journal.is_unsafe(journal.batches.gathering));
    while let Some((kind, slot)) = journal.next() {
        journal.recorded(kind, slot, true, true);
        assert!(journal.is_under_way());
    }
    let batch = journal.end_batch();
    assert!(journal.is_under_way());
    journal.set_safe(batch);
    assert!(!journal.is_under_way() && !journal.has_records());
}
