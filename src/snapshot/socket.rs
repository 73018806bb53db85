//! Sockets as the kernel reports them by sock_diag.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Moment;

/// One network namespace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NetNs {
    /// Inode of `/proc/PID/ns/net`.
    pub inode: u64,
    /// When it was read.
    pub sampled_at: Moment,
    /// Sockets that listen, or are bound and do not listen (TCP), sorted by inode; bounded (16,384).
    pub listeners: Vec<Listener>,
    /// False where this kernel cannot list bound sockets that do not listen (before 6.8).
    pub bound_visible: bool,
    /// Counters of `TcpExt`, where they could be read.
    pub counters: Option<TcpCounters>,
    /// True if the namespace has an interface other than loopback that is up; `None` if not looked at.
    pub has_other_interface: Option<bool>,
    /// True if it is the machine's first namespace, false if it is known to be another; `None` if that could not be told.
    #[serde(default)]
    pub host: Option<bool>,
    /// True if this program lives in it.
    #[serde(default)]
    pub own: bool,
    /// `net.core.somaxconn`, the most that a backlog may be; read only of the namespace that this program lives in.
    #[serde(default)]
    pub somaxconn: Option<u32>,
}

/// What kind of address a listener has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// TCP over IPv4
    Tcp4,
    /// TCP over IPv6
    Tcp6,
    /// Unix stream or seqpacket
    Unix,
}

/// Whether `listen()` has been called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListenerState {
    /// Bound to a port, never listened on: connections are refused.
    Bound,
    /// The kernel completes connections on its behalf.
    Listening,
}

/// A socket that accepts connections, or is about to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listener {
    /// Inode of the socket: what `/proc/PID/fd` links name.
    pub inode: u64,
    /// Family.
    pub family: Family,
    /// Local address; `None` for unix sockets.
    pub address: Option<IpAddr>,
    /// Local port; 0 for unix sockets.
    pub port: u16,
    /// Path of a unix socket, abstract names with a leading `@`, control characters escaped.
    pub path: Option<String>,
    /// Bound or listening.
    pub state: ListenerState,
    /// Connections that wait to be accepted; `None` while not listening.
    pub accept_queue: Option<u32>,
    /// The effective backlog: the queue admits this many and one more; `None` while not listening.
    pub backlog: Option<u32>,
    /// Connections dropped by this socket since it exists (`sk_drops`); `None` for unix sockets.
    pub drops: Option<u32>,
    /// Half-open connections (SYN_RECV) for it; `None` for unix sockets and while not listening.
    pub syn_queue: Option<u32>,
    /// IPv6 only; `None` where it does not apply or was not told.
    pub v6only: Option<bool>,
    /// Owner of the socket.
    pub uid: u32,
}

/// The file that stands for a unix socket: who may connect is a matter of its mode and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SocketFile {
    /// Inode of the socket, not of the file.
    pub inode: u64,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// TCP states, as the kernel numbers them from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TcpState {
    /// 1
    Established,
    /// 2
    SynSent,
    /// 3
    SynRecv,
    /// 4
    FinWait1,
    /// 5
    FinWait2,
    /// 6
    TimeWait,
    /// 7
    Close,
    /// 8
    CloseWait,
    /// 9
    LastAck,
    /// 10
    Listen,
    /// 11
    Closing,
    /// Anything else
    Unknown,
}

impl TcpState {
    /// From the kernel's number.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Close,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => Self::Unknown,
        }
    }

    /// The word that `ss` prints.
    pub fn word(self) -> &'static str {
        match self {
            Self::Established => "ESTAB",
            Self::SynSent => "SYN-SENT",
            Self::SynRecv => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Close => "UNCONN",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// TCP connections of one process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connections {
    /// How many there are in all.
    pub total: u64,
    /// How many in each state, sorted by state.
    pub by_state: Vec<(TcpState, u64)>,
    /// The first of them (at most 256), sorted by inode.
    pub list: Vec<Connection>,
}

/// One TCP connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// Inode of the socket.
    pub inode: u64,
    /// State.
    pub state: TcpState,
    /// Local address and port.
    pub local: (IpAddr, u16),
    /// Address and port of the other side.
    pub peer: (IpAddr, u16),
    /// Bytes that wait to be read.
    pub recv_q: u32,
    /// Bytes that wait to be acknowledged.
    pub send_q: u32,
    /// Retransmits of the segment in flight.
    pub retransmits: u8,
}

/// Host-wide counters of one namespace (`/proc/PID/net/netstat`, TcpExt).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpCounters {
    /// ListenOverflows
    pub listen_overflows: u64,
    /// ListenDrops
    pub listen_drops: u64,
    /// TCPReqQFullDrop
    pub req_q_full_drop: u64,
    /// TCPReqQFullDoCookies
    pub req_q_full_do_cookies: u64,
}
