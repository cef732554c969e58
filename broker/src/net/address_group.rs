//! Addresses that are taken for those of one client.

use std::net::IpAddr;

/// One address of IPv4, or a network of IPv6 with a prefix of 64 bits: who has one of its addresses has them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct AddressGroup(u64);

impl AddressGroup {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            // No network of IPv6 that is given out begins with these bits.
            IpAddr::V4(address) => Self(0xffff << 32 | u64::from(address.to_bits())),
            IpAddr::V6(address) => Self((address.to_bits() >> 64) as u64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_of_ipv4_stands_alone_and_a_network_of_ipv6_together() {
        let group = |text: &str| AddressGroup::of(text.parse().unwrap());
        assert_ne!(group("192.0.2.1"), group("192.0.2.2"));
        assert_eq!(group("192.0.2.1"), group("::ffff:192.0.2.1"));
        assert_eq!(group("2001:db8::1"), group("2001:db8::ffff:1:2:3"));
        assert_ne!(group("2001:db8::1"), group("2001:db8:0:1::1"));
    }
}
