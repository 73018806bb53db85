//! What listens in a namespace that may not be entered: `/proc/PID/net/{tcp,tcp6,unix}`, which anyone may read who sees the
//! process. Poorer than sock_diag: no backlog, no drops, no bound sockets, no v6only, no queue of unix sockets.
//!
//! Read here and not by the procfs crate, whose tables fail as a whole for one line that does not parse (a unix path may
//! hold any byte).

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::snapshot::{Connection, Family, Listener, ListenerState, TcpState};
use crate::source::sock_diag::half_open::HalfOpen;
use crate::source::sock_diag::{MAX_CONNECTIONS, MAX_LISTENERS};
use crate::source::text::clean_bytes;

/// Bytes read of one table: some 100,000 sockets.
const MAX_BYTES: u64 = 16 * 1024 * 1024;
/// `__SO_ACCEPTCON` in the Flags column of the unix table (linux/net.h).
const ACCEPTS: u32 = 0x1_0000;
/// Owner of a unix socket: the table does not tell.
const UID_UNKNOWN: u32 = u32::MAX;

/// Reads the namespace behind a `/proc/PID/net`: listeners, sorted by inode, and connections that somebody has a descriptor of.
pub fn read(directory: &str) -> io::Result<(Vec<Listener>, Vec<Connection>)> {
    let mut listeners = Vec::new();
    let mut connections = Vec::new();
    let mut half_open = HalfOpen::default();
    for row in read_tcp(directory)? {
        match row.state {
            TcpState::Listen => listeners.push(row.into_listener()),
            TcpState::SynRecv => half_open.count(row.local.0, row.local.1),
            _ if row.inode != 0 && connections.len() < MAX_CONNECTIONS => {
                connections.push(row.into_connection());
            }
            _ => {}
        }
    }
    half_open.add_to(&mut listeners);
    listeners.extend(parse_unix(&read_file(&format!("{directory}/unix"))?));
    listeners.sort_unstable_by_key(|l| l.inode);
    listeners.truncate(MAX_LISTENERS);
    Ok((listeners, connections))
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TcpRow {
    local: (IpAddr, u16),
    pub(super) peer: (IpAddr, u16),
    state: TcpState,
    send_q: u32,
    recv_q: u32,
    retransmits: u8,
    uid: u32,
    pub(super) inode: u64,
}

impl TcpRow {
    fn into_listener(self) -> Listener {
        Listener {
            inode: self.inode,
            family: if self.local.0.is_ipv4() {
                Family::Tcp4
            } else {
                Family::Tcp6
            },
            address: Some(self.local.0),
            port: self.local.1,
            path: None,
            state: ListenerState::Listening,
            // net/ipv4/tcp_ipv4.c shows the depth of the accept queue as a listener's rx_queue.
            accept_queue: Some(self.recv_q),
            backlog: None,
            drops: None,
            syn_queue: Some(0),
            v6only: None,
            uid: self.uid,
        }
    }

    pub(super) fn into_connection(self) -> Connection {
        Connection {
            inode: self.inode,
            state: self.state,
            local: self.local,
            peer: self.peer,
            recv_q: self.recv_q,
            send_q: self.send_q,
            retransmits: self.retransmits,
        }
    }
}

/// Both tables; that of IPv6 is absent where the kernel runs without it.
pub(super) fn read_tcp(directory: &str) -> io::Result<Vec<TcpRow>> {
    let mut rows = parse_tcp(&read_file(&format!("{directory}/tcp"))?);
    match read_file(&format!("{directory}/tcp6")) {
        Ok(bytes) => rows.extend(parse_tcp(&bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(rows)
}

/// One row per line that parses: the heading does not, nor does a line that is cut off.
pub(super) fn parse_tcp(bytes: &[u8]) -> Vec<TcpRow> {
    let lines = bytes.split(|&b| b == b'\n');
    lines
        .filter_map(|line| parse_tcp_line(std::str::from_utf8(line).ok()?))
        .collect()
}

/// `sl local remote state tx:rx timer:when retransmits uid timeout inode …`
fn parse_tcp_line(line: &str) -> Option<TcpRow> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = parse_address(fields.next()?)?;
    let peer = parse_address(fields.next()?)?;
    let state = TcpState::from_number(u8::from_str_radix(fields.next()?, 16).ok()?);
    let (send_q, recv_q) = fields.next()?.split_once(':')?;
    let retransmits = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    Some(TcpRow {
        local,
        peer,
        state,
        send_q: u32::from_str_radix(send_q, 16).ok()?,
        recv_q: u32::from_str_radix(recv_q, 16).ok()?,
        retransmits: u8::try_from(retransmits).unwrap_or(u8::MAX),
        uid,
        inode,
    })
}

/// `0100007F:1F90`: the address as words of the machine's byte order, the port as a number.
fn parse_address(text: &str) -> Option<(IpAddr, u16)> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        u32::from_str_radix(address.get(at..at + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (place, at) in octets.chunks_exact_mut(4).zip([0, 8, 16, 24]) {
                place.copy_from_slice(&word(at)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some((address, port))
}

/// Listening sockets of the unix table.
fn parse_unix(bytes: &[u8]) -> Vec<Listener> {
    bytes
        .split(|&b| b == b'\n')
        .filter_map(parse_unix_line)
        .collect()
}

/// `Num RefCount Protocol Flags Type St Inode Path`; the path may hold any byte, and is not there for a socket without one.
fn parse_unix_line(line: &[u8]) -> Option<Listener> {
    let ([_, _, _, flags, _, _, inode], path) = split_columns(line)?;
    if u32::from_str_radix(flags, 16).ok()? & ACCEPTS == 0 {
        return None;
    }
    let inode = inode.parse().ok()?;
    let path = path.strip_prefix(b" ");
    Some(Listener {
        inode,
        family: Family::Unix,
        address: None,
        port: 0,
        path: path.map(|path| clean_bytes(path, 256)),
        state: ListenerState::Listening,
        accept_queue: None,
        backlog: None,
        drops: None,
        syn_queue: None,
        v6only: None,
        uid: UID_UNKNOWN,
    })
}

/// The first columns of a line, which spaces separate, and what follows them.
fn split_columns<const N: usize>(line: &[u8]) -> Option<([&str; N], &[u8])> {
    let mut rest = line;
    let mut columns = [""; N];
    for column in &mut columns {
        rest = rest.trim_ascii_start();
        let end = rest.iter().position(|&b| b == b' ').unwrap_or(rest.len());
        let (text, after) = rest.split_at_checked(end)?;
        *column = std::str::from_utf8(text).ok()?;
        rest = after;
    }
    Some((columns, rest))
}

pub(super) fn read_file(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
        \x20  0: 0100007F:1F41 00000000:0000 0A 00000000:00000002 00:00000000 00000000     7        0 46614 3 0 100\n\
        \x20  1: 0100007F:DFB4 0100007F:1F43 02 00000001:00000000 01:00000044 00000003     0        0 46621 2 0 100\n\
        \x20  2: 0100007F:1F41 0100007F:B1BA 01 0000";
    const TCP6: &str = "   0: 0000000000000000FFFF00000100007F:1F44 00000000000000000000000001000000:CDE2 03 \
        00000000:00000000 01:00000044 00000000     0        0 0 0 000000004ddcb2e1\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn tcp_rows_are_read_and_a_torn_line_costs_itself() {
        let rows = parse_tcp(TCP.as_bytes());
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(rows.len(), 2);
        let (listener, connection) = (
            rows[0].clone().into_listener(),
            rows[1].clone().into_connection(),
        );
        assert_eq!(
            (listener.inode, listener.uid, listener.port),
            (46614, 7, 8001)
        );
        assert_eq!((listener.accept_queue, listener.backlog), (Some(2), None));
        assert_eq!(
            (connection.state, connection.peer),
            (TcpState::SynSent, (loopback, 8003))
        );
        assert_eq!(
            (connection.send_q, connection.recv_q, connection.retransmits),
            (1, 0, 3)
        );
        let row = parse_tcp(TCP6.as_bytes()).remove(0);
        assert_eq!(
            (row.local.0.to_string().as_str(), row.local.1),
            ("::ffff:127.0.0.1", 8004)
        );
        assert_eq!(
            (row.peer.0.to_string().as_str(), row.state),
            ("::1", TcpState::SynRecv)
        );
    }

    #[test]
    fn unix_listeners_are_read_with_any_name() {
        let table = b"Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000069d385d3: 00000002 00000000 00010000 0001 01 46629 /run/a b.sock\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 46631\n\
            0000000052267756: 00000002 00000000 00010000 0001 01    34 \xff\xfe.sock\n\
            0000000099f4a690: 00000002 00000000 00010000 0005 01 46632 @abstract\x1b[31m\n\
            00000000: 00000002 00000000 00010000 0005 01\n";
        let got: Vec<(u64, Option<String>)> = parse_unix(table)
            .into_iter()
            .map(|l| (l.inode, l.path))
            .collect();
        let name = |n: &str| Some(n.to_owned());
        let want = [
            (46629, name("/run/a b.sock")),
            (34, name("\u{fffd}\u{fffd}.sock")),
            (46632, name("@abstract\\u{1b}[31m")),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn tables_cut_at_any_length_never_panic() {
        for table in [TCP, TCP6] {
            for length in 0..table.len() {
                parse_tcp(&table.as_bytes()[..length]);
                parse_unix(&table.as_bytes()[..length]);
            }
        }
    }
}
