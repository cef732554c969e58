//! Threads that check passwords, which takes long.

use super::password_file::PasswordTable;
use crate::access::Secret;
use crate::config::cores;
use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::fmt;
use std::io;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How much nicer these threads are to others than the shards: the system gives them a tenth of a core that both want.
const NICER: i32 = 10;

/// The most passwords that wait to be checked. One more is refused with 0x89 Server busy.
const MOST_WAITING: usize = 512;

/// Credentials to be checked.
pub(super) struct Check {
    pub(super) credentials: CheckedCredentials,
    /// Is called once, with the answer.
    pub(super) done: Box<dyn FnOnce(CheckOutcome, CheckedCredentials) + Send>,
}

/// A user and a password, and the table that they are looked up in.
pub(super) struct CheckedCredentials {
    pub(super) table: Arc<PasswordTable>,
    pub(super) user: Box<str>,
    pub(super) password: Secret,
}

/// The answer to a [`Check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CheckOutcome {
    Right,
    Wrong,
    /// There was no time or no memory for a check.
    Busy,
}

impl Check {
    fn answer(self, checked: CheckOutcome) {
        (self.done)(checked, self.credentials);
    }
}

/// The running threads. They end when this is dropped.
pub(super) struct Hashers {
    queue: SyncSender<(Instant, Check)>,
}

impl Hashers {
    /// Starts the threads, one for each two cores. A check that has waited for `patience` is not done any more.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(super) fn start(patience: Duration, memory: Arc<MemoryCeiling>) -> io::Result<Self> {
        let (queue, checks) = sync_channel(MOST_WAITING);
        let checks = Arc::new(Mutex::new(checks));
        for number in 0..(cores() / 2).max(1) {
            let (checks, memory) = (checks.clone(), memory.clone());
            let thread = thread::Builder::new().name(format!("passwords-{number}"));
            thread.spawn(move || run(&checks, patience, &memory))?;
        }
        Ok(Self { queue })
    }

    /// Lets another thread check credentials, and returns at once.
    pub(super) fn check(&self, check: Check) {
        if let Err(TrySendError::Full((_, check)) | TrySendError::Disconnected((_, check))) =
            self.queue.try_send((Instant::now(), check))
        {
            check.answer(CheckOutcome::Busy);
        }
    }
}

impl fmt::Debug for Hashers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hashers")
    }
}

fn run(checks: &Mutex<Receiver<(Instant, Check)>>, patience: Duration, memory: &Arc<MemoryCeiling>) {
    // With the usual priority all works, only less well.
    if let Err(error) = rustix::process::setpriority_process(None, NICER) {
        tracing::debug!(%error, "passwords are checked with the priority of the shards");
    }
    loop {
        let next = checks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((since, check)) = next else { return };
        let checked = if since.elapsed() >= patience { CheckOutcome::Busy } else { verify(&check, memory) };
        check.answer(checked);
    }
}

fn verify(check: &Check, memory: &Arc<MemoryCeiling>) -> CheckOutcome {
    // From the reserve too: who looks after a broker that has no memory left needs to get in.
    let CheckedCredentials { table, user, password } = &check.credentials;
    let Some(_claim) = memory.claim_reserved(MemoryUse::Connections, table.memory(user)) else {
        return CheckOutcome::Busy;
    };
    if table.verify(user, password) { CheckOutcome::Right } else { CheckOutcome::Wrong }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    const LINE: &str =
        "ann:$argon2id$v=19$m=64,t=2,p=1$AAECAwQFBgcICQoLDA0ODw$W6hpjFzn86SjuBPdULe8r0DI6lbdn6yreBMJelpuRbw\n";

    /// The answers to the same check, `times` over, in the order in which they come.
    fn answers(patience: Duration, memory: usize, password: &[u8], times: usize) -> Vec<CheckOutcome> {
        let hashers = Hashers::start(patience, MemoryCeiling::new(memory)).unwrap();
        let table = Arc::new(PasswordTable::of_text(LINE));
        let (tell, told) = channel();
        for _ in 0..times {
            let tell = tell.clone();
            let credentials =
                CheckedCredentials { table: table.clone(), user: "ann".into(), password: Secret::from(password) };
            hashers.check(Check { credentials, done: Box::new(move |checked, _| tell.send(checked).unwrap()) });
        }
        drop(tell);
        told.iter().collect()
    }

    #[test]
    fn what_cannot_be_checked_is_answered_as_busy() {
        let (second, enough) = (Duration::from_secs(60), 1 << 30);
        assert_eq!(answers(second, enough, b"small", 2), [CheckOutcome::Right; 2]);
        assert_eq!(answers(second, enough, b"large", 2), [CheckOutcome::Wrong; 2]);
        assert_eq!(answers(Duration::ZERO, enough, b"small", 2), [CheckOutcome::Busy; 2], "they have waited too long");
        assert_eq!(answers(second, 64 << 10, b"small", 2), [CheckOutcome::Busy; 2], "there is too little memory");
        let many = 20 * MOST_WAITING;
        let answers = answers(second, enough, b"small", many);
        let busy = answers.iter().filter(|it| **it == CheckOutcome::Busy).count();
        assert_eq!(answers.len(), many, "each has an answer");
        assert!(busy > 0 && busy < many, "{busy} of {many}");
    }
}
