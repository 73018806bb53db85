//! What one reply of sock_diag says (linux/inet_diag.h, linux/unix_diag.h). Pure and lenient: the fixed header must be
//! there, an attribute that cannot be read costs itself only. The attributes that we do not know are skipped.

use std::mem::size_of;

use netlink_packet_core::{NlasIterator, Parseable, parse_u32};
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, AF_UNIX, INET_DIAG_SKMEMINFO, INET_DIAG_SKV6ONLY, TCP_CLOSE, TCP_LISTEN,
    TCP_SYN_RECV, UNIX_DIAG_NAME, UNIX_DIAG_RQLEN,
};
use netlink_packet_sock_diag::inet::{InetResponseBuffer, InetResponseHeader, Timer};
use netlink_packet_sock_diag::unix::{UnixResponseBuffer, UnixResponseHeader};

use crate::snapshot::{Connection, Family, Listener, ListenerState, TcpState};
use crate::source::text::clean_bytes;

/// UNIX_DIAG_UID (kernel 5.3), which the crate does not have.
const UNIX_DIAG_UID: u16 = 7;
/// `sk_drops` in SKMEMINFO (SK_MEMINFO_DROPS, kernel 4.7).
const SK_MEMINFO_DROPS: usize = 8;
/// Owner of a unix socket where the kernel does not tell (before 5.3).
const UID_UNKNOWN: u32 = u32::MAX;
/// Characters of a unix socket's name that are kept; the kernel's limit is 108 bytes.
const MAX_NAME: usize = 256;

/// A row of a TCP dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TcpRow {
    /// A socket that listens or is bound.
    Listener(Listener),
    /// A half-open connection to this local address and port.
    HalfOpen(std::net::IpAddr, u16),
    /// A connection that somebody has a descriptor of.
    Connection(Connection),
    /// Anything else: a connection that is nobody's, or nobody's yet.
    Other,
}

/// A row, and whether all of it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parsed<T> {
    /// What could be read.
    pub row: T,
    /// True if its attributes could not all be read.
    pub damaged: bool,
}

/// Reads a reply of a TCP dump. `None` if its fixed header cannot be read.
///
/// State 7 (CLOSE) in such a dump is a socket that is bound and does not listen: closed sockets are in no table, except
/// in the one that bit 13 of `idiag_states` asks for (TCPF_BOUND_INACTIVE, net/ipv4/inet_diag.c).
pub fn parse_tcp(body: &[u8]) -> Option<Parsed<TcpRow>> {
    let header = InetResponseHeader::parse(body).ok()?;
    let id = &header.socket_id;
    let state = match header.state {
        TCP_LISTEN => ListenerState::Listening,
        TCP_CLOSE if id.source_port != 0 => ListenerState::Bound,
        TCP_SYN_RECV => {
            return Some(Parsed {
                row: TcpRow::HalfOpen(id.source_address, id.source_port),
                damaged: false,
            });
        }
        _ => {
            return Some(Parsed {
                row: connection(header),
                damaged: false,
            });
        }
    };
    let attributes = inet_attributes(
        body.get(size_of::<InetResponseBuffer>()..)
            .unwrap_or_default(),
    );
    let listening = state == ListenerState::Listening;
    let listener = Listener {
        inode: u64::from(header.inode),
        family: inet_family(header.family)?,
        address: Some(id.source_address),
        port: id.source_port,
        path: None,
        state,
        accept_queue: listening.then_some(header.recv_queue),
        backlog: listening.then_some(header.send_queue),
        drops: attributes.row.drops,
        syn_queue: listening.then_some(0),
        v6only: attributes.row.v6only,
        uid: header.uid,
    };
    Some(Parsed {
        row: TcpRow::Listener(listener),
        damaged: attributes.damaged,
    })
}

fn connection(header: InetResponseHeader) -> TcpRow {
    let inode = u64::from(header.inode);
    if inode == 0 {
        return TcpRow::Other;
    }
    let id = header.socket_id;
    TcpRow::Connection(Connection {
        inode,
        state: TcpState::from_number(header.state),
        local: (id.source_address, id.source_port),
        peer: (id.destination_address, id.destination_port),
        recv_q: header.recv_queue,
        send_q: header.send_queue,
        retransmits: match header.timer {
            Some(Timer::Retransmit(_, count)) => count,
            _ => 0,
        },
    })
}

/// A reply whose fixed header cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

/// Reads a reply to the request for unix listeners. `Ok(None)` for sockets that do not listen.
///
/// # Errors
/// When the fixed header cannot be read.
pub fn parse_unix(body: &[u8]) -> Result<Option<Parsed<Listener>>, Malformed> {
    let header = UnixResponseHeader::parse(body).map_err(|_| Malformed)?;
    if body.first() != Some(&AF_UNIX) {
        return Err(Malformed);
    }
    if header.state != TCP_LISTEN {
        return Ok(None);
    }
    let attributes = unix_attributes(
        body.get(size_of::<UnixResponseBuffer>()..)
            .unwrap_or_default(),
    );
    let listener = Listener {
        inode: u64::from(header.inode),
        family: Family::Unix,
        address: None,
        port: 0,
        path: attributes.row.name,
        state: ListenerState::Listening,
        accept_queue: attributes.row.queue.map(|(pending, _)| pending),
        backlog: attributes.row.queue.map(|(_, backlog)| backlog),
        drops: None,
        syn_queue: None,
        v6only: None,
        uid: attributes.row.uid.unwrap_or(UID_UNKNOWN),
    };
    Ok(Some(Parsed {
        row: listener,
        damaged: attributes.damaged,
    }))
}

/// A unix socket's name as people write it: abstract names with a leading `@`, paths up to the NUL that may or may not
/// end them. `None` for a socket without a name.
pub fn unix_name(bytes: &[u8]) -> Option<String> {
    match bytes.split_first()? {
        (0, name) => Some(format!("@{}", clean_bytes(name, MAX_NAME))),
        _ => bytes
            .split(|&b| b == 0)
            .next()
            .map(|path| clean_bytes(path, MAX_NAME)),
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct InetAttributes {
    drops: Option<u32>,
    v6only: Option<bool>,
}

fn inet_attributes(bytes: &[u8]) -> Parsed<InetAttributes> {
    let mut found = InetAttributes::default();
    let damaged = walk(bytes, |kind, value| match kind {
        INET_DIAG_SKMEMINFO => {
            found.drops = word(value, SK_MEMINFO_DROPS);
            value.len() % 4 == 0
        }
        INET_DIAG_SKV6ONLY => {
            found.v6only = value.first().map(|&flag| flag != 0);
            found.v6only.is_some()
        }
        _ => true,
    });
    Parsed {
        row: found,
        damaged,
    }
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct UnixAttributes {
    name: Option<String>,
    queue: Option<(u32, u32)>,
    uid: Option<u32>,
}

fn unix_attributes(bytes: &[u8]) -> Parsed<UnixAttributes> {
    let mut found = UnixAttributes::default();
    let damaged = walk(bytes, |kind, value| match kind {
        UNIX_DIAG_NAME => {
            found.name = unix_name(value);
            found.name.is_some()
        }
        UNIX_DIAG_RQLEN => {
            found.queue = word(value, 0).zip(word(value, 1));
            found.queue.is_some()
        }
        UNIX_DIAG_UID => {
            found.uid = word(value, 0);
            found.uid.is_some()
        }
        _ => true,
    });
    Parsed {
        row: found,
        damaged,
    }
}

/// Shows every attribute to `take`, which says whether it could read it. True if one could not be read; a length that
/// lies ends the walk.
fn walk(bytes: &[u8], mut take: impl FnMut(u16, &[u8]) -> bool) -> bool {
    let mut damaged = false;
    for attribute in NlasIterator::new(bytes) {
        damaged |= !attribute.is_ok_and(|a| take(a.kind(), a.value()));
    }
    damaged
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    parse_u32(bytes.get(at..at.checked_add(4)?)?).ok()
}

fn inet_family(number: u8) -> Option<Family> {
    match number {
        AF_INET => Some(Family::Tcp4),
        AF_INET6 => Some(Family::Tcp6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
