//! Which servers the targets select.

use std::sync::Arc;

use crate::cli::Target;
use crate::diagnosis::{Diagnosis, Member, Outsider, Role, Server, kind};
use crate::snapshot::{Listener, Process, Snapshot};

/// What is left of a diagnosis when only the targets are wanted; all of it where there are none.
pub fn select(diagnosis: Diagnosis, targets: &[Target]) -> Diagnosis {
    if targets.is_empty() {
        return diagnosis;
    }
    let wanted = |matches: &dyn Fn(&Target) -> bool| targets.iter().any(matches);
    let servers = diagnosis.servers.iter();
    let selected = servers.filter(|s| wanted(&|t| is_meant(s, t, &diagnosis)));
    Diagnosis {
        servers: selected.cloned().collect(),
        outsiders: diagnosis
            .outsiders
            .into_iter()
            .filter(|o| wanted(&|t| is_process(&o.process, t)))
            .collect(),
        attention: diagnosis.attention,
        unknown_holders: diagnosis.unknown_holders,
    }
}

/// The targets that select nothing.
pub fn unmatched<'a>(diagnosis: &Diagnosis, targets: &'a [Target]) -> Vec<&'a Target> {
    let found = |t: &Target| {
        diagnosis.servers.iter().any(|s| is_meant(s, t, diagnosis))
            || diagnosis
                .outsiders
                .iter()
                .any(|o| is_process(&o.process, t))
    };
    targets.iter().filter(|t| !found(t)).collect()
}

/// What there is to choose from, a line each.
pub fn choices(diagnosis: &Diagnosis) -> Vec<String> {
    let server = |s: &Arc<Server>| {
        let at = s
            .listeners
            .iter()
            .find(|l| !l.side)
            .map(|l| format!("  on {}", crate::diagnosis::sockets::address(&l.socket)));
        format!("{:>7}  {}{}", s.pid, s.name, at.unwrap_or_default())
    };
    let other = |o: &Outsider| format!("{:>7}  {}  (not a server)", o.process.key.pid, o.name);
    diagnosis
        .servers
        .iter()
        .map(server)
        .chain(diagnosis.outsiders.iter().map(other))
        .take(40)
        .collect()
}

/// The pid of a process that serves nobody itself stands for the servers that it has started, too: a shell, a supervisor, a
/// test, whether or not it helps another server.
fn is_meant(server: &Server, target: &Target, diagnosis: &Diagnosis) -> bool {
    let started = |pid: &u32| server.above.contains(pid);
    let serves = |m: &Member| m.role != Role::Helper && is_process(&m.process, target);
    let of_another = || {
        let mut others = diagnosis.servers.iter();
        others.any(|s| s.members.iter().any(|m| serves(m) && !s.is_launcher(m)))
    };
    is_server(server, target) || matches!(target, Target::Pid(pid) if started(pid)) && !of_another()
}

fn is_server(server: &Server, target: &Target) -> bool {
    match target {
        Target::Port(_) | Target::Path(_) => {
            server
                .listeners
                .iter()
                .any(|l| is_socket(&l.socket, target))
                || is_to_listen(server, target)
        }
        Target::Pid(_) | Target::Name(_) => {
            server
                .members
                .iter()
                .any(|m| is_process(&m.process, target))
                || matches!(target, Target::Pid(pid) if *pid == server.root.pid)
        }
    }
}

/// True if a socket that the target names is there, whoever holds it.
pub fn is_somebodys(snapshot: &Snapshot, target: &Target) -> bool {
    let mut sockets = snapshot.netns.iter().flat_map(|n| &n.listeners);
    sockets.any(|socket| is_socket(socket, target))
}

fn is_socket(socket: &Listener, target: &Target) -> bool {
    match (target, &socket.path) {
        (Target::Port(port), None) => socket.port == *port,
        (Target::Path(wanted), Some(path)) => same_path(path, wanted),
        _ => false,
    }
}

/// A server that has not got there: it listens nowhere yet, and its command line asks for this port or path.
fn is_to_listen(server: &Server, target: &Target) -> bool {
    let asks = |m: &Member| match target {
        Target::Port(port) => kind::wanted_port(&m.process.cmdline) == Some(*port),
        Target::Path(path) => m.process.cmdline.iter().any(|word| names_path(word, path)),
        Target::Pid(_) | Target::Name(_) => false,
    };
    server.listeners.iter().all(|l| l.side) && server.members.iter().any(asks)
}

/// `/run/api.sock`, `unix:/run/api.sock`, `--uds=/run/api.sock`, `--bind=unix:run/api.sock`.
fn names_path(word: &str, wanted: &str) -> bool {
    let value = word.split_once('=').map_or(word, |(_, value)| value);
    let path = value.strip_prefix("unix:").unwrap_or(value);
    let path = path.strip_prefix("//").unwrap_or(path);
    !path.is_empty() && same_path(path, wanted)
}

fn same_path(socket: &str, wanted: &str) -> bool {
    socket == wanted
        || wanted
            .strip_prefix("./")
            .is_some_and(|rest| socket.ends_with(&format!("/{rest}")) || socket == rest)
}

fn is_process(process: &Process, target: &Target) -> bool {
    match target {
        Target::Pid(pid) => process.key.pid == *pid,
        Target::Name(name) => process.cmdline.join(" ").contains(name.as_str()),
        Target::Port(_) | Target::Path(_) => false,
    }
}

#[cfg(test)]
mod tests;
