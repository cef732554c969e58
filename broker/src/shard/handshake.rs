//! Who wakes a shard that sleeps: an argument between two flags, without a lock that both sides would wait for.
//!
//! A sender puts mail, notes that there is some, and then looks whether the shard sleeps. The shard notes that it sleeps, and then looks
//! whether there is mail. Each writes its own flag before it reads the other's, and all of these accesses are sequentially consistent:
//! so at least one of both sees what the other wrote, and no mail is left with a shard that sleeps on. Only the sender that finds the
//! mailbox empty looks: mail that stands there already is in the care of the sender that put it.
//!
//! The tests have loom try all orders in which threads may run.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag whose accesses are sequentially consistent.
pub(super) trait Flag: Default {
    fn get(&self) -> bool;
    fn set(&self, value: bool);
    /// What it was before.
    fn raise(&self) -> bool;
}

impl Flag for AtomicBool {
    fn get(&self) -> bool {
        self.load(Ordering::SeqCst)
    }

    fn set(&self, value: bool) {
        self.store(value, Ordering::SeqCst);
    }

    fn raise(&self) -> bool {
        self.swap(true, Ordering::SeqCst)
    }
}

/// The two flags of one mailbox.
#[derive(Debug, Default)]
pub(super) struct Handshake<F = AtomicBool> {
    /// There is mail: saves the shard the lock of its mailbox in most turns.
    has_mail: F,
    /// The shard's thread waits for the system, and would not notice mail by itself.
    is_asleep: F,
}

/// What a sender has to do after it has given the lock of the mailbox back.
#[must_use]
pub(super) struct Posted {
    was_empty: bool,
}

impl<F: Flag> Handshake<F> {
    /// A sender has put mail, and still has the lock of the mailbox.
    pub(super) fn post(&self) -> Posted {
        Posted { was_empty: !self.has_mail.raise() }
    }

    /// Whether this sender has to see to it that the shard takes its mail: the shard sleeps, and no other sender does. Asked without
    /// the lock.
    pub(super) fn is_due(&self, posted: Posted) -> bool {
        posted.was_empty && self.is_asleep.get()
    }

    /// Whether there may be mail.
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.get()
    }

    /// All mail is taken, by whoever has the lock of the mailbox.
    pub(super) fn collect(&self) {
        self.has_mail.set(false);
    }

    /// The shard's thread is about to sleep. Whether it must not, as there is mail.
    #[must_use]
    pub(super) fn fall_asleep(&self) -> bool {
        self.is_asleep.set(true);
        self.has_mail.get()
    }

    /// The shard's thread goes on.
    pub(super) fn wake_up(&self) {
        self.is_asleep.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use loom::sync::atomic::{AtomicBool as LoomBool, fence};
    use loom::sync::{Arc, Mutex};
    use loom::thread;

    /// A flag as loom sees it. Loom takes a sequentially consistent access for acquire and release, and would find orders that no
    /// machine has; a fence behind each write gives it back that the write comes before what is read next.
    #[derive(Debug, Default)]
    struct CheckedFlag(LoomBool);

    impl Flag for CheckedFlag {
        fn get(&self) -> bool {
            self.0.load(Ordering::Acquire)
        }

        fn set(&self, value: bool) {
            self.0.store(value, Ordering::Release);
            fence(Ordering::SeqCst);
        }

        fn raise(&self) -> bool {
            let before = self.0.swap(true, Ordering::AcqRel);
            fence(Ordering::SeqCst);
            before
        }
    }

    /// A mailbox as [`Mailboxes`](super::super::mailbox::Mailboxes) has it, with the event loop that others may run. Letters are counted.
    #[derive(Default)]
    struct Model {
        handshake: Handshake<CheckedFlag>,
        mail: Mutex<usize>,
        /// What the event loop has taken.
        event_loop: Mutex<usize>,
        /// The shard's thread was woken, or will not fall asleep.
        is_woken: LoomBool,
    }

    impl Model {
        /// As a sender does it. What it is to do about a shard that sleeps is `deliver`.
        fn send(&self, deliver: impl Fn(&Self)) {
            let mut mail = self.mail.lock().unwrap();
            *mail += 1;
            let posted = self.handshake.post();
            drop(mail);
            if self.handshake.is_due(posted) {
                deliver(self);
            }
        }

        fn wake(&self) {
            self.is_woken.store(true, Ordering::Relaxed);
        }

        /// As [`Mailboxes::run_or_wake`](super::super::mailbox::Mailboxes::run_or_wake).
        fn run_or_wake(&self) {
            match self.event_loop.try_lock() {
                Ok(mut taken) => self.collect(&mut taken),
                Err(_) => self.wake(),
            }
        }

        /// Takes what came, with the lock of the event loop.
        fn collect(&self, taken: &mut usize) {
            if self.handshake.has_mail() {
                let mut mail = self.mail.lock().unwrap();
                self.handshake.collect();
                *taken += std::mem::take(&mut *mail);
            }
        }

        /// Some turns of the shard's thread, with sleep after each. Where it is woken, or does not fall asleep, it has another one, of
        /// which no more is told: it takes all mail that is there then.
        fn run(&self, turns: usize, fall_asleep: impl Fn(&Handshake<CheckedFlag>) -> bool) {
            for _ in 0..turns {
                self.collect(&mut self.event_loop.lock().unwrap());
                if !fall_asleep(&self.handshake) {
                    return;
                }
                self.handshake.wake_up();
            }
            self.wake();
        }
    }

    /// Each of `senders` sends a letter to a shard that turns and falls asleep meanwhile.
    fn check(
        senders: usize,
        deliver: impl Fn(&Model) + Copy + Send + Sync + 'static,
        fall_asleep: impl Fn(&Handshake<CheckedFlag>) -> bool + Copy + Send + Sync + 'static,
    ) {
        let mut builder = loom::model::Builder::new();
        // All orders of two threads. Of three, those with up to three switches away from a thread that could go on.
        let turns = if senders == 1 { 2 } else { 1 };
        builder.preemption_bound = (senders > 1).then_some(3);
        builder.check(move || {
            let model = Arc::new(Model::default());
            let mut threads: Vec<_> = (1..senders)
                .map(|_| {
                    let model = model.clone();
                    thread::spawn(move || model.send(deliver))
                })
                .collect();
            let shard = model.clone();
            threads.push(thread::spawn(move || shard.run(turns, fall_asleep)));
            model.send(deliver);
            threads.into_iter().for_each(|thread| thread.join().unwrap());
            let (left, taken) = (*model.mail.lock().unwrap(), *model.event_loop.lock().unwrap());
            assert_eq!(left + taken, senders);
            let is_woken = model.is_woken.load(Ordering::Relaxed);
            assert!(left == 0 || is_woken, "{left} letters are left with a shard that sleeps");
        });
    }

    #[test]
    fn no_order_of_threads_leaves_mail_with_a_shard_that_sleeps() {
        for senders in [1, 2] {
            check(senders, Model::wake, Handshake::fall_asleep);
        }
    }

    #[test]
    fn no_order_of_threads_leaves_mail_where_senders_run_the_event_loop_of_a_shard_that_sleeps() {
        for senders in [1, 2] {
            check(senders, Model::run_or_wake, Handshake::fall_asleep);
        }
    }

    /// A shard that looks for mail first, and notes then that it sleeps, misses what comes in between.
    #[test]
    #[should_panic = "letters are left with a shard that sleeps"]
    fn a_handshake_in_the_wrong_order_is_found_out() {
        let in_wrong_order = |handshake: &Handshake<CheckedFlag>| {
            let has_mail = handshake.has_mail.get();
            handshake.is_asleep.set(true);
            has_mail
        };
        check(1, Model::wake, in_wrong_order);
    }
}
