//! While nothing happens, what was said last is carried on: it says what thinking it over again would have said.

use steth::diagnosis::{Analyst, Diagnosis};
use steth::snapshot::{Activity, ProcessState};

use super::fleet::{self, FLEET};
use super::world::{Build, World};

/// The first line in which two diagnoses differ.
fn difference(got: &Diagnosis, want: &Diagnosis) -> Option<(String, String)> {
    let (got, want) = (format!("{got:#?}"), format!("{want:#?}"));
    let mut pairs = got.lines().zip(want.lines());
    let differing = pairs.find(|(got, want)| got != want);
    differing.map(|(got, want)| (got.trim().to_owned(), want.trim().to_owned()))
}

/// A world in which nothing changes, for two analysts: one thinks at every look, the other carries on where it can. How often
/// it could, and how often somebody was watched.
fn carried(name: &str, w: &mut World, seconds: usize) -> (usize, usize) {
    let (mut thinks, mut carries) = (Analyst::default(), Analyst::default());
    let changed_at = w.now;
    let (mut count, mut watched) = (0, 0);
    for second in 0..seconds {
        w.pass(1.0);
        let snapshot = w.snapshot();
        let want = thinks.observe(&snapshot);
        let got = carries.carry_on(&snapshot, changed_at);
        count += usize::from(got.is_some());
        let got = got.unwrap_or_else(|| carries.observe(&snapshot));
        watched += usize::from(!want.attention.is_empty());
        assert_eq!(difference(&got, &want), None, "{name}, second {second}");
    }
    (count, watched)
}

#[test]
fn of_every_healthy_server_the_same_is_said_without_thinking_it_over() {
    for (name, build, ..) in FLEET {
        let mut w = World::new();
        build(&mut w);
        let (count, watched) = carried(name, &mut w, 80);
        // Whose main thread does not wait in a poll is watched for a minute.
        let most = 75 - watched;
        assert!(
            (most / 2..most).contains(&count),
            "{name}: {count} of {most}"
        );
    }
}

#[test]
fn who_has_not_got_there_or_is_in_trouble_is_thought_of_at_every_look() {
    type Case = (&'static str, fn(&mut World));
    let cases: [Case; 4] = [
        ("a server that is importing", |w| {
            w.old(10, 60.0, "/venv/bin/python /venv/bin/uvicorn shop:app")
                .main("main /srv/shop.py:3");
        }),
        ("a loop that is blocked", |w| {
            fleet::uvicorn(w);
            w.p(10)
                .main("@uvicorn | show /srv/views.py:20")
                .doing(Activity::Syscall(230));
        }),
        ("a server that is stopped", |w| {
            fleet::uvicorn(w);
            w.p(10).state = ProcessState::Stopped;
        }),
        ("a queue that is not drained", |w| {
            fleet::uvicorn(w);
            w.waiting(500, 3);
        }),
    ];
    for (name, build) in cases {
        let mut w = World::new();
        build(&mut w);
        assert_eq!(carried(name, &mut w, 20).0, 0, "{name}");
    }
}

#[test]
fn what_has_changed_is_thought_of_until_it_is_steady() {
    let mut w = World::new();
    fleet::uvicorn(&mut w);
    let mut analyst = Analyst::default();
    for _ in 0..10 {
        w.pass(1.0);
        let snapshot = w.snapshot();
        let changed_at = w.ago(4.9);
        assert!(analyst.carry_on(&snapshot, changed_at).is_none());
        analyst.observe(&snapshot);
    }
}
