//! Which sockets listen, are bound or are connected in one network namespace, by the kernel's own account (sock_diag(7)).
//! Who holds them is not for here: the kernel names inodes, /proc/PID/fd says whose they are.
//!
//! ```text
//!  Diag ── request ──▶ dump (socket, retries) ──▶ frame (messages) ──▶ reply (one row) ──▶ Listener, Connection
//! ```

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::thread;

use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6};
use netlink_packet_sock_diag::inet::StateFlags;
use thiserror::Error;

use crate::snapshot::{Connection, Family, Listener, ListenerState};

mod dump;
pub mod frame;
pub mod half_open;
pub mod reply;
mod request;
mod rows;
pub mod single;
pub(in crate::source) mod sys;

use dump::DumpSocket;
use request::Request;
use rows::{TcpRows, TcpSockets, UnixRows};

/// Listeners that are kept of one namespace.
pub const MAX_LISTENERS: usize = 16_384;
/// Connections that are kept of one namespace.
pub const MAX_CONNECTIONS: usize = 131_072;
/// Why sock_diag did not answer.
#[derive(Debug, Error)]
pub enum DiagError {
    /// No netlink socket.
    #[error("open a sock_diag socket: {0}")]
    Open(io::Error),
    /// `/proc/PID/ns/net` cannot be opened.
    #[error("open the network namespace: {0}")]
    Namespace(io::Error),
    /// setns(2) was refused: CAP_SYS_ADMIN is needed.
    #[error("enter the network namespace: {0}")]
    Enter(io::Error),
    /// The request did not go out.
    #[error("ask sock_diag: {0}")]
    Send(io::Error),
    /// The answer could not be read.
    #[error("read from sock_diag: {0}")]
    Receive(io::Error),
    /// The kernel refused: ENOENT if it has no sock_diag for this family.
    #[error("sock_diag refused: {0}")]
    Refused(io::Error),
    /// No answer within 500 ms.
    #[error("sock_diag did not answer in time")]
    TimedOut,
    /// One message of this many bytes.
    #[error("a sock_diag message of {0} bytes is too large")]
    TooLarge(usize),
}

impl DiagError {
    fn refused(errno: i32) -> Self {
        Self::Refused(io::Error::from_raw_os_error(errno))
    }

    /// True if a right is missing, not the thing itself.
    pub fn is_permission(&self) -> bool {
        match self {
            Self::Open(error)
            | Self::Namespace(error)
            | Self::Enter(error)
            | Self::Send(error)
            | Self::Receive(error)
            | Self::Refused(error) => error.kind() == io::ErrorKind::PermissionDenied,
            Self::TimedOut | Self::TooLarge(_) => false,
        }
    }
}

/// What listens in a namespace.
#[derive(Debug)]
pub struct ListenerDump {
    /// Sockets that listen or are bound, sorted by inode, at most [`MAX_LISTENERS`].
    pub listeners: Vec<Listener>,
    /// True if this kernel lists bound sockets that do not listen (6.8 and newer).
    pub bound_visible: bool,
    /// Replies that could not be read, wholly or in part.
    pub malformed: u32,
    /// Tables that could not be read at all, and why.
    pub missing: Missing,
}

/// Tables that could not be read, and why.
pub type Missing = Vec<(&'static [Family], DiagError)>;

/// What one walk of the kernel's tables shows.
#[derive(Debug)]
pub struct Walk {
    /// TCP sockets over IPv4 and IPv6 that listen, or are bound and do not, with their half-open connections counted; unix
    /// stream and seqpacket listeners.
    pub listeners: ListenerDump,
    /// How many connections are half open in all.
    pub half_open: usize,
    /// TCP connections in every state that a descriptor can have, at most [`MAX_CONNECTIONS`], in no order. Those that nobody
    /// has accepted yet have no inode and are not among them.
    pub connections: Vec<Connection>,
}

/// A netlink socket that belongs to the network namespace in which it was opened, and keeps that namespace alive.
#[derive(Debug)]
pub struct Diag {
    socket: DumpSocket,
    bound_visible: bool,
    /// False once the kernel has refused to be asked for both TCP families at once.
    asks_both: bool,
}

impl Diag {
    /// Opens it in the calling thread's namespace.
    ///
    /// # Errors
    /// [`DiagError::Open`].
    pub fn open() -> Result<Self, DiagError> {
        let socket = DumpSocket::open().map_err(DiagError::Open)?;
        Ok(Self {
            socket,
            bound_visible: kernel_lists_bound(),
            asks_both: true,
        })
    }

    /// Opens it in the network namespace of this process.
    ///
    /// # Errors
    /// [`DiagError::Namespace`] if the process is gone or may not be looked at, [`DiagError::Enter`] without CAP_SYS_ADMIN.
    pub fn open_in(pid: u32) -> Result<Self, DiagError> {
        let namespace = File::open(format!("/proc/{pid}/ns/net")).map_err(DiagError::Namespace)?;
        Self::open_at(&namespace)
    }

    /// Opens it in the network namespace behind this open `/proc/PID/ns/net`. setns(2) changes the calling thread for
    /// good, so it is called on a thread that ends with this function; the socket is then used from anywhere.
    ///
    /// # Errors
    /// [`DiagError::Enter`] without CAP_SYS_ADMIN, [`DiagError::Open`].
    pub fn open_at(namespace: &File) -> Result<Self, DiagError> {
        thread::scope(|scope| {
            let entered = thread::Builder::new()
                .name("steth-setns".to_owned())
                .spawn_scoped(scope, || {
                    sys::enter_network_namespace(namespace.as_fd()).map_err(DiagError::Enter)?;
                    Self::open()
                });
            match entered.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(opened)) => opened,
                Ok(Err(_)) => Err(DiagError::Open(io::Error::other(
                    "the thread that opens it panicked",
                ))),
                Err(error) => Err(DiagError::Open(error)),
            }
        })
    }

    /// Everything. The kernel walks its tables of bound and of connected sockets for this: some 0.3 to 0.6 ms on Linux 6.18
    /// without connections, and 1 µs for each.
    ///
    /// # Errors
    /// When none of the tables could be read; fewer are told in [`ListenerDump::missing`].
    pub fn walk(&mut self) -> Result<Walk, DiagError> {
        let mut walk = self.dump(request::every_state())?;
        let dump = &mut walk.listeners;
        let is_bound = |l: &Listener| l.state == ListenerState::Bound;
        self.bound_visible |= dump.listeners.iter().any(is_bound);
        dump.bound_visible = self.bound_visible;
        Ok(walk)
    }

    /// Only what listens; `syn_queue` is `None`. Takes the kernel some 30 µs.
    ///
    /// # Errors
    /// As [`Self::walk`].
    pub fn listening(&mut self) -> Result<ListenerDump, DiagError> {
        let mut dump = self.dump(StateFlags::LISTEN)?.listeners;
        for listener in &mut dump.listeners {
            listener.syn_queue = None;
        }
        Ok(dump)
    }

    fn dump(&mut self, states: StateFlags) -> Result<Walk, DiagError> {
        let mut missing = Missing::new();
        let TcpSockets {
            mut listeners,
            half_open,
            connections,
            malformed,
        } = self.tcp(states, &mut missing);
        let mut unix = UnixRows::default();
        if let Err(error) = self.socket.dump(Request::unix(), &mut unix) {
            missing.push((&[Family::Unix], error));
        }
        let lost: usize = missing.iter().map(|(tables, _)| tables.len()).sum();
        if lost == 3 {
            return Err(missing.swap_remove(0).1);
        }
        listeners.append(&mut unix.listeners);
        listeners.sort_unstable_by_key(|l| l.inode);
        listeners.truncate(MAX_LISTENERS);
        Ok(Walk {
            listeners: ListenerDump {
                listeners,
                bound_visible: self.bound_visible,
                malformed: malformed.saturating_add(unix.malformed),
                missing,
            },
            half_open,
            connections,
        })
    }

    /// TCP sockets of both families: by one question, or by one for each where the kernel refuses that.
    fn tcp(&mut self, states: StateFlags, missing: &mut Missing) -> TcpSockets {
        let (mut v4, mut v6) = (TcpRows::default(), TcpRows::default());
        if self.asks_both {
            match self.socket.dump(Request::tcp(states.clone()), &mut v4) {
                Err(DiagError::Refused(_)) => self.asks_both = false,
                Ok(()) => return v4.join(v6),
                Err(error) => {
                    missing.push((&[Family::Tcp4, Family::Tcp6], error));
                    return TcpSockets::default();
                }
            }
        }
        let mut ask = |family, rows: &mut TcpRows, table: &'static [Family]| {
            let request = Request::tcp_of(family, states.clone());
            let asked = self.socket.dump(request, rows);
            missing.extend(asked.err().map(|error| (table, error)));
        };
        ask(AF_INET, &mut v4, &[Family::Tcp4]);
        ask(AF_INET6, &mut v6, &[Family::Tcp6]);
        v4.join(v6)
    }
}

/// True on Linux 6.8 and newer, by `/proc/sys/kernel/osrelease`. An older kernel with the patch is found out by its rows.
fn kernel_lists_bound() -> bool {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    parse_release(&release).is_some_and(|version| version >= (6, 8))
}

fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .trim()
        .split(|c: char| !c.is_ascii_digit())
        .map(|n| n.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_as_numbers() {
        let cases = [
            ("6.18.44-generic\n", Some((6, 18))),
            ("6.8.0", Some((6, 8))),
            ("5.14.0-427.el9", Some((5, 14))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
            ("mainline", None),
        ];
        for (release, want) in cases {
            assert_eq!(parse_release(release), want, "{release:?}");
        }
        assert!(parse_release("6.10.1") > parse_release("6.8.0"));
    }
}
