//! Why clients are refused: the answer to the client, the words for the log, and the counters.

use crate::access::Decision;
use crate::output::log::Escaped;
use goldcrest_core::codec::ReasonCode;
use std::sync::atomic::{AtomicU64, Ordering};

/// Why a client is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusalReason {
    /// The client says nothing of who it is, and the listener allows that not.
    NoCredentials,
    /// No source knows the user.
    UnknownUser,
    /// The password is not that of the user.
    WrongPassword,
    /// The client wants an enhanced authentication that the listener does not have.
    UnknownMethod,
    /// The user, or everybody at the address of the client, has failed too often.
    Banned,
    /// The last failure was a moment ago, or many passwords from the same address are being checked.
    TooSoon,
    /// There was no time or no memory to check a password.
    Busy,
    /// There are as many names of users as there may be, or the store has no room for one more.
    NoRoom,
}

impl RefusalReason {
    const ALL: [Self; 8] = [
        Self::NoCredentials,
        Self::UnknownUser,
        Self::WrongPassword,
        Self::UnknownMethod,
        Self::Banned,
        Self::TooSoon,
        Self::Busy,
        Self::NoRoom,
    ];

    /// The name in metrics.
    fn label(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::UnknownUser => "unknown_user",
            Self::WrongPassword => "wrong_password",
            Self::UnknownMethod => "unknown_method",
            Self::Banned => "banned",
            Self::TooSoon => "too_soon",
            Self::Busy => "busy",
            Self::NoRoom => "no_room",
        }
    }

    /// What the client is told: for an unknown user the same as for a wrong password.
    fn code(self) -> ReasonCode {
        match self {
            Self::NoCredentials => ReasonCode::NotAuthorized,
            Self::UnknownUser | Self::WrongPassword => ReasonCode::BadUserNameOrPassword,
            Self::UnknownMethod => ReasonCode::BadAuthenticationMethod,
            Self::Banned => ReasonCode::Banned,
            Self::TooSoon | Self::Busy => ReasonCode::ServerBusy,
            Self::NoRoom => ReasonCode::QuotaExceeded,
        }
    }

    /// What the log is told.
    fn in_words(self) -> &'static str {
        match self {
            Self::NoCredentials => "it does not say who it is, and this listener allows no anonymous clients",
            Self::UnknownUser => "nobody knows this user",
            Self::WrongPassword => "the password is wrong",
            Self::UnknownMethod => "this listener has no such Authentication Method",
            Self::Banned => "too many tries have failed, and the user or the address is banned for some minutes",
            Self::TooSoon => "the last try failed a moment ago, or many passwords from this address are being checked",
            Self::Busy => "too many passwords wait to be checked, or there is no memory to check one",
            Self::NoRoom => "there is no room for one more name of a user",
        }
    }
}

/// How many clients were refused, for each reason.
#[derive(Debug, Default)]
pub(crate) struct RefusalCounts([AtomicU64; RefusalReason::ALL.len()]);

impl RefusalCounts {
    /// Counts a refusal, and returns it as a decision. `user` is the User Name, if the client has one.
    pub(crate) fn refuse(&self, reason: RefusalReason, user: Option<&str>) -> Decision {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
        let why = match user {
            Some(user) => format!("user {}: {}", Escaped(user), reason.in_words()),
            None => reason.in_words().to_owned(),
        };
        Decision::RefuseBecause(reason.code(), why)
    }

    /// The label and the count of each reason.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: RefusalReason| (reason.label(), self.0[reason as usize].load(Ordering::Relaxed));
        RefusalReason::ALL.map(count).to_vec()
    }
}
