//! Which socket addresses an outbound request may reach: server-side request forgery ends here (RFC 6890, facts/rust.md A.3).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Who named the host decides where it may lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPolicy {
    /// A stranger named it (client id metadata documents): public addresses only, and https only.
    PublicOnly,
    /// The operator typed it (provider, upstream): any address.
    Configured,
    /// Tests and development: this computer only.
    LoopbackOnly,
}

impl AddressPolicy {
    /// True when a connection to `address` is allowed.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::PublicOnly => AddressClass::of(address) == AddressClass::Public,
            Self::Configured => true,
            Self::LoopbackOnly => AddressClass::of(address) == AddressClass::Loopback,
        }
    }
}

/// What an address is for, after every known way of wrapping an IPv4 address in an IPv6 one is undone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressClass {
    /// Reachable from anywhere.
    Public,
    /// 127.0.0.0/8 and ::1.
    Loopback,
    /// RFC 1918, RFC 4193, the old site-local range and the carriers' 100.64.0.0/10.
    Private,
    /// 169.254.0.0/16 and fe80::/10, where cloud metadata services answer; and 168.63.129.16, a host agent of the same
    /// kind on a public-looking address.
    LinkLocal,
    /// Everything else that no public server has: unspecified, multicast, documentation, benchmarking, reserved.
    Reserved,
}

impl AddressClass {
    /// The class of `address`.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => of_v4(address),
            IpAddr::V6(address) => of_v6(address),
        }
    }
}

impl fmt::Display for AddressClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Public => "public",
            Self::Loopback => "a loopback address",
            Self::Private => "a private address",
            Self::LinkLocal => "a link-local address",
            Self::Reserved => "a reserved address",
        })
    }
}

fn of_v4(address: Ipv4Addr) -> AddressClass {
    match address.octets() {
        [127, ..] => AddressClass::Loopback,
        [10, ..] | [192, 168, ..] | [172, 16..=31, ..] | [100, 64..=127, ..] => {
            AddressClass::Private
        }
        [169, 254, ..] | [168, 63, 129, 16] => AddressClass::LinkLocal,
        [0 | 224..=255, ..]
        | [192, 0, 0 | 2, _]
        | [192, 88, 99, _]
        | [198, 18 | 19, ..]
        | [198, 51, 100, _]
        | [203, 0, 113, _] => AddressClass::Reserved,
        _ => AddressClass::Public,
    }
}

fn of_v6(address: Ipv6Addr) -> AddressClass {
    let s = address.segments();
    match s {
        [0, 0, 0, 0, 0, 0, 0, 0] => AddressClass::Reserved,
        [0, 0, 0, 0, 0, 0, 0, 1] => AddressClass::Loopback,
        // v4-mapped, v4-compatible, v4-translated (RFC 2765), NAT64 (RFC 6052) at the end; 6to4 (RFC 3056) behind its
        // prefix.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low]
        | [0, 0, 0, 0, 0xffff, 0, high, low]
        | [0x64, 0xff9b, 0, 0, 0, 0, high, low]
        | [0x2002, high, low, ..] => of_v4(embedded(high, low)),
        // Teredo (RFC 4380) carries a server and, inverted, a client. Both must be public.
        [0x2001, 0, server_high, server_low, _, _, high, low] => {
            match of_v4(embedded(server_high, server_low)) {
                AddressClass::Public => of_v4(embedded(!high, !low)),
                other => other,
            }
        }
        // ISATAP (RFC 5214): the interface identifier holds it.
        [_, _, _, _, 0 | 0x200, 0x5efe, high, low]
            if of_v4(embedded(high, low)) != AddressClass::Public =>
        {
            of_v4(embedded(high, low))
        }
        [0xfe80..=0xfebf, ..] => AddressClass::LinkLocal,
        [0xfc00..=0xfdff | 0xfec0..=0xfeff, ..] => AddressClass::Private,
        // Documentation, and the IETF's protocol assignments 2001::/23 (ORCHID, benchmarking and so on).
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => AddressClass::Reserved,
        // Global unicast is 2000::/3. Local-use NAT64, discard, segment routing and multicast lie outside of it.
        [0x2000..=0x3fff, ..] => AddressClass::Public,
        _ => AddressClass::Reserved,
    }
}

fn embedded(high: u16, low: u16) -> Ipv4Addr {
    let [a, b] = high.to_be_bytes();
    let [c, d] = low.to_be_bytes();
    Ipv4Addr::new(a, b, c, d)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn class(text: &str) -> AddressClass {
        AddressClass::of(text.parse().unwrap())
    }

    #[test]
    fn every_special_range_is_known() {
        use AddressClass::{LinkLocal, Loopback, Private, Public, Reserved};
        let table = [
            ("8.8.8.8", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("172.15.0.1", Public),
            ("172.32.0.1", Public),
            ("169.253.0.1", Public),
            ("198.17.0.1", Public),
            ("223.255.255.254", Public),
            ("0.0.0.0", Reserved),
            ("0.1.2.3", Reserved),
            ("10.0.0.1", Private),
            ("100.64.0.1", Private),
            ("100.100.100.200", Private),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("169.254.169.254", LinkLocal),
            ("168.63.129.16", LinkLocal),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.0.0.170", Reserved),
            ("192.0.2.1", Reserved),
            ("192.88.99.1", Reserved),
            ("192.168.1.1", Private),
            ("198.18.0.1", Reserved),
            ("198.19.255.255", Reserved),
            ("198.51.100.1", Reserved),
            ("203.0.113.1", Reserved),
            ("224.0.0.1", Reserved),
            ("240.0.0.1", Reserved),
            ("255.255.255.255", Reserved),
            ("2606:4700::1111", Public),
            ("2a00:1450:4001::200e", Public),
            ("::", Reserved),
            ("::1", Loopback),
            ("fe80::1", LinkLocal),
            ("febf::1", LinkLocal),
            ("fec0::1", Private),
            ("fc00::1", Private),
            ("fd00:ec2::254", Private),
            ("ff02::1", Reserved),
            ("100::1", Reserved),
            ("2001:db8::1", Reserved),
            ("2001:10::1", Reserved),
            ("2001:2::1", Reserved),
            ("3fff::1", Reserved),
            ("5f00::1", Reserved),
            ("64:ff9b:1::8.8.8.8", Reserved),
            ("4000::1", Reserved),
        ];
        for (address, expected) in table {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    #[test]
    fn t17_a_wrapped_metadata_address_is_still_refused() {
        use AddressClass::{LinkLocal, Loopback, Private, Public};
        let table = [
            ("::ffff:169.254.169.254", LinkLocal),
            ("::169.254.169.254", LinkLocal),
            ("::ffff:0:169.254.169.254", LinkLocal),
            ("64:ff9b::169.254.169.254", LinkLocal),
            ("2002:a9fe:a9fe::1", LinkLocal),
            ("2001:0:808:808::5601:5601", LinkLocal),
            ("2001:0:7f00:1::f7f7:f7f7", Loopback),
            ("2606:4700::5efe:169.254.169.254", LinkLocal),
            ("2606:4700::200:5efe:10.0.0.1", Private),
            ("::ffff:127.0.0.1", Loopback),
            ("::127.0.0.1", Loopback),
            ("64:ff9b::10.0.0.1", Private),
            ("::ffff:8.8.8.8", Public),
            ("64:ff9b::8.8.8.8", Public),
            ("2002:808:808::1", Public),
            ("2001:0:808:808::f7f7:f7f7", Public),
        ];
        for (address, expected) in table {
            assert_eq!(class(address), expected, "{address}");
        }
    }

    #[test]
    fn policies() {
        let metadata = "169.254.169.254".parse().unwrap();
        let loopback = "::1".parse().unwrap();
        let public = "8.8.8.8".parse().unwrap();
        assert!(!AddressPolicy::PublicOnly.allows(metadata));
        assert!(!AddressPolicy::PublicOnly.allows(loopback));
        assert!(AddressPolicy::PublicOnly.allows(public));
        assert!(AddressPolicy::Configured.allows(metadata));
        assert!(AddressPolicy::LoopbackOnly.allows(loopback));
        assert!(!AddressPolicy::LoopbackOnly.allows(public));
    }

    proptest! {
        #[test]
        fn wrapping_never_makes_an_address_more_public(bits in any::<u32>(), site in any::<u32>()) {
            let v4 = Ipv4Addr::from_bits(bits);
            let expected = of_v4(v4);
            let low = u128::from(bits);
            let site = 0x2600_u128 << 112 | u128::from(site) << 64;
            let wrapped = [
                low | 0xffff << 32,
                low | 0xffff << 48,
                low | 0x64_ff9b_u128 << 96,
                0x2002_u128 << 112 | low << 80,
                0x2001_0000_0808_0808_u128 << 64 | u128::from(!bits),
            ];
            for v6 in wrapped {
                prop_assert_eq!(of_v6(Ipv6Addr::from_bits(v6)), expected, "{}", Ipv6Addr::from_bits(v6));
            }
            for isatap in [site | 0x5efe << 32 | low, site | 0x0200_5efe << 32 | low] {
                prop_assert_eq!(of_v6(Ipv6Addr::from_bits(isatap)), expected);
            }
        }

        #[test]
        fn only_global_unicast_is_public(bits in any::<u128>()) {
            let address = Ipv6Addr::from_bits(bits);
            if of_v6(address) == AddressClass::Public {
                let first = address.segments()[0];
                prop_assert!(first & 0xe000 == 0x2000 || matches!(first, 0 | 0x64), "{address}");
            }
        }
    }
}
