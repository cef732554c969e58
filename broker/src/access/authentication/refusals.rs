//! Why clients are refused: the answer to the client, the words for the log, and the counters.

use super::jwt::TokenFault;
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
    /// The token is not valid.
    WrongToken,
    /// The clock of this machine is not set, so tokens can't be checked.
    NoClock,
    /// The web service does not let the client in.
    RefusedByService,
    /// The web service gives no answer.
    ServiceUnavailable,
    /// Too many questions wait for the web service.
    ServiceBusy,
    /// There are as many names of users as there may be, or the store has no room for one more.
    NoRoom,
}

impl RefusalReason {
    const ALL: [Self; 13] = [
        Self::NoCredentials,
        Self::UnknownUser,
        Self::WrongPassword,
        Self::UnknownMethod,
        Self::Banned,
        Self::TooSoon,
        Self::Busy,
        Self::WrongToken,
        Self::NoClock,
        Self::RefusedByService,
        Self::ServiceUnavailable,
        Self::ServiceBusy,
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
            Self::WrongToken => "wrong_token",
            Self::NoClock => "no_clock",
            Self::RefusedByService => "refused_by_service",
            Self::ServiceUnavailable => "service_unavailable",
            Self::ServiceBusy => "service_busy",
            Self::NoRoom => "no_room",
        }
    }

    /// What the client is told: for an unknown user the same as for a wrong password.
    fn code(self) -> ReasonCode {
        match self {
            Self::NoCredentials => ReasonCode::NotAuthorized,
            Self::UnknownUser | Self::WrongPassword | Self::WrongToken | Self::RefusedByService => {
                ReasonCode::BadUserNameOrPassword
            }
            Self::UnknownMethod => ReasonCode::BadAuthenticationMethod,
            Self::Banned => ReasonCode::Banned,
            Self::TooSoon | Self::Busy | Self::NoClock | Self::ServiceBusy => ReasonCode::ServerBusy,
            Self::ServiceUnavailable => ReasonCode::ServerUnavailable,
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
            Self::WrongToken => "the token is not valid",
            Self::NoClock => "the clock of this machine is not set, so no token can be checked",
            Self::RefusedByService => "the web service does not let this user in",
            Self::ServiceUnavailable => "the web service gives no answer",
            Self::ServiceBusy => "too many questions wait for the web service",
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
        self.count(reason);
        let why = match user {
            Some(user) => format!("user {}: {}", Escaped(user), reason.in_words()),
            None => reason.in_words().to_owned(),
        };
        Decision::RefuseBecause(reason.code(), why)
    }

    /// The same for a client with a token. The log says what is wrong with the token, and has nothing of it. A client that is connected already hears
    /// a Reason Code that DISCONNECT can have.
    pub(crate) fn refuse_token(&self, fault: TokenFault, is_connected: bool) -> Decision {
        let reason = match fault {
            TokenFault::NoClock => RefusalReason::NoClock,
            TokenFault::Busy => RefusalReason::Busy,
            _ => RefusalReason::WrongToken,
        };
        self.count(reason);
        let code = match reason {
            RefusalReason::WrongToken if is_connected => ReasonCode::NotAuthorized,
            _ => reason.code(),
        };
        Decision::RefuseBecause(code, fault.in_words().to_owned())
    }

    fn count(&self, reason: RefusalReason) {
        self.0[reason as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// The label and the count of each reason.
    pub(crate) fn counts(&self) -> Vec<(&'static str, u64)> {
        let count = |reason: RefusalReason| (reason.label(), self.0[reason as usize].load(Ordering::Relaxed));
        RefusalReason::ALL.map(count).to_vec()
    }
}
