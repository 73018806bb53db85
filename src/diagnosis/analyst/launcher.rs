//! Who has started a server, and starts it again when it ends: a shell's loop, a process supervisor, a script of the project's
//! own. It is none of the server's processes, and stands beside them.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::diagnosis::family::Family;
use crate::diagnosis::{Member, Phase, Role, Server, Standing};
use crate::snapshot::{Activity, Frame, Process, ProcessKey, Snapshot, Stack, syscall_name};

/// Shells and the like that stand between a launcher and what it has started.
const BETWEEN: usize = 3;
/// Generations: nobody nests deeper on purpose.
const DEPTH: usize = 32;

/// The launcher of a server, once it has been seen to start it again, or while it waits for it to end. Init is left out: it
/// starts everything. A Python process that serves by itself is the business of its own server.
pub(super) fn of(
    id: ProcessKey,
    family: &Family,
    snapshot: &Snapshot,
    serve_nobody: &BTreeSet<ProcessKey>,
) -> Option<Member> {
    let parent = snapshot.process(family.root.ppid)?;
    let restarts = id != family.root.key;
    let launcher = match restarts {
        true => parent,
        false => who_waits(parent, snapshot)?,
    };
    let serves = launcher.is_python() && !serve_nobody.contains(&launcher.key);
    (launcher.key.pid > 1 && !serves).then(|| Member {
        process: launcher.clone(),
        role: Role::Supervisor,
        phase: Phase::NotAServer,
        since: launcher.started,
        cpu_percent: None,
        fd_growth: Vec::new(),
        same_frame_s: None,
        standing: Standing::default(),
        exit: None,
    })
}

/// The Python process above that waits for a child to end.
fn who_waits<'a>(parent: &'a Arc<Process>, snapshot: &'a Snapshot) -> Option<&'a Arc<Process>> {
    let mut above = parent;
    for _ in 0..BETWEEN {
        if above.is_python() {
            return Some(above).filter(|p| p.main_stack().is_some_and(waits_for_child));
        }
        above = snapshot.process(above.ppid)?;
    }
    None
}

fn waits_for_child(main: &Stack) -> bool {
    let of_subprocess = |f: &Frame| {
        let name = f.function.rsplit('.').next();
        f.file.ends_with("/subprocess.py") && matches!(name, Some("wait" | "_wait" | "_try_wait"))
    };
    // `os.system`, `os.waitpid` and the like have no frame of their own.
    let by_kernel = match main.activity {
        Activity::Syscall(number) => matches!(syscall_name(number).as_str(), "wait4" | "waitid"),
        _ => false,
    };
    by_kernel || main.leaf().is_some_and(of_subprocess)
}

impl Server {
    /// True if a member is none of its processes, but has started it.
    pub fn is_launcher(&self, member: &Member) -> bool {
        let root = self.members.first().map(|root| root.process.key);
        member.role == Role::Supervisor && Some(member.process.key) != root
    }

    /// The members that are processes of its own: all but those that have started it.
    pub fn own_members(&self) -> impl Iterator<Item = &Member> + Clone {
        self.members.iter().filter(|m| !self.is_launcher(m))
    }
}

/// Python processes that serve nobody themselves: those of no server, and helpers.
pub(super) fn who_serve_nobody(rest: &[Arc<Process>], families: &[Family]) -> BTreeSet<ProcessKey> {
    let members = families.iter().flat_map(|family| &family.members);
    let helpers = members.filter(|(_, role)| *role == Role::Helper);
    let helpers = helpers.map(|(process, _)| process.key);
    helpers.chain(rest.iter().map(|p| p.key)).collect()
}

/// Pids of all that stand above a process, nearest first, without init.
pub(super) fn ancestors(process: &Process, snapshot: &Snapshot) -> Vec<u32> {
    let above = |pid: &u32| snapshot.process(*pid).map(|p| p.ppid);
    std::iter::successors(Some(process.ppid), above)
        .take_while(|pid| *pid > 1)
        .take(DEPTH)
        .collect()
}

/// Those of no server, without those that have launched one which is there.
pub(super) fn left_out(rest: Vec<Arc<Process>>, servers: &[Arc<Server>]) -> Vec<Arc<Process>> {
    let launches = |process: &Process| {
        let lives = |server: &&Arc<Server>| server.phase != Phase::Exited;
        servers.iter().filter(lives).any(|server| {
            let mut members = server.members.iter();
            members.any(|m| m.process.key == process.key && server.is_launcher(m))
        })
    };
    rest.into_iter().filter(|p| !launches(p)).collect()
}
