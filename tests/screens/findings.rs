//! Findings: each is reached by keys, opened whole, and its command is copied; what ends is gone, and stays in the timeline.

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use steth::diagnosis::{Code, Finding, FindingChange, Server, Severity};
use steth::view::Scene;
use steth::view::tui::clipboard::Clipboard;
use steth::view::tui::{Effect, Event, Options, State};

use super::fixture::{self, at};
use super::{Screen, UNICODE};

fn copied(effects: &[Effect]) -> Vec<&str> {
    effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Copy(text) => Some(text.as_str()),
            _ => None,
        })
        .collect()
}

fn scene_of(server: Server) -> Arc<Scene> {
    fixture::scene(0.0, vec![server], vec![], vec![])
}

/// A server with this many findings, each with as many facts as its number, ranked as they are counted.
fn many(count: usize) -> Server {
    let codes = [
        Code::LoopBlocked,
        Code::PoolExhausted,
        Code::AcceptQueueFull,
        Code::FdGrowing,
    ];
    let mut server = fixture::serving_gunicorn();
    let finding = |n: usize| {
        Finding {
        code: *codes.iter().cycle().nth(n).unwrap(),
        severity: Severity::Critical,
        summary: format!("failure number {n} of them"),
        culprit: None,
        evidence: (0..n).map(|fact| format!("fact {fact} of failure {n}, which is told at some length so that each has a line")).collect(),
        remedy: format!("mend {n}"),
        confirm: format!("confirm --number {n}"),
    }
    };
    server.findings = (1..=count).map(finding).collect();
    server
}

#[test]
fn enter_on_a_finding_shows_all_of_it_and_copies_its_command() {
    for (columns, rows) in [(80, 24), (160, 48)] {
        let mut screen = Screen::showing(columns, rows, fixture::busy(0.0));
        let effects = screen.keys("w<Enter>");
        assert_eq!(copied(&effects), ["cd /srv && python -c 'import api'"]);
        screen.has("finding 1 of 2 · gunicorn api:app (3001)");
        screen.has("critical: crash-loop");
        screen.has("<module> (api/settings.py:12)");
        screen.has("· last frame <module> (api/settings.py:12) (stacks)");
        screen.has("→ run the import by hand");
        screen.has("copied: sent to the terminal's clipboard by OSC 52");
        screen.keys("<Esc>");
        screen.lacks("finding 1 of 2");
        let effects = screen.keys("j<Enter>");
        assert_eq!(copied(&effects), ["ss -xl src /run/api.sock"]);
        screen.has("finding 2 of 2");
    }
}

#[test]
fn from_inside_a_server_too() {
    let mut screen = Screen::showing(80, 24, scene_of(many(2)));
    let effects = screen.keys("<Enter>w<Enter>");
    assert_eq!(copied(&effects), ["confirm --number 1"]);
    // Back to where one was.
    screen.keys("<Esc><Esc><Esc>");
    screen.has("1 failing");
    assert!(screen.selected().contains("gunicorn"), "{}", screen.text());
}

#[test]
fn every_finding_is_reached_by_the_arrows_however_low_the_screen() {
    for (columns, rows) in [(80, 24), (160, 48), (40, 10)] {
        for count in [1, 5] {
            let mut screen = Screen::showing(columns, rows, scene_of(many(count)));
            screen.keys("w");
            // Each finding is at most so many lines of 40 cells.
            let rounds = count * (4 * count + 4);
            let mut opened = Vec::new();
            for _ in 0..rounds {
                let effects = screen.keys("<Enter>");
                let command = copied(&effects)
                    .first()
                    .copied()
                    .unwrap_or("none")
                    .to_owned();
                if opened.last() != Some(&command) {
                    opened.push(command);
                }
                screen.keys("<Esc>");
                screen.keys("<Down>");
            }
            let wanted: Vec<String> = (1..=count)
                .map(|n| format!("confirm --number {n}"))
                .collect();
            assert_eq!(opened, wanted, "{columns}x{rows}");
            let mut back = Vec::new();
            for _ in 0..rounds {
                let effects = screen.keys("<Enter>");
                let command = copied(&effects)
                    .first()
                    .copied()
                    .unwrap_or("none")
                    .to_owned();
                if back.last() != Some(&command) {
                    back.push(command);
                }
                screen.keys("<Esc><Up>");
            }
            back.reverse();
            assert_eq!(back, wanted, "{columns}x{rows}, up again");
        }
    }
}

#[test]
fn the_cursor_is_in_sight_after_every_key() {
    for keys in ["<Down>", "<PgDn>", "G", "<PgDn><Up>", "G<PgUp>", "g"] {
        let mut screen = Screen::showing(80, 24, scene_of(many(9)));
        screen.keys("w");
        for press in 0..30 {
            screen.keys(keys);
            let below = screen.text().lines().skip(4).collect::<Vec<_>>().join("\n");
            // A finding longer than the screen may have its first line above it.
            let is_long = below.lines().filter(|l| l.contains("· fact")).count() > 4;
            assert!(
                below.contains('▸') || is_long,
                "{keys} {press}:\n{}",
                screen.text()
            );
        }
    }
}

#[test]
fn tab_leads_to_the_next_finding_and_copies_nothing() {
    let mut screen = Screen::showing(80, 24, scene_of(many(3)));
    screen.keys("w<Enter>");
    let effects = screen.keys("<Tab>");
    assert_eq!(copied(&effects), Vec::<&str>::new());
    screen.has("finding 2 of 3");
    screen.lacks("copied:");
    screen.keys("<Tab><Tab>");
    screen.has("finding 1 of 3");
    screen.keys("<BackTab>");
    screen.has("finding 3 of 3");
    let effects = screen.keys("<Enter>");
    assert_eq!(copied(&effects), ["confirm --number 3"]);
}

#[test]
fn the_cursor_follows_its_finding_when_the_ranking_changes() {
    let mut screen = Screen::showing(120, 36, scene_of(many(3)));
    screen.keys("wj");
    let mut turned = many(3);
    turned.findings.rotate_left(1);
    screen.see(scene_of(turned));
    let effects = screen.keys("<Enter>");
    assert_eq!(copied(&effects), ["confirm --number 2"]);
    screen.has("finding 1 of 3");
    screen.see(scene_of(many(3)));
    screen.has("finding 2 of 3");
}

#[test]
fn a_finding_that_ends_while_it_is_read_says_so_and_stays() {
    let mut screen = Screen::showing(80, 24, scene_of(many(2)));
    screen.keys("w<Enter>");
    screen.lacks("has ended");
    screen.see(scene_of(many(0)));
    screen.has("failure number 1 of them");
    screen.has("has ended");
    screen.keys("<Esc>");
    screen.lacks("failure number 1 of them");
    // Where there is no finding, Enter opens none.
    let effects = screen.keys("<Enter>");
    assert_eq!(copied(&effects), Vec::<&str>::new());
    screen.lacks("finding");
}

#[test]
fn what_has_ended_is_gone_at_once_and_stays_in_the_timeline() {
    let mut server = many(1);
    let change = |seconds, began| FindingChange {
        at: at(seconds),
        code: Code::LoopBlocked,
        began,
    };
    server.finding_log = vec![change(-9.0, true)];
    let mut screen = Screen::showing(100, 30, scene_of(server.clone()));
    screen.has("failure number 1");
    screen.lacks("ended");
    server.findings.clear();
    server.finding_log.push(change(-1.0, false));
    screen.see(scene_of(server));
    screen.lacks("failure number 1");
    screen.has("· loop-blocked ended 14:02:10");
    screen.keys("w");
    screen.has("14:02:10 ended loop-blocked");
    screen.has("14:02:02 began loop-blocked");
}

#[test]
fn a_terminal_without_a_clipboard_is_sent_nothing_and_says_so() {
    let mut screen = Screen {
        state: State::new(Options {
            theme: UNICODE,
            utc_offset_s: 0,
            dumb: false,
            clipboard: Clipboard::None,
        }),
    };
    screen.state.update(Event::Resize(80, 24));
    screen.see(fixture::busy(0.0));
    let effects = screen.keys("w<Enter>");
    assert_eq!(copied(&effects), Vec::<&str>::new());
    screen.has("not copied: this terminal has no clipboard");
}

#[test]
fn keys_of_the_finding_act_and_others_do_nothing() {
    let mut screen = Screen::showing(80, 24, scene_of(many(20)));
    screen.keys("wG<Enter>");
    let top = screen.text();
    screen.keys("<Down>");
    assert_ne!(screen.text(), top);
    screen.keys("<Up>");
    assert_eq!(screen.text(), top);
    screen.keys("G");
    screen.has("confirm --number 20");
    screen.keys("g");
    assert_eq!(screen.text(), top);
    screen.keys("!t/z");
    assert_eq!(screen.text(), top);
    screen.keys("?");
    screen.has("· help");
    screen.keys("<Esc>");
    assert_eq!(screen.text(), top);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    let effects = screen.state.update(Event::Key(interrupt));
    assert_eq!(effects, [Effect::Interrupt]);
    assert_eq!(screen.keys("q"), []);
    screen.lacks("finding 20 of 20");
}
