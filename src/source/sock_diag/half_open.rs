//! Whose the half-open connections are: sock_diag lists them with their local address and port, but does not say by
//! which listener they came in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::snapshot::{Family, Listener, ListenerState};

/// Addresses that are told apart; what is beyond (a host with that many addresses under attack) is not counted.
const MAX_ADDRESSES: usize = 16_384;

/// Half-open connections by local address and port.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HalfOpen {
    counts: BTreeMap<(IpAddr, u16), u32>,
}

impl HalfOpen {
    /// Counts one. IPv4 addresses in IPv6 form count as IPv4.
    pub fn count(&mut self, address: IpAddr, port: u16) {
        let key = (address.to_canonical(), port);
        if self.counts.len() >= MAX_ADDRESSES && !self.counts.contains_key(&key) {
            return;
        }
        let count = self.counts.entry(key).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds what was counted to the listeners that take it, as the kernel's lookup ranks them: bound to that very address,
    /// else the wildcard of the same family, else the IPv6 wildcard that is not v6only. Where several match equally
    /// (SO_REUSEPORT) the kernel does not tell whose it is: each shows the count of the group.
    pub fn add_to(&self, listeners: &mut [Listener]) {
        if self.counts.is_empty() {
            return;
        }
        let by_address = index(listeners);
        for (&(address, port), &count) in &self.counts {
            let takers = candidates(address)
                .into_iter()
                .find_map(|a| by_address.get(&(a, port)));
            for &at in takers.into_iter().flatten() {
                let taker = listeners.get_mut(at).and_then(|l| l.syn_queue.as_mut());
                if let Some(queue) = taker {
                    *queue = queue.saturating_add(count);
                }
            }
        }
    }
}

/// Where in the list the TCP listeners for an address and port are. A dual-stack wildcard is there for IPv6 only under its
/// own address; `candidates` looks for it.
fn index(listeners: &[Listener]) -> BTreeMap<(Bound, u16), Vec<usize>> {
    let mut index: BTreeMap<(Bound, u16), Vec<usize>> = BTreeMap::new();
    for (at, listener) in listeners.iter().enumerate() {
        let Some(address) = listener.address.filter(|_| takes_tcp(listener)) else {
            continue;
        };
        index
            .entry((Bound::To(address.to_canonical()), listener.port))
            .or_default()
            .push(at);
        if address == IpAddr::V6(Ipv6Addr::UNSPECIFIED) && listener.v6only != Some(true) {
            index
                .entry((Bound::DualStack, listener.port))
                .or_default()
                .push(at);
        }
    }
    index
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Bound {
    To(IpAddr),
    DualStack,
}

fn candidates(address: IpAddr) -> [Bound; 3] {
    match address {
        IpAddr::V4(_) => [
            Bound::To(address),
            Bound::To(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            Bound::DualStack,
        ],
        IpAddr::V6(_) => {
            let wildcard = Bound::To(IpAddr::V6(Ipv6Addr::UNSPECIFIED));
            [Bound::To(address), wildcard, wildcard]
        }
    }
}

fn takes_tcp(listener: &Listener) -> bool {
    listener.state == ListenerState::Listening
        && matches!(listener.family, Family::Tcp4 | Family::Tcp6)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(address: &str, port: u16, v6only: Option<bool>) -> Listener {
        let address: IpAddr = address.parse().unwrap();
        Listener {
            inode: 1,
            family: if address.is_ipv4() {
                Family::Tcp4
            } else {
                Family::Tcp6
            },
            address: Some(address),
            port,
            path: None,
            state: ListenerState::Listening,
            accept_queue: Some(0),
            backlog: Some(5),
            drops: Some(0),
            syn_queue: Some(0),
            v6only,
            uid: 0,
        }
    }

    fn check(listeners: &[(&str, u16, Option<bool>)], half_open: &[(&str, u16)], want: &[u32]) {
        let mut list: Vec<Listener> = listeners
            .iter()
            .map(|(a, p, v)| listener(a, *p, *v))
            .collect();
        let mut counts = HalfOpen::default();
        for (address, port) in half_open {
            counts.count(address.parse().unwrap(), *port);
        }
        counts.add_to(&mut list);
        let got: Vec<u32> = list.iter().filter_map(|l| l.syn_queue).collect();
        assert_eq!(got, want, "{listeners:?} {half_open:?}");
    }

    #[test]
    fn half_open_connections_belong_to_the_listener_that_the_kernel_would_pick() {
        let twice = [("10.0.0.1", 80), ("::ffff:10.0.0.1", 80)];
        check(
            &[("10.0.0.1", 80, None), ("0.0.0.0", 80, None)],
            &twice,
            &[2, 0],
        );
        check(
            &[("10.0.0.2", 80, None), ("0.0.0.0", 80, None)],
            &twice,
            &[0, 2],
        );
        check(
            &[("0.0.0.0", 80, None), ("::", 80, Some(true))],
            &twice,
            &[2, 0],
        );
        check(&[("::", 80, Some(true))], &twice, &[0]);
        check(
            &[("::", 80, Some(false)), ("::", 81, Some(false))],
            &twice,
            &[2, 0],
        );
        check(
            &[("::", 80, Some(true)), ("fd00::1", 80, Some(true))],
            &[("fd00::1", 80), ("fd00::2", 80)],
            &[1, 1],
        );
        check(
            &[("0.0.0.0", 80, None), ("0.0.0.0", 80, None)],
            &twice,
            &[2, 2],
        );
    }
}
