//! The names of principals and their numbers.

use super::record::{GatewayRecord, PrincipalRecord, RecordError};
use goldcrest_core::Principal;
use goldcrest_store::{Batch, Handle, Key, LogStore, Store as _};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::error::Error;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The registry of principals: each name has a number, which stays the same across restarts.
///
/// A Session belongs to a [`Principal`], and the core keeps the principal as a number. If the number meant another name after a restart,
/// a Session and its messages would belong to somebody else. So a number is given to one name only, even after a restart, and even if
/// damage of the disk has lost the name.
///
/// The record of a new name is handed to the store before [`Principals::principal`] returns. A Session that belongs to it is recorded
/// later, so no loss of power leaves such a Session without the name.
///
/// All methods may be called from any thread. They take a lock for a short time and never wait for the disk.
///
/// ```
/// # use goldcrest::{Config, Gateway, Listener};
/// # let config = Config { listeners: vec![Listener::new("127.0.0.1:0".parse()?)], ..Config::default() };
/// let gateway = Gateway::start(&config)?;
/// let ann = gateway.principals().principal("ann")?;
/// assert_eq!(gateway.principals().principal("ann")?, ann);
/// assert_eq!(gateway.principals().name(ann).as_deref(), Some("ann"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct Principals {
    table: RwLock<NameTable>,
    /// Where new names are recorded; `None` if the gateway keeps everything in memory.
    store: Option<Handle>,
}

#[derive(Debug, Default)]
struct NameTable {
    numbers: HashMap<Arc<str>, u32>,
    names: HashMap<u32, Arc<str>>,
    /// No name gets this number or a smaller one any more: it was given to a name, or a stored Session has it.
    greatest: u32,
    /// The slot of the next record in the store.
    next_slot: u32,
}

/// Why a new name has no number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameRefused {
    /// A name must have from 1 to [`Principals::NAME_BYTES`] bytes, and this one has the given number.
    Length(usize),
    /// There are [`Principals::MOST`] names, or no number is left.
    TooMany,
    /// The store has no room. Names that already have a number keep it.
    StoreFull,
}

impl Principals {
    /// The principal of clients that the gateway itself is. No name ever gets it.
    pub(crate) const GATEWAY: Principal = Principal(u32::MAX);

    /// The longest name, in bytes.
    pub const NAME_BYTES: usize = 256;
    /// How many names there may be. Each takes its length and at most 130 bytes of memory besides.
    pub const MOST: usize = 1 << 20;

    /// Reads the names from the store; new names are handed to `handle`.
    ///
    /// # Errors
    /// The store cannot be read, or a newer program wrote records that this one does not know: a [`RecordError`] then.
    pub(crate) fn restore(log: &LogStore, handle: Handle) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let mut table = NameTable::default();
        let mut refused = None;
        let mut left_out = 0_u64;
        log.each(Key::COMMON, &mut |key, bytes| {
            match GatewayRecord::open(key.kind, bytes) {
                Ok(GatewayRecord::Principal(PrincipalRecord { number, name })) => {
                    left_out += u64::from(!table.insert(name, number));
                }
                Err(RecordError::Damaged) => left_out += 1,
                Err(error) => {
                    refused = Some(error);
                    return ControlFlow::Break(());
                }
            }
            table.next_slot = table.next_slot.max(key.slot.saturating_add(1));
            ControlFlow::Continue(())
        })?;
        if let Some(error) = refused {
            return Err(error.into());
        }
        if left_out > 0 {
            tracing::error!(records = left_out, "names of principals in the store make no sense and were left out");
        }
        Ok(Self { table: RwLock::new(table), store: Some(handle) })
    }

    /// The principal of this name. A name that has no number yet gets one.
    ///
    /// # Errors
    /// The name is new, and it is too short or too long, or there is no room for it.
    pub fn principal(&self, name: &str) -> Result<Principal, NameRefused> {
        if let Some(known) = self.find(name) {
            return Ok(known);
        }
        if name.is_empty() || name.len() > Self::NAME_BYTES {
            return Err(NameRefused::Length(name.len()));
        }
        if self.store.as_ref().is_some_and(|store| store.health().is_full()) {
            return Err(NameRefused::StoreFull);
        }
        let mut table = self.write();
        // Another thread may have given the name a number meanwhile.
        if let Some(&known) = table.numbers.get(name) {
            return Ok(Principal(known));
        }
        let free = table.greatest.checked_add(1).filter(|&number| Principal(number) != Self::GATEWAY);
        let free = free.filter(|_| table.numbers.len() < Self::MOST);
        let number = free.ok_or(NameRefused::TooMany)?;
        table.insert(name, number);
        if let Some(store) = &self.store {
            let mut batch = Batch::default();
            GatewayRecord::Principal(PrincipalRecord { number, name }).put(table.next_slot, &mut batch);
            table.next_slot += 1;
            // Done while the lock is held: another thread that finds the name after this hands its own records to the store later.
            store.commit_common(batch);
        }
        Ok(Principal(number))
    }

    /// The principal of this name, if the name has a number.
    pub fn find(&self, name: &str) -> Option<Principal> {
        self.read().numbers.get(name).map(|number| Principal(*number))
    }

    /// The name of this principal. [`Principal::ANONYMOUS`] has none. Nor has a principal whose name was lost to damage of the disk.
    pub fn name(&self, principal: Principal) -> Option<Arc<str>> {
        self.read().names.get(&principal.0).cloned()
    }

    /// How many names there are.
    pub fn count(&self) -> usize {
        self.read().numbers.len()
    }

    /// Notes that a stored Session belongs to this principal: no new name gets this number or a smaller one.
    pub(crate) fn reserve_up_to(&self, principal: Principal) {
        let mut table = self.write();
        table.greatest = table.greatest.max(principal.0);
    }

    fn read(&self) -> RwLockReadGuard<'_, NameTable> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, NameTable> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NameTable {
    /// Adds a name with its number. Returns false, and changes nothing, if one of them is known already or no name can have the number.
    fn insert(&mut self, name: &str, number: u32) -> bool {
        self.greatest = self.greatest.max(number);
        let is_taken = [Principal::ANONYMOUS, Principals::GATEWAY].contains(&Principal(number));
        if is_taken || self.numbers.contains_key(name) {
            return false;
        }
        let Entry::Vacant(free) = self.names.entry(number) else { return false };
        let name: Arc<str> = name.into();
        free.insert(name.clone());
        self.numbers.insert(name, number);
        true
    }
}

impl fmt::Display for NameRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(bytes) => {
                write!(f, "the name of a principal has from 1 to {} bytes, not {bytes}", Principals::NAME_BYTES)
            }
            Self::TooMany => write!(f, "there are as many principals as there may be"),
            Self::StoreFull => write!(f, "the store has no room for a new principal"),
        }
    }
}

impl Error for NameRefused {}
