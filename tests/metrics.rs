//! `steth metrics`: its HTTP, its text by promtool's judgement, its end; and that a real Prometheus gets out of it what is true of
//! real servers.
#![cfg(test)]

mod support;

#[path = "metrics/http.rs"]
mod http;
#[path = "metrics/prometheus.rs"]
mod prometheus;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use support::{PATIENCE, eventually};

/// `steth metrics`, while it runs. Dropping it kills it.
pub struct Exporter {
    child: Child,
    /// Where it says that it listens.
    pub address: SocketAddr,
}

impl Exporter {
    /// Starts it, and waits until it has said where it listens.
    pub fn start(listen: &str) -> Exporter {
        let mut child = Command::new(env!("CARGO_BIN_EXE_steth"))
            .args(["metrics", "--listen", listen])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        told.read_line(&mut line).unwrap();
        let address = line
            .strip_prefix("steth: metrics at http://")
            .and_then(|rest| rest.strip_suffix("/metrics\n")?.parse().ok());
        // Whatever it says later must not stop it.
        std::thread::spawn(move || std::io::copy(&mut told, &mut std::io::sink()));
        let address = address.unwrap_or_else(|| panic!("no address in {line:?}"));
        Exporter { child, address }
    }

    /// One request; status line with headers, and body.
    pub fn ask(&self, request: &str) -> (String, String) {
        ask(self.address, request)
    }

    /// Its text, in the classic format.
    pub fn metrics(&self) -> String {
        self.ask("GET /metrics HTTP/1.0\r\n\r\n").1
    }

    /// Sends it a signal, and waits for its end.
    pub fn end_by(mut self, signal: i32) -> ExitStatus {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: kill takes plain numbers; the process is a child of this test and not reaped yet.
        unsafe { libc::kill(pid, signal) };
        let ended = eventually(PATIENCE, || matches!(self.child.try_wait(), Ok(Some(_))));
        assert!(ended, "does not end by signal {signal}");
        self.child.wait().unwrap()
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request over a connection of its own; status line with headers, and body.
pub fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    (head.to_owned(), body.to_owned())
}

/// A program of the package `prometheus`.
pub fn program(name: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("no {name} on the PATH: apt-get install prometheus"))
}

/// A file of this repository.
pub fn file(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Runs promtool to its end, with this on its standard input.
pub fn promtool(args: &[&str], input: &str) -> Result<(), String> {
    let mut child = Command::new(program("promtool")?)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let mut stdin = child.stdin.take().unwrap();
    // It may end before it has read all of it.
    let _ = stdin.write_all(input.as_bytes());
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(
        output.status.success(),
        "promtool {args:?}\n{said}\n{input}"
    );
    Ok(())
}

/// How long Prometheus, which looks once a second, may take to have seen something.
pub const SCRAPED: Duration = PATIENCE;
