//! By which labels a server is told from all others, so that a restart does not change them: never by a pid.

use std::cmp::Ordering;

use super::page::Labels;
use crate::diagnosis::{Kind, Server, ServerListener, bind};
use crate::view::format;

/// A longer name is cut: it is a part of a command line.
const LONGEST: usize = 160;

/// What tells a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What kind of server it is.
    pub kind: Kind,
    /// Its name for people.
    pub name: String,
    /// The first of the addresses that it listens on; empty as long as none is known.
    pub address: String,
}

impl Identity {
    /// Of a server as it is now. One without a socket keeps the address under which it was `known`, else has that which its
    /// command line asks for; one that still listens on the address under which it is known keeps that.
    pub fn of(server: &Server, known: Option<&str>) -> Self {
        let mut own: Vec<&ServerListener> = server.listeners.iter().filter(|l| !l.side).collect();
        own.sort_by(|a, b| by_address(a, b));
        let known = known.filter(|k| own.is_empty() || own.iter().any(|l| address(l) == *k));
        let address = match (known, own.first()) {
            (Some(known), _) if !known.is_empty() => known.to_owned(),
            (_, Some(first)) => address(first),
            (_, None) => asked(server),
        };
        Self {
            kind: server.kind,
            name: clip(&server.name),
            address,
        }
    }

    /// As labels; the first of several that are alike has no ordinal.
    pub fn labels(&self, ordinal: u32) -> Labels {
        self.labels_at(&self.address, ordinal)
    }

    /// The same for one of its sockets.
    pub fn labels_at(&self, address: &str, ordinal: u32) -> Labels {
        let ordinal = if ordinal > 1 {
            ordinal.to_string()
        } else {
            String::new()
        };
        Labels::of(&[
            ("kind", self.kind.word()),
            ("name", &self.name),
            ("address", address),
            ("ordinal", &ordinal),
        ])
    }

    /// True if these may be the same: the address is not known of one of them.
    pub fn may_be(&self, other: &Self) -> bool {
        let same = self.kind == other.kind && self.name == other.name;
        same && (self.address.is_empty() || other.address.is_empty())
    }
}

/// `127.0.0.1:8000`, `unix:/run/x.sock`.
pub fn address(listener: &ServerListener) -> String {
    let socket = &listener.socket;
    match (&socket.path, socket.address) {
        (Some(path), _) => format!("unix:{}", clip(path)),
        (None, Some(address)) => format::endpoint(address, socket.port),
        (None, None) => format!("port {}", socket.port),
    }
}

fn by_address(a: &ServerListener, b: &ServerListener) -> Ordering {
    let key = |l: &ServerListener| (l.socket.family, l.socket.address, l.socket.port);
    key(a)
        .cmp(&key(b))
        .then_with(|| a.socket.path.cmp(&b.socket.path))
}

/// The one address that the command line asks for, if that is the whole of it.
fn asked(server: &Server) -> String {
    let root = server.members.first();
    let wanted = root.map_or_else(Vec::new, |root| bind::wanted(&root.process.cmdline));
    match wanted.as_slice() {
        [one] if !matches!(one, bind::Wanted::Tcp { ip: None, .. }) => clip(&one.words()),
        _ => String::new(),
    }
}

/// Not longer than a label needs to be.
pub fn clip(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}
