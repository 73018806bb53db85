//! One `PythonSpy` that is pointed at process after process.
//!
//! py-spy makes a `PythonSpy` only by parsing a live interpreter's binaries, milliseconds for each process, and not at all
//! where it cannot find them (a deleted libpython, a chroot). All that a reading depends on are its public fields, so one is enough
//! for each thread of ours. It is made from this very process, in which lies the smallest interpreter that py-spy accepts.

use std::sync::atomic::{AtomicU64, Ordering};

use py_spy::config::{Config, LineNo, LockingStrategy};
use py_spy::{PythonSpy, StackTrace};

use super::Attached;

/// How py-spy is to read: never stopping the target, no local variables.
pub fn config() -> Config {
    Config {
        blocking: LockingStrategy::NonBlocking,
        native: false,
        gil_only: false,
        dump_locals: 0,
        collect_thread_names: true,
        full_filenames: true,
        lineno: LineNo::LastInstruction,
        ..Config::default()
    }
}

/// A `PythonSpy` whose target can be changed.
pub struct Donor {
    /// Public fields only; each reading sets all that matter.
    pub spy: PythonSpy,
}

impl Donor {
    /// Makes one, from ourselves; if py-spy does not find the seed (a program without section headers), from the target.
    ///
    /// # Errors
    /// py-spy's, if it does not find the seed in our memory, nor an interpreter in the target's.
    pub fn new(target: u32) -> anyhow::Result<Self> {
        plant_seed();
        let own = i32::try_from(std::process::id())?;
        let spy = PythonSpy::new(own, &config())
            .or_else(|_| PythonSpy::new(i32::try_from(target)?, &config()))?;
        Ok(Self { spy })
    }

    /// Aims at a process for py-spy functions that take `spy.process`.
    pub fn aim(&mut self, pid: u32) {
        // A pid above i32::MAX does not exist; -1 is none either.
        let pid = i32::try_from(pid).unwrap_or(-1);
        self.spy.pid = pid;
        self.spy.process.pid = pid;
    }

    /// Reads the stacks of all threads of an attached process, newest thread first.
    ///
    /// # Errors
    /// py-spy's: one thread that changed while it was read fails all.
    pub fn read(&mut self, attached: &mut Attached) -> anyhow::Result<Vec<StackTrace>> {
        self.aim(attached.pid);
        attached.version.write_to(&mut self.spy);
        self.spy.addresses = attached.layout.clone();
        self.spy.dockerized = false;
        self.spy.python_thread_ids.clear();
        let names = &mut attached.names.known;
        std::mem::swap(&mut self.spy.python_thread_names, names);
        let traces = self.spy.get_stack_traces();
        std::mem::swap(&mut self.spy.python_thread_names, names);
        self.spy.short_filenames.clear();
        traces
    }
}

/// The seed: what py-spy looks for in the zero-initialised data (`.bss`) of a binary without symbols of Python, for 2.7, the
/// version with the smallest structures: a version string; a pointer to an interpreter, whose `tstate_head` (+8) points to a
/// thread state, whose `interp` (+8) points back. Nothing runs in it, it has no frames.
///
/// ```text
///  word 0    "2.7.18 (seed) "            8 interpreter: +8 → 32
///  word 4    → 8                        32 thread state: +8 → 8, all else 0
/// ```
static SEED: [AtomicU64; 128] = [const { AtomicU64::new(0) }; 128];

fn plant_seed() {
    let address = |word: usize| SEED.as_ptr().addr() as u64 + 8 * word as u64;
    let text = *b"2.7.18 (seed) \0\0";
    let [first, second] = [0, 8].map(|at| {
        let part = text.get(at..at + 8).and_then(|b| b.try_into().ok());
        part.map_or(0, u64::from_ne_bytes)
    });
    let words = [
        (0, first),
        (1, second),
        (4, address(8)),
        (9, address(32)),
        (33, address(8)),
    ];
    for (at, word) in words {
        if let Some(slot) = SEED.get(at) {
            slot.store(word, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_donor_comes_from_ourselves_and_never_locks() {
        let began = std::time::Instant::now();
        let donor = Donor::new(0).expect("py-spy accepts the seed");
        eprintln!("a donor took {:?}", began.elapsed());
        assert_eq!(donor.spy.version.to_string(), "2.7.18");
        assert_eq!(donor.spy.config.blocking, LockingStrategy::NonBlocking);
    }
}
