//! `/sessions`: each Session as a line of JSON, in portions.

use super::connection_memory::ConnectionMemory;
use super::json_lines;
use super::{ANSWER_TIME, Served};
use goldcrest_core::{Broker, DropReason, Dropped, SessionInfo, Shard};
use percent_encoding::percent_decode_str;
use serde::{Serialize, Serializer};
use std::ops::ControlFlow;
use tokio::time::timeout;

/// The most Sessions in one answer, unless the request asks for another number.
const USUAL: usize = 1_000;
const MOST: usize = 10_000;
/// An answer ends after the line with which it reaches this many bytes.
const MOST_BYTES: usize = 1 << 20;
/// The room that is kept for the last line, which says where the next answer begins.
const LAST_LINE: usize = 64;
/// Sessions that a shard looks at in one turn of its event loop.
const AT_ONCE: usize = 4_096;

/// The parameters of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// Only the Session of this client.
    client_id: Option<String>,
    /// The beginning of the answer: a shard, and a position there, as `next` in the answer before named them.
    from: (u16, usize),
    limit: usize,
    /// Only Sessions for which at least this many messages wait.
    queued: usize,
}

impl Wanted {
    /// Reads the query of a URL.
    ///
    /// # Errors
    /// The query is wrong; the text says what is allowed.
    pub(super) fn parse(query: &str) -> Result<Self, String> {
        let mut wanted = Self { client_id: None, from: (0, 0), limit: USUAL, queued: 0 };
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            let is_good = match key {
                "client_id" => {
                    wanted.client_id = percent_decode_str(value).decode_utf8().ok().map(|id| id.into_owned());
                    wanted.client_id.is_some()
                }
                "limit" => set(&mut wanted.limit, value.parse().ok().filter(|limit| (1..=MOST).contains(limit))),
                "queued" => set(&mut wanted.queued, value.parse().ok()),
                "from" => {
                    let from = value.split_once('.');
                    set(
                        &mut wanted.from,
                        from.and_then(|(shard, place)| Some((shard.parse().ok()?, place.parse().ok()?))),
                    )
                }
                _ => false,
            };
            if !is_good {
                return Err(format!(
                    "allowed are client_id=IDENTIFIER, limit=N from 1 to {MOST}, queued=N for at least so many messages, and \
                     from= as the last answer had it\n"
                ));
            }
        }
        Ok(wanted)
    }
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

/// The lines of the answer, in memory of the connection. `None` if a shard does not answer in time, or if there is memory for no line.
pub(super) async fn lines(served: &Served, wanted: Wanted, memory: ConnectionMemory) -> Option<String> {
    if let Some(client_id) = wanted.client_id {
        let home = Shard::home_of(client_id.as_bytes(), served.mailboxes.shards());
        let line = move |broker: &Broker<'_>| {
            broker.session(&client_id).map(|info| line(home, &client_id, &info)).unwrap_or_default()
        };
        return timeout(ANSWER_TIME, served.mailboxes.ask(home, move |_, broker| line(broker))).await.ok()?;
    }
    let (text, left, queued) = (String::new(), wanted.limit, wanted.queued);
    let mut portion = Portion { text, memory, is_refused_memory: false, left, queued };
    let (mut shard, mut place) = wanted.from;
    while shard < served.mailboxes.shards() {
        let answer = served.mailboxes.ask(shard, move |_, broker| {
            let next = portion.fill(broker, shard, place);
            (portion, next)
        });
        let next;
        (portion, next) = timeout(ANSWER_TIME, answer).await.ok()??;
        match next {
            Some(next) => place = next,
            None => (shard, place) = (shard + 1, 0),
        }
        if portion.is_full() {
            break;
        }
    }
    if portion.is_refused_memory && portion.text.is_empty() {
        return None;
    }
    if shard < served.mailboxes.shards() {
        portion.text += &json_lines::line(&NextPortion { next: format!("{shard}.{place}") });
    }
    Some(portion.text)
}

/// An answer that is being filled.
struct Portion {
    text: String,
    memory: ConnectionMemory,
    /// The memory for one more line was refused: the answer ends before that line.
    is_refused_memory: bool,
    /// How many more Sessions fit into the answer.
    left: usize,
    /// See [`Wanted::queued`].
    queued: usize,
}

impl Portion {
    fn is_full(&self) -> bool {
        self.left == 0 || self.text.len() >= MOST_BYTES || self.is_refused_memory
    }

    /// Adds Sessions of a shard from the position `place` on, as many as the shard may look at in one turn. Returns the position
    /// where the next turn goes on; `None` after the last Session.
    fn fill(&mut self, broker: &Broker<'_>, shard: u16, place: usize) -> Option<usize> {
        let mut looked_at = 0;
        let next = broker.visit_sessions(place, |client_id, info| {
            if info.queued >= self.queued {
                self.add(&line(shard, client_id, &info));
            }
            looked_at += 1;
            if self.is_full() || looked_at == AT_ONCE { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        // The Session whose line had no room is the first of the next answer.
        next.map(|next| next - usize::from(self.is_refused_memory))
    }

    fn add(&mut self, line: &str) {
        if self.memory.make_room(&mut self.text, line.len() + LAST_LINE) {
            self.text += line;
            self.left -= 1;
        } else {
            self.is_refused_memory = true;
        }
    }
}

/// The last line of an answer that does not reach the last Session.
#[derive(Serialize)]
struct NextPortion {
    /// The value for `from` in the next request.
    next: String,
}

#[derive(Serialize)]
struct SessionLine<'a> {
    client_id: &'a str,
    shard: u16,
    connected: bool,
    subscriptions: u32,
    queued_messages: usize,
    queued_bytes: u32,
    in_flight: usize,
    receipts: u16,
    #[serde(serialize_with = "those_above_0")]
    dropped: Dropped,
}

fn line(shard: u16, client_id: &str, info: &SessionInfo) -> String {
    json_lines::line(&SessionLine {
        client_id,
        shard,
        connected: info.is_connected,
        subscriptions: info.subscriptions,
        queued_messages: info.queued,
        queued_bytes: info.queued_bytes,
        in_flight: info.in_flight,
        receipts: info.receipts,
        dropped: info.dropped,
    })
}

/// The counts of lost messages by the names of their reasons.
fn those_above_0<S: Serializer>(dropped: &Dropped, serializer: S) -> Result<S::Ok, S::Error> {
    let counts = DropReason::ALL.into_iter().map(|reason| (reason.as_str(), dropped.by(reason)));
    serializer.collect_map(counts.filter(|(_, count)| *count > 0))
}

#[cfg(test)]
mod tests {
    use super::super::connection_memory::CONNECTION_BYTES;
    use super::*;
    use goldcrest_core::{AllowAll, Capacity, Config, Instant, Limits, Memory, MemoryCeiling, MemoryUse};

    #[test]
    fn an_answer_ends_before_the_line_whose_memory_is_refused() {
        let memory = Memory::owned(&Capacity::GATEWAY, &Limits::GATEWAY, Shard::ONLY);
        let mut broker = Broker::new(memory, Config::gateway(1), &AllowAll);
        for number in 0..5_000 {
            let id = broker.handle_connected(Instant::from_millis(0)).unwrap();
            let connect = [&b"\x10\x10\0\x04MQTT\x04\x02\0\0\0\x04"[..], format!("{number:04}").as_bytes()].concat();
            broker.handle_bytes(Instant::from_millis(0), id, &connect);
        }
        let answer = |ceiling: usize, place| {
            let ceiling = MemoryCeiling::new(ceiling);
            let memory = ConnectionMemory::claim(&ceiling).unwrap();
            let mut portion = Portion { text: String::new(), memory, is_refused_memory: false, left: MOST, queued: 0 };
            let next = portion.fill(&broker, 0, place);
            assert_eq!(ceiling.taken(MemoryUse::Http), CONNECTION_BYTES + portion.text.capacity());
            (portion.text, next, portion.is_refused_memory)
        };
        let (whole, next, is_refused) = answer(64 << 20, 0);
        assert_eq!((whole.lines().count(), next, is_refused), (AT_ONCE, Some(AT_ONCE), false));
        let (mut lines, mut place) = (Vec::new(), 0);
        while lines.len() < AT_ONCE {
            let (part, next, is_refused) = answer(512 << 10, place);
            assert!(is_refused && part.lines().count() > 100);
            lines.extend(part.lines().map(str::to_owned));
            place = next.unwrap();
        }
        assert!(
            lines.iter().map(String::as_str).take(AT_ONCE).eq(whole.lines()),
            "no Session is left out or shown twice"
        );
        let (nothing, next, is_refused) = answer(CONNECTION_BYTES * 64 / 63 + 64, 7);
        assert_eq!((nothing.as_str(), next, is_refused), ("", Some(7), true));
    }

    #[test]
    fn a_wrong_query_for_sessions_is_answered_with_the_allowed_parameters() {
        let usual = Wanted { client_id: None, from: (0, 0), limit: USUAL, queued: 0 };
        assert_eq!(Wanted::parse(""), Ok(usual.clone()));
        assert_eq!(
            Wanted::parse("limit=5&from=2.700&queued=1"),
            Ok(Wanted { from: (2, 700), limit: 5, queued: 1, ..usual.clone() })
        );
        assert_eq!(Wanted::parse("client_id=a%20%2F"), Ok(Wanted { client_id: Some("a /".to_owned()), ..usual }));
        for wrong in ["limit=0", "limit=10001", "limit", "from=3", "from=a.b", "client=a", "client_id=%ff", "queued=-1"]
        {
            assert!(Wanted::parse(wrong).unwrap_err().contains("limit=N from 1 to 10000"), "{wrong}");
        }
    }
}
