//! What the kernel says, read as plainly as can be: tests must not trust the program that they test.

use std::path::Path;

/// A port on which nothing listens, of any family. Another process may take it before the server does; then the
/// server's own error shows it.
pub fn free_port() -> u16 {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").expect("a loopback port");
    probe.local_addr().expect("its address").port()
}

/// Accept-queue depth of the listener on `port` (IPv4 or IPv6) in the network namespace of `pid`; `None` if there is
/// none. The rx_queue of a LISTEN row is the depth (proc_net_tcp, sk_ack_backlog).
pub fn accept_queue(pid: u32, port: u16) -> Option<u64> {
    ["tcp", "tcp6"].iter().find_map(|table| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{table}")).ok()?;
        text.lines().find_map(|line| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let listens =
                words.get(1)?.ends_with(&format!(":{port:04X}")) && words.get(3)? == &"0A";
            let depth = words.get(4)?.split_once(':')?.1;
            listens.then(|| u64::from_str_radix(depth, 16).unwrap_or(0))
        })
    })
}

/// True once a unix socket is listened on at `path` (flag __SO_ACCEPTCON in /proc/net/unix).
pub fn unix_listens(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/net/unix").unwrap_or_default();
    table.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        words.get(3) == Some(&"00010000")
            && words.get(7).is_some_and(|name| Path::new(name) == path)
    })
}

/// Pid, parent, process group and state of every process.
fn table() -> Vec<(u32, u32, u32, char)> {
    let entries = std::fs::read_dir("/proc").expect("/proc can be listed");
    entries
        .flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let stat = std::fs::read_to_string(entry.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
            let state = fields.next()?.chars().next()?;
            let parent = fields.next()?.parse().ok()?;
            Some((pid, parent, fields.next()?.parse().ok()?, state))
        })
        .collect()
}

/// Living members of a process group.
pub fn group_members(group: u32) -> Vec<u32> {
    let members = table().into_iter();
    members
        .filter(|&(_, _, of, state)| of == group && state != 'Z')
        .map(|(pid, ..)| pid)
        .collect()
}

/// Living descendants of a process, itself not among them.
pub fn descendants(root: u32) -> Vec<u32> {
    let table = table();
    let mut found = vec![root];
    let mut at = 0;
    while at < found.len() {
        let parent = found[at];
        let children = table.iter().filter(|row| row.1 == parent && row.3 != 'Z');
        found.extend(children.map(|row| row.0));
        at += 1;
    }
    found.split_off(1)
}

/// True if the process is or was mapped from a Python binary, by the name of its executable.
pub fn is_python(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe"))
        .is_ok_and(|exe| exe.to_string_lossy().contains("python"))
}
