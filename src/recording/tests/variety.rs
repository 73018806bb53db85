//! Snapshots that change in every way in which they can.

use std::sync::Arc;

use crate::snapshot::{
    Accepting, CgroupUse, Connection, Connections, CpuQuota, Exit, Frame, LogLine, Moment, NetNs,
    ObjectId, Process, ProcessKey, ProcessState, Python, Snapshot, SocketFile, Stack, Stacks, Task,
    TaskState, Tasks, TcpState, Thread,
};
use crate::testing::{gap, listener, log, process, task};

/// Numbers that look random and are the same each time (xorshift64).
pub struct Variety(u64);

impl Variety {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// From 0 to `end`, which is left out.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    /// What one of many looks may find changed.
    pub fn stir(&mut self, now: &mut Snapshot) {
        for process in &mut now.processes {
            if self.once_in(2) {
                self.process(Arc::make_mut(process), now.at);
            }
        }
        if self.once_in(4) {
            let pid = 10 + self.below(40) as u32;
            let at = now.processes.partition_point(|p| p.key.pid < pid);
            match now.processes.get(at).is_some_and(|p| p.key.pid == pid) {
                true => drop(now.processes.remove(at)),
                false => now
                    .processes
                    .insert(at, Arc::new(process(pid, "python -m shop"))),
            }
        }
        if self.once_in(3) {
            self.network(now);
        }
        if self.once_in(3) {
            self.log(now);
        }
        now.exits = (0..self.below(3)).map(|n| self.exit(now.at, n)).collect();
        if self.once_in(3) {
            now.gaps = (0..self.below(4))
                .map(|n| gap("fd", Some(n as u32), "denied", None))
                .collect();
        }
        now.own.cpu_ns += self.below(1_000_000);
        // Order is kept, whatever it is.
        if self.once_in(10) {
            now.processes.reverse();
        }
    }

    fn process(&mut self, process: &mut Process, at: Moment) {
        process.sampled_at = at;
        process.cpu_ns += self.below(20) * 10_000_000;
        match self.below(12) {
            0 => process.state = ProcessState::DiskSleep,
            1 => process.cmdline.push(format!("--n={}", self.below(9))),
            2 => {
                process.cwd = if process.cwd.is_some() {
                    None
                } else {
                    Some("/".into())
                }
            }
            3 => process.threads = self.once_in(4).then_some(vec![]).or(Some(self.threads())),
            4 => {
                process.fds = if process.fds.is_some() {
                    None
                } else {
                    super::process(1, "x").fds
                }
            }
            5 => process.connections = Some(Arc::new(self.connections())),
            6 => {
                process.accepting = Some(vec![Accepting {
                    inode: self.below(5),
                    tid: None,
                }])
            }
            7 => process.cgroup_use = Some(Arc::new(self.cgroup(at))),
            8 => {
                process.python = if process.python.is_some() {
                    None
                } else {
                    super::process(1, "x").python
                }
            }
            _ => {
                if let Some(python) = &mut process.python {
                    self.python(python, at);
                }
            }
        }
        if let Some(fds) = &mut process.fds {
            fds.sockets = (0..self.below(6)).map(|_| self.below(9)).collect();
        }
    }

    fn python(&mut self, python: &mut Python, at: Moment) {
        python.stacks_true_at = Some(at);
        match self.below(4) {
            0 => python.stacks = None,
            1 => python.stacks = Some(Arc::new(self.stacks(at))),
            2 => python.tasks = Some(Arc::new(self.tasks(at))),
            _ => {
                if let Some(stacks) = &mut python.stacks {
                    Arc::make_mut(stacks).at = at;
                }
            }
        }
    }

    fn stacks(&mut self, at: Moment) -> Stacks {
        let before = super::process(1, "x")
            .python
            .and_then(|p| p.stacks)
            .expect("has some");
        let stack = |tid: u64, depth: u64| Stack {
            tid: (tid > 0).then_some(tid as u32),
            frames: (0..depth).map(frame).collect(),
            ..before.list[0].clone()
        };
        let list = (0..self.below(4))
            .map(|tid| stack(tid, self.below(6)))
            .collect();
        Stacks {
            at,
            list,
            ..(*before).clone()
        }
    }

    fn tasks(&mut self, at: Moment) -> Tasks {
        let one = |id: u64, depth: u64| Task {
            id: ObjectId(id),
            frames: (0..depth).map(frame).collect(),
            ..task(TaskState::Waiting)
        };
        // The same one twice is nothing that happens, and nothing to fail on.
        let list = (0..self.below(5))
            .map(|_| one(self.below(6), self.below(4)))
            .collect();
        Tasks {
            at,
            list,
            ..crate::testing::no_tasks()
        }
    }

    fn threads(&mut self) -> Vec<Thread> {
        let thread = |tid| Thread {
            tid: tid as u32,
            name: "python".into(),
            state: ProcessState::Sleeping,
            syscall: None,
            syscall_seen: true,
            run_ns: self.below(1_000_000),
            waited_ns: self.below(1_000_000),
            switches: self.below(100),
            waits_on: None,
        };
        (0..3).map(thread).collect()
    }

    fn connections(&mut self) -> Connections {
        let any = ("10.0.0.5".parse().expect("an address"), 80);
        let list: Vec<Connection> = (0..self.below(5))
            .map(|n| Connection {
                inode: n * 2 + self.below(2),
                state: TcpState::Established,
                local: any,
                peer: any,
                recv_q: self.below(3) as u32,
                send_q: 0,
                retransmits: 0,
            })
            .collect();
        let total = list.len() as u64;
        Connections {
            total,
            by_state: vec![(TcpState::Established, total)],
            list,
        }
    }

    fn cgroup(&mut self, read_at: Moment) -> CgroupUse {
        let cpu = CpuQuota {
            path: "/shop".into(),
            quota_us: 50_000,
            period_us: 100_000,
            periods: self.below(100),
            throttled: self.below(10),
            throttled_ns: self.below(1_000),
        };
        CgroupUse {
            read_at,
            cpu: self.once_in(2).then_some(cpu),
            memory: None,
        }
    }

    fn network(&mut self, now: &mut Snapshot) {
        let mut listeners: Vec<_> = (0..self.below(4))
            .map(|n| listener(8000 + n as u16))
            .collect();
        for (n, one) in listeners.iter_mut().enumerate() {
            one.inode = 7 + n as u64;
            one.accept_queue = self.once_in(2).then_some(self.below(5) as u32);
        }
        let namespace = NetNs {
            inode: 1 + self.below(2),
            sampled_at: now.at,
            listeners,
            bound_visible: true,
            counters: None,
            has_other_interface: None,
            host: Some(true),
            own: true,
            somaxconn: Some(4096),
        };
        now.netns = vec![Arc::new(namespace)];
        let file = |inode| SocketFile {
            inode,
            mode: 0o600,
            uid: 0,
            gid: 0,
        };
        now.socket_files = (0..self.below(3)).map(file).collect();
    }

    /// Lines come, and the oldest go.
    fn log(&mut self, now: &mut Snapshot) {
        let logs = &mut now.inquiries.logs;
        if logs.is_empty() || self.once_in(8) {
            let writer = ProcessKey {
                pid: 10,
                start_time: 10_000,
            };
            *logs = vec![log(&[writer], &[(None, "begun")])];
        }
        let tail = Arc::make_mut(&mut logs[0]);
        let number = tail.lines.last().map_or(0, |line| line.number + 1);
        let line = LogLine {
            number,
            text: format!("line {number}: ü \"€\""),
            ..(*tail.lines[0]).clone()
        };
        tail.lines.push(Arc::new(line));
        if tail.lines.len() > 5 {
            tail.lines.remove(0);
        }
    }

    fn exit(&mut self, at: Moment, n: u64) -> Exit {
        Exit {
            key: ProcessKey {
                pid: 100 + n as u32,
                start_time: self.below(3),
            },
            ppid: 10,
            at,
            lived_ns: None,
            code: Some(3),
            signal: None,
            cmdline: vec!["python".into()],
            python: true,
            last_stack: vec![frame(n)],
        }
    }
}

fn frame(n: u64) -> Frame {
    Frame {
        function: format!("step_{n}"),
        file: "/srv/app/shop.py".into(),
        line: n as u32,
    }
}
