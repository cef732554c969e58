//! How many connections a listener has, in all and from each address.

use super::address_group::AddressGroup;
use crate::config::Listener;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of one listener that has limits of its own.
#[derive(Debug)]
pub(super) struct Guests {
    most: usize,
    most_of_address: u32,
    all: AtomicUsize,
    /// Only those that have some. There are never more than connections.
    by_address: Mutex<HashMap<AddressGroup, u32>>,
}

/// One connection among the guests, until it is dropped.
pub(super) struct Guest {
    guests: Arc<Guests>,
    address: Option<AddressGroup>,
}

impl Guests {
    /// `None` if the listener has no limits.
    pub(super) fn of(listener: &Listener) -> Option<Arc<Self>> {
        let (most, most_of_address) = (listener.max_connections, listener.max_connections_per_address);
        (most.is_some() || most_of_address.is_some()).then(|| {
            Arc::new(Self {
                most: most.map_or(usize::MAX, |most| most as usize),
                most_of_address: most_of_address.unwrap_or(u32::MAX),
                all: AtomicUsize::new(0),
                by_address: Mutex::default(),
            })
        })
    }

    /// Counts one connection more.
    ///
    /// # Errors
    /// There are as many as there may be.
    pub(super) fn enter(self: &Arc<Self>) -> Result<Guest, &'static str> {
        // Counted before the limit is checked: dropping the guest takes the count back.
        let guest = Guest { guests: self.clone(), address: None };
        if self.all.fetch_add(1, Ordering::Relaxed) < self.most {
            Ok(guest)
        } else {
            Err("its listener has as many connections as max_connections allows")
        }
    }

    fn by_address(&self) -> MutexGuard<'_, HashMap<AddressGroup, u32>> {
        self.by_address.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guest {
    /// Counts the connection as one of this address.
    ///
    /// # Errors
    /// The address has as many as it may have.
    pub(super) fn comes_from(&mut self, address: IpAddr) -> Result<(), &'static str> {
        if self.guests.most_of_address == u32::MAX {
            return Ok(());
        }
        let group = AddressGroup::of(address);
        let mut by_address = self.guests.by_address();
        let count = by_address.entry(group).or_default();
        if *count >= self.guests.most_of_address {
            return Err("its address has as many connections as max_connections_per_address allows");
        }
        *count += 1;
        self.address = Some(group);
        Ok(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.all.fetch_sub(1, Ordering::Relaxed);
        let Some(group) = self.address else { return };
        let mut by_address = self.guests.by_address();
        if let Some(count) = by_address.get_mut(&group) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(most: Option<u32>, most_of_address: Option<u32>) -> Option<Arc<Guests>> {
        let listener = Listener::new("127.0.0.1:0".parse().unwrap());
        Guests::of(&Listener { max_connections: most, max_connections_per_address: most_of_address, ..listener })
    }

    #[test]
    fn connections_are_counted_in_all_and_by_address_and_given_back() {
        assert!(guests(None, None).is_none());
        let guests = guests(Some(3), Some(2)).unwrap();
        let enter = |address: &str| {
            let mut guest = guests.enter()?;
            guest.comes_from(address.parse().unwrap()).map(|()| guest)
        };
        let (first, second) = (enter("2001:db8::1").unwrap(), enter("2001:db8::2").unwrap());
        // The addresses of one network of IPv6 are those of one client.
        assert!(enter("2001:db8::3").err().unwrap().contains("max_connections_per_address"));
        let third = enter("2001:db8:0:1::1").unwrap();
        assert!(enter("192.0.2.1").err().unwrap().contains("max_connections "));
        drop(first);
        let fourth = enter("2001:db8::3").unwrap();
        drop((second, third, fourth));
        assert_eq!((guests.all.load(Ordering::Relaxed), guests.by_address().len()), (0, 0));
    }
}
