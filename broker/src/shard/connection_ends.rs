//! Counts why connections ended, and logs the reason if the broker refused a client or closed its connection.
//!
//! A client whose connections end again and again for the same reason has one line a minute, and all clients together have few lines a
//! second. So the log stays readable while a crowd is refused, and no client fills the disk. Each line says how many lines were left out
//! before it.

use crate::net::Protocol;
use crate::output::log::Escaped;
use goldcrest_core::ConnectionId;
use goldcrest_core::codec::ReasonCode;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndReason {
    /// The broker closed the connection for this reason. The client was told the reason if its version of MQTT allows that.
    Code(ReasonCode),
    /// The client closed the connection by a DISCONNECT without an error.
    Disconnected,
    /// The client closed the connection by a DISCONNECT that names an error, of the broker or of the client itself.
    DisconnectedWithError,
    /// The client closed the connection without DISCONNECT, or the network lost the connection.
    Lost,
    /// The client closed the connection, or the network lost it, before CONNECT. Health checks do so.
    LostBeforeConnect,
    /// The broker closed the connection because there were too many others.
    NoRoom,
    /// The client was not let in by TLS, or broke its protocol.
    HandshakeFailed,
    /// The client speaks another protocol.
    Foreign(Protocol),
}

impl EndReason {
    /// The name of the reason in metrics: the specification's name of the code, with underscores.
    fn label(self) -> String {
        match self {
            Self::Disconnected => "disconnected".to_owned(),
            Self::DisconnectedWithError => "disconnected_with_error".to_owned(),
            Self::Code(code) => code.name().to_lowercase().replace([' ', '-'], "_"),
            Self::Lost => "lost".to_owned(),
            Self::LostBeforeConnect => "lost_before_connect".to_owned(),
            Self::NoRoom => "no_room".to_owned(),
            Self::HandshakeFailed => "handshake_failed".to_owned(),
            Self::Foreign(protocol) => protocol.label().to_owned(),
        }
    }

    /// The index of the counter for this reason: first the reasons that are not Reason Codes, then all Reason Codes by their value.
    fn place(self) -> usize {
        match self {
            Self::Lost => 0,
            Self::LostBeforeConnect => 1,
            Self::NoRoom => 2,
            Self::Disconnected => 3,
            Self::DisconnectedWithError => 4,
            Self::HandshakeFailed => 5,
            Self::Foreign(protocol) => 6 + protocol as usize,
            Self::Code(code) => Self::OTHERS + code as usize,
        }
    }

    const OTHERS: usize = 6 + Protocol::ALL.len();

    /// All reasons that have a metric.
    fn all() -> impl Iterator<Item = Self> {
        use EndReason::{Disconnected, DisconnectedWithError, HandshakeFailed, Lost, LostBeforeConnect, NoRoom};
        let errors = ReasonCode::ALL.iter().copied().filter(|code| code.is_error()).map(Self::Code);
        let foreign = Protocol::ALL.into_iter().map(Self::Foreign);
        let others = [Disconnected, DisconnectedWithError, Lost, LostBeforeConnect, NoRoom, HandshakeFailed];
        others.into_iter().chain(foreign).chain(errors)
    }
}

/// One connection that ended, for the log.
pub(crate) struct ConnectionEnd<'a> {
    pub(crate) end: EndReason,
    /// The Client Identifier; empty if it is not known.
    pub(crate) client: &'a str,
    pub(crate) address: Option<SocketAddr>,
    /// Whether the client got a CONNACK with success.
    pub(crate) was_open: bool,
    pub(crate) why: fmt::Arguments<'a>,
}

/// The counters of all shards, and the recently logged lines.
pub(crate) struct ConnectionEnds {
    counts: [AtomicU64; EndReason::OTHERS + 256],
    hasher: RandomState,
    told: Mutex<ToldLately>,
    notes: Mutex<HashMap<(u16, ConnectionId), Box<str>>>,
    /// How many notes there are: most connections end without a look at `notes`.
    noted: AtomicUsize,
}

/// The recently logged lines.
#[derive(Default)]
pub(super) struct ToldLately {
    /// By a hash of what is told and the client: when a line was logged, and how many lines were left out since.
    lately: HashMap<u64, (Instant, u64)>,
    /// When the current second began, and how many lines were logged in it.
    second: Option<(Instant, u32)>,
    /// How many lines were left out for clients that are not in `lately`.
    untold: u64,
}

impl ToldLately {
    /// The time in which a client has at most one line for each reason.
    const PAUSE: Duration = Duration::from_secs(60);
    /// The most lines that are logged in a second.
    const MOST_LINES: u32 = 10;
    /// The most pairs of client and reason that are remembered.
    const MOST: usize = 1024;

    /// Whether the line with this key may be logged. `None`: it may not. Otherwise how many lines were left out before for the same reason
    /// and client, and how many for others.
    pub(super) fn pass(&mut self, key: u64, now: Instant) -> Option<(u64, u64)> {
        if let Some((told, untold)) = self.lately.get_mut(&key)
            && now.duration_since(*told) < Self::PAUSE
        {
            *untold += 1;
            return None;
        }
        let (_, lines) = match &mut self.second {
            Some(second) if now.duration_since(second.0) < Duration::from_secs(1) => second,
            second => second.insert((now, 0)),
        };
        if *lines >= Self::MOST_LINES {
            self.untold += 1;
            return None;
        }
        *lines += 1;
        if self.lately.len() >= Self::MOST {
            self.lately.retain(|_, (told, _)| now.duration_since(*told) < Self::PAUSE);
        }
        if self.lately.len() >= Self::MOST {
            self.untold += self.lately.drain().map(|(_, (_, untold))| untold).sum::<u64>();
        }
        let same = self.lately.insert(key, (now, 0)).map_or(0, |(_, untold)| untold);
        Some((same, std::mem::take(&mut self.untold)))
    }
}

impl Default for ConnectionEnds {
    fn default() -> Self {
        Self {
            counts: [const { AtomicU64::new(0) }; EndReason::OTHERS + 256],
            hasher: RandomState::new(),
            told: Mutex::default(),
            notes: Mutex::default(),
            noted: AtomicUsize::new(0),
        }
    }
}

impl ConnectionEnds {
    /// Counts an end of a connection that is not worth a line.
    pub(crate) fn count(&self, end: EndReason) {
        self.counts[end.place()].fetch_add(1, Ordering::Relaxed);
    }

    /// Notes why a connection that is about to be refused is refused, for the log.
    pub(crate) fn note(&self, shard: u16, id: ConnectionId, why: &str) {
        /// A crowd that is refused has few lines in the log anyway.
        const MOST_NOTES: usize = 1024;
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if notes.len() >= MOST_NOTES {
            notes.clear();
        }
        notes.insert((shard, id), why.into());
        self.noted.store(notes.len(), Ordering::Relaxed);
    }

    /// Takes the note about a connection, if there is one.
    pub(crate) fn take_note(&self, shard: u16, id: ConnectionId) -> Option<Box<str>> {
        if self.noted.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        let note = notes.remove(&(shard, id));
        self.noted.store(notes.len(), Ordering::Relaxed);
        note
    }

    /// Counts an end of a connection, and logs it at the level that it is worth.
    pub(crate) fn tell(&self, connection_end: &ConnectionEnd<'_>) {
        let ConnectionEnd { end, client, address, was_open, why } = connection_end;
        self.count(*end);
        let key = match client {
            // The address is hashed without its port, because the port changes with each connection.
            &"" => self.hasher.hash_one((end, address.map(|address| address.ip()))),
            client => self.hasher.hash_one((end, client)),
        };
        let passed = self.told.lock().unwrap_or_else(PoisonError::into_inner).pass(key, Instant::now());
        let Some((again, others)) = passed else { return };
        let what = match end {
            EndReason::LostBeforeConnect => "lost a client",
            _ if *was_open => "closed the connection",
            _ => "refused a client",
        };
        let client = (!client.is_empty()).then(|| tracing::field::display(Escaped(client)));
        let address = address.map(tracing::field::display);
        let again = (again > 0).then_some(again);
        let others = (others > 0).then_some(others);
        let is_usual = matches!(
            end,
            EndReason::DisconnectedWithError
                | EndReason::LostBeforeConnect
                | EndReason::Code(ReasonCode::SessionTakenOver | ReasonCode::KeepAliveTimeout)
        );
        if is_usual {
            tracing::info!(client, address, again, others, "{what}: {why}");
        } else {
            tracing::warn!(client, address, again, others, "{what}: {why}");
        }
    }

    /// The label and the count of each reason.
    pub(crate) fn counts(&self) -> Vec<(String, u64)> {
        EndReason::all().map(|end| (end.label(), self.counts[end.place()].load(Ordering::Relaxed))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_has_one_log_line_a_minute_for_each_reason() {
        let (mut told, start) = (ToldLately::default(), Instant::now());
        let at = |secs| start + Duration::from_secs(secs);
        assert_eq!(told.pass(1, at(0)), Some((0, 0)));
        for secs in 1..60 {
            assert_eq!(told.pass(1, at(secs)), None);
        }
        assert_eq!(told.pass(2, at(59)), Some((0, 0)), "another client, or another reason");
        assert_eq!(told.pass(1, at(60)), Some((59, 0)));
    }

    #[test]
    fn a_crowd_of_clients_has_few_log_lines_a_second_and_needs_little_memory() {
        let (mut told, start) = (ToldLately::default(), Instant::now());
        let mut lines = 0;
        for key in 0..100_000 {
            lines += u64::from(told.pass(key, start).is_some());
            assert!(told.lately.len() <= ToldLately::MOST);
        }
        assert_eq!(lines, u64::from(ToldLately::MOST_LINES));
        let later = start + Duration::from_secs(2);
        assert_eq!(told.pass(100_000, later), Some((0, 100_000 - lines)));
        // Other clients come in between, and still no client has a second line within a minute.
        for (key, secs) in (0..3_000_u64).zip(3..) {
            told.pass(200_000 + key, start + Duration::from_secs(secs));
            assert!(told.lately.len() <= ToldLately::MOST);
        }
    }

    #[test]
    fn each_reason_has_its_own_label_and_count() {
        let connection_ends = ConnectionEnds::default();
        for (end, times) in EndReason::all().zip(1..) {
            for _ in 0..times {
                connection_ends.count(end);
            }
        }
        let counts = connection_ends.counts();
        let labels: std::collections::HashSet<_> = counts.iter().map(|(label, _)| label).collect();
        assert_eq!(labels.len(), counts.len());
        assert!(counts.iter().zip(1..).all(|((_, count), times)| *count == times));
        assert!(
            counts.iter().all(|(label, _)| label.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'_'))),
            "{counts:?}"
        );
    }
}
