//! Standard output and error that cannot be read: what are they, and who reads them? In words, for the gap.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::outlet::Outlets;
use super::tail::FileId;
use crate::snapshot::Process;
use crate::source::{holder, text};

/// Between two searches through all processes: so many times longer than the last one took, and never less than this.
const SEARCH_SHARE: u32 = 50;
const SEARCH_PAUSE: Duration = Duration::from_millis(500);
/// Pipes that are remembered.
const PIPES: usize = 1024;
const NAME: usize = 64;

/// Programs that copy what they read into one file, so that their file is the log of whoever writes to them.
const COPIERS: [&str; 9] = [
    "tee",
    "conmon",
    "multilog",
    "svlogd",
    "s6-log",
    "rotatelogs",
    "cronolog",
    "runsvlog",
    "nxlog",
];

/// Who reads which pipe.
#[derive(Debug, Default)]
pub(super) struct Readers {
    known: HashMap<String, Option<Reader>>,
    next_search: Option<Instant>,
    /// Pipes that processes have open, by pid, as listed in this round: one parent may hold those of all its children.
    listed: HashMap<u32, Vec<(u32, String)>>,
}

/// A process that reads a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reader {
    pub pid: u32,
    name: String,
}

impl Readers {
    /// What was listed is old.
    pub(super) fn begin_round(&mut self) {
        self.listed.clear();
    }

    /// True if it is known who reads each pipe among these streams, or that nobody is seen to.
    pub(super) fn knows(&self, outlets: &Outlets) -> bool {
        let pipes = outlets.streams.iter().map(|(_, link)| link);
        pipes
            .filter(|link| link.starts_with("pipe:"))
            .all(|link| self.known.contains_key(link))
    }

    /// Who reads the pipes among these streams: those above the process are asked first, everybody else now and then.
    pub(super) fn find(&mut self, outlets: &Outlets, process: &Process) {
        let unknown: Vec<String> = outlets
            .streams
            .iter()
            .map(|(_, link)| link)
            .filter(|link| link.starts_with("pipe:") && !self.known.contains_key(*link))
            .cloned()
            .collect();
        if unknown.is_empty() {
            return;
        }
        if self.known.len() > PIPES {
            self.known.clear();
        }
        let rest = self.note(unknown, ancestors(process.key.pid));
        let began = Instant::now();
        if rest.is_empty() || self.next_search.is_some_and(|next| began < next) {
            return;
        }
        let rest = self.note(rest, holder::everybody());
        self.known.extend(rest.into_iter().map(|link| (link, None)));
        let pause = began.elapsed().saturating_mul(SEARCH_SHARE);
        self.next_search = Some(Instant::now() + pause.max(SEARCH_PAUSE));
    }

    /// Notes who of these processes reads the pipes; those that none of them reads are left.
    fn note(&mut self, mut links: Vec<String>, pids: Vec<u32>) -> Vec<String> {
        let mut found = holder::Holders::new();
        for pid in pids {
            for (fd, link) in self.pipes_of(pid).iter().filter(|(_, l)| links.contains(l)) {
                found.entry(link.clone()).or_default().push((pid, *fd));
            }
        }
        links.retain(|link| {
            let reader = found.get(link).and_then(|ends| reader(ends));
            let is_unknown = reader.is_none();
            if let Some(reader) = reader {
                self.known.insert(link.clone(), Some(reader));
            }
            is_unknown
        });
        links
    }

    fn pipes_of(&mut self, pid: u32) -> &[(u32, String)] {
        self.listed.entry(pid).or_insert_with(|| {
            let mut links = holder::links_of(pid);
            links.retain(|(_, link)| link.starts_with("pipe:"));
            links
        })
    }

    /// The file into which a copier writes what these streams bring it.
    pub(super) fn copied_to(&self, outlets: &Outlets) -> Option<(u32, u32)> {
        let readers = outlets
            .streams
            .iter()
            .filter_map(|(_, link)| self.known.get(link)?.as_ref());
        readers
            .filter(|r| COPIERS.contains(&r.name.as_str()))
            .find_map(|r| only_file(r.pid).map(|fd| (r.pid, fd)))
    }

    /// `stdout is a pipe read by pid 77 (containerd-shim), stderr is the terminal /dev/pts/3`.
    pub(super) fn words(&self, outlets: &Outlets) -> String {
        let name = |fd: u32| if fd == 1 { "stdout" } else { "stderr" };
        let parts: Vec<String> = match outlets.streams.as_slice() {
            [] => vec!["stdout and stderr are closed".to_owned()],
            [(_, one), (_, other)] if one == other => {
                vec![format!("stdout and stderr are {}", self.what(one))]
            }
            some => some
                .iter()
                .map(|(fd, link)| format!("{} is {}", name(*fd), self.what(link)))
                .collect(),
        };
        parts.join(", ")
    }

    fn what(&self, link: &str) -> String {
        let shown = text::clean(link, 200);
        if link.starts_with("pipe:") {
            return match self.known.get(link) {
                Some(Some(reader)) => {
                    format!("a pipe read by pid {} ({})", reader.pid, reader.name)
                }
                Some(None) => "a pipe whose reader is not seen".to_owned(),
                None => "a pipe".to_owned(),
            };
        }
        match link {
            "/dev/null" => "/dev/null".to_owned(),
            _ if link.starts_with("socket:") => "a socket".to_owned(),
            _ if link.starts_with("/dev/pts/") || link.starts_with("/dev/tty") => {
                format!("the terminal {shown}")
            }
            _ => shown,
        }
    }
}

fn reader(ends: &[(u32, u32)]) -> Option<Reader> {
    let (pid, _) = ends.iter().find(|(pid, fd)| {
        holder::flags_of(*pid, *fd).is_some_and(|f| f & libc::O_ACCMODE == libc::O_RDONLY)
    })?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Reader {
        pid: *pid,
        name: text::clean(name.trim_end(), NAME),
    })
}

/// The processes above one, nearest first.
pub(super) fn ancestors(pid: u32) -> Vec<u32> {
    let parent = |pid: u32| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|l| l.strip_prefix("PPid:"))?;
        line.trim().parse::<u32>().ok().filter(|p| *p > 0)
    };
    std::iter::successors(parent(pid), |pid| parent(*pid))
        .take(16)
        .collect()
}

/// The descriptor of the one regular file that a process has open for writing; `None` if there is none, or several.
fn only_file(pid: u32) -> Option<u32> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).ok()?;
    let fds = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let mut files: Vec<(FileId, u32)> = fds
        .take(64)
        .filter(|fd| {
            holder::flags_of(pid, *fd).is_some_and(|f| f & libc::O_ACCMODE != libc::O_RDONLY)
        })
        .filter_map(|fd| Some((super::tail::id_of(&format!("/proc/{pid}/fd/{fd}"))?, fd)))
        .collect();
    files.sort_unstable();
    files.dedup_by_key(|(id, _)| *id);
    match files.as_slice() {
        [(_, fd)] => Some(*fd),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outlets(streams: &[(u32, &str)]) -> Outlets {
        Outlets {
            streams: streams
                .iter()
                .map(|(fd, l)| (*fd, (*l).to_owned()))
                .collect(),
            ..Outlets::default()
        }
    }

    #[test]
    fn streams_are_said_in_words() {
        let mut readers = Readers::default();
        let shim = Reader {
            pid: 77,
            name: "containerd-shim".into(),
        };
        readers.known.insert("pipe:[5]".into(), Some(shim));
        readers.known.insert("pipe:[6]".into(), None);
        let cases: &[(&[(u32, &str)], &str)] = &[
            (
                &[(1, "pipe:[5]"), (2, "pipe:[5]")],
                "stdout and stderr are a pipe read by pid 77 (containerd-shim)",
            ),
            (
                &[(1, "pipe:[6]"), (2, "/dev/pts/3")],
                "stdout is a pipe whose reader is not seen, stderr is the terminal /dev/pts/3",
            ),
            (&[(2, "/dev/null")], "stderr is /dev/null"),
            (&[(1, "socket:[9]")], "stdout is a socket"),
            (&[], "stdout and stderr are closed"),
        ];
        for (streams, want) in cases {
            assert_eq!(&readers.words(&outlets(streams)), want);
        }
    }

    #[test]
    fn the_reader_of_a_pipe_is_found_among_those_above() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "read line"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        let link = |fd: u32| {
            let target = std::fs::read_link(format!("/proc/{pid}/fd/{fd}")).unwrap();
            target.to_str().unwrap().to_owned()
        };
        let outlets = outlets(&[(1, &link(1))]);
        let mut readers = Readers::default();
        let mut process = crate::testing::process(pid, "sh");
        process.key.pid = pid;
        readers.find(&outlets, &process);
        let words = readers.words(&outlets);
        let own = format!("read by pid {}", std::process::id());
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(words.contains(&own), "{words}");
        assert_eq!(readers.copied_to(&outlets), None);
    }
}
