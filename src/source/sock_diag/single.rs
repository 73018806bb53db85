//! What the kernel tells of one socket that somebody waits on: when a TCP connection was last heard of, and what a unix
//! socket is connected to. Asked for by address or inode, so that the kernel looks one socket up instead of walking a table.

use netlink_packet_core::NlasIterator;
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{
    AF_INET, AF_INET6, INET_DIAG_INFO, IPPROTO_TCP, UNIX_DIAG_ICONS, UNIX_DIAG_NAME, UNIX_DIAG_PEER,
};
use netlink_packet_sock_diag::inet::{
    ExtensionFlags, InetRequest, InetResponseBuffer, SocketId, StateFlags,
};
use netlink_packet_sock_diag::unix::{
    ShowFlags, StateFlags as UnixStateFlags, UnixRequest, UnixResponseBuffer,
};

use super::dump::Rows;
use super::reply::{Parsed, TcpRow, parse_tcp, unix_name};
use super::request::Request;
use super::{Diag, DiagError};
use crate::snapshot::Connection;

/// Places in `struct tcp_info` (linux/tcp.h): tcpi_last_data_sent and tcpi_last_data_recv, in milliseconds.
const LAST_DATA_SENT: usize = 44;
const LAST_DATA_RECV: usize = 52;

/// How long ago a connection was last used, in milliseconds. Both begin when the connection is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpTimes {
    /// Since data was sent.
    pub sent_ms: u32,
    /// Since data came.
    pub heard_ms: u32,
}

/// A connection at this moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpNow {
    /// Its state, queues and retransmits.
    pub connection: Connection,
    /// When it was last used.
    pub times: Option<TcpTimes>,
}

/// What a unix socket is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixPeer {
    /// The name of the other side, which is that of the listener it was accepted from; `None` for a socket that is not
    /// connected, or whose other side has no name.
    pub path: Option<String>,
    /// True if that listener has not accepted the connection yet.
    pub pending: bool,
}

/// The one row that comes.
#[derive(Default)]
struct Row(Vec<u8>);

impl Rows for Row {
    fn restart(&mut self) {
        self.0.clear();
    }
    fn row(&mut self, body: &[u8]) {
        self.0 = body.to_vec();
    }
    fn torn(&mut self) {}
}

/// Finds the listener that has the connection of a socket in its queue (UNIX_DIAG_ICONS: inodes of the sockets that connect).
struct Queues {
    inode: u32,
    name: Option<String>,
}

impl Rows for Queues {
    fn restart(&mut self) {
        self.name = None;
    }
    fn row(&mut self, body: &[u8]) {
        let attributes = body
            .get(size_of::<UnixResponseBuffer>()..)
            .unwrap_or_default();
        let waiting = attribute(attributes, UNIX_DIAG_ICONS).unwrap_or_default();
        let (inodes, _) = waiting.as_chunks::<4>();
        if inodes.contains(&self.inode.to_ne_bytes()) {
            self.name = attribute(attributes, UNIX_DIAG_NAME).and_then(|name| unix_name(&name));
        }
    }
    fn torn(&mut self) {}
}

impl Diag {
    /// How this connection is now, and when it was last used where the kernel says that.
    ///
    /// # Errors
    /// [`DiagError::Refused`] if there is no such connection any more.
    pub fn tcp_now(&mut self, connection: &Connection) -> Result<TcpNow, DiagError> {
        let mut row = Row::default();
        self.socket.one(tcp_request(connection), &mut row)?;
        let now = parse_tcp(&row.0).and_then(|parsed| same(parsed, connection));
        let attributes = row.0.get(size_of::<InetResponseBuffer>()..);
        Ok(TcpNow {
            connection: now.unwrap_or_else(|| connection.clone()),
            times: attributes.and_then(|bytes| parse_tcp_info(&attribute(bytes, INET_DIAG_INFO)?)),
        })
    }

    /// What a unix socket is connected to.
    ///
    /// # Errors
    /// [`DiagError::Refused`] if there is no such socket (any more): it is of another family.
    pub fn unix_peer(&mut self, inode: u64) -> Result<UnixPeer, DiagError> {
        let peer = self.unix_attribute(inode, ShowFlags::PEER, UNIX_DIAG_PEER)?;
        let peer = peer.and_then(|bytes| Some(u32::from_ne_bytes(bytes.try_into().ok()?)));
        // What nobody has accepted yet has no inode.
        let path = match peer {
            None => None,
            Some(0) => self.unix_listener_before(inode),
            Some(peer) => {
                let peer = u64::from(peer);
                let name = self.unix_attribute(peer, ShowFlags::NAME, UNIX_DIAG_NAME);
                name.ok().flatten().and_then(|name| unix_name(&name))
            }
        };
        Ok(UnixPeer {
            path,
            pending: peer == Some(0),
        })
    }

    /// The listener in whose queue this socket's connection waits.
    fn unix_listener_before(&mut self, inode: u64) -> Option<String> {
        let mut rows = Queues {
            inode: u32::try_from(inode).ok()?,
            name: None,
        };
        let request = UnixRequest {
            state_flags: UnixStateFlags::LISTEN,
            inode: 0,
            show_flags: ShowFlags::NAME | ShowFlags::ICONS,
            cookie: [0xff; 8],
        };
        let asked = self.socket.dump(
            Request::of(SockDiagMessage::UnixRequest(request)),
            &mut rows,
        );
        asked.ok().and(rows.name)
    }

    fn unix_attribute(
        &mut self,
        inode: u64,
        show: ShowFlags,
        kind: u16,
    ) -> Result<Option<Vec<u8>>, DiagError> {
        let Ok(inode) = u32::try_from(inode) else {
            return Ok(None);
        };
        let mut row = Row::default();
        self.socket.one(unix_request(inode, show), &mut row)?;
        let attributes = row.0.get(size_of::<UnixResponseBuffer>()..);
        Ok(attributes.and_then(|bytes| attribute(bytes, kind)))
    }
}

/// This very connection, if that is what the kernel has answered with.
fn same(answer: Parsed<TcpRow>, asked: &Connection) -> Option<Connection> {
    match answer.row {
        TcpRow::Connection(now) if now.inode == asked.inode => Some(now),
        _ => None,
    }
}

fn tcp_request(connection: &Connection) -> Request {
    let v6 = connection.local.0.is_ipv6();
    let blank = if v6 {
        SocketId::new_v6()
    } else {
        SocketId::new_v4()
    };
    Request::of(SockDiagMessage::InetRequest(InetRequest {
        family: if v6 { AF_INET6 } else { AF_INET },
        protocol: IPPROTO_TCP,
        extensions: ExtensionFlags::INFO,
        states: StateFlags::all(),
        socket_id: SocketId {
            source_port: connection.local.1,
            source_address: connection.local.0,
            destination_port: connection.peer.1,
            destination_address: connection.peer.0,
            // Any: INET_DIAG_NOCOOKIE.
            cookie: [0xff; 8],
            ..blank
        },
    }))
}

fn unix_request(inode: u32, show_flags: ShowFlags) -> Request {
    Request::of(SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: UnixStateFlags::all(),
        inode,
        show_flags,
        cookie: [0xff; 8],
    }))
}

/// The value of the first attribute of this kind; a length that lies ends the search.
fn attribute(bytes: &[u8], kind: u16) -> Option<Vec<u8>> {
    let mut whole = NlasIterator::new(bytes).map_while(Result::ok);
    whole.find(|a| a.kind() == kind).map(|a| a.value().to_vec())
}

fn parse_tcp_info(info: &[u8]) -> Option<TcpTimes> {
    let word = |at: usize| {
        let bytes = info.get(at..at.checked_add(4)?)?;
        Some(u32::from_ne_bytes(bytes.try_into().ok()?))
    };
    Some(TcpTimes {
        sent_ms: word(LAST_DATA_SENT)?,
        heard_ms: word(LAST_DATA_RECV)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attribute_bytes(kind: u16, value: &[u8]) -> Vec<u8> {
        let mut bytes = ((4 + value.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn attributes_are_found_behind_others_of_any_length() {
        let bytes = [
            attribute_bytes(7, b"abcde"),
            attribute_bytes(2, b"wanted"),
            attribute_bytes(2, b"second"),
        ]
        .concat();
        assert_eq!(attribute(&bytes, 2), Some(b"wanted".to_vec()));
        assert_eq!(attribute(&bytes, 9), None);
        for length in 0..bytes.len() {
            let cut = attribute(&bytes[..length], 2);
            assert!(cut.is_none() || cut == Some(b"wanted".to_vec()), "{length}");
        }
    }

    #[test]
    fn times_are_where_linux_has_them() {
        let mut info = vec![0u8; 104];
        info[44..48].copy_from_slice(&1512u32.to_ne_bytes());
        info[52..56].copy_from_slice(&37_000u32.to_ne_bytes());
        let want = TcpTimes {
            sent_ms: 1512,
            heard_ms: 37_000,
        };
        assert_eq!(parse_tcp_info(&info), Some(want));
        assert_eq!(parse_tcp_info(&info[..55]), None);
    }

    #[test]
    fn real_sockets_are_found_by_address_and_by_inode() {
        use std::io::Write;
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let inode = |fd: &dyn AsRawFd| {
            let link = format!("/proc/self/fd/{}", fd.as_raw_fd());
            std::fs::metadata(link).unwrap().ino()
        };
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = std::net::TcpListener::bind(address) else {
                continue;
            };
            let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            client.write_all(b"x").unwrap();
            let mut diag = Diag::open().unwrap();
            let mine = inode(&client);
            let all = diag.walk().unwrap().connections;
            let found = all.iter().find(|c| c.inode == mine).unwrap();
            let now = diag.tcp_now(found).unwrap();
            assert_eq!(&now.connection, found);
            assert!(now.times.unwrap().sent_ms < 60_000, "{now:?}");
        }
    }

    #[test]
    fn unix_sockets_are_told_by_the_listener_that_they_are_connected_to() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        use std::os::unix::net::{UnixListener, UnixStream};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("db.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        let link = format!("/proc/self/fd/{}", client.as_raw_fd());
        let inode = std::fs::metadata(link).unwrap().ino();
        let mut diag = Diag::open().unwrap();
        let name = path.to_str().map(str::to_owned);
        let want = |pending| UnixPeer {
            path: name.clone(),
            pending,
        };
        assert_eq!(diag.unix_peer(inode).unwrap(), want(true));
        let _accepted = listener.accept().unwrap();
        assert_eq!(diag.unix_peer(inode).unwrap(), want(false));
        let (left, _right) = UnixStream::pair().unwrap();
        let link = format!("/proc/self/fd/{}", left.as_raw_fd());
        let inode = std::fs::metadata(link).unwrap().ino();
        assert_eq!(diag.unix_peer(inode).unwrap().path, None);
        assert!(diag.unix_peer(u64::from(u32::MAX)).is_err());
    }
}
