//! The settings of all shards' brokers, and which of them may change while the gateway runs.

use crate::config::{Config, StoreConfig};
use crate::shard::body_budget;
use goldcrest_core::{Authentication, Shard};
use std::fmt;

/// The settings of all shards' brokers.
pub(super) struct BrokerSettings {
    pub(super) config: Config,
    pub(super) seed: u128,
    pub(super) shards: u16,
    pub(super) is_durable: bool,
    /// Whether clients wait for a verdict: a decider is asked, or a listener has a mount.
    pub(super) asks: bool,
}

impl fmt::Debug for BrokerSettings {
    /// Omits the seed, which must stay secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerSettings").field("shards", &self.shards).finish_non_exhaustive()
    }
}

impl BrokerSettings {
    /// The configuration of the broker of one shard.
    pub(super) fn of_shard(&self, index: u16) -> goldcrest_core::Config<'static> {
        let limits = if self.is_durable { self.config.limits_with_store() } else { self.config.broker.limits };
        let authentication = if self.asks { Authentication::Ask } else { self.config.broker.authentication };
        goldcrest_core::Config {
            authentication,
            seed: self.seed,
            shard: Shard { index, count: self.shards },
            limits,
            durable: self.is_durable,
            body_budget: body_budget(self.config.store.body_bytes, self.shards),
            ..self.config.broker.clone()
        }
    }

    /// The name of a field that differs in `new`, and that can't change while the gateway runs.
    pub(super) fn unchangeable(&self, new: &Config) -> Option<&'static str> {
        let old = &self.config;
        // The pattern names all fields, so the code does not compile if a new field is not compared here.
        let Config {
            listeners,
            authentication,
            shards,
            data_dir,
            memory_only,
            memory_max,
            store,
            http,
            permissions,
            dynamic_security,
            sys_interval_s,
            log,
            capacity,
            unfinished_connections,
            broker,
        } = new;
        let is_same = [
            ("listeners", *listeners == old.listeners),
            ("authentication", *authentication == old.authentication),
            ("shards", *shards == old.shards),
            ("data_dir", *data_dir == old.data_dir),
            ("memory_only", *memory_only == old.memory_only),
            ("memory_max", *memory_max == old.memory_max),
            ("store", StoreConfig { body_bytes: old.store.body_bytes, ..*store } == old.store),
            ("http", *http == old.http),
            ("permissions", *permissions == old.permissions),
            ("dynamic_security", *dynamic_security == old.dynamic_security),
            ("sys_interval_s", *sys_interval_s == old.sys_interval_s),
            ("log", *log == old.log),
            ("capacity", *capacity == old.capacity),
            ("unfinished_connections", *unfinished_connections == old.unfinished_connections),
            ("broker.connect_timeout_ms", broker.connect_timeout_ms == old.broker.connect_timeout_ms),
            ("broker.authentication", broker.authentication == old.broker.authentication),
            // The length of buffers and of files of the store depends on this limit.
            ("broker.limits.packet_bytes", broker.limits.packet_bytes == old.broker.limits.packet_bytes),
        ];
        is_same.into_iter().find(|(_, is_same)| !is_same).map(|(field, _)| field)
    }
}
