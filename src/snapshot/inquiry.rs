//! What is found out beside the looks, by sources that are slow or that have to be asked: it may be some seconds old, or not
//! there yet.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{LogTail, Moment, ProcessKey};

/// Everything that was found out so far and still matters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Inquiries {
    /// The logs of Python processes, in a stable order.
    pub logs: Vec<Arc<LogTail>>,
    /// Who holds the sockets that were asked about.
    pub holders: Vec<Holder>,
    /// Threads that programs have started to serve, by their source; one for a process at most, sorted by it.
    pub server_threads: Vec<ServerThread>,
}

/// A process that has a socket open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Inode of the socket.
    pub inode: u64,
    /// The process.
    pub key: ProcessKey,
    /// Its parent.
    pub ppid: u32,
    /// When it started.
    pub started: Moment,
    /// Its command line as in [`Process`](super::Process), secrets masked; its name in brackets where it has none.
    pub cmdline: Vec<String>,
}

/// A thread that a program must have started to serve: its source says so, behind the line that its main thread executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerThread {
    /// The process.
    pub key: ProcessKey,
    /// When the main thread was seen behind that line.
    pub passed_at: Moment,
    /// Source file.
    pub file: String,
    /// Line that makes the thread.
    pub line: u32,
    /// The function that it runs.
    pub function: String,
    /// What that calls to serve: `run_app`, `serve_forever`, …
    pub call: String,
    /// Line of that call.
    pub call_line: u32,
}
