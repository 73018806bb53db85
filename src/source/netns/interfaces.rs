//! Whether a namespace has an interface besides loopback that is up: a server on 127.0.0.1 is out of reach then for those
//! who come by the other one. /proc has no list of interfaces that are up, so this asks who has an IPv4 route or an IPv6
//! address; an interface with neither cannot be reached anyhow.

use std::fs::File;
use std::io::{self, Read};

/// Bytes read of each file: the first route of another interface is enough.
const MAX_BYTES: u64 = 64 * 1024;
/// RTF_UP in `/proc/net/route` (linux/route.h).
const ROUTE_UP: u32 = 1;

/// Asks the namespace behind a `/proc/PID/net`; `None` if its routes are unreadable.
pub fn any_but_loopback(directory: &str) -> Option<bool> {
    let routes = read(&format!("{directory}/route")).ok()?;
    // The file is absent where the kernel runs without IPv6.
    let addresses = read(&format!("{directory}/if_inet6")).unwrap_or_default();
    Some(parse_routes(&routes) || parse_addresses(&addresses))
}

/// `Iface Destination Gateway Flags …`, flags in hex; the first line is the heading.
fn parse_routes(text: &str) -> bool {
    text.lines().skip(1).any(|line| {
        let mut fields = line.split_ascii_whitespace();
        let (name, flags) = (fields.next(), fields.nth(2));
        let up = flags
            .and_then(|f| u32::from_str_radix(f, 16).ok())
            .is_some_and(|f| f & ROUTE_UP != 0);
        up && name.is_some_and(|n| n != "lo")
    })
}

/// `address index prefix scope flags name`, one line per address; only of interfaces that are up.
fn parse_addresses(text: &str) -> bool {
    text.lines().any(|line| {
        line.split_ascii_whitespace()
            .nth(5)
            .is_some_and(|name| name != "lo")
    })
}

fn read(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_interface_shows_by_a_route_or_an_address() {
        let heading = "Iface\tDestination\tGateway \tFlags\tRefCnt\n";
        let cases = [
            ("", false),
            ("eth0\t00000000\t010011AC\t0003\t0\n", true),
            ("eth0\t00000000\t0\t0200\t0\n", false),
        ];
        for (route, want) in cases {
            assert_eq!(
                parse_routes(&format!("{heading}{route}")),
                want,
                "{route:?}"
            );
        }
        let loopback = "00000000000000000000000000000001 01 80 10 80       lo\n";
        assert!(!parse_addresses(loopback));
        assert!(parse_addresses(&format!(
            "{loopback}fe80000000000000 02 40 20 80     eth0\n"
        )));
        assert!(!parse_addresses("torn line\n"));
    }
}
