//! Every version, asyncio and uvloop: each task is read as the process sees it itself.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;

use serde::Deserialize;
use steth::snapshot::{ObjectId, Task, Tasks};
use steth::source::python::TaskProbe;

use crate::need;
use crate::targets::Target;
use crate::tasks::{Python, is_stated};

/// What the process says of itself.
#[derive(Deserialize)]
struct Told {
    version: String,
    loops: Vec<ToldLoop>,
    tasks: Vec<ToldTask>,
    /// By the name of a task, that of the one that waits for it.
    parents: HashMap<String, String>,
    waits: HashMap<String, ToldWait>,
}

#[derive(Deserialize)]
struct ToldLoop {
    id: u64,
    kind: String,
    tid: u32,
}

#[derive(Deserialize)]
struct ToldTask {
    id: u64,
    name: String,
    #[serde(rename = "loop")]
    event_loop: u64,
    state: String,
    frames: Vec<Place>,
}

#[derive(Deserialize)]
struct ToldWait {
    kind: String,
    object: Option<u64>,
}

/// Function, file, line.
type Place = (String, String, u32);

/// A task by all that is compared.
#[derive(Debug, PartialEq)]
struct Seen {
    name: String,
    event_loop: u64,
    state: String,
    frames: Vec<Place>,
}

fn compare(python: &Python, script: &str, args: &[&str]) {
    let mut target = python.start(script, args);
    let told = told(&mut target);
    let mut probe = TaskProbe::attach(target.pid()).expect("an interpreter");
    // A later reading is one of memory that is known already.
    for round in 0..2 {
        let found = probe.read().expect("readable");
        let at = format!("{} {args:?}, reading {round}", told.version);
        assert_eq!((found.torn, found.left_out), (0, 0), "{at}");
        check_tasks(&found, &told, &at);
        check_loops(&found, &told, &at);
        check_parents(&found, &told, &at);
        check_waits(&found, &told, &at);
    }
}

fn told(target: &mut Target) -> Told {
    let line = target.line();
    target.settle();
    serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"))
}

fn check_tasks(found: &Tasks, told: &Told, at: &str) {
    let seen = |task: &Task| {
        let frames = task.frames.iter();
        let place = |f: &steth::snapshot::Frame| (f.function.clone(), f.file.clone(), f.line);
        let seen = Seen {
            name: task.name.clone(),
            event_loop: task.event_loop.0,
            state: word(&task.state),
            frames: frames.map(place).collect(),
        };
        (task.id.0, seen)
    };
    let truth = |task: &ToldTask| {
        let seen = Seen {
            // Whatever a target names, no control character gets to the screen.
            name: task.name.replace('\u{1b}', "\\u{1b}"),
            event_loop: task.event_loop,
            state: task.state.clone(),
            frames: task.frames.clone(),
        };
        (task.id, seen)
    };
    let seen: BTreeMap<u64, Seen> = found.list.iter().map(seen).collect();
    let truth: BTreeMap<u64, Seen> = told.tasks.iter().map(truth).collect();
    assert_eq!(seen.len(), found.list.len(), "{at}: a task is there twice");
    for (id, truth) in &truth {
        assert_eq!(seen.get(id), Some(truth), "{at}");
    }
    let surplus: Vec<_> = seen
        .iter()
        .filter(|(id, _)| !truth.contains_key(id))
        .collect();
    assert!(surplus.is_empty(), "{at}: not told of: {surplus:#?}");
}

/// The word of a variant.
fn word(value: &impl serde::Serialize) -> String {
    let value = serde_json::to_value(value).unwrap();
    value.as_str().unwrap_or_default().to_owned()
}

fn check_loops(found: &Tasks, told: &Told, at: &str) {
    for truth in &told.loops {
        let seen = found.loops.iter().find(|seen| seen.id.0 == truth.id);
        let seen = seen.map(|seen| (word(&seen.kind), seen.tid));
        assert_eq!(seen, Some((truth.kind.clone(), Some(truth.tid))), "{at}");
    }
    assert_eq!(found.loops.len(), told.loops.len(), "{at}");
}

fn check_parents(found: &Tasks, told: &Told, at: &str) {
    let ids = found.list.iter().map(|task| (&*task.name, task.id));
    let ids: HashMap<&str, ObjectId> = ids.collect();
    for task in &found.list {
        let parent = told.parents.get(&task.name);
        let parent = parent.and_then(|name| ids.get(&**name)).copied();
        let parent: Vec<_> = parent.into_iter().collect();
        assert_eq!(task.awaited_by, parent, "{at}: {}", task.name);
    }
}

fn check_waits(found: &Tasks, told: &Told, at: &str) {
    for (name, truth) in &told.waits {
        let name = name.replace('\u{1b}', "\\u{1b}");
        let task = found.list.iter().find(|task| task.name == name);
        let wait = task.and_then(|task| task.wait.as_ref());
        let wait = wait.unwrap_or_else(|| panic!("{at}: {name} waits"));
        let on = serde_json::to_value(&wait.on).unwrap();
        assert_eq!(on["kind"], truth.kind, "{at}: {name}: {on}");
        if truth.object.is_some() {
            let object = wait.object.map(|object| object.0);
            assert_eq!(object, truth.object, "{at}: {name}");
        }
    }
}

fn asyncio(version: &str) {
    let in_root = matches!(version, "3.14" | "3.15");
    if !in_root && !is_stated(version) {
        println!("this machine does not state that it has Python {version}");
        return;
    }
    compare(&need!(Python::of(version)), "calm.py", &[]);
}

fn uvloop(version: &str) {
    compare(&need!(Python::with_uvloop(version)), "calm.py", &["uvloop"]);
}

/// The project has no environment with uvloop for this version: it is a reading more where the machine has.
fn uvloop_if_there(version: &str) {
    match Python::with_uvloop(version) {
        Ok(python) => compare(&python, "calm.py", &["uvloop"]),
        // Not eprintln!: the harness captures it in a test that passes.
        Err(reason) => drop(writeln!(
            std::io::stderr(),
            "NOT THERE uvloop of {version}: {reason}"
        )),
    }
}

#[test]
fn ten_thousand_tasks() {
    let python = match is_stated("3.13") {
        true => need!(Python::of("3.13")),
        false => need!(Python::any()),
    };
    compare(&python, "many.py", &["10000"]);
}

macro_rules! versions {
    ($($name:ident $how:ident $version:literal,)*) => {
        $(#[test] fn $name() { $how($version); })*
    };
}

versions! {
    asyncio_of_3_8 asyncio "3.8",
    asyncio_of_3_9 asyncio "3.9",
    asyncio_of_3_10 asyncio "3.10",
    asyncio_of_3_11 asyncio "3.11",
    asyncio_of_3_12 asyncio "3.12",
    asyncio_of_3_13 asyncio "3.13",
    asyncio_of_3_14 asyncio "3.14",
    asyncio_of_3_15 asyncio "3.15",
    uvloop_of_3_8 uvloop_if_there "3.8",
    uvloop_of_3_9 uvloop "3.9",
    uvloop_of_3_10 uvloop_if_there "3.10",
    uvloop_of_3_11 uvloop "3.11",
    uvloop_of_3_12 uvloop_if_there "3.12",
    uvloop_of_3_13 uvloop "3.13",
    uvloop_of_3_14 uvloop_if_there "3.14",
    uvloop_of_3_15 uvloop_if_there "3.15",
}
