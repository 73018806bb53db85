//! What a thread waits for, in words: for evidence, for sentences and for the screen. And what may be said of connections
//! that are being made, for whoever asks.

use std::net::IpAddr;

use super::words::{count, duration};
use crate::snapshot::{
    Child, Connection, LockKind, Moment, Mount, Party, PipeEnd, Process, TcpState, TcpWait,
    ThreadWait, WaitTarget, syscall_name,
};

/// Shorter than this is not worth a word.
const WORTH_S: f64 = 1.0;

/// `in connect() to 10.0.0.5:5432, SYN-SENT, 4 retransmits, for 37 s`.
pub fn words(wait: &ThreadWait, at: Moment) -> String {
    let what = what(wait, Some(at));
    let slept = at.seconds_since(wait.since);
    let told = matches!(wait.on, WaitTarget::Sleep { .. }) || silent_s(wait, at).is_some();
    if slept < WORTH_S || told {
        return what;
    }
    format!("{what}, for {}", duration(slept))
}

/// The same without anything that changes from look to look, so that threads that do the same can be counted.
pub fn brief(wait: &ThreadWait) -> String {
    what(wait, None)
}

fn what(wait: &ThreadWait, at: Option<Moment>) -> String {
    let call = call_name(wait.call);
    match &wait.on {
        WaitTarget::Tcp(tcp) => format!("in {call} {}", of_tcp(wait, tcp, at)),
        WaitTarget::Unix { path, pending } => {
            let path = path.as_deref().unwrap_or("without a name");
            let to = if wait.call == libc::SYS_connect {
                "to"
            } else {
                "on"
            };
            let queued = if *pending && wait.call != libc::SYS_connect {
                ", which has not accepted the connection"
            } else {
                ""
            };
            format!("in {call} {to} unix socket {path}{queued}")
        }
        WaitTarget::Udp { peer: Some(peer) } if peer.1 == 53 => {
            format!("in {call}, asking name server {}", address(*peer))
        }
        WaitTarget::Udp { peer } => match peer {
            Some(peer) => format!("in {call} for a datagram from {}", address(*peer)),
            None => format!("in {call} for a datagram"),
        },
        WaitTarget::Pipe { path, end, others } => {
            format!(
                "in {call} on {}",
                of_pipe(path.as_deref(), *end, others.as_deref())
            )
        }
        WaitTarget::FifoOpen { path, end } => {
            format!("in {call} on a FIFO nobody {}: {path}", other_does(*end))
        }
        WaitTarget::File { path, mount } => {
            format!("in {call} on {path}{}", of_mount(mount.as_ref()))
        }
        WaitTarget::Terminal { path } => format!("in {call} on terminal {path}"),
        WaitTarget::Children(children) => of_children(children),
        WaitTarget::FileLock {
            path,
            kind,
            holders,
        } => match kind {
            LockKind::Flock | LockKind::Record => {
                format!("in {call} on {path}, {}", held_by(holders))
            }
            LockKind::Sqlite => {
                format!(
                    "asks again and again for the SQLite database {path}, {}",
                    held_by(holders)
                )
            }
        },
        WaitTarget::Futex { timed: false, .. } => "waits for a lock".into(),
        WaitTarget::Futex { timed: true, .. } => "waits for a lock for a limited time".into(),
        WaitTarget::Sleep { until } => {
            match until.zip(at).map(|(until, at)| until.seconds_since(at)) {
                Some(left) if left > 0.0 => format!("sleeps, {} left", duration(left)),
                _ => "sleeps".into(),
            }
        }
    }
}

/// `10.0.0.5:5432`, `[::1]:5432`; an IPv4 address in IPv6 clothes as people write it.
pub fn address((ip, port): (IpAddr, u16)) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => format!("{ip}:{port}"),
        IpAddr::V6(ip) => format!("[{ip}]:{port}"),
    }
}

/// ``pid 99 (`python backup.py`)``
pub fn party(party: &Party) -> String {
    match party.command.as_str() {
        "" => format!("pid {}, which has ended", party.pid),
        _ => format!("pid {} (`{}`)", party.pid, command(party)),
    }
}

/// Its command line, short enough for a sentence.
pub fn command(party: &Party) -> String {
    const LIMIT: usize = 72;
    match party.command.char_indices().nth(LIMIT) {
        Some((end, _)) => format!("{}…", party.command.get(..end).unwrap_or_default()),
        None => party.command.clone(),
    }
}

/// Several of them; `nobody that can be seen` for none.
pub fn parties(all: &[Party]) -> String {
    match all {
        [] => "nobody that can be seen".into(),
        all => all.iter().map(party).collect::<Vec<_>>().join(", "),
    }
}

/// `held by pid 99 (…)`
pub fn held_by(holders: &[Party]) -> String {
    match holders {
        [] => "held by somebody that /proc/locks does not name".into(),
        holders => format!("held by {}", parties(holders)),
    }
}

/// Seconds since a made connection was last used by either side, by the kernel's own clock; `None` where that is not known.
pub fn silent_s(wait: &ThreadWait, at: Moment) -> Option<f64> {
    let WaitTarget::Tcp(tcp) = &wait.on else {
        return None;
    };
    Some(at.seconds_since(tcp.heard?.max(tcp.sent?)))
}

/// Seconds since the first SYN of a connection that is being made, at least, by its retransmits: the first four follow at
/// one second each (Linux 6.5, net.ipv4.tcp_syn_linear_timeouts), then at 1, 2, 4, …; before 6.5 the pauses only grow.
pub fn connecting_s(retransmits: u8) -> f64 {
    let retransmits = u32::from(retransmits);
    let doubled = retransmits.saturating_sub(4).min(7);
    f64::from(retransmits.min(4)) + f64::from((1u32 << doubled) - 1)
}

/// Connections of a process that are being made and not answered: what an event loop that idles during startup may wait for.
pub fn connecting(process: &Process) -> impl Iterator<Item = &Connection> {
    let all = process.connections.iter().flat_map(|c| &c.list);
    all.filter(|c| c.state == TcpState::SynSent)
}

/// `a connection to 10.0.0.5:5432 is being made: SYN-SENT, 4 retransmits, for at least 4 s`.
pub fn connecting_words(connection: &Connection) -> String {
    let lasted = match connection.retransmits {
        0 => String::new(),
        n => format!(", for at least {}", duration(connecting_s(n))),
    };
    format!(
        "a connection to {} is being made: {}{lasted}",
        address(connection.peer),
        unanswered(connection.retransmits)
    )
}

/// `SYN-SENT, 4 retransmits`
pub fn unanswered(retransmits: u8) -> String {
    format!(
        "SYN-SENT, {}",
        count(usize::from(retransmits), "retransmit")
    )
}

/// True for calls that send or write.
pub fn is_write(wait: &ThreadWait) -> bool {
    matches!(
        wait.call,
        libc::SYS_write
            | libc::SYS_writev
            | libc::SYS_pwrite64
            | libc::SYS_sendto
            | libc::SYS_sendmsg
            | libc::SYS_sendmmsg
            | libc::SYS_sendfile
    )
}

fn call_name(number: i64) -> String {
    format!("{}()", syscall_name(number))
}

fn of_tcp(wait: &ThreadWait, tcp: &TcpWait, at: Option<Moment>) -> String {
    let peer = address(tcp.peer);
    match tcp.state {
        TcpState::SynSent if wait.call == libc::SYS_connect => {
            format!("to {peer}, {}", unanswered(tcp.retransmits))
        }
        TcpState::SynSent => {
            format!(
                "for a connection to {peer}, {}",
                unanswered(tcp.retransmits)
            )
        }
        TcpState::Unknown => format!("to {peer}"),
        _ if is_write(wait) => format!(
            "to {peer} ({}), which has not acknowledged {} bytes",
            tcp.state.word(),
            tcp.send_q
        ),
        state => {
            let silent = at
                .and_then(|at| silent_s(wait, at))
                .filter(|s| *s >= WORTH_S)
                .map(|s| format!(", which has sent nothing for {}", duration(s)));
            format!(
                "from {peer} ({}){}",
                state.word(),
                silent.unwrap_or_default()
            )
        }
    }
}

fn other_does(end: PipeEnd) -> &'static str {
    match end.other() {
        PipeEnd::Reads => "reads",
        PipeEnd::Writes => "writes",
    }
}

fn of_pipe(path: Option<&str>, end: PipeEnd, others: Option<&[Party]>) -> String {
    let pipe = path.map_or_else(|| "a pipe".to_owned(), |path| format!("FIFO {path}"));
    match others {
        None => pipe,
        Some([]) => format!("{pipe} that nobody {}", other_does(end)),
        Some(others) => {
            let does = match end.other() {
                PipeEnd::Reads => "to be read by",
                PipeEnd::Writes => "to be written by",
            };
            format!("{pipe}, {does} {}", parties(others))
        }
    }
}

fn of_mount(mount: Option<&Mount>) -> String {
    match mount {
        Some(mount) if is_remote(mount) => {
            format!(" ({} {} at {})", mount.fs, mount.source, mount.at)
        }
        _ => String::new(),
    }
}

/// True for file systems that ask somebody else, who may not answer.
pub fn is_remote(mount: &Mount) -> bool {
    const REMOTE: &[&str] = &[
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "9p",
        "ceph",
        "afs",
        "virtiofs",
        "autofs",
        "glusterfs",
    ];
    REMOTE.contains(&mount.fs.as_str()) || mount.fs.starts_with("fuse")
}

/// ``waits for its child `sh build.sh` (pid 77)``
fn of_children(children: &[Child]) -> String {
    match children {
        [] => "waits for a child process".into(),
        [only] => format!("waits for its child {}", child(only)),
        [first, rest @ ..] => format!(
            "waits for any of its children, {} and {} more",
            child(first),
            rest.len()
        ),
    }
}

/// `` `sh build.sh` (pid 77)``
pub fn child(child: &Child) -> String {
    format!("`{}` (pid {})", command(&child.party), child.party.pid)
}

/// What the last of the processes that wait for each other does: `sh build.sh` waits for `sleep 3600`, which sleeps.
pub fn innermost(child: &Child) -> &Child {
    let mut last = child;
    while let Some(next) = &last.child {
        last = next;
    }
    last
}

/// `sleeps in read on pipe:[77], its standard input`; nothing for one that runs or may not be seen.
pub fn child_does(child: &Child) -> Option<String> {
    let sleeps = child.sleeps.as_ref()?;
    let on = match (&sleeps.on, sleeps.fd) {
        (Some(on), Some(0)) => format!(" on {on}, its standard input"),
        (Some(on), _) => format!(" on {on}"),
        (None, _) => String::new(),
    };
    Some(format!("sleeps in {}{on}", syscall_name(sleeps.call)))
}

#[cfg(test)]
mod tests;
