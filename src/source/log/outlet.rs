//! Where does what a process writes go? Its standard output and error, the log files that it has open, the container's or
//! the journal's keeping; and in words, where none of it can be read without taking it from somebody.

use std::path::PathBuf;

use super::container;
use crate::source::holder;
use crate::source::text;

/// Descriptors of a process that are looked at.
const DESCRIPTORS: usize = 1024;
/// Log files of one process that are read, besides standard output and error.
const FILES: usize = 6;
const PATH: usize = 512;

/// What a process writes to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Outlets {
    /// Descriptors behind which there is a regular file that is a log, with the link.
    pub files: Vec<(u32, String)>,
    /// The file in which a container's runtime keeps the output.
    pub container: Option<PathBuf>,
    /// The cgroup whose output the journal has.
    pub journal: Option<String>,
    /// Standard output and error where they are no files: descriptor and link.
    pub streams: Vec<(u32, String)>,
    /// True if its descriptors may not be seen.
    pub is_denied: bool,
}

/// Looks at the descriptors of a process. `arguments` is its command line.
pub(super) fn of(pid: u32, arguments: &[String]) -> Outlets {
    let mut outlets = Outlets::default();
    for fd in [1, 2] {
        match std::fs::read_link(format!("/proc/{pid}/fd/{fd}")) {
            Ok(target) => outlets.add_standard(fd, target.to_string_lossy().into_owned()),
            Err(error) => {
                outlets.is_denied |=
                    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM));
            }
        }
    }
    if outlets.is_denied {
        return outlets;
    }
    outlets.files.extend(log_files(pid, arguments));
    let has_streams = outlets
        .streams
        .iter()
        .any(|(_, link)| link.starts_with("pipe:") || link.starts_with("socket:"));
    if has_streams {
        let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        outlets.add_keepers(&cgroups);
    }
    outlets
}

impl Outlets {
    fn add_standard(&mut self, fd: u32, link: String) {
        let is_file = link.starts_with('/') && !is_beneath(&link, &["/dev", "/proc", "/sys"]);
        if is_file || link.starts_with("/dev/shm/") {
            self.files.push((fd, link));
        } else {
            self.streams.push((fd, link));
        }
    }

    /// Who keeps what goes into pipes and sockets, by the lines of `/proc/PID/cgroup`.
    fn add_keepers(&mut self, cgroups: &str) {
        let paths = || {
            cgroups
                .lines()
                .filter_map(|line| line.splitn(3, ':').nth(2))
        };
        self.container = paths()
            .find_map(container::id_of)
            .and_then(container::log_of);
        let is_socket = self.streams.iter().any(|(_, l)| l.starts_with("socket:"));
        if self.container.is_none() && is_socket {
            self.journal = systemd_path(cgroups).map(|path| text::clean(path, PATH));
        }
    }
}

/// The path by which systemd knows a process (systemd.journal-fields(7), `_SYSTEMD_CGROUP`), where it is a unit's.
fn systemd_path(cgroups: &str) -> Option<&str> {
    let of = |start: &str| cgroups.lines().find_map(|line| line.split_once(start));
    let (_, path) = of(":name=systemd:").or_else(|| of("0::"))?;
    let is_unit = path
        .split('/')
        .any(|part| part.ends_with(".service") || part.ends_with(".scope"));
    is_unit.then_some(path)
}

/// Files that are open for appending and look like logs: by their name, or because the command line names them as one.
fn log_files(pid: u32, arguments: &[String]) -> Vec<(u32, String)> {
    let Ok(entries) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let mut fds: Vec<u32> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .take(DESCRIPTORS)
        .collect();
    fds.sort_unstable();
    fds.into_iter()
        .filter_map(|fd| {
            let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).ok()?;
            let link = target.to_str()?.to_owned();
            let is_log = looks_like_log(&link) || is_named(&link, arguments);
            (is_log && appends(pid, fd)).then_some((fd, link))
        })
        .take(FILES)
        .collect()
}

/// Opened for writing, at its end (open(2)): what logging's handlers do, and databases do not.
fn appends(pid: u32, fd: u32) -> bool {
    holder::flags_of(pid, fd).is_some_and(|flags| {
        flags & libc::O_ACCMODE != libc::O_RDONLY && flags & libc::O_APPEND != 0
    })
}

/// `/var/log/shop/error.log`, `/srv/app.log.1`, `/var/log/shop/access`.
fn looks_like_log(link: &str) -> bool {
    let path = link.strip_suffix(" (deleted)").unwrap_or(link);
    let Some((folder, name)) = path.rsplit_once('/') else {
        return false;
    };
    let name = name.to_ascii_lowercase();
    let is_called_so = name.ends_with(".log") || name.contains(".log.");
    let in_logs = folder
        .split('/')
        .any(|part| part == "log" || part == "logs");
    is_called_so && !is_beneath(path, &["/proc", "/sys"]) || in_logs
}

/// True if an option whose name speaks of a log (`--error-logfile`, `--log-file`, `--access-log`) has this file as its value.
fn is_named(link: &str, arguments: &[String]) -> bool {
    let path = link.strip_suffix(" (deleted)").unwrap_or(link);
    let is_it = |value: &str| {
        let relative = value.trim_start_matches("./");
        !relative.is_empty()
            && path
                .strip_suffix(relative)
                .is_some_and(|before| relative.starts_with('/') || before.ends_with('/'))
    };
    let speaks = |option: &str| option.starts_with("--") && option.contains("log");
    arguments
        .iter()
        .enumerate()
        .any(|(at, argument)| match argument.split_once('=') {
            Some((option, value)) => speaks(option) && is_it(value),
            None => speaks(argument) && arguments.get(at + 1).is_some_and(|value| is_it(value)),
        })
}

fn is_beneath(path: &str, roots: &[&str]) -> bool {
    roots.iter().any(|root| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_by_name_and_by_the_command_line() {
        for (link, want) in [
            ("/var/log/shop/error", true),
            ("/srv/shop/logs/today.txt", true),
            ("/srv/shop/App.LOG", true),
            ("/srv/shop/app.log.3 (deleted)", true),
            ("/srv/shop/db.sqlite3-wal", false),
            ("/srv/catalogue/x", false),
            ("/srv/shop/dialog", false),
            ("socket:[5]", false),
        ] {
            assert_eq!(looks_like_log(link), want, "{link}");
        }
        let words: Vec<String> =
            "gunicorn --error-logfile run/err.txt --access-logfile=/x/acc -b :80 a:b"
                .split(' ')
                .map(str::to_owned)
                .collect();
        for (link, want) in [
            ("/srv/run/err.txt", true),
            ("/x/acc", true),
            ("/y/x/acc", true),
            ("/srv/run/xerr.txt", false),
            ("/srv/gun/err.txt", false),
            ("/srv/a:b", false),
        ] {
            assert_eq!(is_named(link, &words), want, "{link}");
        }
        assert!(!is_named("/x", &["--log".into()]));
    }

    #[test]
    fn what_is_no_file_is_a_stream() {
        let mut outlets = Outlets::default();
        for (fd, link) in [(1, "pipe:[7]"), (2, "/tmp/err (deleted)")] {
            outlets.add_standard(fd, link.to_owned());
        }
        outlets.add_standard(1, "/dev/pts/3".into());
        outlets.add_standard(2, "/dev/null".into());
        assert_eq!(outlets.files, [(2, "/tmp/err (deleted)".to_owned())]);
        assert_eq!(outlets.streams.len(), 3);
    }

    #[test]
    fn the_journal_has_what_a_units_socket_leads_to() {
        let keeper = |link: &str, cgroups: &str| {
            let mut outlets = Outlets::default();
            outlets.add_standard(1, link.to_owned());
            outlets.add_keepers(cgroups);
            outlets.journal
        };
        let v2 = "0::/system.slice/shop.service\n";
        let v1 = "4:cpu:/x\n1:name=systemd:/system.slice/shop.service\n0::/\n";
        let want = Some("/system.slice/shop.service".to_owned());
        assert_eq!(keeper("socket:[9]", v2), want);
        assert_eq!(keeper("socket:[9]", v1), want);
        assert_eq!(keeper("pipe:[9]", v2), None);
        assert_eq!(keeper("socket:[9]", "0::/user.slice\n"), None);
    }

    #[test]
    fn the_files_of_a_process_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let open = |name: &str, append: bool| {
            let mut options = std::fs::OpenOptions::new();
            options.create(true).write(true).append(append);
            options.open(folder.path().join(name)).unwrap()
        };
        let _kept = [
            open("steth-a.log", true),
            open("steth-b.log", false),
            open("steth-c.txt", true),
        ];
        let of_own = log_files(std::process::id(), &[]);
        let names: Vec<&str> = of_own
            .iter()
            .filter_map(|(_, link)| link.rsplit('/').next())
            .filter(|name| name.starts_with("steth-"))
            .collect();
        assert_eq!(names, ["steth-a.log"]);
    }
}
