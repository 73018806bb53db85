//! How one namespace is looked at: what listens, at every look; the rest as it was at the last walk of the kernel's tables.

use std::sync::Arc;
use std::time::Instant;

use super::counters::Counters;
use super::home::{self, Place};
use super::walk::{Found, Walked};
use super::{interfaces, table};
use crate::snapshot::{Connection, Family, Gap, Listener, ListenerState, Moment, NetNs};
use crate::source::sock_diag::{Diag, DiagError, ListenerDump, Walk};

/// Interfaces come and go seldom.
const INTERFACES_EVERY_S: f64 = 5.0;
/// The tables in /proc cost as much as a walk, and their text on top.
const TABLES_EVERY_S: f64 = 1.0;
/// What was seen last stands in for a look that failed, with a gap beside it, for so long: one answer that is late must not
/// look as if every listener had been closed.
const STANDS_IN_S: f64 = 5.0;

/// A namespace that is looked at.
#[derive(Debug)]
pub struct Known {
    access: Access,
    /// Through whom it is seen; the pid was in it a moment ago.
    pub through: Through,
    /// Where it is.
    pub place: Place,
    counters: Counters,
    /// When they were asked for, whether there is another one, and `somaxconn`.
    interfaces: Option<(Moment, Option<bool>, Option<u32>)>,
    last: Option<Arc<NetNs>>,
    /// When it could last be looked at as a whole.
    whole_at: Moment,
    walked: Option<Walked>,
    /// Connections, if they were read in the last look.
    connections: Option<Vec<Connection>>,
}

/// What a look at a namespace depends on.
#[derive(Debug, Clone, Copy)]
pub struct Look<'a> {
    /// The namespace.
    pub inode: u64,
    /// The moment of this look.
    pub now: Moment,
    /// TCP sockets of its members that are not known to listen, sorted.
    pub others: &'a [u64],
    /// How many namespaces share what walks may take.
    pub namespaces: usize,
}

/// What answers for a namespace.
#[derive(Debug)]
pub enum Access {
    /// sock_diag, by a socket that belongs to it.
    Diag(Diag),
    /// `/proc/PID/net` only.
    Tables {
        /// Why not sock_diag.
        cause: String,
        /// What would allow it.
        unlock: Option<&'static str>,
    },
}

/// Whose `/proc/PID/net` shows a namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Through {
    /// This program lives in it.
    Oneself,
    /// A process in it.
    Member(u32),
}

impl Known {
    /// Not looked at yet.
    pub fn new(access: Access, through: Through) -> Self {
        Self {
            access,
            through,
            place: Place::default(),
            counters: Counters::default(),
            interfaces: None,
            last: None,
            whole_at: Moment::default(),
            walked: None,
            connections: None,
        }
    }

    /// Looks at it; `None` if nothing could be seen.
    pub fn look(&mut self, look: Look<'_>, gaps: &mut Vec<Gap>) -> Option<Arc<NetNs>> {
        let Look { inode, now, .. } = look;
        self.connections = None;
        let seen = match self.dump(look) {
            Ok(Some(dump)) => Some(self.with_dump(inode, now, dump, gaps)),
            Ok(None) => self.with_tables(inode, now, gaps),
            Err(error) => {
                gaps.push(self.gap(error.to_string(), None));
                if matches!(error, DiagError::Refused(_)) {
                    self.access = Access::Tables {
                        cause: error.to_string(),
                        unlock: None,
                    };
                }
                self.stand_in(now)
            }
        };
        self.last.clone_from(&seen);
        seen
    }

    /// What was seen last, where that was a moment ago.
    fn stand_in(&self, now: Moment) -> Option<Arc<NetNs>> {
        let recent = now.seconds_since(self.whole_at) < STANDS_IN_S;
        self.last.clone().filter(|_| recent)
    }

    /// TCP connections, if they were read in the last look.
    pub fn take_connections(&mut self) -> Option<Vec<Connection>> {
        self.connections.take()
    }

    /// What answers for single sockets; `None` where only the tables may be read.
    pub fn diag(&mut self) -> Option<&mut Diag> {
        match &mut self.access {
            Access::Diag(diag) => Some(diag),
            Access::Tables { .. } => None,
        }
    }

    /// What sock_diag tells: everything when a walk is due, else what listens, and the rest as it was at the last walk.
    fn dump(&mut self, look: Look<'_>) -> Result<Option<ListenerDump>, DiagError> {
        let Access::Diag(diag) = &mut self.access else {
            return Ok(None);
        };
        let directory = self.through.directory();
        let counters = &mut self.counters;
        let mut segments = || counters.segments_received(&directory);
        if let (Some(last), Some(walked)) = (&self.last, &mut self.walked)
            && !walked.is_over(look.others, look.now, &mut segments)
        {
            let mut dump = diag.listening()?;
            if !carry(&mut dump.listeners, &last.listeners) {
                walked.lacks_a_listener();
            }
            return Ok(Some(dump));
        }
        let segments = segments();
        let start = Instant::now();
        let Walk {
            listeners: dump,
            half_open,
            connections,
        } = diag.walk()?;
        let namespaces = u32::try_from(look.namespaces).unwrap_or(u32::MAX);
        let found = Found {
            listeners: &dump.listeners,
            half_open,
            segments,
            cost: start.elapsed().saturating_mul(namespaces),
        };
        self.walked = Some(Walked::new(look.others, found, look.now));
        self.connections = Some(connections);
        Ok(Some(dump))
    }

    fn with_dump(
        &mut self,
        inode: u64,
        now: Moment,
        dump: ListenerDump,
        gaps: &mut Vec<Gap>,
    ) -> Arc<NetNs> {
        for (tables, error) in &dump.missing {
            for table in *tables {
                gaps.push(self.gap(format!("{}: {error}", name(*table)), None));
            }
        }
        let mut netns = self.netns(inode, now);
        netns.listeners = dump.listeners;
        // A family that the kernel does not have stays away: that is whole too.
        let late = |error: &DiagError| !matches!(error, DiagError::Refused(_));
        if !dump.missing.iter().any(|(_, error)| late(error)) {
            self.whole_at = now;
        } else if let Some(before) = self.stand_in(now) {
            let lost = |l: &&Listener| {
                let mut tables = dump.missing.iter().map(|(tables, _)| tables);
                tables.any(|t| t.contains(&l.family))
            };
            netns
                .listeners
                .extend(before.listeners.iter().filter(lost).cloned());
            netns.listeners.sort_unstable_by_key(|l| l.inode);
            netns.listeners.dedup_by_key(|l| l.inode);
        }
        netns.bound_visible = dump.bound_visible;
        Arc::new(netns)
    }

    fn with_tables(&mut self, inode: u64, now: Moment, gaps: &mut Vec<Gap>) -> Option<Arc<NetNs>> {
        if let Access::Tables { cause, unlock } = &self.access {
            gaps.push(self.gap(cause.clone(), *unlock));
        }
        let fresh = self
            .last
            .as_ref()
            .filter(|l| now.seconds_since(l.sampled_at) < TABLES_EVERY_S);
        if let Some(fresh) = fresh {
            return Some(Arc::clone(fresh));
        }
        let mut netns = self.netns(inode, now);
        match table::read(&self.through.directory()) {
            Ok((listeners, connections)) => {
                netns.listeners = listeners;
                self.connections = Some(connections);
            }
            Err(error) => {
                gaps.push(self.gap(format!("tables of /proc: {error}"), None));
                return self.stand_in(now);
            }
        }
        self.whole_at = now;
        Some(Arc::new(netns))
    }

    fn netns(&mut self, inode: u64, now: Moment) -> NetNs {
        let directory = self.through.directory();
        let (has_other_interface, somaxconn) = self.settings(&directory, now);
        NetNs {
            inode,
            sampled_at: now,
            listeners: Vec::new(),
            bound_visible: false,
            counters: self.counters.read(&directory),
            has_other_interface,
            host: self.place.host,
            own: self.place.own,
            somaxconn,
        }
    }

    /// What seldom changes: whether it has an interface besides loopback, and the most that a backlog may be.
    fn settings(&mut self, directory: &str, now: Moment) -> (Option<bool>, Option<u32>) {
        match self.interfaces {
            Some((at, others, most)) if now.seconds_since(at) < INTERFACES_EVERY_S => {
                (others, most)
            }
            _ => {
                let others = interfaces::any_but_loopback(directory);
                let most = self.place.own.then(home::somaxconn).flatten();
                self.interfaces = Some((now, others, most));
                (others, most)
            }
        }
    }

    fn gap(&self, cause: String, unlock: Option<&str>) -> Gap {
        let pid = match self.through {
            Through::Oneself => None,
            Through::Member(pid) => Some(pid),
        };
        Gap {
            source: "sock_diag".to_owned(),
            pid,
            cause,
            unlock: unlock.map(str::to_owned),
        }
    }
}

impl Through {
    fn directory(self) -> String {
        match self {
            Self::Oneself => "/proc/self/net".to_owned(),
            Self::Member(pid) => format!("/proc/{pid}/net"),
        }
    }
}

fn name(table: Family) -> &'static str {
    match table {
        Family::Tcp4 => "tcp over IPv4",
        Family::Tcp6 => "tcp over IPv6",
        Family::Unix => "unix",
    }
}

/// Adds to what listens now what only a walk can tell, as it was at the last one: bound sockets that do not listen yet, and
/// SYN queues. Both lists are sorted by inode. False if there is a listener that the last walk did not show.
fn carry(listeners: &mut Vec<Listener>, before: &[Listener]) -> bool {
    let now = listeners.len();
    for old in before {
        let same = listeners
            .get_mut(..now)
            .unwrap_or_default()
            .binary_search_by_key(&old.inode, |l| l.inode);
        match same.ok().and_then(|at| listeners.get_mut(at)) {
            Some(listener) => listener.syn_queue = old.syn_queue,
            None if old.state == ListenerState::Bound => listeners.push(old.clone()),
            None => {}
        }
    }
    listeners.sort_unstable_by_key(|l| l.inode);
    let is_new = |l: &Listener| {
        let has_queue = l.family != Family::Unix && l.state == ListenerState::Listening;
        has_queue && l.syn_queue.is_none()
    };
    !listeners.iter().any(is_new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::sock_diag::Missing;

    fn socket(inode: u64, state: ListenerState, syn_queue: Option<u32>) -> Listener {
        Listener {
            inode,
            family: Family::Tcp4,
            address: None,
            port: 80,
            path: None,
            state,
            accept_queue: None,
            backlog: None,
            drops: None,
            syn_queue,
            v6only: None,
            uid: 0,
        }
    }

    fn known() -> Known {
        let tables = Access::Tables {
            cause: String::new(),
            unlock: None,
        };
        Known::new(tables, Through::Oneself)
    }

    fn dump(listeners: Vec<Listener>, missing: Missing) -> ListenerDump {
        ListenerDump {
            listeners,
            bound_visible: true,
            malformed: 0,
            missing,
        }
    }

    #[test]
    fn a_table_that_is_late_does_not_close_its_listeners() {
        let (mut known, mut gaps) = (known(), Vec::new());
        let at = |s| Moment::default().plus_seconds(s);
        let mut look = |known: &mut Known, s, dump| {
            let seen = known.with_dump(1, at(s), dump, &mut gaps);
            known.last = Some(Arc::clone(&seen));
            seen.listeners.iter().map(|l| l.inode).collect::<Vec<_>>()
        };
        let both = vec![socket(1, ListenerState::Listening, None)];
        let late = || -> Missing { vec![(&[Family::Tcp4], DiagError::TimedOut)] };
        assert_eq!(look(&mut known, 100.0, dump(both, Vec::new())), [1]);
        assert_eq!(look(&mut known, 101.0, dump(Vec::new(), late())), [1]);
        assert_eq!(known.stand_in(at(102.0)).unwrap().listeners.len(), 1);
        assert_eq!(look(&mut known, 106.0, dump(Vec::new(), late())), [0; 0]);
        assert!(known.stand_in(at(106.0)).is_none());
        assert_eq!(gaps.len(), 2, "each says what is missing");
    }

    #[test]
    fn between_walks_bound_sockets_stay_until_they_listen() {
        let (bound, listening) = (ListenerState::Bound, ListenerState::Listening);
        let before = [
            socket(1, bound, None),
            socket(2, bound, None),
            socket(3, listening, Some(4)),
            socket(4, listening, Some(5)),
        ];
        // 2 listens now, 4 is closed, 5 is new.
        let mut now = vec![
            socket(2, listening, None),
            socket(3, listening, None),
            socket(5, listening, None),
        ];
        assert!(!carry(&mut now, &before), "the queue of 5 is not known");
        let got: Vec<_> = now
            .iter()
            .map(|l| (l.inode, l.state, l.syn_queue))
            .collect();
        let want = [
            (1, bound, None),
            (2, listening, None),
            (3, listening, Some(4)),
            (5, listening, None),
        ];
        assert_eq!(got, want);
        now.retain(|l| l.inode == 3);
        assert!(carry(&mut now, &before));
    }
}
