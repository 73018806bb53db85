//! What libraries show of themselves: the programs that start them, the calls in a script's source, the frames that their
//! code leaves on a stack, the threads that they keep.
//!
//! The table is the one place to teach the program a framework; here are its columns, and the questions that are asked of it.

use super::{Kind, Role};
use crate::snapshot::{Frame, Stack};

mod facts;
mod table;

use table::TABLE;

/// A library that servers are made of, or stand on.
#[derive(Debug)]
pub struct Framework {
    /// The kind of server that it makes; `None` for one that makes none by itself.
    pub kind: Option<Kind>,
    /// Programs and modules that start it, each with the words of which one has to follow; no words: any will do.
    pub programs: &'static [(&'static str, &'static [&'static str])],
    /// Calls in a script's source that start it.
    pub calls: &'static [&'static str],
    /// What its frames say.
    pub marks: &'static [Mark],
    /// The worker threads that it keeps.
    pub pool: Option<Pool>,
    /// What its first process is where others do the work.
    pub watcher: Role,
    /// True if it accepts on the main thread, in frames of its own or in native threads: a Python thread without such
    /// frames that accepts serves something else.
    pub knows_its_loop: bool,
}

/// A frame by a part of its file's path, and the last part of its function's name: whole, or how it begins where a `*`
/// ends it; empty for any.
#[derive(Debug, Clone, Copy)]
pub struct Mark(pub &'static str, pub &'static str, pub &'static [Says]);

/// What a frame says of the process or thread that it stands in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Says {
    /// It is this framework's kind of server; true also while the file is only being imported.
    Kind,
    /// On the main thread: a server runs here.
    Serves,
    /// On the main thread: it only watches over other processes.
    Supervises,
    /// It starts a child again when files change.
    Restarts,
    /// On the main thread: it looks for changed files, while another thread serves.
    Watches,
    /// On the main thread: it is a worker, whoever its parent is now.
    Worker,
    /// It works for another process: a pool's child, a manager, a tracker.
    Helps,
    /// A fork server of multiprocessing; its children have its frames below their own.
    Forks,
    /// A process that multiprocessing has started.
    Forked,
    /// A thread asks a pool for a connection here; where it sleeps on a lock meanwhile, none is free.
    AwaitsConnection,
    /// A loop that switches between greenlets: one that waits is on no stack.
    Greenlets,
    /// An event loop turns here, in Python or below this frame.
    Loop,
    /// On the main thread: a loop that polls for connections turns here; who is in it is past its start.
    Accepts,
    /// A connection has been taken: below a loop that accepts one after the other.
    Takes,
    /// It beats each time before it accepts, and at no other time.
    BeatsToAccept,
    /// It hands what it accepts to a pool of threads, and leaves it unread until one is free.
    AcceptsForPool,
    /// On the main thread: the server is on its way out.
    Ends,
    /// On the main thread: the interpreter is on its way out, and waits for other threads.
    Exits,
}

/// Worker threads: the frame that all of them have, and how many there may be.
#[derive(Debug, Clone, Copy)]
pub struct Pool {
    /// What people call it; `None`: by the name of its threads.
    pub name: Option<&'static str>,
    /// How the names of its threads begin.
    pub threads: &'static str,
    /// File of the loop in which a thread takes work.
    pub file: &'static str,
    /// The function.
    pub function: &'static str,
    /// How many threads it may have.
    pub room: Room,
}

/// How many threads a pool may have, as far as that is known without reading its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// It has started all of them at once.
    AllThere,
    /// So many where nobody has said otherwise.
    Default(usize),
    /// Somebody has chosen, and it may still grow.
    Unknown,
}

/// True if a frame of the stack says so. To import a file is not to run it.
pub fn says(stack: &Stack, what: Says) -> bool {
    stack.frames.iter().any(|frame| frame_says(frame, what))
}

/// True if this frame says so.
pub fn frame_says(frame: &Frame, what: Says) -> bool {
    let facts = facts::of(frame);
    let proves = || facts.kind.is_some_and(|row| kind_in(row).is_some());
    what == Says::Kind && proves() || facts.says(what)
}

/// True for a frame that is not the application's own.
pub fn is_library(frame: &Frame) -> bool {
    facts::of(frame).library
}

/// The kind of server that frames prove: the outermost framework where kinds nest.
pub fn kind_of<'a>(frames: impl IntoIterator<Item = &'a Frame>) -> Option<Kind> {
    let rows = frames.into_iter().filter_map(|f| facts::of(f).kind);
    kind_in(rows.min()?)
}

/// The kind whose event loop turns on this thread, outermost first; `None` for no loop, or one that is no kind's.
pub fn loop_of(stack: &Stack) -> Option<Kind> {
    let rows = stack.frames.iter().filter_map(|f| facts::of(f).turns);
    kind_in(rows.min()?)
}

fn kind_in(row: usize) -> Option<Kind> {
    TABLE.get(row)?.kind
}

/// What is started by a program or module of this name, with these words behind it: `Some(None)` is known to be no server.
pub fn started_by(program: &str, words: &[String]) -> Option<Option<Kind>> {
    let fits = |(name, with): &(&str, &[&str])| {
        *name == program && (with.is_empty() || words.iter().any(|w| with.contains(&w.as_str())))
    };
    TABLE
        .iter()
        .find(|f| f.programs.iter().any(fits))
        .map(|f| f.kind)
}

/// The kind of server that a call in a script's source starts.
pub fn called(call: &str) -> Option<Kind> {
    TABLE
        .iter()
        .find(|f| f.calls.contains(&call))
        .and_then(|f| f.kind)
}

/// The pool to which a thread belongs, and where on its stack the loop stands in which it takes work.
pub fn pool_of(stack: &Stack) -> Option<(&'static Pool, usize)> {
    let rows = TABLE.iter().enumerate();
    rows.filter_map(|(row, f)| Some((row, f.pool.as_ref()?)))
        .find_map(|(row, pool)| {
            let takes = |f: &Frame| facts::of(f).takes_work(row);
            let at = stack.frames.iter().position(takes)?;
            let named = stack
                .name
                .as_ref()
                .is_none_or(|n| n.starts_with(pool.threads));
            named.then_some((pool, at))
        })
}

fn row(kind: Kind) -> Option<&'static Framework> {
    TABLE.iter().find(|f| f.kind == Some(kind))
}

impl Kind {
    /// The role of its first process where others do the work.
    pub fn watcher(self) -> Role {
        row(self).map_or(Role::Master, |f| f.watcher)
    }

    /// True if a thread that accepts without frames of this kind serves something else.
    pub fn knows_its_loop(self) -> bool {
        row(self).is_some_and(|f| f.knows_its_loop)
    }
}

impl Mark {
    fn is_on(&self, frame: &Frame) -> bool {
        let name = frame.function.rsplit('.').next().unwrap_or(&frame.function);
        let is_called_so = match self.1.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => self.1.is_empty() || name == self.1,
        };
        is_called_so && frame.file.contains(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: &str, file: &str) -> Frame {
        Frame {
            function: function.into(),
            file: format!("/venv/lib/python3.11/site-packages{file}"),
            line: 1,
        }
    }

    #[test]
    fn a_mark_is_a_file_and_a_function() {
        let cases = [
            ("Server.run", "/uvicorn/server.py", Says::Loop, true),
            ("Server.serve", "/uvicorn/server.py", Says::Loop, false),
            ("Server.serve", "/uvicorn/server.py", Says::Serves, true),
            ("<module>", "/uvicorn/server.py", Says::Serves, false),
            ("<module>", "/uvicorn/server.py", Says::Kind, true),
            (
                "MPServer._spawn_asgi_lifespan_worker",
                "/granian/server/mp.py",
                Says::Loop,
                true,
            ),
            (
                "MPServer._spawn",
                "/granian/server/mp.py",
                Says::Loop,
                false,
            ),
            (
                "WorkerProcess.wrap_target.<locals>.wrapped",
                "/granian/server/mp.py",
                Says::Worker,
                true,
            ),
            (
                "restart_with_reloader",
                "/django/utils/autoreload.py",
                Says::Restarts,
                true,
            ),
            (
                "StatReloader.tick",
                "/django/utils/autoreload.py",
                Says::Restarts,
                false,
            ),
            (
                "StatReloader.tick",
                "/django/utils/autoreload.py",
                Says::Watches,
                true,
            ),
        ];
        for (function, file, what, want) in cases {
            assert_eq!(
                frame_says(&frame(function, file), what),
                want,
                "{function} {what:?}"
            );
        }
    }

    #[test]
    fn where_kinds_nest_the_outer_one_counts() {
        let inner = frame("Server.run", "/uvicorn/server.py");
        let outer = frame("Worker.init_process", "/gunicorn/workers/base.py");
        assert_eq!(kind_of([&outer, &inner]), Some(Kind::Gunicorn));
        assert_eq!(kind_of([&inner]), Some(Kind::Uvicorn));
        assert_eq!(kind_of([&frame("run", "/asyncio/runners.py")]), None);
    }

    /// A row that nobody can reach is a mistake: two rows of one kind, or a mark that says nothing.
    #[test]
    fn the_table_is_sound() {
        for (at, row) in TABLE.iter().enumerate() {
            let twice = |other: &Framework| row.kind.is_some() && other.kind == row.kind;
            assert!(
                !TABLE.iter().skip(at + 1).any(twice),
                "{:?} has two rows",
                row.kind
            );
            assert!(
                row.marks.iter().all(|m| !m.2.is_empty() && !m.0.is_empty()),
                "{:?}",
                row.kind
            );
            let proves = row.marks.iter().any(|m| m.2.contains(&Says::Kind));
            assert!(!proves || row.kind.is_some(), "frames of no kind prove one");
        }
    }
}
