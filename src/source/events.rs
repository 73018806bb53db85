//! Which processes are born, change their program and die, at once: the kernel's proc connector (linux/cn_proc.h), and
//! pidfds for those who may not listen to it. Who those processes are is not for here.
//!
//! ```text
//!  kernel ──multicast──▶ netlink socket ──▶ thread ──try_send──▶ bounded channel ──▶ sampler
//!                        (2 MiB; full: Lost)         (full: Lost)
//! ```

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::clock;
use super::sock_diag::sys;

pub mod connector;
mod exit_watch;

pub use connector::ProcEvent;
pub use exit_watch::ExitWatch;

use connector::{Request, Said, parse_datagram, request};

/// Bytes of events that wait in the kernel while this thread does not run: some thousands of them.
const RECEIVE_BUFFER: i32 = 2 * 1024 * 1024;
/// How long the kernel may take to acknowledge; it does so within the call.
const ACKNOWLEDGE: Duration = Duration::from_millis(200);
/// How soon a loss is told when no other event brings it along.
const TELL_LOSS: Duration = Duration::from_millis(50);

/// Why there are no process events.
#[derive(Debug, Error)]
pub enum EventsError {
    /// No CAP_NET_ADMIN, which kernels before 6.6 ask for; newer ones let anybody listen.
    #[error("process events need CAP_NET_ADMIN on this kernel")]
    NoRight,
    /// A network namespace other than the initial one: nobody answers there.
    #[error("process events are only told in the initial network namespace")]
    NotInitialNamespace,
    /// The kernel took the request and did not answer: so it treats those outside the initial pid and user namespaces.
    #[error("process events are only told in the initial pid and user namespace")]
    NoAnswer,
    /// Anything else: the kernel has no connector, no descriptors are left, …
    #[error("listen to process events: {0}")]
    Io(io::Error),
}

impl EventsError {
    /// What would bring them; `None` where nothing that is known would.
    pub fn unlock(&self) -> Option<&'static str> {
        match self {
            Self::NoRight => Some("sudo steth (or CAP_NET_ADMIN)"),
            Self::NotInitialNamespace | Self::NoAnswer => {
                Some("run steth on the host, outside of containers")
            }
            Self::Io(_) => None,
        }
    }
}

/// Events arrive while this lives. Dropping it tells the kernel to stop and ends the thread within milliseconds.
#[derive(Debug)]
pub struct Listening {
    stop: Option<PipeWriter>,
    thread: Option<JoinHandle<()>>,
}

impl Listening {
    /// False once the thread has ended: the receiver is gone, or the socket failed. There will be no more events then.
    pub fn is_alive(&self) -> bool {
        self.thread.as_ref().is_some_and(|t| !t.is_finished())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has ended it, which is all that is wanted here.
            let _ = thread.join();
        }
    }
}

/// Sends every birth, change of program and death of a process to `sender`, from a thread of its own that never waits for the
/// receiver: what does not fit is dropped and told as [`ProcEvent::Lost`].
///
/// # Errors
/// Outside the initial pid, user and network namespaces; before Linux 6.6 also without CAP_NET_ADMIN.
pub fn listen(sender: SyncSender<ProcEvent>) -> Result<Listening, EventsError> {
    let socket = subscribe()?;
    let (stopped, stop) = io::pipe().map_err(EventsError::Io)?;
    let thread = std::thread::Builder::new()
        .name("steth-events".to_owned())
        .spawn(move || {
            Forwarder {
                socket,
                stopped,
                sender,
                lost: false,
            }
            .run()
        })
        .map_err(EventsError::Io)?;
    Ok(Listening {
        stop: Some(stop),
        thread: Some(thread),
    })
}

/// A socket in the connector's group, to which the kernel has acknowledged that it sends.
fn subscribe() -> Result<OwnedFd, EventsError> {
    let refused = |error: io::Error| match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => EventsError::NoRight,
        Some(libc::ECONNREFUSED) => EventsError::NotInitialNamespace,
        _ => EventsError::Io(error),
    };
    let socket = sys::netlink_socket(libc::NETLINK_CONNECTOR).map_err(refused)?;
    // A smaller buffer loses events earlier, and says so.
    let _ = sys::set_receive_buffer(socket.as_fd(), RECEIVE_BUFFER);
    sys::bind_netlink(socket.as_fd(), connector::GROUP).map_err(refused)?;
    let token = std::process::id();
    sys::send_to_kernel(socket.as_fd(), &request(Request::Listen, token)).map_err(refused)?;
    await_acknowledgement(socket.as_fd(), token)?;
    // Linux 6.6 and newer leaves out what is not asked for; older ones ignore a request of this length. It is not
    // acknowledged, because the acknowledgement is filtered too.
    let _ = sys::send_to_kernel(
        socket.as_fd(),
        &request(Request::ListenOnlyTo(connector::WANTED), token),
    );
    Ok(socket)
}

fn await_acknowledgement(socket: BorrowedFd<'_>, token: u32) -> Result<(), EventsError> {
    let deadline = Instant::now() + ACKNOWLEDGE;
    let mut buffer = [0; 4096];
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(EventsError::NoAnswer);
        }
        sys::poll_readable(&[socket], Some(left.max(Duration::from_millis(1))))
            .map_err(EventsError::Io)?;
        let bytes = match receive(socket, &mut buffer) {
            Received::Bytes(bytes) => bytes,
            Received::Nothing | Received::Lost => continue,
            Received::Failed(error) => return Err(EventsError::Io(error)),
        };
        match parse_datagram(bytes) {
            Some(Said::Acknowledged {
                token: theirs,
                errno: 0,
            }) if theirs == token => return Ok(()),
            Some(Said::Acknowledged { token: theirs, .. }) if theirs == token => {
                return Err(EventsError::NoRight);
            }
            _ => {}
        }
    }
}

enum Received<'a> {
    Bytes(&'a [u8]),
    Nothing,
    Lost,
    Failed(io::Error),
}

fn receive<'a>(socket: BorrowedFd<'_>, buffer: &'a mut [u8]) -> Received<'a> {
    match sys::receive(socket, buffer, libc::MSG_DONTWAIT) {
        // Only the kernel's word counts.
        Ok(datagram) if datagram.sender != 0 => Received::Nothing,
        Ok(datagram) => buffer
            .get(..datagram.length)
            .map_or(Received::Nothing, Received::Bytes),
        Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Received::Lost,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Received::Nothing,
        Err(error) => Received::Failed(error),
    }
}

/// The thread between the kernel and the channel.
struct Forwarder {
    socket: OwnedFd,
    stopped: PipeReader,
    sender: SyncSender<ProcEvent>,
    /// Something was lost, and the receiver does not know yet.
    lost: bool,
}

/// The receiver is gone.
struct Disconnected;

impl Forwarder {
    fn run(mut self) {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(ready) = self.wait() {
            if ready.get(1).copied().unwrap_or(true) || self.tell_loss().is_err() {
                break;
            }
            if ready.first().copied().unwrap_or(false) && self.forward(&mut buffer).is_err() {
                break;
            }
        }
        // Kernels before 6.6 count listeners and do not notice that one is gone.
        let _ = sys::send_to_kernel(self.socket.as_fd(), &request(Request::Ignore, 0));
    }

    fn wait(&self) -> io::Result<Vec<bool>> {
        let timeout = self.lost.then_some(TELL_LOSS);
        sys::poll_readable(&[self.socket.as_fd(), self.stopped.as_fd()], timeout)
    }

    /// Reads what there is, some thousand events at most before it looks at the stop pipe again.
    fn forward(&mut self, buffer: &mut [u8]) -> Result<(), Disconnected> {
        for _ in 0..4096 {
            let bytes = match receive(self.socket.as_fd(), buffer) {
                Received::Bytes(bytes) => bytes,
                Received::Nothing => return Ok(()),
                Received::Lost => {
                    self.lost = true;
                    continue;
                }
                Received::Failed(_) => return Err(Disconnected),
            };
            let suspended = clock::now().0.saturating_sub(clock::monotonic_ns());
            if let Some(event) = parse_datagram(bytes).and_then(|said| said.event(suspended)) {
                self.send(event)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, event: ProcEvent) -> Result<(), Disconnected> {
        self.tell_loss()?;
        match self.sender.try_send(event) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(_)) => {
                self.lost = true;
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(Disconnected),
        }
    }

    fn tell_loss(&mut self) -> Result<(), Disconnected> {
        if self.lost {
            match self.sender.try_send(ProcEvent::Lost) {
                Ok(()) => self.lost = false,
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Disconnected(_)) => return Err(Disconnected),
            }
        }
        Ok(())
    }
}
