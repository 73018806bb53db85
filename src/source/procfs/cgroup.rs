//! Which cgroup is a process in, does its freezer hold it, and what do its limits do to it? Version 1, version 2 and both at once.

use std::path::{Component, Path, PathBuf};

use ::procfs::process::MountInfo;

use super::file;
use crate::source::text;

mod usage;

pub(super) use usage::Meter;

const MOUNTINFO_LIMIT: u64 = 4 << 20;
const PATH_LIMIT: usize = 1024;

/// Paths of one process in the hierarchies that matter here, as `/proc/PID/cgroup` has them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(super) struct Paths {
    /// Version 1's cpu controller.
    cpu: Option<String>,
    /// Version 1's memory controller.
    memory: Option<String>,
    /// Version 1's freezer.
    freezer: Option<String>,
    /// Version 2.
    unified: Option<String>,
}

impl Paths {
    /// The path for people: where its CPU is limited.
    pub(super) fn shown(&self) -> Option<String> {
        let path = self.cpu.as_ref().or(self.unified.as_ref())?;
        Some(text::clean(path, PATH_LIMIT))
    }
}

/// Where the hierarchies are mounted for this program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Mounts {
    cpu: Option<Mount>,
    memory: Option<Mount>,
    freezer: Option<Mount>,
    unified: Option<Mount>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    /// The cgroup that the mount shows as its root.
    root: PathBuf,
    at: PathBuf,
}

impl Mounts {
    /// Reads `/proc/self/mountinfo`; nothing is mounted if it cannot be read.
    pub(super) fn read() -> Self {
        let mut bytes = Vec::new();
        match file::read_bounded("/proc/self/mountinfo", &mut bytes, MOUNTINFO_LIMIT) {
            Ok(()) => Self::parse(&String::from_utf8_lossy(&bytes)),
            Err(_) => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let mut mounts = Self::default();
        for mount in text
            .lines()
            .filter_map(|line| MountInfo::from_line(line).ok())
        {
            let has = |controller: &str| {
                mount.fs_type == "cgroup" && mount.super_options.contains_key(controller)
            };
            let slots = [
                (has("cpu"), &mut mounts.cpu),
                (has("memory"), &mut mounts.memory),
                (has("freezer"), &mut mounts.freezer),
                (mount.fs_type == "cgroup2", &mut mounts.unified),
            ];
            for (_, slot) in slots.into_iter().filter(|(is, _)| *is) {
                slot.get_or_insert_with(|| Mount {
                    root: PathBuf::from(&mount.root),
                    at: mount.mount_point.clone(),
                });
            }
        }
        mounts
    }

    /// True if any freezer is mounted where this program can look at it.
    pub(super) fn has_freezer(&self) -> bool {
        self.freezer.is_some() || self.unified.is_some()
    }

    /// Whether a freezer holds the process; `None` if that cannot be seen.
    pub(super) fn frozen(&self, paths: &Paths) -> Option<bool> {
        let v1 = self.state(
            &self.freezer,
            &paths.freezer,
            "freezer.state",
            parse_freezer_state,
        );
        let v2 = self.state(&self.unified, &paths.unified, "cgroup.events", parse_events);
        match (v1, v2) {
            (Some(a), Some(b)) => Some(a || b),
            (one, other) => one.or(other),
        }
    }

    fn state(
        &self,
        mount: &Option<Mount>,
        path: &Option<String>,
        name: &str,
        parse: fn(&str) -> Option<bool>,
    ) -> Option<bool> {
        let path = Path::new(path.as_deref()?);
        let mount = mount.as_ref()?;
        // The root of a hierarchy has no freezer: it cannot be frozen.
        if path == Path::new("/") {
            return Some(false);
        }
        let file = mount.directory_of(path)?.join(name);
        parse(&file::read_text(file.to_str()?).ok()?)
    }
}

impl Mount {
    /// The directory of a cgroup; `None` if the mount does not show it (`/../…` is outside of our cgroup namespace).
    fn directory_of(&self, path: &Path) -> Option<PathBuf> {
        let beneath = path.strip_prefix(&self.root).ok()?;
        let inside = beneath
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        inside.then(|| self.at.join(beneath))
    }
}

/// `/proc/PID/cgroup`: lines of `hierarchy:controllers:path`.
pub(super) fn parse_cgroup(text: &str) -> Paths {
    let mut paths = Paths::default();
    for line in text.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let has = |name: &str| controllers.split(',').any(|c| c == name);
        if id == "0" && controllers.is_empty() {
            paths.unified = Some(path.to_owned());
        }
        if has("cpu") {
            paths.cpu = Some(path.to_owned());
        }
        if has("memory") {
            paths.memory = Some(path.to_owned());
        }
        if has("freezer") {
            paths.freezer = Some(path.to_owned());
        }
    }
    paths
}

/// `THAWED`, `FREEZING` (not all of them are held yet) or `FROZEN`.
fn parse_freezer_state(text: &str) -> Option<bool> {
    match text.trim_end() {
        "FROZEN" => Some(true),
        "THAWED" | "FREEZING" => Some(false),
        _ => None,
    }
}

/// The `frozen` line of `cgroup.events` (Linux 5.2 and newer), true as well if an ancestor is frozen.
fn parse_events(text: &str) -> Option<bool> {
    let value = text.lines().find_map(|line| line.strip_prefix("frozen "))?;
    match value {
        "1" => Some(true),
        "0" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "9:name=systemd:/\n6:freezer:/jail/a\n4:memory:/m/64bd\n2:cpuacct:/x\n1:cpu,cpuset:/jail/b\n0::/jail/c:d\n";
    const MOUNTINFO: &str = "22 27 0:21 / /proc rw,relatime - proc proc rw\n\
37 31 0:34 /jail /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer\n\
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n\
broken line\n";

    #[test]
    fn paths_of_both_versions() {
        let paths = parse_cgroup(HYBRID);
        assert_eq!(paths.freezer.as_deref(), Some("/jail/a"));
        assert_eq!(paths.unified.as_deref(), Some("/jail/c:d"));
        assert_eq!(paths.shown().as_deref(), Some("/jail/b"));
        let pure = parse_cgroup("0::/system.slice/app.service\n");
        assert_eq!(pure.shown().as_deref(), Some("/system.slice/app.service"));
        assert_eq!(parse_cgroup("x\n1:cpu"), Paths::default());
        for len in 0..HYBRID.len() {
            parse_cgroup(&HYBRID[..len]);
        }
    }

    #[test]
    fn mounts_and_directories() {
        let mounts = Mounts::parse(MOUNTINFO);
        let freezer = mounts.freezer.unwrap();
        let at = |path: &str| freezer.directory_of(Path::new(path));
        assert_eq!(at("/jail/a/b"), Some("/sys/fs/cgroup/freezer/a/b".into()));
        assert_eq!(at("/other"), None);
        assert_eq!(at("/jail/../../etc"), None);
        let unified = mounts.unified.unwrap();
        assert_eq!(
            unified.directory_of(Path::new("/a")),
            Some("/sys/fs/cgroup/unified/a".into())
        );
        assert_eq!(unified.directory_of(Path::new("/../a")), None);
    }

    #[test]
    fn states() {
        assert_eq!(parse_freezer_state("FROZEN\n"), Some(true));
        assert_eq!(parse_freezer_state("FREEZING\n"), Some(false));
        assert_eq!(parse_freezer_state("THAWED\n"), Some(false));
        assert_eq!(parse_freezer_state(""), None);
        assert_eq!(parse_events("populated 1\nfrozen 1\n"), Some(true));
        assert_eq!(parse_events("populated 1\nfrozen 0\n"), Some(false));
        assert_eq!(parse_events("populated 1\n"), None, "before Linux 5.2");
    }

    #[test]
    fn what_is_not_mounted_is_not_seen() {
        let paths = parse_cgroup(HYBRID);
        assert_eq!(Mounts::default().frozen(&paths), None);
        assert!(!Mounts::default().has_freezer());
        assert_eq!(
            Mounts::parse(MOUNTINFO).frozen(&parse_cgroup("0::/\n")),
            Some(false)
        );
    }
}
