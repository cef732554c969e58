//! Topic Aliases in both directions (sections 3.3.2.3.4 and 4.7). They last as long as their Network Connection.

use super::Connection;
use crate::mem::{Blob, Bytes, Claim, Handle, HashIndex, Hasher, List, Pool, links};

/// One alias of one connection in one direction.
#[derive(Clone, Copy, Debug)]
pub struct Alias {
    next: Option<Handle<Alias>>,
    previous: Option<Handle<Alias>>,
    chain: Option<Handle<Alias>>,
    hash: u32,
    connection: Option<Handle<Connection>>,
    topic: Blob,
    alias: u16,
    /// Whether the broker has set the alias for packets to the client. Otherwise the client has set it.
    outgoing: bool,
}

impl Alias {
    /// The value of unused memory.
    pub const EMPTY: Self = Self {
        next: None,
        previous: None,
        chain: None,
        hash: 0,
        connection: None,
        topic: Blob::EMPTY,
        alias: 0,
        outgoing: false,
    };
}

impl Default for Alias {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// All aliases. Those that clients set are found by their number, and those that the broker sets by their topic.
pub(crate) struct Aliases<'m> {
    pool: Pool<'m, Alias>,
    index: HashIndex<'m, Alias>,
    hasher: Hasher,
}

impl<'m> Aliases<'m> {
    pub(crate) fn new(pool: Pool<'m, Alias>, index: HashIndex<'m, Alias>, hasher: Hasher) -> Self {
        Self { pool, index, hasher }
    }

    /// The most aliases that a look-up has to pass.
    pub(crate) fn longest_chain(&self) -> usize {
        self.index.longest_chain(&self.pool)
    }

    /// The topic for which the client has set `alias`.
    pub(crate) fn topic_of(&self, connection: Handle<Connection>, alias: u16) -> Option<Blob> {
        self.find_incoming(connection, alias).map(|found| self.pool[found].topic)
    }

    /// The client sets `alias`, or sets it anew `[MQTT-3.3.2-12]`. Returns `false` if there is no memory.
    pub(crate) fn set_incoming(
        &mut self,
        bytes: &mut Bytes<'m>,
        connection: Handle<Connection>,
        aliases: &mut List<Alias>,
        alias: u16,
        topic: &str,
    ) -> bool {
        if let Some(found) = self.find_incoming(connection, alias) {
            if bytes.equals(self.pool[found].topic, topic.as_bytes()) {
                return true;
            }
            let Some(new) = bytes.store_claimed(topic.as_bytes(), Claim::Share) else {
                return false;
            };
            let old = core::mem::replace(&mut self.pool[found].topic, new);
            bytes.release(old);
            return true;
        }
        let hash = self.hasher.combine(connection.index() as u32, u32::from(alias));
        self.insert(bytes, aliases, Alias { hash, connection: Some(connection), alias, ..Alias::default() }, topic)
    }

    /// The alias that the broker has set for `topic`.
    pub(crate) fn outgoing(&self, bytes: &Bytes<'m>, connection: Handle<Connection>, topic: &[u8]) -> Option<u16> {
        let found = self.index.find(&self.pool, self.outgoing_hash(connection, topic), |alias| {
            alias.outgoing && alias.connection == Some(connection) && bytes.equals(alias.topic, topic)
        })?;
        Some(self.pool[found].alias)
    }

    /// Sets `alias` for packets to the client. Returns `false` if there is no memory.
    pub(crate) fn set_outgoing(
        &mut self,
        bytes: &mut Bytes<'m>,
        connection: Handle<Connection>,
        aliases: &mut List<Alias>,
        alias: u16,
        topic: &str,
    ) -> bool {
        let hash = self.outgoing_hash(connection, topic.as_bytes());
        let entry = Alias { hash, connection: Some(connection), alias, outgoing: true, ..Alias::default() };
        self.insert(bytes, aliases, entry, topic)
    }

    /// Gives memory of the table back; see [`Pool::give_back`].
    pub(crate) fn give_back(&mut self) {
        self.pool.give_back(0);
    }

    /// Forgets the aliases of a connection.
    pub(crate) fn forget(&mut self, bytes: &mut Bytes<'m>, aliases: &mut List<Alias>) {
        while let Some(handle) = aliases.front() {
            aliases.unlink(&mut self.pool, handle);
            self.index.remove(&mut self.pool, handle);
            bytes.release(self.pool.remove(handle).topic);
        }
    }

    fn insert(&mut self, bytes: &mut Bytes<'m>, aliases: &mut List<Alias>, entry: Alias, topic: &str) -> bool {
        if !self.pool.has_room(0) {
            return false;
        }
        let Some(topic) = bytes.store_claimed(topic.as_bytes(), Claim::Share) else {
            return false;
        };
        let Some(handle) = self.pool.insert(Alias { topic, ..entry }) else {
            return false;
        };
        self.index.insert(&mut self.pool, handle);
        aliases.push_back(&mut self.pool, handle);
        true
    }

    fn find_incoming(&self, connection: Handle<Connection>, alias: u16) -> Option<Handle<Alias>> {
        let hash = self.hasher.combine(connection.index() as u32, u32::from(alias));
        self.index.find(&self.pool, hash, |entry| {
            !entry.outgoing && entry.alias == alias && entry.connection == Some(connection)
        })
    }

    fn outgoing_hash(&self, connection: Handle<Connection>, topic: &[u8]) -> u32 {
        self.hasher.combine(connection.index() as u32, self.hasher.hash_bytes(topic))
    }
}

links!(Linked for Alias: next);
links!(DoublyLinked for Alias: previous);
links!(Chained for Alias: hash, chain);
