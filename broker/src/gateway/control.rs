//! Requests that the embedding program makes to a running gateway: counters, another configuration, other permissions.

use super::Gateway;
use crate::config::Config;
use crate::shard::NoAnswer;
use goldcrest_core::{Counters, Permissions};
use std::fmt;

/// Why a gateway keeps its configuration instead of the new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReloadError {
    /// This field of [`Config`] differs from the present one, and can't change while a gateway runs. Nothing has changed.
    Unchangeable(&'static str),
    /// A shard did not answer. With [`NoAnswer::Busy`] nothing has changed.
    NoAnswer(NoAnswer),
}

impl fmt::Display for ReloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unchangeable(field) => write!(f, "{field} can't change while the gateway runs; nothing has changed"),
            Self::NoAnswer(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for ReloadError {}

impl Gateway {
    /// The counters of all shards added up.
    ///
    /// # Errors
    /// A shard does not answer within a second. Then there are no sums, because the sums would decrease without the counts of that shard.
    pub async fn counters(&self) -> Result<Counters, NoAnswer> {
        let answers = self.mailboxes.0.ask_all(|_| |_, broker| broker.counters()).await?;
        Ok(answers.iter().sum())
    }

    /// Changes to another configuration, as a whole or not at all. [`StoreConfig::body_bytes`](crate::config::StoreConfig::body_bytes) and all of
    /// [`Config::broker`] may change, except for the longest packet, the time for CONNECT and the authentication. No connection and no queue is cut
    /// off: see [`Broker::reconfigure`](goldcrest_core::Broker::reconfigure). Shards change one after the other, each in its next turn.
    ///
    /// # Errors
    /// Another field differs, or a shard does not answer.
    pub async fn reload(&self, config: &Config) -> Result<(), ReloadError> {
        let mut settings = self.settings.lock().await;
        if let Some(field) = settings.unchangeable(config) {
            return Err(ReloadError::Unchangeable(field));
        }
        let old = std::mem::replace(&mut settings.config, config.clone());
        let of_shard = |index| {
            let config = settings.of_shard(index);
            move |now, broker: &mut goldcrest_core::Broker<'static>| broker.reconfigure(now, config)
        };
        match self.mailboxes.0.ask_all(of_shard).await {
            Ok(answers) => {
                // Seed, shard and durability are unchanged, so no core refuses.
                debug_assert!(answers.iter().all(Result::is_ok));
                Ok(())
            }
            Err(error) => {
                if error == NoAnswer::Busy {
                    settings.config = old;
                }
                Err(ReloadError::NoAnswer(error))
            }
        }
    }

    /// Asks these permissions from now on, and checks everything that was granted so far: a subscription that is no longer permitted ends, and the
    /// connection of its client is closed with 0x87 Not authorized. Call this with the same permissions after their rules have changed, so that these
    /// checks are made.
    ///
    /// # Errors
    /// A shard does not answer within a second.
    pub async fn set_authorize(&self, permissions: impl Into<Permissions<'static>>) -> Result<(), NoAnswer> {
        let permissions = permissions.into();
        let of_shard = |_| {
            let permissions = permissions.clone();
            move |now, broker: &mut goldcrest_core::Broker<'static>| broker.set_authorize(now, permissions)
        };
        self.mailboxes.0.ask_all(of_shard).await.map(drop)
    }
}
