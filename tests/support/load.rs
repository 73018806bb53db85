//! Clients: a light load that asks and waits for answers, and a crowd that holds connections.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(800);
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";

/// Where a client goes.
#[derive(Clone)]
pub enum To {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

/// About ten requests each second until it is dropped.
pub struct Light {
    /// Requests that were answered.
    pub answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Light {
    pub fn on(to: To) -> Light {
        let (answered, stop) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (count, end) = (Arc::clone(&answered), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !end.load(Ordering::Relaxed) {
                if ask(&to).is_ok_and(|bytes| bytes > 0) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        Light {
            answered,
            stop,
            thread: Some(thread),
        }
    }

    pub fn on_port(port: u16) -> Light {
        Light::on(To::Tcp(SocketAddr::from(([127, 0, 0, 1], port))))
    }

    /// Waits for the first answers: from here on the server serves beyond doubt.
    pub fn wait_answers(&self) -> &Light {
        assert!(
            super::eventually(super::PATIENCE, || self.answered.load(Ordering::Relaxed)
                >= 3),
            "the server never answered"
        );
        self
    }
}

impl Drop for Light {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn ask(to: &To) -> io::Result<usize> {
    match to {
        To::Tcp(address) => {
            let mut connection = TcpStream::connect_timeout(address, PATIENCE)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.write_all(REQUEST)?;
            connection.read(&mut [0; 512])
        }
        To::Unix(path) => {
            let mut connection = UnixStream::connect(path)?;
            connection.set_read_timeout(Some(PATIENCE))?;
            connection.write_all(REQUEST)?;
            connection.read(&mut [0; 512])
        }
    }
}

/// Opens connections and sends a request on each until one is not let in, or `most` are open. They stay open as long
/// as the returned list lives.
pub fn crowd(port: u16, most: usize) -> Vec<TcpStream> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut held = Vec::new();
    while held.len() < most {
        let Ok(mut connection) = TcpStream::connect_timeout(&address, PATIENCE) else {
            break;
        };
        if connection.write_all(REQUEST).is_err() {
            break;
        }
        held.push(connection);
    }
    held
}
