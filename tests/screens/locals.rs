//! `l`: locals are read when somebody asks, stand under their frames, and are gone when one leaves.

use std::sync::Arc;

use steth::snapshot::{FrameLocals, Local, LocalsAnswer, ProcessKey, ThreadLocals};
use steth::view::Scene;
use steth::view::tui::Effect;

use super::{Screen, fixture};

const SERVER: u32 = 4127;

fn key() -> ProcessKey {
    let server = fixture::starting_uvicorn();
    assert_eq!(server.root.pid, SERVER);
    server.root
}

/// Frames of its main thread, `skipped` outer ones of which the other reader has not seen.
fn threads(tid: Option<u32>, skipped: usize) -> Vec<ThreadLocals> {
    let server = fixture::starting_uvicorn();
    let process = &server.members.first().unwrap().process;
    let stacks = process.python.as_ref().unwrap().stacks.as_ref().unwrap();
    let frames = stacks
        .list
        .first()
        .unwrap()
        .frames
        .iter()
        .skip(skipped)
        .map(|frame| {
            let is_asked = frame.function == "wait_for_database";
            let locals = [("host", "'10.0.0.5'"), ("password", "•••")].map(|(name, value)| Local {
                name: name.into(),
                value: value.into(),
            });
            FrameLocals {
                function: frame.function.rsplit('.').next().unwrap().to_owned(),
                file: frame.file.clone(),
                line: frame.line,
                locals: locals.into_iter().filter(|_| is_asked).collect(),
            }
        });
    let frames = frames.collect();
    vec![ThreadLocals { tid, frames }]
}

fn scene(seconds: f64, result: Option<Result<Vec<ThreadLocals>, String>>) -> Arc<Scene> {
    let server = fixture::starting_uvicorn();
    let scene = fixture::scene(seconds, vec![server], vec![], vec![]);
    let answer = result.map(|result| LocalsAnswer {
        key: key(),
        at: fixture::at(seconds - 3.0),
        result,
    });
    Arc::new(Scene {
        locals: Arc::new(answer.into_iter().collect()),
        ..Scene::clone(&scene)
    })
}

fn asking(columns: u16, rows: u16) -> Screen {
    let mut screen = Screen::showing(columns, rows, scene(0.0, None));
    let effects = screen.keys("l");
    assert!(
        effects.contains(&Effect::ReadLocals(vec![key()])),
        "{effects:?}"
    );
    screen
}

#[test]
fn locals_are_read_when_asked_and_stand_under_their_frame() {
    for (tid, skipped) in [(Some(SERVER), 0), (Some(SERVER), 2), (None, 0)] {
        let mut screen = asking(100, 40);
        screen.has("▸[2] Stacks");
        screen.has("locals: being read …");
        screen.see(scene(5.0, Some(Ok(threads(tid, skipped)))));
        screen.has("locals as py-spy read them 3.0 s ago; l reads them again");
        let text = screen.text();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        let frame = lines.iter().position(|l| l.contains("▸ wait_for_database"));
        let below = &lines[frame.unwrap() + 1..][..2];
        assert!(below[0].contains("host = '10.0.0.5'"), "{text}");
        assert!(below[1].contains("password = •••"), "{text}");
        assert_eq!(text.matches("host = ").count(), 1, "{text}");
        screen.keys("<Esc>");
        screen.lacks("host = ");
        screen.keys("2");
        screen.lacks("host = ");
    }
}

#[test]
fn asked_again_old_answers_are_not_shown_as_new_ones() {
    let mut screen = asking(100, 40);
    screen.see(scene(5.0, Some(Ok(threads(Some(SERVER), 0)))));
    screen.has("host = ");
    assert!(!screen.keys("l").is_empty());
    screen.has("locals: being read …");
    screen.lacks("host = ");
}

#[test]
fn a_thread_of_another_id_has_not_these_locals() {
    let mut screen = asking(100, 40);
    let mut elsewhere = threads(Some(SERVER), 0);
    elsewhere[0].frames[0].locals.clear();
    for frame in &mut elsewhere[0].frames {
        frame.line += 1;
        frame.file.push('c');
    }
    screen.see(scene(5.0, Some(Ok(elsewhere))));
    screen.lacks("host = ");
}

#[test]
fn of_several_threads_in_one_place_none_is_taken_for_another() {
    let mut screen = asking(100, 40);
    let twice = [threads(None, 0), threads(None, 0)].concat();
    screen.see(scene(5.0, Some(Ok(twice))));
    screen.has("locals as py-spy read them");
    screen.lacks("host = ");
}

#[test]
fn what_could_not_be_read_says_why() {
    let mut screen = asking(80, 24);
    let refused = Err("not permitted".to_owned());
    screen.see(scene(5.0, Some(refused)));
    screen.has("? locals not read: not permitted");
}
