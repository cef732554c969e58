//! Random runs of whole brokers, compared with a naive model.
//!
//! QoS 0 arrives at most once, QoS 1 at least once, QoS 2 exactly once at each Session, across broken connections.
//! Messages of one publisher and topic keep their order. Messages that do not arrive are counted. Retained messages are
//! those of the model. When all clients have left, the broker is empty. `GOLDCREST_SIM_STEPS` and `GOLDCREST_SIM_SEEDS`
//! make the runs longer, `GOLDCREST_SIM_FIRST` begins with another seed.

mod model;
mod network;
mod system;
mod transitions;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use goldcrest_core::{Capacity, Config, Limits, Overflow};
use goldcrest_tests::memory::Storage;
use goldcrest_tests::random::{self, Random, setting};
use goldcrest_tests::world::Sync;
use system::{Setup, System};
use transitions::{Mix, Transition};

const PLENTY: Capacity = Capacity {
    connections: 24,
    sessions: 48,
    subscriptions: 512,
    topic_levels: 512,
    messages: 20_000,
    deliveries: 60_000,
    bytes: 6 << 20,
};

/// So little memory that messages, deliveries and bytes run out all the time.
const SCARCE: Capacity = Capacity { messages: 96, deliveries: 120, bytes: 60 * 300, ..PLENTY };

const ALL: Mix = Mix { clients: 7, stalls: true, bursts: true, shared: true, retained_wills: true, crashes: false };

fn limits() -> Limits {
    Limits::GATEWAY.with(|limits| {
        limits.packet_bytes = 4_096;
        limits.queued_messages = 100_000;
    })
}

fn generous(shards: u16, storage: Storage, transmit_size: usize, mix: Mix) -> Setup {
    let config = Config { limits: limits(), ..Config::gateway(1) };
    Setup { shards, storage, config, transmit_size, mix, generous: true, sync: Sync::AtOnce }
}

fn run(seed: u64, steps: u64, setup: Setup) -> System {
    let mut random = Random::new(seed);
    let mut system = System::new(setup.clone());
    let mut history: Vec<Transition> = Vec::new();
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        for _ in 0..steps {
            history.push(Transition::draw(&mut random, &setup.mix));
            system.step(history.last().unwrap());
        }
        system.finish();
    }));
    if let Err(panic) = outcome {
        println!("seed {seed}, step {} of {steps}, of {setup:?}; the last transitions:", history.len());
        history.iter().rev().take(12).rev().for_each(|transition| println!("  {transition:?}"));
        resume_unwind(panic);
    }
    assert!(system.happened > steps / 4, "most transitions make sense: {} of {steps}", system.happened);
    system
}

fn seeds() -> impl Iterator<Item = u64> {
    random::seeds(3)
}

fn steps(usual: u64) -> u64 {
    setting("GOLDCREST_SIM_STEPS", usual)
}

#[test]
fn a_single_broker_behaves_as_the_model() {
    for seed in seeds() {
        run(seed, steps(10_000), generous(1, Storage::Owned(PLENTY), 64 * 1024, ALL));
    }
}

#[test]
fn a_broker_in_borrowed_memory_behaves_as_the_model() {
    for seed in seeds() {
        run(100 + seed, steps(10_000), generous(1, Storage::Borrowed(PLENTY), 100, ALL));
    }
}

#[test]
fn a_broker_with_output_buffers_of_any_size_behaves_as_the_model() {
    for seed in seeds() {
        for (at, transmit_size) in [1, 2, 3, 7, 64, 1_000].into_iter().enumerate() {
            run(200 + 10 * seed + at as u64, steps(1_500), generous(1, Storage::Owned(PLENTY), transmit_size, ALL));
        }
    }
}

#[test]
fn several_shards_together_behave_as_the_model() {
    for seed in seeds() {
        for shards in [2, 3, 4] {
            let storage = if shards == 3 { Storage::Borrowed(PLENTY) } else { Storage::Owned(PLENTY) };
            run(300 + 10 * seed + u64::from(shards), steps(4_000), generous(shards, storage, 5_000, ALL));
        }
    }
}

#[test]
fn with_scarce_memory_every_lost_message_is_counted() {
    let mix = Mix { bursts: false, shared: false, retained_wills: false, ..ALL };
    let short = limits().with(|limits| {
        limits.queued_messages = 6;
        limits.queued_bytes = 600;
        limits.inflight = 8;
    });
    for seed in seeds() {
        let mut at = 0;
        for overflow in [Overflow::DropNewest, Overflow::DropOldest, Overflow::KeepLatest, Overflow::Refuse] {
            for (capacity, limits) in [(SCARCE, limits()), (PLENTY, short), (SCARCE, short)] {
                for shards in [1, 3] {
                    at += 1;
                    let storage = if at % 2 == 0 { Storage::Owned(capacity) } else { Storage::Borrowed(capacity) };
                    let config = Config { limits, overflow, ..Config::gateway(1) };
                    let setup =
                        Setup { shards, storage, config, transmit_size: 500, mix, generous: false, sync: Sync::AtOnce };
                    run(400 + 100 * seed + at, steps(500), setup);
                }
            }
        }
    }
}

/// `setup` with a broker that keeps records; `sync` says when they are safe.
fn durable(setup: Setup, sync: Sync) -> Setup {
    Setup { config: Config { durable: true, ..setup.config }, sync, ..setup }
}

const BOTH: [Storage; 2] = [Storage::Owned(PLENTY), Storage::Borrowed(PLENTY)];

#[test]
fn clients_see_no_difference_when_records_are_kept() {
    let mix = Mix { bursts: false, shared: false, stalls: false, ..ALL };
    for (seed, storage) in seeds().zip(BOTH.into_iter().cycle()) {
        let setup = generous(1, storage, 64 * 1024, mix);
        let without = run(600 + seed, steps(1_500), setup.clone());
        for sync in [Sync::AtOnce, Sync::Late] {
            let with = run(600 + seed, steps(1_500), durable(setup.clone(), sync));
            let difference: Vec<_> = with.came.symmetric_difference(&without.came).collect();
            assert!(difference.is_empty(), "seed {}, {sync:?}: {difference:?}", 600 + seed);
        }
    }
}

#[test]
fn a_broker_that_keeps_records_behaves_as_the_model() {
    for (seed, storage) in seeds().zip(BOTH.into_iter().cycle()) {
        for sync in [Sync::AtOnce, Sync::Late] {
            run(700 + seed, steps(2_000), durable(generous(1, storage, 100, ALL), sync));
        }
    }
}

#[test]
fn several_shards_that_keep_records_behave_as_the_model() {
    for (seed, storage) in seeds().zip(BOTH.into_iter().cycle()) {
        for (shards, sync) in [(2, Sync::AtOnce), (3, Sync::Late)] {
            let setup = durable(generous(shards, storage, 5_000, ALL), sync);
            run(1_200 + 10 * seed + u64::from(shards), steps(2_000), setup);
        }
    }
}

/// The same setup, with a broker that keeps bodies on disk alone once those in memory exceed `body_budget` bytes.
fn away(setup: Setup, body_budget: usize) -> Setup {
    Setup { storage: Storage::Owned(PLENTY), config: Config { body_budget, ..setup.config }, ..setup }
}

#[test]
fn clients_see_no_difference_when_bodies_are_on_disk() {
    let mix = Mix { bursts: false, shared: false, stalls: false, ..ALL };
    for seed in seeds() {
        let setup = durable(generous(1, Storage::Owned(PLENTY), 64 * 1024, mix), Sync::AtOnce);
        let without = run(1_000 + seed, steps(1_500), setup.clone());
        for (sync, body_budget) in [(Sync::AtOnce, 1), (Sync::Late, 1), (Sync::Late, 2_000)] {
            let with = run(1_000 + seed, steps(1_500), away(durable(setup.clone(), sync), body_budget));
            assert_eq!(with.came, without.came, "seed {}, {sync:?}", 1_000 + seed);
        }
    }
}

#[test]
fn a_broker_with_bodies_on_disk_behaves_as_the_model() {
    let mix = Mix { retained_wills: false, crashes: true, ..ALL };
    for seed in seeds() {
        for (shards, sync) in [(1, Sync::AtOnce), (1, Sync::Late), (2, Sync::Late)] {
            for transmit_size in [100, 5_000] {
                let mix = Mix { shared: shards == 1, ..mix };
                let setup = durable(generous(shards, Storage::Owned(PLENTY), transmit_size, mix), sync);
                run(1_100 + 10 * seed + u64::from(shards), steps(1_500), away(setup, 1));
            }
        }
    }
}

#[test]
fn after_a_crash_a_broker_has_lost_only_its_connections() {
    let mix = Mix { retained_wills: false, crashes: true, ..ALL };
    for (seed, storage) in seeds().zip(BOTH.into_iter().cycle()) {
        for sync in [Sync::AtOnce, Sync::Late] {
            run(800 + seed, steps(3_000), durable(generous(1, storage, 64 * 1024, mix), sync));
        }
    }
}

#[test]
fn after_a_crash_several_shards_behave_as_the_model() {
    let mix = Mix { retained_wills: false, shared: false, crashes: true, ..ALL };
    for seed in seeds() {
        for (shards, sync) in [(2, Sync::AtOnce), (3, Sync::Late)] {
            let setup = generous(shards, Storage::Owned(PLENTY), 5_000, mix);
            run(900 + 10 * seed + u64::from(shards), steps(2_000), durable(setup, sync));
        }
    }
}

#[test]
fn clients_see_no_difference_between_one_shard_and_several() {
    let mix = Mix { bursts: false, shared: false, stalls: false, ..ALL };
    for seed in seeds() {
        let alone = run(500 + seed, steps(2_000), generous(1, Storage::Owned(PLENTY), 64 * 1024, mix));
        for shards in [2, 4] {
            let together = run(500 + seed, steps(2_000), generous(shards, Storage::Owned(PLENTY), 64 * 1024, mix));
            assert_eq!(together.came, alone.came, "seed {}", 500 + seed);
        }
    }
}
