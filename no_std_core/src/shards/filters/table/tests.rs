use std::collections::BTreeMap;

use super::*;
use crate::mem::testing::Random;

const EIGHT: Shard = Shard { index: 0, count: 8 };

/// What [`FilterTable::visit`] tells, each shard once.
fn wanting(table: &FilterTable, hash: u32) -> BTreeMap<u16, bool> {
    let mut found = BTreeMap::new();
    table.visit(hash, |sibling, durable| *found.entry(sibling).or_default() |= durable);
    found
}

/// Bytes that the table has taken from the allocator.
fn bytes(table: &FilterTable) -> usize {
    table.entries.capacity() * size_of::<Packed>() + table.lens.capacity() * size_of::<u32>()
}

/// A few rows are full and alike filters many, or the rows fill evenly.
fn random_hash(random: &mut Random, spread: usize) -> u32 {
    match spread {
        0 => random.next(),
        spread => (random.below(spread) as u32).wrapping_mul(0x0101_0101),
    }
}

/// Random changes against a list of all filters, each with its owner and mark.
fn run_against_model(shards: u16, spread: usize, steps: usize) {
    let mut table = FilterTable::new(Shard { index: 0, count: shards }, 100_000, MemoryAccount::UNBOUNDED);
    let mut model = BTreeMap::<(u32, u16), Vec<bool>>::new();
    let mut random = Random::new(u64::from(shards) << 20 | spread as u64);
    let mut len = 0;
    for _ in 0..steps {
        let known = random.choose(model.keys().copied()).filter(|_| random.below(2) == 0);
        let new = (random_hash(&mut random, spread), random.below(shards.into()) as u16);
        let (hash, sibling) = known.unwrap_or(new);
        match random.below(5) {
            0..=2 => {
                let is_durable = random.below(3) == 0;
                assert!(table.insert(hash, sibling, is_durable));
                model.entry((hash, sibling)).or_default().push(is_durable);
                len += 1;
            }
            3 => {
                if let Some(marks) = model.get_mut(&(hash, sibling)) {
                    let at = random.below(marks.len());
                    marks[at] = true;
                    table.make_durable(hash, sibling);
                }
            }
            _ => {
                if let Some(marks) = model.get_mut(&(hash, sibling)) {
                    marks.swap_remove(random.below(marks.len()));
                    if marks.is_empty() {
                        model.remove(&(hash, sibling));
                    }
                    assert!(table.remove(hash, sibling));
                    len -= 1;
                }
            }
        }
        assert_eq!(table.len, len);
        let filters = model.range((hash, 0)..=(hash, u16::MAX));
        let found = wanting(&table, hash);
        for ((_, sibling), marks) in filters {
            let is_durable = found.get(sibling).copied().expect("a filter that is there is found");
            assert!(is_durable || !marks.contains(&true), "a durable filter stays durable");
        }
    }
    for ((hash, sibling), marks) in &model {
        for _ in marks {
            assert!(wanting(&table, *hash).contains_key(sibling));
            assert!(table.remove(*hash, *sibling));
        }
    }
    assert_eq!((table.len, bytes(&table)), (0, 0), "all memory is given back");
}

#[test]
fn no_filter_is_missed_whatever_comes_and_goes() {
    for shards in [2, 3, 8, 256] {
        for spread in [0, 3, 40, 700] {
            run_against_model(shards, spread, if spread == 0 { 6_000 } else { 3_000 });
        }
    }
}

#[test]
fn filters_that_are_not_there_are_seldom_found() {
    const FILTERS: usize = 200_000;
    let (mut table, mut random) = (FilterTable::new(EIGHT, FILTERS, MemoryAccount::UNBOUNDED), Random::new(5));
    for number in 0..FILTERS {
        assert!(table.insert(random.next(), 1 + (number % 7) as u16, false));
    }
    let tried: usize = 200_000;
    let found = (0..tried).filter(|_| !wanting(&table, random.next()).is_empty()).count();
    // 29 bits of each hash are looked at.
    let expected = (tried * FILTERS) >> 29;
    assert!((expected / 2..=expected * 2).contains(&found), "{found} of {tried}, {expected} are to be expected");
}

#[test]
fn a_filter_takes_no_more_than_the_budget_says_and_never_much_time() {
    let (mut table, mut random) = (FilterTable::new(EIGHT, 50_000, MemoryAccount::UNBOUNDED), Random::new(9));
    for filters in 1..=300_000usize {
        assert!(table.insert(random.next(), 1 + (filters % 7) as u16, false));
        let budget = (filters + ROWS * FilterTable::FREE_IN_ROW) * FilterTable::BYTES_EACH;
        assert!(bytes(&table) <= budget, "{filters} filters take {} bytes of {budget}", bytes(&table));
        // The rows that are moved at once, and once more for a row that was full meanwhile.
        let moved = std::mem::take(&mut table.bytes_moved);
        let row = (filters / ROWS + 64) * size_of::<Packed>();
        assert!(moved <= 2 * MOVED_AT_ONCE * row, "{moved} bytes are moved for one of {filters} filters");
    }
    assert_eq!(FilterTable::slots(EIGHT, 50_000), 350_000 + ROWS * FilterTable::FREE_IN_ROW);
    assert_eq!(FilterTable::slots(Shard::ONLY, 50_000), 0);
}

#[test]
fn a_filter_without_room_is_refused_and_a_removal_makes_room() {
    let mut table = FilterTable::new(Shard { index: 0, count: 2 }, 2, MemoryAccount::UNBOUNDED);
    let [one, two, three] = [1 << 8, 2 << 8, 3 << 8];
    assert!(table.insert(one, 1, false) && table.insert(two, 1, false) && !table.insert(three, 1, false));
    assert!(!table.remove(three, 1) && !table.remove(one, 0));
    assert!(table.remove(one, 1) && table.insert(three, 1, true) && !table.insert(one, 1, false));
    assert_eq!([one, two, three].map(|hash| wanting(&table, hash).len()), [0, 1, 1]);
}

#[test]
fn filters_that_cannot_be_told_apart_are_counted() {
    let mut table = FilterTable::new(EIGHT, 1_000, MemoryAccount::UNBOUNDED);
    assert_eq!(table.most_alike(), 0);
    for number in 0..500u32 {
        table.insert(number << 20, 1, false);
    }
    assert_eq!(table.most_alike(), 1);
    (1..8).for_each(|sibling| assert!(table.insert(7 << 20, sibling, false)));
    assert_eq!(table.most_alike(), 8);
}
