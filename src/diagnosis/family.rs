//! Which processes make one server, and in which role each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ended_thread;
use super::history::History;
use super::kind::{Helper, Intent};
use super::traits::Traits;
use super::{Kind, Role};
use crate::snapshot::{Listener, Process, ProcessKey, Snapshot};

mod apart;
mod held;

use held::Sockets;

/// The processes of one server, root first.
#[derive(Debug, Clone)]
pub struct Family {
    /// The root: master, supervisor, reloader, or the only one.
    pub root: Arc<Process>,
    /// Kind of server.
    pub kind: Kind,
    /// All members with their roles, root first, then by age.
    pub members: Vec<(Arc<Process>, Role)>,
}

/// Sorts the Python processes of a snapshot into servers and the rest.
pub fn families(snapshot: &Snapshot, history: &History) -> (Vec<Family>, Vec<Arc<Process>>) {
    let sockets = Sockets::of(snapshot);
    let mut sorter = Sorter {
        snapshot,
        history,
        sockets,
        home: BTreeMap::new(),
        families: Vec::new(),
        rest: Vec::new(),
    };
    let mut pythons: Vec<&Arc<Process>> = snapshot
        .processes
        .iter()
        .filter(|p| p.is_python())
        .collect();
    pythons.sort_by_key(|p| (p.key.start_time, p.key.pid));
    for process in pythons {
        sorter.place(process);
    }
    let Sorter {
        mut families, rest, ..
    } = sorter;
    for family in &mut families {
        let traits = history.tracks.get(&family.root.key).map(|t| t.traits);
        settle_roles(family, traits);
    }
    (families, rest)
}

struct Sorter<'a> {
    snapshot: &'a Snapshot,
    history: &'a History,
    sockets: Sockets<'a>,
    home: BTreeMap<ProcessKey, usize>,
    families: Vec<Family>,
    rest: Vec<Arc<Process>>,
}

impl Sorter<'_> {
    fn place(&mut self, process: &Arc<Process>) {
        let traits = self.traits(process);
        if let Some(home) = self.parental_home(process) {
            return self.place_child(process, home, traits);
        }
        match self.own_kind(process, traits) {
            Some(kind) => match self.sibling_home(process, kind) {
                Some(home) => self.join(process, home, Role::Worker),
                None => self.found(process, kind),
            },
            None => self.rest.push(process.clone()),
        }
    }

    /// The family of the nearest Python ancestor.
    fn parental_home(&self, process: &Process) -> Option<usize> {
        self.python_parent(process)
            .and_then(|parent| self.home.get(&parent.key).copied())
    }

    fn python_parent(&self, process: &Process) -> Option<&Arc<Process>> {
        let mut ppid = process.ppid;
        for _ in 0..16 {
            let parent = self.snapshot.process(ppid)?;
            if parent.is_python() {
                return Some(parent);
            }
            ppid = parent.ppid;
        }
        None
    }

    fn place_child(&mut self, process: &Arc<Process>, home: usize, traits: Traits) {
        let intent = traits.intent;
        let Some(family) = self.families.get(home) else {
            return;
        };
        let parent_kind = family.kind;
        if !self.is_reloaded(process, home, intent) {
            if let Intent::Serves(kind) = intent
                && (kind != parent_kind || self.is_launched(process, home))
                && process.cmdline != family.root.cmdline
            {
                return self.found(process, kind);
            }
            if let Some(kind) = self.kind_apart(process, home, traits) {
                return self.found(process, kind);
            }
        }
        let role = self.child_role(process, home, intent);
        self.join(process, home, role);
    }

    fn join(&mut self, process: &Arc<Process>, home: usize, role: Role) {
        self.home.insert(process.key, home);
        if let Some(family) = self.families.get_mut(home) {
            family.members.push((process.clone(), role));
        }
    }

    /// Where a worker belongs whose master has died: with another orphan of that master, which holds the same socket.
    fn sibling_home(&self, process: &Process, kind: Kind) -> Option<usize> {
        if !self.traits(process).orphan {
            return None;
        }
        let held = self.sockets.held_by(process);
        self.families.iter().position(|family| {
            let root = &family.root;
            let theirs = self.sockets.held_by(root);
            let shares = theirs
                .iter()
                .any(|l| !is_private(l) && held.iter().any(|own| own.inode == l.inode));
            family.kind == kind && root.ppid == process.ppid && self.traits(root).orphan && shares
        })
    }

    fn child_role(&self, process: &Process, home: usize, intent: Intent) -> Role {
        if matches!(intent, Intent::Helper(Helper::Tracker) | Intent::Works) {
            return Role::Helper;
        }
        let Some(family) = self.families.get(home) else {
            return Role::Helper;
        };
        let traits = self.traits(process);
        if traits.pool_child {
            return Role::Helper;
        }
        let accepts = process.accepting.as_ref().is_some_and(|ready| {
            let held = self.sockets.held_by(process);
            ready
                .iter()
                .any(|a| held.iter().any(|l| l.inode == a.inode && !is_private(l)))
        });
        // What a worker forks has the worker's frames on its stack: only children of the root are workers by their looks.
        let of_root = self
            .python_parent(process)
            .is_some_and(|p| p.key == family.root.key);
        let of_supervisor = of_root && !self.works_itself(&family.root);
        let same_line = process.cmdline == family.root.cmdline || process.cmdline.is_empty();
        let spawned =
            intent == Intent::Helper(Helper::Spawned) || matches!(intent, Intent::Serves(_));
        let alike = same_line
            || spawned
            || self.is_reloaded(process, home, intent)
            || retitled(process, family.kind)
            || traits.kind.is_some();
        if accepts || of_supervisor && alike {
            Role::Worker
        } else {
            Role::Helper
        }
    }

    /// True if the process itself serves: its children are helpers, not workers.
    fn works_itself(&self, process: &Process) -> bool {
        let traits = self.traits(process);
        let accepts = process.accepting.as_ref().is_some_and(|a| !a.is_empty());
        !traits.supervises && !traits.reloads && (accepts || traits.runs_server)
    }

    fn found(&mut self, process: &Arc<Process>, kind: Kind) {
        self.home.insert(process.key, self.families.len());
        self.families.push(Family {
            root: process.clone(),
            kind,
            members: vec![(process.clone(), Role::Single)],
        });
    }

    /// The kind of a process that has no server above it; `None` if nothing says that it means to listen.
    fn own_kind(&self, process: &Process, traits: Traits) -> Option<Kind> {
        match traits.intent {
            Intent::Serves(kind) => return Some(kind),
            Intent::Works | Intent::Helper(Helper::Tracker) => return None,
            // One whose parent has died goes on without it, and may go on serving.
            Intent::Helper(Helper::Spawned) | Intent::Unknown => {}
        }
        let track = self.history.tracks.get(&process.key);
        // A thread that serves HTTP beside a script's work is no proof: on the main thread it is.
        let proved = track
            .and_then(|t| t.kind)
            .filter(|k| *k != Kind::HttpServer)
            .or(traits.main_kind);
        proved
            .or_else(|| self.accepts_for_itself(process).then_some(traits.by_loop))
            .or_else(|| self.kind_of_children(process))
            // Who has accepted for a server stays one, also when it has closed its listener to end.
            .or(track.and_then(|t| t.intends.or(t.served)))
            .or_else(|| ended_thread::ended(process, self.snapshot).map(|ended| ended.kind))
    }

    /// The kind that children prove, which multiprocessing has started or which are forks: each listens for itself, or is
    /// about to.
    fn kind_of_children(&self, process: &Process) -> Option<Kind> {
        let through_fork_server = |child: &Process| {
            let parent = self.snapshot.process(child.ppid);
            parent.is_some_and(|p| p.ppid == process.key.pid && is_fork_server(p))
        };
        let children = self
            .snapshot
            .processes
            .iter()
            .filter(|c| c.is_python() && (c.ppid == process.key.pid || through_fork_server(c)));
        children
            .filter_map(|child| {
                let traits = self.traits(child);
                let alike = child.cmdline == process.cmdline
                    || traits.intent == Intent::Helper(Helper::Spawned);
                (alike && !traits.pool_child).then_some((child, traits))
            })
            .find_map(|(child, traits)| {
                let serves = || self.accepts_for_itself(child).then_some(traits.by_loop);
                let proved = traits.kind.filter(|k| *k != Kind::HttpServer);
                proved.or(traits.main_kind).or_else(serves)
            })
    }

    /// What is known by its looks. A child of multiprocessing's fork server has the fork server's own command line.
    fn traits(&self, process: &Process) -> Traits {
        let mut traits = self
            .history
            .tracks
            .get(&process.key)
            .map_or_else(|| Traits::of(process), |t| t.traits);
        let forked = || {
            let parent = self.snapshot.process(process.ppid);
            is_fork_server(process) && parent.is_some_and(|p| p.cmdline == process.cmdline)
        };
        if traits.intent == Intent::Helper(Helper::Tracker) && forked() {
            traits.intent = Intent::Helper(Helper::Spawned);
        }
        traits
    }

    /// True if the process listens on a socket of its own, as its business and not beside it.
    fn accepts_for_itself(&self, process: &Process) -> bool {
        let held = self.sockets.held_by(process);
        held.iter().filter(|l| !is_private(l)).any(|listener| {
            let takers = self.takers(listener.inode, process);
            if takers.is_empty() {
                self.is_owner(listener, process)
            } else {
                takers
                    .iter()
                    .any(|(taker, tid)| taker.key != process.key || !self.is_beside(taker, *tid))
            }
        })
    }

    /// True if the thread that accepts does so beside the process's real work: another thread than the main one, while the
    /// main thread is busy with the application's own code and not just waiting for the server to end.
    fn is_beside(&self, process: &Process, tid: Option<u32>) -> bool {
        tid.is_some_and(|tid| tid != process.key.pid) && !self.traits(process).waits_for_others
    }

    /// Nobody accepts: whose socket is it? The outermost Python process that holds it, if no process above that,
    /// Python or not, handed it down.
    fn is_owner(&self, listener: &Listener, process: &Process) -> bool {
        let parent_holds = self.snapshot.process(process.ppid).is_some_and(|parent| {
            parent
                .fds
                .as_ref()
                .is_some_and(|f| f.sockets.binary_search(&listener.inode).is_ok())
        });
        !parent_holds && listener.uid == process.uid
    }

    /// The process and its descendants that are ready to accept from a socket, with the thread that waits.
    fn takers(&self, inode: u64, process: &Process) -> Vec<(&Arc<Process>, Option<u32>)> {
        let mut kin = BTreeSet::from([process.key.pid]);
        let mut takers = Vec::new();
        let mut by_age: Vec<&Arc<Process>> = self.snapshot.processes.iter().collect();
        by_age.sort_by_key(|p| p.key.start_time);
        for candidate in by_age {
            if candidate.key.pid != process.key.pid && !kin.contains(&candidate.ppid) {
                continue;
            }
            kin.insert(candidate.key.pid);
            let ready = candidate
                .accepting
                .iter()
                .flatten()
                .find(|a| a.inode == inode);
            if let Some(ready) = ready {
                takers.push((candidate, ready.tid));
            }
        }
        takers
    }
}

/// A private socket of multiprocessing or of a control interface: never what clients are meant to use.
pub fn is_private(listener: &Listener) -> bool {
    let Some(path) = &listener.path else {
        return false;
    };
    // multiprocessing.connection: `…/pymp-XXXX/listener-YYYY`, or the abstract `listener-PID-N`; gunicorn 25 and newer:
    // `gunicorn.ctl`. A folder of that name says nothing: /run/gunicorn/app.sock is where clients go.
    path.contains("/pymp-") || path.starts_with("@listener-") || path.ends_with("/gunicorn.ctl")
}

fn is_fork_server(process: &Process) -> bool {
    let runs = |a: &String| a.contains("multiprocessing.forkserver");
    process.cmdline.iter().any(runs)
}

/// A title in place of a command line, as setproctitle writes it: one argument with blanks in it.
fn has_title(process: &Process) -> bool {
    matches!(process.cmdline.as_slice(), [title] if title.contains(' '))
}

/// `gunicorn: worker [app]`: the title that setproctitle gives.
fn retitled(process: &Process, kind: Kind) -> bool {
    kind == Kind::Gunicorn
        && process
            .cmdline
            .first()
            .is_some_and(|a| a.starts_with("gunicorn: worker"))
}

fn settle_roles(family: &mut Family, traits: Option<Traits>) {
    let has_workers = family.members.iter().any(|(_, role)| *role == Role::Worker);
    let reloads = traits.is_some_and(|t| t.reloads) && family.kind != Kind::Gunicorn;
    let supervises = traits.is_some_and(|t| t.supervises);
    let root_role = if traits.is_some_and(|t| t.orphan) {
        Role::Worker
    } else if reloads {
        Role::Reloader
    } else if !has_workers && !supervises {
        Role::Single
    } else {
        family.kind.watcher()
    };
    if let Some((_, role)) = family.members.first_mut() {
        *role = root_role;
    }
}

#[cfg(test)]
mod tests {
    use super::is_private;

    #[test]
    fn private_sockets_are_told_by_who_makes_them() {
        for (path, private) in [
            ("/tmp/pymp-2s6q/listener-5ozk", true),
            ("@listener-4127-0", true),
            ("/root/.gunicorn/gunicorn.ctl", true),
            ("/run/gunicorn/app.sock", false),
            ("/run/shop/listener-1.sock", false),
        ] {
            assert_eq!(is_private(&crate::testing::unix(path)), private, "{path}");
        }
    }
}
