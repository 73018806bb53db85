//! What does each right show? One row for each thing that a person may miss on the screen.

use super::{Privileges, logs};
use crate::snapshot::Gap;

/// Gives a program that is installed every right that it can use.
const SETCAP: &str = "sudo setcap cap_sys_ptrace,cap_net_admin,cap_sys_admin,cap_dac_read_search+ep \"$(command -v steth)\"  # or: sudo steth";

/// How much of something can be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visible {
    /// All of it.
    Yes,
    /// Some of it; the row says which.
    Partly,
    /// Nothing.
    No,
}

/// One thing to see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What there is to see.
    pub what: &'static str,
    /// Where the kernel shows it.
    pub source: &'static str,
    /// How much of it this user sees.
    pub visible: Visible,
    /// Lower-case fragment: what allows it, or what stands in the way.
    pub why: String,
    /// The command that would show the rest; `None` if nothing is missing, or no command helps.
    pub unlock: Option<String>,
}

/// What these rights show, in the order of the screen.
pub fn rows(rights: &Privileges) -> Vec<Row> {
    let mut rows = vec![
        processes(rights),
        own_stacks(rights),
        others_stacks(rights),
        others_files(rights),
        own_sockets(),
        others_sockets(rights),
        bound_sockets(rights),
        events(rights),
        exit_codes(rights),
        freezer(rights),
    ];
    rows.extend(logs::rows(rights));
    rows
}

/// What a row says besides its name.
pub(super) type Answer = (Visible, String, Option<String>);

pub(super) fn row(what: &'static str, source: &'static str, (visible, why, unlock): Answer) -> Row {
    Row {
        what,
        source,
        visible,
        why,
        unlock,
    }
}

pub(super) fn yes(why: &str) -> Answer {
    (Visible::Yes, why.to_owned(), None)
}

/// That processes of others are not shown at all, where that is so: nothing else would tell.
pub fn hidden_processes(rights: &Privileges) -> Option<Gap> {
    let row = processes(rights);
    (row.visible != Visible::Yes).then(|| Gap {
        source: row.source.to_owned(),
        pid: None,
        cause: row.why,
        unlock: row.unlock,
    })
}

fn processes(rights: &Privileges) -> Row {
    let answer = match rights.hidepid {
        _ if rights.cap_sys_ptrace => yes("CAP_SYS_PTRACE"),
        Some(0) => yes("/proc is not mounted with hidepid"),
        Some(level) => (
            Visible::Partly,
            format!("/proc is mounted with hidepid={level}: only your own processes"),
            Some("sudo mount -o remount,hidepid=0 /proc".to_owned()),
        ),
        None => (
            Visible::Partly,
            "how /proc is mounted cannot be seen".to_owned(),
            None,
        ),
    };
    row("processes", "/proc", answer)
}

fn own_stacks(rights: &Privileges) -> Row {
    let answer = match rights.yama {
        Some(3..) => never(),
        _ if rights.cap_sys_ptrace => yes("CAP_SYS_PTRACE"),
        None => yes("same user, and the kernel has no Yama"),
        Some(0) => yes("same user, and kernel.yama.ptrace_scope is 0"),
        Some(1) => (
            Visible::Partly,
            "kernel.yama.ptrace_scope is 1: only what steth itself started".to_owned(),
            Some("sudo sysctl kernel.yama.ptrace_scope=0".to_owned()),
        ),
        Some(2) => (
            Visible::No,
            "kernel.yama.ptrace_scope is 2: only with CAP_SYS_PTRACE".to_owned(),
            grant(rights, &["SYS_PTRACE"]),
        ),
    };
    row(
        "Python stacks and system calls of your own processes",
        "process_vm_readv, /proc/PID/syscall",
        answer,
    )
}

fn others_stacks(rights: &Privileges) -> Row {
    let answer = match rights.yama {
        Some(3..) => never(),
        _ if rights.cap_sys_ptrace && !rights.cap_dac_read_search => (
            Visible::Partly,
            "stacks by CAP_SYS_PTRACE; for system calls CAP_DAC_READ_SEARCH is missing".to_owned(),
            grant(rights, &["DAC_READ_SEARCH"]),
        ),
        _ => needs(
            rights,
            &[
                ("SYS_PTRACE", rights.cap_sys_ptrace),
                ("DAC_READ_SEARCH", rights.cap_dac_read_search),
            ],
        ),
    };
    row(
        "Python stacks and system calls of other users' processes",
        "process_vm_readv, /proc/PID/syscall",
        answer,
    )
}

/// Yama refuses everybody, root as well, and cannot be turned down again.
fn never() -> Answer {
    let why = "kernel.yama.ptrace_scope is 3: nobody may, until it is set lower and the machine restarted";
    (Visible::No, why.to_owned(), None)
}

fn others_files(rights: &Privileges) -> Row {
    let answer = needs(
        rights,
        &[
            ("SYS_PTRACE", rights.cap_sys_ptrace),
            ("DAC_READ_SEARCH", rights.cap_dac_read_search),
        ],
    );
    row(
        "open files and sockets of other users' processes",
        "/proc/PID/fd",
        answer,
    )
}

fn own_sockets() -> Row {
    row(
        "listeners and queues of this network namespace",
        "sock_diag",
        yes("everybody may"),
    )
}

fn others_sockets(rights: &Privileges) -> Row {
    let answer = needs(
        rights,
        &[
            ("SYS_ADMIN", rights.cap_sys_admin),
            ("SYS_PTRACE", rights.cap_sys_ptrace),
        ],
    );
    row(
        "listeners and queues of other network namespaces (containers)",
        "setns, sock_diag",
        answer,
    )
}

fn bound_sockets(rights: &Privileges) -> Row {
    let (major, minor) = rights.kernel;
    let answer = if rights.kernel >= (6, 8) {
        yes("everybody may, since Linux 6.8")
    } else {
        let why = format!("this is Linux {major}.{minor}; 6.8 and newer list them");
        (Visible::No, why, None)
    };
    row(
        "sockets that are bound but do not listen",
        "sock_diag",
        answer,
    )
}

fn events(rights: &Privileges) -> Row {
    let answer = if rights.sees_process_events() {
        yes("CAP_NET_ADMIN, in the machine's own namespaces")
    } else if !rights.init_user_ns {
        let why = "only the machine's own user namespace is told: run steth on the host";
        (Visible::No, why.to_owned(), None)
    } else if !rights.init_pid_ns || rights.init_net_ns == Some(false) {
        let why = "only the machine's own pid and network namespaces are told";
        let unlock = "docker run --pid=host --network=host --cap-add NET_ADMIN …";
        (Visible::No, why.to_owned(), Some(unlock.to_owned()))
    } else {
        needs(rights, &[("NET_ADMIN", rights.cap_net_admin)])
    };
    row(
        "births and deaths of processes, at once",
        "proc connector",
        answer,
    )
}

fn exit_codes(rights: &Privileges) -> Row {
    let answer = if rights.sees_process_events() {
        yes("the proc connector tells them")
    } else {
        let whose = if rights.cap_sys_ptrace {
            "of any user"
        } else {
            "of your own"
        };
        let why = format!("only of zombies {whose}, while they wait for their parent");
        (Visible::Partly, why, events(rights).unlock)
    };
    row("exit codes", "proc connector, /proc/PID/stat", answer)
}

fn freezer(rights: &Privileges) -> Row {
    let answer = if rights.freezer {
        yes("everybody may read it")
    } else {
        let why = "no cgroup hierarchy with a freezer is mounted here";
        let unlock = rights
            .is_contained()
            .then(|| "docker run -v /sys/fs/cgroup:/sys/fs/cgroup:ro …".to_owned());
        (Visible::No, why.to_owned(), unlock)
    };
    row(
        "processes that a cgroup's freezer holds",
        "cgroup.events, freezer.state",
        answer,
    )
}

/// All of these capabilities, each with whether it is there.
pub(super) fn needs(rights: &Privileges, capabilities: &[(&str, bool)]) -> Answer {
    let names = |wanted: bool| {
        let chosen = capabilities.iter().filter(|(_, has)| *has == wanted);
        chosen.map(|(name, _)| *name).collect::<Vec<_>>()
    };
    let list = |names: &[&str]| {
        let full: Vec<String> = names.iter().map(|name| format!("CAP_{name}")).collect();
        full.join(" and ")
    };
    let missing = names(false);
    if missing.is_empty() {
        return yes(&list(&names(true)));
    }
    let why = format!("{} missing", list(&missing));
    (Visible::No, why, grant(rights, &missing))
}

/// The command that gives a program these capabilities.
pub(super) fn grant(rights: &Privileges, capabilities: &[&str]) -> Option<String> {
    if rights.is_contained() {
        let added: Vec<String> = capabilities
            .iter()
            .map(|c| format!("--cap-add {c}"))
            .collect();
        return Some(format!("docker run {} …", added.join(" ")));
    }
    // A root without a capability had it taken away: no command of its own brings it back.
    (rights.euid != 0).then(|| SETCAP.to_owned())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::logs::{LogPlaces, Place};
    use super::*;
    use Visible::{No, Partly, Yes};

    pub(in super::super) fn nobody() -> Privileges {
        Privileges {
            euid: 1000,
            cap_sys_ptrace: false,
            cap_net_admin: false,
            cap_sys_admin: false,
            cap_dac_read_search: false,
            yama: Some(1),
            hidepid: Some(0),
            init_pid_ns: true,
            init_user_ns: true,
            init_net_ns: None,
            kernel: (6, 8),
            freezer: true,
            logs: LogPlaces {
                journal: Place::Readable,
                journalctl: true,
                runtimes: Place::Readable,
            },
        }
    }

    pub(in super::super) fn root() -> Privileges {
        Privileges {
            euid: 0,
            cap_sys_ptrace: true,
            cap_net_admin: true,
            cap_sys_admin: true,
            cap_dac_read_search: true,
            init_net_ns: Some(true),
            ..nobody()
        }
    }

    fn visible(rights: &Privileges) -> Vec<Visible> {
        // The rows of logs have tests of their own.
        let rows = rows(rights);
        rows.iter().take(10).map(|row| row.visible).collect()
    }

    #[test]
    fn what_each_user_sees() {
        let contained_root = Privileges {
            cap_dac_read_search: true,
            euid: 0,
            init_pid_ns: false,
            yama: None,
            ..nobody()
        };
        #[rustfmt::skip]
        let cases = [
            ("root", root(), [Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
            ("a user", nobody(), [Yes, Partly, No, No, Yes, No, Yes, No, Partly, Yes]),
            ("root in a container", contained_root, [Yes, Yes, No, No, Yes, No, Yes, No, Partly, Yes]),
            ("only CAP_SYS_PTRACE", Privileges { cap_sys_ptrace: true, ..nobody() },
                [Yes, Yes, Partly, No, Yes, No, Yes, No, Partly, Yes]),
            ("hidepid", Privileges { hidepid: Some(2), yama: Some(0), kernel: (5, 15), ..nobody() },
                [Partly, Yes, No, No, Yes, No, No, No, Partly, Yes]),
            ("root, Yama 3", Privileges { yama: Some(3), ..root() }, [Yes, No, No, Yes, Yes, Yes, Yes, Yes, Yes, Yes]),
            ("Yama 2, no cgroups", Privileges { yama: Some(2), freezer: false, ..nobody() },
                [Yes, No, No, No, Yes, No, Yes, No, Partly, No]),
        ];
        for (who, rights, want) in cases {
            assert_eq!(visible(&rights), want, "{who}");
        }
    }

    #[test]
    fn what_is_missing_names_its_command() {
        let unlock = |rights: &Privileges, at: usize| rows(rights)[at].unlock.clone();
        assert_eq!(
            unlock(&nobody(), 1).as_deref(),
            Some("sudo sysctl kernel.yama.ptrace_scope=0")
        );
        for at in [2, 3, 5, 7, 8] {
            assert_eq!(unlock(&nobody(), at).as_deref(), Some(SETCAP), "row {at}");
        }
        let contained = Privileges {
            init_pid_ns: false,
            ..nobody()
        };
        assert_eq!(
            unlock(&contained, 2).as_deref(),
            Some("docker run --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH …")
        );
        assert!(unlock(&contained, 7).unwrap().contains("--pid=host"));
        let confined_root = Privileges {
            cap_sys_admin: false,
            ..root()
        };
        assert_eq!(unlock(&confined_root, 5), None, "setcap does not help root");
    }

    #[test]
    fn a_row_that_is_all_visible_unlocks_nothing() {
        for rights in [root(), nobody()] {
            for row in rows(&rights) {
                assert!(row.visible != Yes || row.unlock.is_none(), "{row:?}");
                assert!(!row.why.is_empty());
            }
        }
    }
}
