//! Which logs may this user read? Files behind standard output and error, the journal, what container runtimes keep: who may open
//! them is decided by their modes, not by capabilities alone, so the places themselves are looked at.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::Privileges;
use super::rows::{Answer, Row, Visible, grant, needs, row, yes};

/// Where journald keeps its files (systemd-journald.service(8)).
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// Where Docker, Podman and the kubelet keep what containers write.
const RUNTIMES: [&str; 3] = [
    "/var/lib/docker/containers",
    "/var/lib/containers/storage/overlay-containers",
    "/var/log/containers",
];

/// Directories of journals, one for each machine, that are looked into.
const MACHINES: usize = 64;

/// Whether logs of one kind may be read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// There is none of this kind.
    Absent,
    /// This user may.
    Readable,
    /// There is one, and this user may not.
    Denied,
}

/// What a look at the places of logs has shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogPlaces {
    /// The system's journal.
    pub journal: Place,
    /// True if journalctl is on the PATH.
    pub journalctl: bool,
    /// Files of container runtimes.
    pub runtimes: Place,
}

impl LogPlaces {
    /// Looks.
    pub(super) fn read() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            journal: of_all(JOURNALS.iter().map(|folder| journal(Path::new(folder)))),
            journalctl: is_on(&path, "journalctl"),
            runtimes: of_all(RUNTIMES.iter().map(|folder| of(fs::read_dir(folder)))),
        }
    }
}

fn is_on(path: &OsStr, program: &str) -> bool {
    std::env::split_paths(path).any(|folder| folder.join(program).is_file())
}

/// One that may not be read counts even where another may: its lines are missing.
fn of_all(places: impl Iterator<Item = Place>) -> Place {
    let rank = |place: &Place| match place {
        Place::Absent => 0,
        Place::Readable => 1,
        Place::Denied => 2,
    };
    places.max_by_key(rank).unwrap_or(Place::Absent)
}

fn of<T>(opened: std::io::Result<T>) -> Place {
    match opened {
        Ok(_) => Place::Readable,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Place::Denied,
        Err(_) => Place::Absent,
    }
}

/// `FOLDER/MACHINE-ID/system.journal`.
fn journal(folder: &Path) -> Place {
    let machines = match fs::read_dir(folder) {
        Ok(machines) => machines.flatten().take(MACHINES),
        Err(error) => return of::<()>(Err(error)),
    };
    let files = machines.map(|machine| -> PathBuf { machine.path().join("system.journal") });
    of_all(files.map(|file| of(fs::File::open(file))))
}

/// The rows.
pub(super) fn rows(rights: &Privileges) -> [Row; 3] {
    [files(rights), journals(rights), runtimes(rights)]
}

fn files(rights: &Privileges) -> Row {
    let all = needs(
        rights,
        &[
            ("SYS_PTRACE", rights.cap_sys_ptrace),
            ("DAC_READ_SEARCH", rights.cap_dac_read_search),
        ],
    );
    let answer = match all {
        (Visible::Yes, ..) => all,
        (_, why, unlock) => {
            let why = format!("those of your own processes; for others' {why}");
            (Visible::Partly, why, unlock)
        }
    };
    row(
        "log files behind stdout and stderr, and those a server has open",
        "/proc/PID/fd",
        answer,
    )
}

fn journals(rights: &Privileges) -> Row {
    let places = rights.logs;
    let answer = match (places.journal, places.journalctl) {
        (Place::Absent, _) => no("no journal is kept here"),
        (_, false) => no("journalctl is not on the PATH"),
        (Place::Readable, true) => yes("its files may be read"),
        (Place::Denied, true) => (
            Visible::Partly,
            "only what services of your own user write".to_owned(),
            Some("sudo usermod -aG systemd-journal \"$USER\"  # then log in again".to_owned()),
        ),
    };
    row("the journal of systemd units", "journalctl", answer)
}

fn runtimes(rights: &Privileges) -> Row {
    let answer = match rights.logs.runtimes {
        Place::Readable => yes("their files may be read"),
        Place::Denied => {
            let why = "their files belong to root: CAP_DAC_READ_SEARCH missing";
            let unlock = grant(rights, &["DAC_READ_SEARCH"]);
            (Visible::No, why.to_owned(), unlock)
        }
        Place::Absent if rights.is_contained() => {
            let why = "the machine's files are not mounted in this container";
            let unlock = "docker run -v /var/lib/docker/containers:/var/lib/docker/containers:ro …";
            (Visible::No, why.to_owned(), Some(unlock.to_owned()))
        }
        Place::Absent => no("no runtime keeps files here (Docker, Podman, kubelet)"),
    };
    row(
        "what containers write, as their runtime keeps it",
        "the runtime's log files",
        answer,
    )
}

/// Nothing to see, and nothing to unlock.
fn no(why: &str) -> Answer {
    (Visible::No, why.to_owned(), None)
}

#[cfg(test)]
mod tests {
    use super::super::rows::tests::{nobody, root};
    use super::*;
    use Visible::{No, Partly, Yes};

    const ALL: LogPlaces = LogPlaces {
        journal: Place::Readable,
        journalctl: true,
        runtimes: Place::Readable,
    };

    #[test]
    fn what_each_user_reads() {
        let denied = LogPlaces {
            journal: Place::Denied,
            journalctl: true,
            runtimes: Place::Denied,
        };
        let absent = LogPlaces {
            journal: Place::Absent,
            journalctl: true,
            runtimes: Place::Absent,
        };
        let mute = LogPlaces {
            journalctl: false,
            ..ALL
        };
        let contained = Privileges {
            init_pid_ns: false,
            ..root()
        };
        for (who, rights, logs, want, unlocks) in [
            ("root", root(), ALL, [Yes, Yes, Yes], [false; 3]),
            ("user", nobody(), denied, [Partly, Partly, No], [true; 3]),
            ("no logs", root(), absent, [Yes, No, No], [false; 3]),
            ("mute", root(), mute, [Yes, No, Yes], [false; 3]),
            (
                "contained",
                contained,
                absent,
                [Yes, No, No],
                [false, false, true],
            ),
        ] {
            let rows = rows(&Privileges { logs, ..rights });
            assert_eq!(rows.each_ref().map(|r| r.visible), want, "{who}");
            let has = rows.each_ref().map(|r| r.unlock.is_some());
            assert_eq!(has, unlocks, "{who}");
        }
    }

    #[test]
    fn a_journal_is_told_from_a_folder() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(journal(folder.path()), Place::Absent);
        assert_eq!(journal(&folder.path().join("none")), Place::Absent);
        let machine = folder.path().join("0123");
        fs::create_dir(&machine).unwrap();
        assert_eq!(journal(folder.path()), Place::Absent);
        fs::write(machine.join("system.journal"), "").unwrap();
        assert_eq!(journal(folder.path()), Place::Readable);
    }

    #[test]
    fn what_is_denied_outweighs_what_is_not() {
        use Place::{Absent, Denied, Readable};
        for (places, want) in [
            (&[Absent, Readable, Denied][..], Denied),
            (&[Readable, Absent], Readable),
            (&[], Absent),
        ] {
            assert_eq!(of_all(places.iter().copied()), want);
        }
        let denied = || std::io::Error::from(ErrorKind::PermissionDenied);
        assert_eq!(of::<()>(Err(denied())), Denied);
    }

    #[test]
    fn programs_are_looked_for_on_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().as_os_str();
        assert!(!is_on(path, "journalctl"));
        fs::write(folder.path().join("journalctl"), "").unwrap();
        assert!(is_on(path, "journalctl"));
    }
}
