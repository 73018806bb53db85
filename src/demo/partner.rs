//! What does the demo itself play beside a script: a silent database, one visitor, a crowd?
//!
//! It is played here and not in Python, so that the screen shows the failing server and nothing else. Loopback only,
//! bounded connections, bounded waits.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Role;

/// Connections that a crowd holds at most: twice what the script accepts at once and queues.
const CROWD: usize = 24;
/// How long one connection or one answer is waited for; also bounds how long `drop` takes.
const PATIENCE: Duration = Duration::from_millis(300);
const VISIT_EVERY: Duration = Duration::from_millis(250);
const RETRY_EVERY: Duration = Duration::from_millis(700);
const REQUEST: &[u8] = b"GET / HTTP/1.0\r\nHost: demo\r\n\r\n";

/// A part that is being played; dropping it ends the part.
#[derive(Debug)]
pub(super) enum Partner {
    Nobody,
    Database {
        /// Never accepted on: the kernel completes the handshake, nobody speaks.
        _listener: TcpListener,
        port: u16,
    },
    Client {
        stop: Arc<AtomicBool>,
        /// `None` only while `drop` runs.
        thread: Option<JoinHandle<()>>,
    },
}

impl Partner {
    /// Begins to play `role`; clients wait until `log` tells the server's address.
    pub(super) fn new(role: Role, log: &Path) -> io::Result<Partner> {
        match role {
            Role::Nobody => Ok(Partner::Nobody),
            Role::SilentDatabase => {
                let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
                let port = listener.local_addr()?.port();
                Ok(Partner::Database {
                    _listener: listener,
                    port,
                })
            }
            Role::Visitor => client(log, visit),
            Role::Crowd => client(log, crowd),
        }
    }

    /// The port that the script is told of.
    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Partner::Database { port, .. } => Some(*port),
            Partner::Nobody | Partner::Client { .. } => None,
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        if let Partner::Client { stop, thread } = self {
            stop.store(true, Ordering::Relaxed);
            if let Some(thread) = thread.take() {
                thread.thread().unpark();
                // A client that panicked has ended, which is all that is wanted here.
                let _ = thread.join();
            }
        }
    }
}

fn client(log: &Path, part: fn(SocketAddr, &AtomicBool)) -> io::Result<Partner> {
    let stop = Arc::new(AtomicBool::new(false));
    let (log, flag) = (log.to_owned(), Arc::clone(&stop));
    let thread = std::thread::Builder::new()
        .name("demo-client".to_owned())
        .spawn(move || {
            if let Some(server) = wait_for_address(&log, &flag) {
                part(server, &flag);
            }
        })?;
    Ok(Partner::Client {
        stop,
        thread: Some(thread),
    })
}

fn wait_for_address(log: &Path, stop: &AtomicBool) -> Option<SocketAddr> {
    while !stop.load(Ordering::Relaxed) {
        let text = std::fs::read_to_string(log).unwrap_or_default();
        if let Some(port) = announced_port(&text) {
            return Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    None
}

/// The port in the first complete `http://127.0.0.1:PORT` line of a script's log.
fn announced_port(log: &str) -> Option<u16> {
    let (line, _) = log.split_once("http://127.0.0.1:")?.1.split_once('\n')?;
    line.trim().parse().ok()
}

fn visit(server: SocketAddr, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        if let Ok(mut connection) = ask(server) {
            // Whatever the answer is, it has been waited for and taken, as a client does.
            let _ = connection.read(&mut [0; 256]);
        }
        std::thread::park_timeout(VISIT_EVERY);
    }
}

fn crowd(server: SocketAddr, stop: &AtomicBool) {
    let mut held = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let connected = ask(server);
        let full = connected.is_err() || held.len() >= CROWD;
        if held.len() < CROWD {
            held.extend(connected);
        }
        if full {
            std::thread::park_timeout(RETRY_EVERY);
        }
    }
}

fn ask(server: SocketAddr) -> io::Result<TcpStream> {
    let mut connection = TcpStream::connect_timeout(&server, PATIENCE)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    connection.set_write_timeout(Some(PATIENCE))?;
    connection.write_all(REQUEST)?;
    Ok(connection)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_read_from_a_complete_line_only() {
        let line = "12:00:00 INFO ready, listening on http://127.0.0.1:43117";
        assert_eq!(announced_port(line), None);
        assert_eq!(announced_port(&format!("{line}\nmore")), Some(43117));
        assert_eq!(announced_port("nothing yet\n"), None);
    }
}
