//! Python stacks of one process at one moment.

use serde::{Deserialize, Serialize};

use super::Moment;

/// The stacks of all Python threads of one process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stacks {
    /// When they were read.
    pub at: Moment,
    /// One per Python thread, main thread first.
    pub list: Vec<Stack>,
    /// Threads whose stack could not be read consistently this time and were left out.
    pub torn: u32,
    /// Which reader they are from.
    pub by: ReadBy,
    /// What threads that sleep in front of the interpreter's own locks and queues wait for, where that was found out; one at
    /// most for a thread.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub locks: Vec<LockWait>,
}

/// A thread in front of a lock or queue of the interpreter's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockWait {
    /// The thread.
    pub tid: u32,
    /// What it is.
    pub kind: LockObject,
    /// Its address: the same for all who wait for it.
    pub id: u64,
    /// The thread that has it; `None` for one that does not say, or that has ended.
    pub owner: Option<u32>,
}

/// What a thread of Python may sleep in front of without a frame of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LockObject {
    /// `threading.Lock`, which does not know who has it.
    Lock,
    /// `threading.RLock`, which does.
    Reentrant,
    /// `queue.SimpleQueue`: nobody has it, it is empty.
    Queue,
}

impl Stacks {
    /// What a thread was found to wait for.
    pub fn lock_of(&self, tid: u32) -> Option<&LockWait> {
        self.locks.iter().find(|l| l.tid == tid)
    }
}

/// The readers of stacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ReadBy {
    /// This program's own: 3.8 to 3.15.
    #[default]
    Own,
    /// py-spy's: older versions, and what the own one does not understand.
    PySpy,
}

/// The stack of one Python thread.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Thread id in the pid namespace of this program; `None` if it could not be told.
    pub tid: Option<u32>,
    /// Name of the `threading.Thread`, control characters escaped.
    pub name: Option<String>,
    /// False if the interpreter's exit waits for the thread to end, as `threading.Thread` has it; `None` if that was not seen.
    #[serde(default)]
    pub daemon: Option<bool>,
    /// What the thread does, from the kernel.
    pub activity: Activity,
    /// True if it held the GIL at that moment.
    pub holds_gil: bool,
    /// Frames, outermost first.
    pub frames: Vec<Frame>,
}

impl Stack {
    /// True if the outermost frame is one that only a main thread has.
    pub fn is_main(&self) -> bool {
        self.frames.first().is_some_and(|f| {
            f.function == "<module>" || f.function.ends_with("_run_module_as_main")
        })
    }

    /// The innermost frame.
    pub fn leaf(&self) -> Option<&Frame> {
        self.frames.last()
    }
}

/// What a thread does, by `/proc/PID/task/TID/{stat,syscall}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activity {
    /// On a CPU, or ready to be.
    Running,
    /// In the poll of an event loop: epoll_wait, select or poll.
    Selector,
    /// Waits for the GIL.
    Gil,
    /// Waits for another lock.
    Lock,
    /// In the system call with this number.
    Syscall(i64),
    /// Stopped, traced or frozen.
    Stopped,
    /// Could not be seen.
    Unknown,
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Frame {
    /// Qualified name of the function where the interpreter knows it, control characters escaped.
    pub function: String,
    /// Full path of the file as the code object names it, control characters escaped.
    pub file: String,
    /// Line; 0 if unknown.
    pub line: u32,
}

impl Frame {
    /// True for frames of the standard library, of installed packages, of launchers, and of code that has no file (sanic names
    /// what it generates after its function): whatever is not the application's own.
    pub fn is_library(&self) -> bool {
        let file = self.file.as_str();
        file.is_empty()
            || file == self.function
            || file.starts_with('<')
            || file.contains("/site-packages/")
            || file.contains("/dist-packages/")
            || is_stdlib(file)
            || is_entry_script(file)
            || is_compiled_elsewhere(file)
    }
}

/// `uvloop/loop.pyx`: Cython writes down the path that a source had where it was compiled, and a package's is relative.
fn is_compiled_elsewhere(file: &str) -> bool {
    file.ends_with(".pyx") && !file.starts_with('/')
}

/// `…/lib/python3.11/threading.py`, and zipped libraries.
fn is_stdlib(file: &str) -> bool {
    ["/lib/python", "/lib64/python", "/lib/pypy"]
        .iter()
        .any(|mark| {
            file.split_once(mark).is_some_and(|(_, rest)| {
                rest.starts_with(|c: char| c.is_ascii_digit() || c == '.' || c == '/')
            })
        })
}

/// The launcher that pip writes into a `bin` folder: `/venv/bin/uvicorn`.
pub fn is_entry_script(file: &str) -> bool {
    let Some((folder, name)) = file.rsplit_once('/') else {
        return false;
    };
    folder.ends_with("bin") && !name.contains('.')
}

/// A call that starts a server, in the application's source: mostly ahead of where the main thread stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// Source file; empty where there is only a command.
    pub file: String,
    /// Line of the call.
    pub line: u32,
    /// What is called: `start_server`, `run_app`, …; or the command that is run.
    pub call: String,
    /// How the main thread gets there.
    #[serde(default)]
    pub reach: Reach,
}

/// How the main thread gets, or got, to a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// It is ahead.
    #[default]
    Ahead,
    /// It is somewhere in the script, to which the interpreter has not come yet.
    Script,
    /// It stands in what the present line runs: in the coroutine of `asyncio.run(main())`.
    Within,
    /// The program has come to its end, and must have passed it.
    Behind,
    /// Another process, which this one starts when files change, gets there.
    Launched,
    /// The same, where a command is all that is known of it.
    Command,
}
