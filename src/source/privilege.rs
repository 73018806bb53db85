//! What may this program see on this machine, why not more, and which command unlocks it?
//!
//! Nothing is tried out but logs, whose files are opened: the answers follow from capabilities, namespaces and settings, as
//! capabilities(7), ptrace(2), proc(5) and the kernel's sources say. [`rows`] is pure.

use std::fs;

use ::procfs::FromRead;
use ::procfs::process::{MountInfo, Status};

use super::procfs::identity::parse_namespace;

mod logs;
mod rows;

pub use logs::{LogPlaces, Place};
pub use rows::{Row, Visible, hidden_processes, rows};

/// Inodes of the initial namespaces: fixed in the kernel (include/linux/proc_ns.h).
const INITIAL_USER: u64 = 0xEFFF_FFFD;
const INITIAL_PID: u64 = 0xEFFF_FFFC;

/// Rights of this process, and settings of the machine that limit them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Privileges {
    /// Effective user id.
    pub euid: u32,
    /// Memory, system calls and descriptors of other users' processes.
    pub cap_sys_ptrace: bool,
    /// Process events.
    pub cap_net_admin: bool,
    /// Entering network namespaces.
    pub cap_sys_admin: bool,
    /// Opening other users' directories in /proc. True as well with CAP_DAC_OVERRIDE, which includes it.
    pub cap_dac_read_search: bool,
    /// `/proc/sys/kernel/yama/ptrace_scope`; `None` where the kernel has no Yama.
    pub yama: Option<u8>,
    /// The hidepid option of /proc as it applies to this user: 0, 1, 2 or 4; `None` if its mount was not found.
    pub hidepid: Option<u8>,
    /// True if this is the machine's own pid namespace.
    pub init_pid_ns: bool,
    /// True if this is the machine's own user namespace.
    pub init_user_ns: bool,
    /// True if this is the machine's own network namespace; `None` if that could not be seen.
    pub init_net_ns: Option<bool>,
    /// Major and minor version of the kernel; (0, 0) if it could not be read.
    pub kernel: (u32, u32),
    /// True if a cgroup hierarchy with a freezer is mounted here.
    pub freezer: bool,
    /// Logs that may be read.
    pub logs: LogPlaces,
}

impl Privileges {
    /// True if the kernel tells this process of births and deaths (drivers/connector/cn_proc.c asks for all of these).
    pub fn sees_process_events(&self) -> bool {
        self.cap_net_admin
            && self.init_pid_ns
            && self.init_user_ns
            && self.init_net_ns != Some(false)
    }

    /// True in what looks like a container: not the machine's own pid or user namespace.
    pub fn is_contained(&self) -> bool {
        !(self.init_pid_ns && self.init_user_ns)
    }
}

/// Reads them. What cannot be read counts as a right that is missing.
pub fn read() -> Privileges {
    let status = fs::read("/proc/self/status").ok();
    let status = status.and_then(|bytes| Status::from_read(bytes.as_slice()).ok());
    let capabilities = status.as_ref().map_or(0, |status| status.capeff);
    let has = |bit: u32| capabilities >> bit & 1 == 1;
    let init_pid_ns = namespace("self", "pid") == Some(INITIAL_PID);
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    Privileges {
        euid: status.as_ref().map_or(u32::MAX, |status| status.euid),
        cap_sys_ptrace: has(19),
        cap_net_admin: has(12),
        cap_sys_admin: has(21),
        cap_dac_read_search: has(2) || has(1),
        yama: number("/proc/sys/kernel/yama/ptrace_scope"),
        hidepid: parse_hidepid(&mounts, &status.map_or_else(Vec::new, groups)),
        init_pid_ns,
        init_user_ns: namespace("self", "user") == Some(INITIAL_USER),
        init_net_ns: init_pid_ns.then(is_first_net_ns).flatten(),
        kernel: parse_release(
            &fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(),
        ),
        freezer: has_freezer(&mounts),
        logs: LogPlaces::read(),
    }
}

/// True if pid 1, of the machine's own pid namespace, is in this network namespace.
fn is_first_net_ns() -> Option<bool> {
    Some(namespace("self", "net")? == namespace("1", "net")?)
}

fn namespace(pid: &str, kind: &str) -> Option<u64> {
    let link = fs::read_link(format!("/proc/{pid}/ns/{kind}")).ok()?;
    parse_namespace(link.to_str()?)
}

fn number(path: &str) -> Option<u8> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn groups(status: Status) -> Vec<u32> {
    let mut groups = status.groups;
    groups.push(status.fgid);
    groups
}

fn mounts_in(mountinfo: &str) -> impl Iterator<Item = MountInfo> {
    mountinfo
        .lines()
        .filter_map(|line| MountInfo::from_line(line).ok())
}

/// The option of the last mount on /proc, by its number or, since Linux 5.8, its name; 0 for members of its `gid` group.
fn parse_hidepid(mountinfo: &str, groups: &[u32]) -> Option<u8> {
    let on_proc = |mount: &MountInfo| {
        mount.fs_type == "proc" && mount.mount_point == std::path::Path::new("/proc")
    };
    let mount = mounts_in(mountinfo).filter(on_proc).last()?;
    let option = |name: &str| mount.super_options.get(name).and_then(Option::as_deref);
    let level = match option("hidepid") {
        None | Some("0" | "off") => 0,
        Some("1" | "noaccess") => 1,
        Some("4" | "ptraceable") => 4,
        Some(_) => 2,
    };
    let exempt = option("gid").and_then(|gid| gid.parse().ok());
    // 4 asks for ptrace rights and knows no exempt group (fs/proc/base.c, has_pid_permissions).
    let is_exempt = level != 4 && exempt.is_some_and(|gid| groups.contains(&gid));
    Some(if is_exempt { 0 } else { level })
}

fn has_freezer(mountinfo: &str) -> bool {
    mounts_in(mountinfo).any(|mount| {
        let v1 = mount.fs_type == "cgroup" && mount.super_options.contains_key("freezer");
        v1 || mount.fs_type == "cgroup2"
    })
}

/// `6.18.44-generic` → (6, 18).
fn parse_release(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(|c: char| !c.is_ascii_digit())
        .map_while(|number| number.parse().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        for (release, want) in [
            ("6.18.44-fc\n", (6, 18)),
            ("5.4.0-150-generic", (5, 4)),
            ("6.8", (6, 8)),
            ("7-rc1", (7, 0)),
            ("", (0, 0)),
        ] {
            assert_eq!(parse_release(release), want, "{release}");
        }
    }

    #[test]
    fn hidepid_by_number_name_and_group() {
        let mounted = |options: &str| format!("22 27 0:21 / /proc rw - proc proc {options}\n");
        for (options, want) in [
            ("rw", 0),
            ("rw,hidepid=2", 2),
            ("rw,hidepid=invisible", 2),
            ("rw,hidepid=noaccess", 1),
            ("rw,gid=4,hidepid=ptraceable", 4),
            ("rw,gid=4,hidepid=invisible", 0),
            ("rw,gid=5,hidepid=invisible", 2),
        ] {
            assert_eq!(
                parse_hidepid(&mounted(options), &[1, 4]),
                Some(want),
                "{options}"
            );
        }
        assert_eq!(parse_hidepid("", &[]), None);
        let twice = mounted("rw,hidepid=2") + &mounted("rw");
        assert_eq!(
            parse_hidepid(&twice, &[]),
            Some(0),
            "the last one is on top"
        );
    }

    #[test]
    fn freezers() {
        assert!(has_freezer(
            "41 31 0:38 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup2 rw\n"
        ));
        assert!(has_freezer(
            "37 31 0:34 / /x rw - cgroup cgroup rw,freezer\n"
        ));
        assert!(!has_freezer("37 31 0:34 / /x rw - cgroup cgroup rw,cpu\n"));
    }

    #[test]
    fn this_process_has_an_identity() {
        let seen = read();
        assert_ne!(seen.euid, u32::MAX);
        assert!(seen.kernel > (2, 6), "{seen:?}");
        assert!(seen.hidepid.is_some(), "{seen:?}");
    }
}
