//! Decides who wakes a shard that sleeps, with two flags and without a lock that both sides would wait for.
//!
//! A sender puts mail into the mailbox, raises the flag for mail, and then looks whether the shard sleeps. The shard raises the flag for
//! sleep, and then looks whether there is mail. Each side writes its own flag before it reads the other's, and all these accesses are
//! sequentially consistent. So at least one side sees the flag of the other, and no mail is left with a sleeping shard. Only the sender
//! that finds the mailbox empty looks at the flag for sleep: mail that is there already is in the care of the sender that put it there.
//!
//! The tests use loom to try all orders in which threads may run.

use std::sync::atomic::{AtomicBool, Ordering};

/// A flag whose accesses are sequentially consistent.
pub(super) trait Flag: Default {
    fn get(&self) -> bool;
    fn set(&self, value: bool);
    /// Sets the flag, and returns its earlier value.
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
    /// There is mail. In most turns this flag saves the shard from locking its mailbox.
    has_mail: F,
    /// The shard's thread waits for the system, and would not notice mail by itself.
    is_asleep: F,
}

/// A note for a sender: what it has to do once it has released the lock of the mailbox.
#[must_use]
pub(super) struct Posted {
    was_empty: bool,
}

impl<F: Flag> Handshake<F> {
    /// Called by a sender that has put mail, and still holds the lock of the mailbox.
    pub(super) fn post(&self) -> Posted {
        Posted { was_empty: !self.has_mail.raise() }
    }

    /// Whether this sender has to see to it that the shard handles its mail: the shard sleeps, and no other sender does so. Called
    /// without the lock.
    pub(super) fn is_due(&self, posted: Posted) -> bool {
        posted.was_empty && self.is_asleep.get()
    }

    /// Whether there may be mail.
    pub(super) fn has_mail(&self) -> bool {
        self.has_mail.get()
    }

    /// Called by the thread that holds the lock of the mailbox, when it has emptied the mailbox.
    pub(super) fn collect(&self) {
        self.has_mail.set(false);
    }

    /// Called when the shard's thread is about to sleep. Returns true if the thread must not sleep, because there is mail.
    #[must_use]
    pub(super) fn fall_asleep(&self) -> bool {
        self.is_asleep.set(true);
        self.has_mail.get()
    }

    /// Called when the shard's thread goes on.
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

    /// A flag in loom's model. Loom treats a sequentially consistent access as acquire and release, and would find orders that no machine
    /// has. A fence behind each write restores the guarantee that the write comes before the next read.
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

    /// A mailbox like [`Mailboxes`](super::super::mailbox::Mailboxes), with the event loop that others may run. Letters are only counted.
    #[derive(Default)]
    struct Model {
        handshake: Handshake<CheckedFlag>,
        mail: Mutex<usize>,
        /// How many letters the event loop has handled.
        event_loop: Mutex<usize>,
        /// The shard's thread was woken, or will not fall asleep.
        is_woken: LoomBool,
    }

    impl Model {
        /// Sends a letter. If the shard sleeps, the sender calls `deliver`.
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

        /// Does the same as [`Mailboxes::run_or_wake`](super::super::mailbox::Mailboxes::run_or_wake).
        fn run_or_wake(&self) {
            match self.event_loop.try_lock() {
                Ok(mut taken) => self.collect(&mut taken),
                Err(_) => self.wake(),
            }
        }

        /// Handles the letters, with the lock of the event loop held.
        fn collect(&self, taken: &mut usize) {
            if self.handshake.has_mail() {
                let mut mail = self.mail.lock().unwrap();
                self.handshake.collect();
                *taken += std::mem::take(&mut *mail);
            }
        }

        /// Runs some turns of the shard's thread, each followed by sleep. If the thread is woken, or does not fall asleep, it would run
        /// one more turn, which handles all mail that is there then. The model counts that mail as handled, and does not run the turn.
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

    /// Runs `senders` threads that each send a letter, while the shard takes turns and falls asleep.
    fn check(
        senders: usize,
        deliver: impl Fn(&Model) + Copy + Send + Sync + 'static,
        fall_asleep: impl Fn(&Handshake<CheckedFlag>) -> bool + Copy + Send + Sync + 'static,
    ) {
        let mut builder = loom::model::Builder::new();
        // With two threads loom tries all orders. With three threads it tries only orders with up to three switches away from a thread
        // that could go on.
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
    fn no_order_of_threads_leaves_mail_if_senders_run_the_event_loop_of_a_sleeping_shard() {
        for senders in [1, 2] {
            check(senders, Model::run_or_wake, Handshake::fall_asleep);
        }
    }

    /// The wrong order: the shard looks for mail first, and then notes that it sleeps. It misses mail that comes in between.
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
