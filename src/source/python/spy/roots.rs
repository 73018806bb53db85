//! May a stack begin like this? A stack that was read while its thread ran on may lack its outer half, or end in another
//! thread's frames: what its outermost frame is tells.
//!
//! Most threads begin in one of a few functions. The others (greenlets, threads made by C code or by `_thread` alone, programs that
//! embed Python) are believed when the thread slept through the whole reading, when such a reading has shown the same root
//! before, or when the root stays the same over successive readings and was never met further inside a stack.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use py_spy::Frame;

/// What was learned of the roots of one process.
#[derive(Debug, Default)]
pub struct Roots {
    /// By pthread_self(); bounded (1,024).
    threads: HashMap<u64, Seen>,
    /// Functions met inside of stacks that begin well; bounded (8,192).
    inner: HashSet<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    /// It once began as threads do.
    began_well: bool,
    /// It once had frames that were believed.
    had_frames: bool,
    /// Unusual roots that are known to be right; bounded (16).
    proven: HashSet<u64>,
    /// The last unusual root, and how many readings in a row have shown it.
    last: u64,
    times: u32,
}

/// A stack is believed, or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belief {
    /// It begins as stacks of its thread do.
    Right,
    /// There is no reason to believe its root.
    Doubtful,
}

/// How a thread was while its stack was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum During {
    /// It is known not to have run: what was read is true.
    Asleep,
    /// It ran, or may have.
    Awake,
}

impl Roots {
    /// Judges a stack, given as py-spy does: innermost first.
    pub fn judge(&mut self, thread: u64, frames: &[Frame], embeds: bool, during: During) -> Belief {
        if self.threads.len() >= 1024 {
            self.threads.clear();
        }
        let seen = self.threads.entry(thread).or_default();
        let Some((root, inner)) = frames.split_last() else {
            return seen.judge_empty(during);
        };
        let hash = name_hash(root);
        let belief = if is_usual(root) {
            seen.began_well = true;
            seen.times = 0;
            Belief::Right
        } else {
            seen.judge_unusual(hash, self.inner.contains(&hash), embeds, during)
        };
        if belief == Belief::Right {
            seen.had_frames = true;
            self.learn(inner);
        }
        belief
    }

    fn learn(&mut self, inner: &[Frame]) {
        if self.inner.len() < 8192 {
            self.inner.extend(inner.iter().map(name_hash));
        }
    }
}

impl Seen {
    /// A thread without frames is in C code, about to begin, or at its end; or it was between two frames.
    fn judge_empty(&mut self, during: During) -> Belief {
        let times = self.repeated(0);
        match during {
            During::Asleep => Belief::Right,
            During::Awake if times >= 2 && !self.had_frames => Belief::Right,
            During::Awake => Belief::Doubtful,
        }
    }

    fn judge_unusual(&mut self, root: u64, is_inner: bool, embeds: bool, during: During) -> Belief {
        // A thread that has begun well and now does not (a greenlet hub) must insist.
        let enough = if self.began_well && !embeds { 8 } else { 3 };
        let insists = self.repeated(root) >= enough && !is_inner;
        if during == During::Asleep && self.proven.len() < 16 {
            self.proven.insert(root);
        }
        if insists || during == During::Asleep || self.proven.contains(&root) {
            return Belief::Right;
        }
        Belief::Doubtful
    }

    /// Notes an unusual root; how many readings in a row have shown it.
    fn repeated(&mut self, root: u64) -> u32 {
        self.times = if self.last == root {
            self.times.saturating_add(1)
        } else {
            1
        };
        self.last = root;
        self.times
    }
}

/// True for the functions in which threads begin: of a script or `-c`, of `-m`, of `threading` (2.7: `__bootstrap`), and at exit.
fn is_usual(root: &Frame) -> bool {
    let last = root.name.rsplit('.').next().unwrap_or("");
    match last {
        "<module>" | "_run_module_as_main" => true,
        "_bootstrap" | "__bootstrap" | "_shutdown" => root.filename.ends_with("threading.py"),
        _ => false,
    }
}

fn name_hash(frame: &Frame) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&frame.filename, &frame.name).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `file:function`, innermost first, as py-spy gives them.
    fn frames(stack: &str) -> Vec<Frame> {
        let frame = |text: &str| {
            let (file, name) = text.split_once(':').unwrap();
            Frame {
                name: name.to_owned(),
                filename: format!("/lib/{file}"),
                module: None,
                short_filename: None,
                line: 1,
                locals: None,
                is_entry: false,
                is_shim_entry: false,
            }
        };
        stack.split_whitespace().map(frame).collect()
    }

    fn judge(roots: &mut Roots, stack: &str, during: During) -> Belief {
        roots.judge(1, &frames(stack), false, during)
    }

    #[test]
    fn usual_roots_are_believed_at_once() {
        let mut roots = Roots::default();
        for root in [
            "a.py:f a.py:<module>",
            "a.py:f runpy.py:_run_module_as_main",
            "a.py:f threading.py:Thread._bootstrap",
            "a.py:f threading.py:_bootstrap",
            "a.py:f threading.py:__bootstrap",
            "threading.py:_shutdown",
        ] {
            assert_eq!(
                judge(&mut roots, root, During::Awake),
                Belief::Right,
                "{root}"
            );
        }
        assert_eq!(judge(&mut roots, "", During::Awake), Belief::Doubtful);
        assert_eq!(
            judge(&mut roots, "", During::Awake),
            Belief::Doubtful,
            "it has had frames"
        );
        assert_eq!(judge(&mut roots, "", During::Asleep), Belief::Right);
        assert_eq!(
            judge(&mut roots, "a.py:_bootstrap", During::Awake),
            Belief::Doubtful
        );
    }

    #[test]
    fn a_torn_stack_is_doubted_however_often_it_comes() {
        let mut roots = Roots::default();
        judge(&mut roots, "a.py:g a.py:f a.py:<module>", During::Awake);
        for _ in 0..20 {
            assert_eq!(
                judge(&mut roots, "a.py:g a.py:f", During::Awake),
                Belief::Doubtful
            );
        }
    }

    #[test]
    fn a_sleeper_proves_its_root_for_later() {
        let mut roots = Roots::default();
        judge(&mut roots, "a.py:f a.py:<module>", During::Awake);
        assert_eq!(
            judge(&mut roots, "hub.py:switch hub.py:Hub.run", During::Asleep),
            Belief::Right
        );
        assert_eq!(
            judge(&mut roots, "hub.py:switch hub.py:Hub.run", During::Awake),
            Belief::Right
        );
    }

    #[test]
    fn a_thread_of_c_code_is_believed_at_the_third_reading() {
        let mut roots = Roots::default();
        assert_eq!(
            judge(&mut roots, "a.py:g a.py:callback", During::Awake),
            Belief::Doubtful
        );
        assert_eq!(
            judge(&mut roots, "a.py:callback", During::Awake),
            Belief::Doubtful
        );
        assert_eq!(
            judge(&mut roots, "a.py:h a.py:callback", During::Awake),
            Belief::Right
        );
        assert_eq!(
            judge(&mut roots, "a.py:h a.py:other", During::Awake),
            Belief::Doubtful
        );
        for _ in 0..9 {
            assert_eq!(
                judge(&mut roots, "a.py:h", During::Awake),
                Belief::Doubtful,
                "inner"
            );
        }
    }

    #[test]
    fn a_thread_that_never_had_frames_may_have_none() {
        let mut roots = Roots::default();
        assert_eq!(judge(&mut roots, "", During::Awake), Belief::Doubtful);
        assert_eq!(judge(&mut roots, "", During::Awake), Belief::Right);
    }

    #[test]
    fn a_thread_that_began_well_must_insist() {
        let mut roots = Roots::default();
        judge(&mut roots, "a.py:f a.py:<module>", During::Awake);
        let beliefs: Vec<Belief> = (0..8)
            .map(|_| judge(&mut roots, "hub.py:Hub.run", During::Awake))
            .collect();
        assert_eq!(beliefs[6], Belief::Doubtful);
        assert_eq!(beliefs[7], Belief::Right);
    }
}
