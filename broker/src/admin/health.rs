//! Whether the gateway lives and is ready, and why not.

use super::{ANSWER_TIME, AdminState, Served};
use goldcrest_core::{MemoryCeiling, MemoryUse};
use std::time::Duration;
use tokio::time::timeout_at;

/// A disk that has not answered for this long counts as hanging.
const HANGS_AFTER: Duration = Duration::from_secs(5);

/// Reasons to restart the gateway; empty if it lives. A gateway that is still starting lives: reading a large store takes long.
pub(super) async fn why_dead(state: &AdminState) -> Vec<String> {
    match state.served.get() {
        Some(served) if !state.is_stopping() => ask_all(served)
            .await
            .into_iter()
            .filter(|complaint| !complaint.is_waiting)
            .map(|complaint| complaint.text)
            .collect(),
        _ => Vec::new(),
    }
}

/// Reasons to send the gateway no clients now; empty if it is ready.
pub(super) async fn why_not_ready(state: &AdminState) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.is_stopping() {
        reasons.push("it is being stopped".to_owned());
    }
    reasons.extend(state.missing.reasons());
    let Some(served) = state.served.get() else {
        reasons.push("it is starting: the store is read, and sessions are restored".to_owned());
        return reasons;
    };
    if let Some(store) = &served.store {
        if store.has_failed() {
            reasons.push("the store failed: nothing more is acknowledged".to_owned());
        }
        if store.is_full() {
            reasons.push(match store.why_full() {
                Some(why) => format!("the store has no room, and what needs more is refused: {why}"),
                None => "the store is full: what needs more room is refused".to_owned(),
            });
        }
        let busy_for = store.busy_for();
        if busy_for >= HANGS_AFTER {
            reasons.push(format!("the disk has not answered for {} s", busy_for.as_secs()));
        }
    }
    // Finding out that a shard does not answer takes ANSWER_TIME. Any other reason is known already, and is reported without that wait.
    if reasons.is_empty() {
        reasons.extend(ask_all(served).await.into_iter().map(|complaint| complaint.text));
    }
    reasons
}

/// Less of the ceiling than one part in so many is free: memory is short.
const SHORT: usize = 8;

/// What to know about a gateway that is ready all the same: files that can't be read anew, and that memory is short.
pub(super) fn notes(state: &AdminState) -> Vec<String> {
    let mut notes: Vec<String> = state.files.get().into_iter().flatten().flat_map(|files| files.faults()).collect();
    notes.extend(state.served.get().and_then(|served| is_short(&served.memory)));
    notes
}

/// That memory is short, in words.
fn is_short(memory: &MemoryCeiling) -> Option<String> {
    if memory.free() >= memory.bytes() / SHORT {
        return None;
    }
    let mut uses = MemoryUse::ALL.map(|purpose| (memory.taken(purpose), purpose.as_str()));
    uses.sort_unstable_by(|a, b| b.cmp(a));
    let [(first_bytes, first), (second_bytes, second), ..] = uses;
    Some(format!(
        "memory is short: {} of {} MiB are taken, {} MiB for {first} and {} MiB for {second}; what needs more waits or is refused",
        memory.taken_in_all() >> 20,
        memory.bytes() >> 20,
        first_bytes >> 20,
        second_bytes >> 20
    ))
}

/// Why a shard does not serve clients.
struct Complaint {
    text: String,
    /// The shard works, and waits for other shards.
    is_waiting: bool,
}

async fn ask_all(served: &Served) -> Vec<Complaint> {
    let answers: Vec<_> = (0..served.mailboxes.shards())
        .map(|shard| served.mailboxes.ask(shard, |_, broker| broker.is_serving()))
        .collect();
    let until = tokio::time::Instant::now() + ANSWER_TIME;
    let mut complaints = Vec::new();
    for (shard, answer) in answers.into_iter().enumerate() {
        match timeout_at(until, answer).await {
            Ok(Some(true)) => {}
            Ok(Some(false)) => complaints.push(Complaint {
                text: format!("shard {shard} waits to hear from the others who subscribed"),
                is_waiting: true,
            }),
            _ => complaints.push(Complaint { text: format!("shard {shard} does not answer"), is_waiting: false }),
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::{Mail, Mailboxes};
    use goldcrest_store::Shortage;
    use goldcrest_store::StoreHealth;
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    /// What a gateway serves with these parts below a ceiling of 64 MiB.
    fn served(mailboxes: Arc<Mailboxes>, store: Option<Arc<StoreHealth>>) -> Served {
        Served { mailboxes, store, memory: MemoryCeiling::new(64 << 20) }
    }

    fn state(served: Option<Served>) -> AdminState {
        let state = AdminState::new();
        if let Some(served) = served {
            assert!(state.served.set(served).is_ok());
        }
        state
    }

    /// A shard that answers its mailbox until this value is dropped.
    struct AnsweringShard(Arc<AtomicBool>, Arc<Mailboxes>);

    impl AnsweringShard {
        fn start() -> Self {
            use goldcrest_core::{AllowAll, Broker, Capacity, Config, Instant, Limits, Memory, Shard};
            let shard = Self(Arc::new(AtomicBool::new(true)), Arc::new(Mailboxes::new(1)));
            let (is_running, mailboxes) = (shard.0.clone(), shard.1.clone());
            std::thread::spawn(move || {
                let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
                let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
                let mut mail = Mail::default();
                while is_running.load(std::sync::atomic::Ordering::Relaxed) {
                    mailboxes.collect(0, &mut mail);
                    mail.calls.drain(..).for_each(|call| call(Instant::from_millis(0), &mut broker));
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
            shard
        }
    }

    impl Drop for AnsweringShard {
        fn drop(&mut self) {
            self.0.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    }

    #[tokio::test]
    async fn ready_names_each_fault_of_the_store() {
        let shard = AnsweringShard::start();
        let health = Arc::new(StoreHealth::default());
        let state = state(Some(served(shard.1.clone(), Some(health.clone()))));
        assert_eq!(why_not_ready(&state).await, [""; 0]);
        health.set_full(
            true,
            Some(Shortage {
                cause: goldcrest_store::Cause::Descriptors,
                words: "/data/new: Too many open files".to_owned(),
            }),
        );
        assert!(why_not_ready(&state).await[0].ends_with("/data/new: Too many open files"));
        health.set_full(true, None);
        assert!(why_not_ready(&state).await[0].contains("is full"));
        health.fail();
        let reasons = why_not_ready(&state).await;
        assert!(reasons.len() == 2 && reasons[0].contains("failed") && reasons[1].contains("is full"), "{reasons:?}");
        health.set_full(false, None);
        assert_eq!(why_not_ready(&state).await.len(), 1);
        // A new start would not help against a full disk.
        assert_eq!(why_dead(&state).await, [""; 0]);
    }

    #[test]
    fn a_gateway_whose_memory_is_short_says_so() {
        let served = served(Arc::new(Mailboxes::new(1)), None);
        let memory = served.memory.clone();
        let state = state(Some(served));
        assert_eq!(notes(&state), [""; 0]);
        memory.take_anyway(MemoryUse::Messages, 40 << 20);
        memory.take_anyway(MemoryUse::Other, 18 << 20);
        let expected = "memory is short: 58 of 64 MiB are taken, 40 MiB for messages and 18 MiB for other; ";
        assert!(notes(&state)[0].starts_with(expected), "{:?}", notes(&state));
    }

    #[tokio::test(start_paused = true)]
    async fn live_and_ready_name_each_shard_that_does_not_answer() {
        let state = state(Some(served(Arc::new(Mailboxes::new(2)), None)));
        let expected = ["shard 0 does not answer", "shard 1 does not answer"];
        assert_eq!(why_dead(&state).await, expected);
        assert_eq!(why_not_ready(&state).await, expected);
    }

    #[tokio::test]
    async fn a_starting_or_stopping_gateway_is_live_and_not_ready() {
        let starting = state(None);
        assert!(why_not_ready(&starting).await[0].contains("starting"));
        assert_eq!(why_dead(&starting).await, [""; 0]);
        let stopping = state(Some(served(Arc::new(Mailboxes::new(1)), None)));
        stopping.is_stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(why_not_ready(&stopping).await, ["it is being stopped"]);
        assert_eq!(why_dead(&stopping).await, [""; 0]);
    }
}
