//! The whole text: against a picture of it, and what must hold of it whatever happens to servers.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use super::*;
use crate::diagnosis::{Code, Kind, Phase, PhaseChange, Role, Server, Severity};
use crate::snapshot::{Family, Moment, ObjectId, OwnCost, Pool, PoolKind, Process, ProcessKey};
use crate::snapshot::{TaskState, Tasks};
use crate::testing::*;

mod bounds;
mod counters;
mod lives;

/// A machine with its servers, which is looked at once a second.
struct World {
    tally: Tally,
    at: Moment,
    scene: Scene,
}

impl World {
    fn new() -> Self {
        Self {
            tally: Tally::default(),
            at: NOW,
            scene: Scene::before_the_first_look(1.0),
        }
    }

    /// The next look, a second later.
    fn look(&mut self, servers: Vec<Server>) -> &mut Self {
        self.look_after(1.0, servers)
    }

    fn look_after(&mut self, seconds: f64, servers: Vec<Server>) -> &mut Self {
        self.at = self.at.plus_seconds(seconds);
        let mut scene = scene(diagnosis(servers, vec![]), vec![]);
        let snapshot = Arc::make_mut(scene.snapshot.as_mut().unwrap());
        snapshot.wall_ms += ((self.at.0 - NOW.0) / 1_000_000) as i64;
        snapshot.at = self.at;
        self.tally.observe(&scene);
        self.scene = scene;
        self
    }

    fn text(&self) -> String {
        exposition(&self.scene, &self.tally, 0.25, Format::OpenMetrics)
    }

    /// The value of the one sample of this name that has all these labels; `None` if there is none.
    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |line: &&str| {
            let pair = |(name, value): &(&str, &str)| format!("{name}=\"{value}\"");
            line.split(['{', ' ']).next() == Some(name)
                && labels.iter().all(|l| line.contains(&pair(l)))
        };
        let text = self.text();
        let lines: Vec<&str> = text.lines().filter(has).collect();
        assert!(lines.len() < 2, "{lines:#?}");
        lines
            .first()
            .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    #[track_caller]
    fn phase(&self, labels: &[(&str, &str)]) -> Option<String> {
        let phases = ["serving", "exited", "importing", "stalled", "draining"];
        let is = |phase: &&str| {
            let labels = [labels, &[("steth_server_phase", *phase)]].concat();
            self.value("steth_server_phase", &labels) == Some(1.0)
        };
        phases.into_iter().find(is).map(str::to_owned)
    }
}

/// `uvicorn shop:app` on a port.
fn shop(pid: u32, port: u16) -> Server {
    let mut server = server(pid, port);
    server.name = "uvicorn shop:app".into();
    root_of(&mut server).cmdline = ["uvicorn", "shop:app"].map(str::to_owned).to_vec();
    server
}

fn root_of(server: &mut Server) -> &mut Process {
    Arc::make_mut(&mut server.members[0].process)
}

/// The same server, all of whose processes have ended.
fn exited(mut server: Server, code: Option<i32>) -> Server {
    server.phase = Phase::Exited;
    server.listeners.clear();
    let mut exit = death(server.pid, 1, code, None);
    exit.exit.key = server.members[0].process.key;
    exit.role = Role::Single;
    server.members[0].exit = Some(exit.clone());
    server.exits.push_front(exit);
    server.exits_total += 1;
    server
}

/// Another process in the place of a server that the analyst knows again.
fn replaced(mut server: Server, pid: u32) -> Server {
    server.pid = pid;
    root_of(&mut server).key = ProcessKey {
        pid,
        start_time: 20_000,
    };
    server
}

/// A server of which there is everything that can be told.
fn everything() -> Server {
    let mut server = shop(10, 8000);
    server.phase = Phase::Stalled;
    server.since = Moment(NOW.0 - 12_500_000_000);
    let started = server.members[0].process.started;
    server.timeline = [
        (0.0, Phase::Importing),
        (2.5, Phase::Serving),
        (47.5, Phase::Stalled),
    ]
    .map(|(s, phase)| PhaseChange {
        at: started.plus_seconds(s),
        phase,
    })
    .to_vec();
    let listener = &mut server.listeners[0].socket;
    (listener.accept_queue, listener.backlog) = (Some(64), Some(127));
    (listener.drops, listener.syn_queue) = (Some(9), Some(2));
    let mut other = own(listener_six(), &[10]);
    other.socket.inode = 8;
    server.listeners.push(other);
    server.findings = vec![
        finding(Code::LoopBlocked, Severity::Critical),
        finding(Code::BacklogClamped, Severity::Info),
    ];
    server.exits.push_front(death(11, 10, Some(3), None));
    server.exits.push_front(death(12, 10, None, Some(9)));
    server.exits_total = 2;
    let root = root_of(&mut server);
    root.thread_count = 42;
    let tasks = Tasks {
        list: vec![task(TaskState::Waiting), task(TaskState::Running)],
        left_out: 5,
        pools: vec![Pool {
            id: ObjectId(1),
            kind: PoolKind::Executor,
            prefix: Some("asyncio".into()),
            size: 32,
            busy: 32,
            queued: 7,
        }],
        ..no_tasks()
    };
    root.python.as_mut().unwrap().tasks = Some(Arc::new(tasks));
    server
}

fn listener_six() -> crate::snapshot::Listener {
    crate::snapshot::Listener {
        family: Family::Tcp6,
        address: Some(IpAddr::V6(Ipv6Addr::LOCALHOST)),
        ..listener(8000)
    }
}

/// All that there is to tell, of three looks.
fn all(format: Format) -> String {
    let mut world = World::new();
    let mut before = everything();
    before.findings.clear();
    let mut worker = unseen_server();
    worker.members[0].process = Arc::new(process(20, "gunicorn bar:app"));
    world.look(vec![before, worker]);
    let next = || {
        let mut next = replaced(everything(), 30);
        let mut end = death(10, 1, Some(1), None);
        end.exit.key = everything().root;
        next.exits.push_front(end);
        next.exits_total = 3;
        next
    };
    world.look(vec![everything(), unseen_server()]);
    world.look(vec![next(), unseen_server()]);
    let mut scene = world.scene.clone();
    let snapshot = Arc::make_mut(scene.snapshot.as_mut().unwrap());
    let hidden = gap("fds", Some(20), "permission denied", Some("sudo steth"));
    snapshot.gaps = vec![
        gap("events", None, "not permitted", None),
        hidden,
        gap("fds", Some(4000), "of nobody's concern", None),
    ];
    snapshot.own = OwnCost {
        cpu_ns: 1_250_000_000,
        rss: 12 << 20,
        look_ns: 7_500_000,
    };
    exposition(&scene, &world.tally, 0.25, format)
}

fn unseen_server() -> Server {
    let mut server = server(20, 8001);
    server.kind = Kind::Gunicorn;
    server.name = "gunicorn \"quoted\\bar\":app".into();
    root_of(&mut server).cmdline = vec!["gunicorn".into()];
    unseen(&mut server);
    server
}

#[test]
fn the_whole_text_in_both_formats() {
    for (format, name) in [
        (Format::OpenMetrics, "everything.openmetrics"),
        (Format::Text, "everything.text"),
    ] {
        let path = format!("{}/tests/metrics/{name}", env!("CARGO_MANIFEST_DIR"));
        let text = all(format);
        if std::env::var_os("STETH_BLESS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let want = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, want, "not as in {path}");
    }
}

#[test]
fn names_types_and_units_are_by_the_rules() {
    let text = all(Format::OpenMetrics);
    let mut lines = text.lines().peekable();
    let mut families = BTreeSet::new();
    assert_eq!(text.lines().last(), Some("# EOF"));
    while let Some(line) = lines.next() {
        if line == "# EOF" {
            break;
        }
        let (name, kind) = line
            .strip_prefix("# TYPE ")
            .unwrap()
            .split_once(' ')
            .unwrap();
        assert!(families.insert(name.to_owned()), "{name} twice");
        let unit = lines.next_if(|l| l.starts_with("# UNIT "));
        if let Some(unit) = unit {
            let unit = unit.rsplit(' ').next().unwrap();
            assert!(name.ends_with(&format!("_{unit}")), "{name} {unit}");
        }
        let has_unit = ["_seconds", "_bytes", "_ratio"]
            .iter()
            .any(|u| name.ends_with(u));
        assert_eq!(has_unit, unit.is_some(), "{name}");
        let help = lines.next().unwrap();
        let help = help.strip_prefix(&format!("# HELP {name} ")).unwrap();
        assert!(!help.contains(['"', '\\', '\n']), "{help}");
        let mut number = 0;
        while let Some(sample) = lines.next_if(|l| !l.starts_with('#')) {
            number += 1;
            let full = sample.split(['{', ' ']).next().unwrap();
            let suffix = full.strip_prefix(name).unwrap();
            let want = match kind {
                "counter" => "_total",
                "info" => "_info",
                "gauge" | "stateset" => "",
                other => panic!("{other}"),
            };
            assert_eq!(suffix, want, "{sample}");
            let value: f64 = sample.rsplit(' ').next().unwrap().parse().unwrap();
            assert!(value.is_finite() && value >= 0.0, "{sample}");
        }
        assert!(number > 0, "{name} has no sample");
    }
}

/// No series may come twice, or Prometheus drops one of them.
#[track_caller]
fn assert_no_series_twice(text: &str) {
    let mut series = BTreeSet::new();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let (name, _) = line.rsplit_once(' ').unwrap();
        assert!(series.insert(name), "{name} twice");
    }
}

#[test]
fn what_is_not_seen_is_absent() {
    let mut world = World::new();
    world.look(vec![unseen_server()]);
    let text = world.text();
    assert!(text.contains("steth_server_processes{"), "{text}");
    for name in [
        "steth_server_phase{",
        "steth_server_phase_age_seconds",
        "steth_server_findings",
        "steth_server_open_fds",
        "steth_server_tasks",
        "steth_server_loop_stalls",
        "steth_listener_",
        "steth_server_startup_duration_seconds",
    ] {
        assert!(!text.contains(name), "{name} in\n{text}");
    }
    // One worker of two is hidden: no sum is told.
    let mut half = shop(10, 8000);
    half.members
        .push(member(process(11, "uvicorn"), Role::Worker, Phase::Unseen));
    let worker = Arc::make_mut(&mut half.members[1].process);
    worker.fds = None;
    worker.python.as_mut().unwrap().tasks = None;
    let mut world = World::new();
    world.look(vec![half]);
    let text = world.text();
    assert!(text.contains("steth_server_threads{"));
    assert!(!text.contains("steth_server_open_fds"));
    assert!(!text.contains("steth_server_tasks"));
}

#[test]
fn before_the_first_look_there_is_only_the_version() {
    let text = World::new().text();
    assert_eq!(text.lines().filter(|l| !l.starts_with('#')).count(), 1);
    assert!(text.contains("steth_build_info{version="));
}

#[test]
fn rules_and_dashboard_use_metrics_that_exist() {
    let text = all(Format::Text);
    let known: BTreeSet<&str> = text
        .lines()
        .filter(|l| !l.starts_with('#'))
        .filter_map(|l| l.split(['{', ' ']).next())
        .collect();
    for asset in [
        include_str!("../../../assets/prometheus/steth.rules.yml"),
        include_str!("../../../assets/grafana/steth.json"),
    ] {
        let words = asset.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let names = words.filter(|w| w.starts_with("steth_") || w.starts_with("process_"));
        let names: BTreeSet<&str> = names.collect();
        assert!(names.len() > 5, "{names:?}");
        for name in names {
            assert!(known.contains(name), "{name} is not told");
        }
    }
}
