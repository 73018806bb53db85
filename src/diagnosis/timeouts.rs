//! Kills of workers that their supervisor has not heard of for too long: which deaths are such, and do they repeat?
//!
//! gunicorn's arbiter looks once a second at the file that each worker touches; it sends SIGABRT to one that has been silent
//! for longer than `--timeout`, which most often ends it with code 1, and SIGKILL a second later. uvicorn's supervisor asks
//! each worker every half second and kills one that has not answered for `--timeout-worker-healthcheck`: the thread that
//! answers needs no more than the GIL.

use super::history::{Beat, Track};
use super::{Kind, Role, frames, phase};
use crate::snapshot::{Exit, Frame, Moment, Process};

/// gunicorn's and uvicorn's own time-outs, where nobody has said otherwise.
const GUNICORN_S: f64 = 30.0;
const UVICORN_S: f64 = 5.0;
/// From the end of the time-out to the end of the process: a round of the arbiter, SIGABRT, another round, SIGKILL.
const ROUNDS_S: f64 = 4.0;
/// Readings of clocks and heartbeats are as old as the last look.
const BLUR_S: f64 = 0.3;
/// A longer time-out is not waited for.
const NEAR_S: f64 = 6.0;

/// A worker that was killed because it was silent.
#[derive(Debug, Clone)]
pub struct Kill {
    /// How it ended.
    pub exit: Exit,
    /// Seconds for which it had been silent.
    pub silent_s: f64,
    /// The time-out that the command line names.
    pub limit_s: Option<f64>,
    /// Where its silence is known from.
    pub source: &'static str,
    /// The application's frame in which it was last seen.
    pub place: Option<Frame>,
}

/// The death as such a kill, if it looks like one.
pub fn kill(exit: &Exit, role: Role, kind: Kind, root: &Process, track: &Track) -> Option<Kill> {
    if !phase::works(role) || !ends_so(exit) {
        return None;
    }
    let (limit_s, silent_s, source) = match kind {
        Kind::Gunicorn => unbeaten(exit, root, track)?,
        Kind::Uvicorn => unanswered(exit, root, track)?,
        _ => return None,
    };
    let own = frames::own_frame(&exit.last_stack).map(|(_, f)| f.clone());
    Some(Kill {
        place: own.or_else(|| track.last_own.clone()),
        exit: exit.clone(),
        silent_s,
        limit_s,
        source,
    })
}

fn ends_so(exit: &Exit) -> bool {
    match (exit.signal, exit.code) {
        (Some(signal), _) => matches!(signal, libc::SIGABRT | libc::SIGKILL),
        (None, Some(code)) => code == 1,
        (None, None) => true,
    }
}

type Silence = (Option<f64>, f64, &'static str);

fn unbeaten(exit: &Exit, root: &Process, track: &Track) -> Option<Silence> {
    const SOURCE: &str = "gunicorn's heartbeat file";
    let limit = option(&root.cmdline, &["--timeout", "-t"]).filter(|s| *s > 0.0);
    match track.beat? {
        Beat::At(beat) => {
            let silent = exit.at.seconds_since(beat);
            // A sync worker at rest beats twice within the time-out, whatever that is.
            let long = match limit {
                Some(limit) => silent >= limit - BLUR_S,
                None => silent >= 2.0 && !track.rests,
            };
            long.then_some((limit, silent, SOURCE))
        }
        // Before version 22 the time-out counts from the making of the file. Any other cause would be a coincidence.
        Beat::Never => {
            let lived = exit.lived_ns? as f64 / 1e9;
            let told = limit.unwrap_or(GUNICORN_S);
            let at_the_limit = lived >= told - BLUR_S && lived < told + ROUNDS_S;
            at_the_limit.then_some((Some(told), lived, "lifetimes, by process events"))
        }
    }
}

fn unanswered(exit: &Exit, root: &Process, track: &Track) -> Option<Silence> {
    let limit = option(&root.cmdline, &["--timeout-worker-healthcheck"]).unwrap_or(UVICORN_S);
    let stacks = track.process.python.as_ref()?.stacks.as_ref()?;
    let held = stacks.list.iter().any(|s| s.holds_gil);
    let stood = exit.at.seconds_since(track.place.since);
    let killed = exit.signal == Some(libc::SIGKILL);
    (killed && held && stood >= limit - 2.0 * BLUR_S).then_some((
        Some(limit),
        stood,
        "Python stacks: one thread kept the GIL",
    ))
}

/// The number that an option is given.
fn option(cmdline: &[String], names: &[&str]) -> Option<f64> {
    let value = |at: usize| cmdline.get(at + 1).map(String::as_str);
    cmdline.iter().enumerate().find_map(|(at, word)| {
        let text = names.iter().find_map(|name| {
            let rest = word.strip_prefix(name)?;
            match rest.strip_prefix('=') {
                Some(text) => Some(text),
                None if rest.is_empty() => value(at),
                None if !name.starts_with("--") => Some(rest),
                None => None,
            }
        })?;
        text.parse().ok()
    })
}

/// The kills that show a loop, newest first; empty if there is none. `living`: the workers that there are now.
pub fn repeated<'a>(kills: &'a [Kill], living: &[&Track], at: Moment) -> Vec<&'a Kill> {
    let longest = kills.iter().map(|k| k.silent_s).fold(0.0, f64::max);
    let window = (3.0 * (longest + ROUNDS_S)).max(60.0);
    let recent: Vec<&Kill> = kills
        .iter()
        .rev()
        .filter(|k| at.seconds_since(k.exit.at) < window)
        .collect();
    let (Some(last), Some(first)) = (recent.first(), recent.last()) else {
        return Vec::new();
    };
    // All at once is once: a clock that jumps, a machine that slept.
    let again = last.exit.at.seconds_since(first.exit.at) > 2.5;
    let known = recent.iter().all(|k| k.limit_s.is_some());
    let silences = recent.iter().map(|k| k.silent_s);
    let spread = silences.clone().fold(0.0, f64::max) - silences.fold(f64::MAX, f64::min);
    let follows = || {
        living
            .iter()
            .any(|track| goes_the_same_way(track, last, at))
    };
    let repeats = again && (known || spread <= ROUNDS_S) || last.limit_s.is_some() && follows();
    if repeats { recent } else { Vec::new() }
}

/// True if a worker that was born after a kill stands where the killed one stood, and is silent.
fn goes_the_same_way(track: &Track, last: &Kill, at: Moment) -> bool {
    let same = |f: &Frame| {
        let place = last.place.as_ref();
        place.is_some_and(|p| p.function == f.function && p.file == f.file)
    };
    track.process.started.plus_seconds(BLUR_S) >= last.exit.at
        && track.silent_s(at).is_some_and(|s| s >= 1.0)
        && track.last_own.as_ref().is_some_and(same)
}

/// True if a supervisor may be about to kill a worker: a few more looks will tell.
pub fn is_near(root: &Process, kind: Kind, track: &Track, at: Moment) -> bool {
    let limit = option(&root.cmdline, &["--timeout", "-t"]).filter(|s| *s > 0.0);
    let silent = track.silent_s(at).filter(|s| *s >= 1.0);
    kind == Kind::Gunicorn && !track.rests && silent.is_some() && limit.is_some_and(|s| s <= NEAR_S)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_in_every_way_they_may_be_written() {
        for (line, want) in [
            ("gunicorn --timeout 3 app:app", Some(3.0)),
            ("gunicorn --timeout=120 app:app", Some(120.0)),
            ("gunicorn -t 45 app:app", Some(45.0)),
            ("gunicorn -t45 app:app", Some(45.0)),
            ("gunicorn --timeout-x 3 -threads 2 app:app", None),
            ("gunicorn app:app --timeout", None),
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert_eq!(option(&words, &["--timeout", "-t"]), want, "{line}");
        }
    }
}
