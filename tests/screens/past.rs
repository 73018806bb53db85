//! The past on the screen: what keys ask for, what is shown of a look that was kept, and how one comes back.

use std::sync::Arc;

use steth::diagnosis::{Code, Kind, Phase, Role, Server};
use steth::feed::{Change, Feed, Move, Origin, Past, What};
use steth::view::Scene;
use steth::view::tui::{Effect, Event};

use super::Screen;
use super::fixture::{self, WALL_MS, listener, member, process};

/// `uvicorn app:app`, serving, with so many open files.
fn server(fds: u64) -> Server {
    let mut process = process(71, 1, "uvicorn app:app");
    if let Some(seen) = &mut process.fds {
        seen.open = fds;
    }
    let member = member(process, Role::Single, Phase::Serving, 0.0);
    let mut server = fixture::server(
        "uvicorn app:app",
        Kind::Uvicorn,
        Phase::Serving,
        60.0,
        vec![member],
    );
    server
        .listeners
        .push(listener(8000, Some(0), 128, vec![71], Some(vec![71])));
    server
}

fn live(seconds: f64, fds: u64) -> Arc<Scene> {
    fixture::scene(seconds, vec![server(fds)], vec![], vec![])
}

/// The look so many seconds after the first of a hundred.
fn kept(origin: Origin, seconds: usize, fds: u64) -> Arc<Scene> {
    let change = |after_s: i64, what| Change {
        wall_ms: WALL_MS + after_s * 1000,
        server: "uvicorn app:app (71)".into(),
        what,
    };
    let past = Past {
        origin,
        at: seconds,
        count: 100,
        first_ms: WALL_MS,
        last_ms: WALL_MS + 99_000,
        playing: false,
        speed: 1.0,
        read: 100,
        changes: Arc::new(vec![
            change(20, What::Phase(Some(Phase::Starting), Phase::Serving)),
            change(50, What::Finding(Code::LoopBlocked, true)),
        ]),
        damage: String::new(),
    };
    let scene = live(seconds as f64, fds);
    Arc::new(Scene {
        feed: Feed::Past(Arc::new(past)),
        ..Scene::clone(&scene)
    })
}

fn travels(effects: &[Effect]) -> Vec<Move> {
    let of = |effect: &Effect| match effect {
        Effect::Travel(to) => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}

#[test]
fn a_step_back_leaves_the_present_and_says_how_long_ago_it_is() {
    let mut screen = Screen::showing(100, 30, live(99.0, 11));
    let asked = travels(&screen.keys("["));
    assert_eq!(asked, [Move::To(WALL_MS + 99_000), Move::Looks(-1)]);
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 60, 11))));
    screen.has("14:03:11 · ◀ 39 s ago");
    screen.has("61 of 100 · 14:03:01 loop-blocked began: uvicorn");
    // The present goes on behind it.
    screen.see(live(103.0, 11));
    screen.has("14:03:11 · ◀ 43 s ago");
    assert_eq!(
        travels(&screen.keys("],.{}()")),
        [
            Move::Looks(1),
            Move::Seconds(-10),
            Move::Seconds(10),
            Move::Change(-1),
            Move::Change(1),
            Move::First,
            Move::Last,
        ]
    );
}

#[test]
fn the_present_comes_back_by_key_and_by_going_beyond_the_newest_look() {
    let mut screen = Screen::showing(100, 30, live(99.0, 11));
    screen.keys("[");
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 98, 11))));
    assert_eq!(travels(&screen.keys("L")), [Move::Leave]);
    screen.has("live 1s");
    // What comes too late does not take the present away.
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 98, 11))));
    screen.has("live 1s");
    screen.keys("[");
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 98, 11))));
    screen.state.update(Event::Past(None));
    screen.has("live 1s");
    assert!(travels(&screen.keys("]")).is_empty());
    screen.has("this is the newest look: [ goes back");
}

#[test]
fn the_space_bar_pauses_the_present_and_plays_the_past() {
    let mut screen = Screen::showing(100, 30, live(99.0, 11));
    assert!(travels(&screen.keys(" ")).is_empty());
    screen.has("PAUSED");
    // From a paused picture one goes on from where it is.
    screen.see(live(140.0, 11));
    assert_eq!(
        travels(&screen.keys("]")),
        [Move::To(WALL_MS + 99_000), Move::Looks(1)]
    );
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 99, 11))));
    assert_eq!(
        travels(&screen.keys(" +-")),
        [Move::Play, Move::Speed(1), Move::Speed(-1)]
    );
}

#[test]
fn a_recording_has_no_present() {
    let file = || Origin::File("night.steth".into());
    let mut screen = Screen::showing(100, 30, kept(file(), 0, 11));
    screen.has("PAUSED, recorded");
    assert_eq!(travels(&screen.keys(" [")), [Move::Play, Move::Looks(-1)]);
    assert!(screen.keys("L").is_empty());
    screen.has("there is no present");
    assert!(!screen.keys("R").contains(&Effect::SaveLooks));
    assert!(
        !screen
            .keys("l")
            .iter()
            .any(|e| matches!(e, Effect::ReadLocals(_)))
    );
    screen.has("locals can be read of what is so now only");
}

#[test]
fn looks_and_the_view_are_saved_on_request_and_the_answer_is_read_once() {
    let mut screen = Screen::showing(100, 30, live(0.0, 11));
    assert!(screen.keys("R").contains(&Effect::SaveLooks));
    assert!(screen.keys("S").contains(&Effect::SaveView));
    screen
        .state
        .update(Event::Notice("the screen is in steth-1.txt".into()));
    screen.has("the screen is in steth-1.txt");
    screen.keys("j");
    screen.lacks("the screen is in steth-1.txt");
}

#[test]
fn what_differs_from_the_marked_moment_is_told_and_nothing_else() {
    let mut screen = Screen::showing(100, 30, live(0.0, 11));
    screen.keys("7");
    screen.has("m marks the moment that is shown");
    screen.keys("m");
    screen.has("14:02:11 is marked");
    screen.see(live(60.0, 11));
    screen.has("nothing that is shown here differs");
    screen.see(live(90.0, 64));
    screen.has("single 71: fds 11 → 64");
    screen.has("14:02:11, the marked moment → 14:03:41, 90 s later");
    screen.lacks("threads 1");
    // Backwards too.
    screen.keys("m[");
    screen
        .state
        .update(Event::Past(Some(kept(Origin::Memory, 30, 11))));
    screen.has("single 71: fds 64 → 11");
    screen.has("60 s before");
}

#[test]
fn the_ruler_has_room_at_every_size() {
    for (columns, rows) in [(40, 10), (80, 24), (160, 48), (300, 90)] {
        let mut screen = Screen::showing(columns, rows, live(99.0, 11));
        screen.keys("[");
        screen
            .state
            .update(Event::Past(Some(kept(Origin::Memory, 60, 11))));
        let text = screen.text();
        assert_eq!(text.lines().count(), usize::from(rows), "{text}");
        let ruler = text.lines().rev().nth(1).unwrap();
        assert!(ruler.starts_with(" 14:02:11 ━"), "{text}");
        assert!(ruler.contains('▲'), "{text}");
    }
}

#[test]
fn who_fails_at_the_moment_one_goes_to_stands_first_at_once() {
    let failing = |seconds: usize| {
        let scene = kept(Origin::Memory, seconds, 11);
        let mut broken = fixture::overflowing();
        broken.root = fixture::key(900);
        let mut servers = vec![server(11), broken];
        if seconds < 50 {
            servers[1].findings.clear();
            servers[1].phase = Phase::Serving;
        }
        let servers = fixture::scene(seconds as f64, servers, vec![], vec![]);
        Arc::new(Scene {
            feed: scene.feed.clone(),
            ..Scene::clone(&servers)
        })
    };
    let mut screen = Screen::showing(100, 30, live(99.0, 11));
    screen.keys("[");
    screen.state.update(Event::Past(Some(failing(40))));
    assert!(
        screen.selected().contains("uvicorn app:app"),
        "{}",
        screen.selected()
    );
    screen.state.update(Event::Past(Some(failing(60))));
    assert!(screen.selected().starts_with("▸✖"), "{}", screen.selected());
}
