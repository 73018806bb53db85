//! Who may connect to a unix socket? The mode and owner of the file that stands for it, as its server sees it.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::roster::Roster;
use crate::snapshot::{Family, ListenerState, Moment, NetNs, SocketFile};

/// Somebody may change them by hand.
const EVERY_S: f64 = 5.0;
/// Files that are asked for at most.
const FILES_MOST: usize = 64;

/// Files of unix sockets that listen, as they were a few seconds ago at most.
#[derive(Debug, Default)]
pub struct SocketFiles {
    read_at: Moment,
    last: Vec<SocketFile>,
}

impl SocketFiles {
    /// Those of Python processes, by inode of the socket.
    pub fn read(
        &mut self,
        netns: &BTreeMap<u64, Arc<NetNs>>,
        roster: &Roster,
        now: Moment,
    ) -> Vec<SocketFile> {
        if now.seconds_since(self.read_at) < EVERY_S {
            return self.last.clone();
        }
        self.read_at = now;
        let listens = netns.values().flat_map(|n| &n.listeners).filter(|l| {
            l.family == Family::Unix && l.state == ListenerState::Listening && l.path.is_some()
        });
        let mut found: Vec<SocketFile> = listens
            .filter_map(|l| {
                let holder = holder(roster, l.inode)?;
                Some((l.inode, path(holder, l.path.as_deref()?)?))
            })
            .take(FILES_MOST)
            .filter_map(|(inode, path)| file(inode, &path))
            .collect();
        found.sort_unstable_by_key(|f| f.inode);
        found.dedup_by_key(|f| f.inode);
        self.last.clone_from(&found);
        found
    }
}

fn holder(roster: &Roster, socket: u64) -> Option<u32> {
    let mut alive = roster.pythons().filter(|e| !e.is_dead());
    let holds = alive.find(|e| {
        let fds = e.process.fds.as_ref();
        fds.is_some_and(|f| f.sockets.binary_search(&socket).is_ok())
    });
    holds.map(|e| e.process.key.pid)
}

/// The file in the holder's own tree of directories. A path in the abstract namespace (`@…`) has none; one that was cleaned
/// does not lead anywhere.
fn path(pid: u32, name: &str) -> Option<PathBuf> {
    let beneath = match name.strip_prefix('/') {
        Some(rest) => Path::new(&format!("/proc/{pid}/root")).join(rest),
        None if name.starts_with('@') => return None,
        None => Path::new(&format!("/proc/{pid}/cwd")).join(name),
    };
    let stays = beneath
        .components()
        .all(|part| !matches!(part, std::path::Component::ParentDir));
    stays.then_some(beneath)
}

fn file(inode: u64, path: &Path) -> Option<SocketFile> {
    let file = std::fs::symlink_metadata(path).ok()?;
    file.file_type().is_socket().then(|| SocketFile {
        inode,
        mode: file.mode() & 0o7777,
        uid: file.uid(),
        gid: file.gid(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_looked_for_where_its_holder_sees_it() {
        let at = |name: &str| path(7, name).map(|p| p.to_string_lossy().into_owned());
        assert_eq!(
            at("/run/a.sock").as_deref(),
            Some("/proc/7/root/run/a.sock")
        );
        assert_eq!(at("a.sock").as_deref(), Some("/proc/7/cwd/a.sock"));
        assert_eq!(at("@a"), None);
        assert_eq!(at("/run/../../etc"), None);
    }

    #[test]
    fn only_a_socket_has_a_mode_that_matters() {
        let folder = tempfile::tempdir().unwrap();
        let name = folder.path().join("a.sock");
        let _socket = std::os::unix::net::UnixListener::bind(&name).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o750);
        std::fs::set_permissions(&name, mode).unwrap();
        assert_eq!(file(3, &name).map(|f| (f.inode, f.mode)), Some((3, 0o750)));
        assert_eq!(file(3, folder.path()), None);
    }
}
