//! How a dump is asked for and taken: one netlink socket, one request, datagrams until the kernel says that it is done.
//! What is in a row is for [`Rows`] to know.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage};

use super::DiagError;
use super::frame::{Content, frames};
use super::request::Request;
use super::sys;

/// Bytes of the receive buffer at first. The kernel fills at most 32 KiB with small rows; a single row may be larger.
const BUFFER: usize = 64 * 1024;
/// The buffer never grows beyond this.
const MAX_BUFFER: usize = 4 * 1024 * 1024;
/// The kernel works on a dump while it is read, so that this passes only if something is badly wrong.
const TIMEOUT: Duration = Duration::from_millis(500);
/// How often a dump is taken that was interrupted by changes of the table, or that did not fit.
const ATTEMPTS: u32 = 3;

/// What takes the rows of one dump.
pub trait Rows {
    /// Forgets all rows: the dump starts again.
    fn restart(&mut self);
    /// Takes the body of one reply: what follows the netlink header.
    fn row(&mut self, body: &[u8]);
    /// A datagram could not be divided into replies to its end.
    fn torn(&mut self);
}

/// A netlink socket that asks sock_diag.
#[derive(Debug)]
pub struct DumpSocket {
    fd: OwnedFd,
    sequence: u32,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

/// How one attempt ended.
enum Attempt {
    Whole,
    /// All rows came, but the table changed meanwhile: some may be missing or doubled.
    Interrupted,
    /// Rows are missing for this reason, which may be gone at the next attempt.
    Incomplete(DiagError),
}

impl DumpSocket {
    /// Opens it in the calling thread's network namespace.
    pub fn open() -> io::Result<Self> {
        let fd = sys::netlink_socket(libc::NETLINK_SOCK_DIAG)?;
        sys::set_receive_timeout(fd.as_fd(), TIMEOUT)?;
        sys::bind_netlink(fd.as_fd(), 0)?;
        Ok(Self {
            fd,
            sequence: 0,
            request: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Asks, and hands every row to `rows`. A dump that was interrupted or is incomplete is taken again, [`ATTEMPTS`] times in
    /// all; then an interrupted one is accepted as it is.
    ///
    /// # Errors
    /// When the kernel refuses the request, does not answer in time, or the rows do not fit.
    pub fn dump(&mut self, request: Request, rows: &mut impl Rows) -> Result<(), DiagError> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, request.into());
        let mut last = Ok(());
        for _ in 0..ATTEMPTS {
            rows.restart();
            self.send(&mut message)?;
            last = match self.take(rows) {
                Ok(Attempt::Whole) => return Ok(()),
                Ok(Attempt::Interrupted) => Ok(()),
                Ok(Attempt::Incomplete(error)) => Err(error),
                Err(error) => {
                    self.drain();
                    return Err(error);
                }
            };
            self.drain();
        }
        last
    }

    /// Asks for one socket. Without NLM_F_DUMP the kernel answers with one message, a row or an error, and no end.
    ///
    /// # Errors
    /// [`DiagError::Refused`] with ENOENT if there is no such socket; as [`Self::dump`].
    pub fn one(&mut self, request: Request, rows: &mut impl Rows) -> Result<(), DiagError> {
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, request.into());
        self.send(&mut message)?;
        loop {
            let datagram = match sys::receive(self.fd.as_fd(), &mut self.buffer, 0) {
                Ok(datagram) => datagram,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(DiagError::TimedOut);
                }
                Err(error) => return Err(DiagError::Receive(error)),
            };
            let bytes = self.buffer.get(..datagram.length).unwrap_or_default();
            for frame in frames(bytes).filter(|f| f.sequence == self.sequence) {
                match frame.content {
                    Content::Body(body) => {
                        rows.row(body);
                        return Ok(());
                    }
                    Content::Refused(errno) => return Err(DiagError::refused(errno)),
                    Content::Done | Content::Nothing => {}
                }
            }
        }
    }

    fn send(&mut self, message: &mut NetlinkMessage<Request>) -> Result<(), DiagError> {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        message.header.sequence_number = self.sequence;
        message.finalize();
        self.request.clear();
        self.request.resize(message.buffer_len(), 0);
        message.serialize(&mut self.request);
        sys::send_to_kernel(self.fd.as_fd(), &self.request).map_err(DiagError::Send)
    }

    fn take(&mut self, rows: &mut impl Rows) -> Result<Attempt, DiagError> {
        let mut interrupted = false;
        loop {
            let datagram = match sys::receive(self.fd.as_fd(), &mut self.buffer, 0) {
                Ok(datagram) => datagram,
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    return Ok(Attempt::Incomplete(DiagError::Receive(error)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(DiagError::TimedOut);
                }
                Err(error) => return Err(DiagError::Receive(error)),
            };
            if datagram.sender != 0 {
                continue;
            }
            let Some(bytes) = self.buffer.get(..datagram.length) else {
                return self.grow(datagram.length);
            };
            let mut replies = frames(bytes);
            for frame in replies.by_ref().filter(|f| f.sequence == self.sequence) {
                interrupted |= frame.interrupted;
                match frame.content {
                    Content::Body(body) => rows.row(body),
                    Content::Refused(errno) => return Err(DiagError::refused(errno)),
                    Content::Done if interrupted => return Ok(Attempt::Interrupted),
                    Content::Done => return Ok(Attempt::Whole),
                    Content::Nothing => {}
                }
            }
            if replies.torn() {
                rows.torn();
            }
        }
    }

    /// A datagram was larger than the buffer and its end is lost: makes room for the next attempt.
    fn grow(&mut self, length: usize) -> Result<Attempt, DiagError> {
        if length > MAX_BUFFER {
            return Err(DiagError::TooLarge(length));
        }
        self.buffer.resize(length.next_power_of_two(), 0);
        Ok(Attempt::Incomplete(DiagError::TooLarge(length)))
    }

    /// Reads away what is left of an abandoned dump: the kernel runs only one at a time on a socket.
    fn drain(&mut self) {
        for _ in 0..65_536 {
            match sys::receive(self.fd.as_fd(), &mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {}
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use netlink_packet_sock_diag::constants::AF_INET;
    use netlink_packet_sock_diag::inet::StateFlags;

    use super::*;

    #[derive(Default)]
    struct Count {
        rows: usize,
        restarts: usize,
    }

    impl Rows for Count {
        fn restart(&mut self) {
            self.rows = 0;
            self.restarts += 1;
        }
        fn row(&mut self, _: &[u8]) {
            self.rows += 1;
        }
        fn torn(&mut self) {}
    }

    fn listeners(family: u8) -> Request {
        Request::tcp_of(family, StateFlags::LISTEN)
    }

    #[test]
    fn a_datagram_larger_than_the_buffer_is_asked_for_again() {
        let open: Vec<TcpListener> = (0..8)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap())
            .collect();
        let mut socket = DumpSocket::open().unwrap();
        socket.buffer.truncate(64);
        let mut count = Count::default();
        socket.dump(listeners(AF_INET), &mut count).unwrap();
        assert!(
            count.rows >= open.len() && count.restarts >= 2,
            "{} in {}",
            count.rows,
            count.restarts
        );
    }

    #[test]
    fn a_refusal_is_an_error_and_the_socket_lives_on() {
        let mut socket = DumpSocket::open().unwrap();
        let refused = socket.dump(listeners(0xee), &mut Count::default());
        assert!(matches!(refused, Err(DiagError::Refused(_))), "{refused:?}");
        socket
            .dump(listeners(AF_INET), &mut Count::default())
            .unwrap();
    }

    #[test]
    fn answers_to_an_older_question_are_skipped() {
        let mut socket = DumpSocket::open().unwrap();
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, listeners(AF_INET).into());
        let _open = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        // Nobody reads this answer; the next question finds it in its way.
        socket.send(&mut message).unwrap();
        let _ = sys::receive(socket.fd.as_fd(), &mut socket.buffer, libc::MSG_PEEK);
        let mut got = Count::default();
        match socket.dump(listeners(0xee), &mut got) {
            Err(DiagError::Refused(_) | DiagError::Send(_)) => assert_eq!(got.rows, 0),
            other => panic!("{other:?}"),
        }
        socket.dump(listeners(AF_INET), &mut got).unwrap();
        assert!(got.rows >= 1);
    }
}
