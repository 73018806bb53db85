//! Keys in, grid out: what the live screen shows, at the sizes that people have.

#![expect(clippy::unwrap_used, reason = "a test may stop where it is wrong")]

use std::sync::Arc;

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use steth::view::Scene;
use steth::view::tui::clipboard::Clipboard;
use steth::view::tui::{Effect, Event, Options, State, Theme, draw};

#[path = "support/tasks.rs"]
mod build;
#[path = "screens/findings.rs"]
mod findings;
#[path = "screens/fixture.rs"]
mod fixture;
#[path = "screens/locals.rs"]
mod locals;
#[path = "screens/log.rs"]
mod log;
#[path = "screens/past.rs"]
mod past;
#[path = "screens/tasks.rs"]
mod tasks;

const UNICODE: Theme = Theme {
    colours: true,
    ascii: false,
};

/// A screen that is driven as a person drives it.
struct Screen {
    state: State,
}

impl Screen {
    fn new(columns: u16, rows: u16, theme: Theme) -> Self {
        let mut state = State::new(Options {
            theme,
            utc_offset_s: 0,
            dumb: false,
            clipboard: Clipboard::Terminal,
        });
        state.update(Event::Resize(columns, rows));
        Self { state }
    }

    fn showing(columns: u16, rows: u16, scene: Arc<Scene>) -> Self {
        let mut screen = Self::new(columns, rows, UNICODE);
        screen.see(scene);
        screen
    }

    fn see(&mut self, scene: Arc<Scene>) -> Vec<Effect> {
        self.state.update(Event::Scene(scene))
    }

    /// Types keys: a word in angle brackets is a named key, every other character is itself.
    fn keys(&mut self, keys: &str) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut rest = keys;
        while let Some(first) = rest.chars().next() {
            let named = rest.strip_prefix('<').and_then(|r| r.split_once('>'));
            let event = match named.and_then(|(name, _)| by_name(name)) {
                Some(event) => {
                    rest = named.unwrap().1;
                    event
                }
                None => {
                    rest = &rest[first.len_utf8()..];
                    KeyEvent::new(KeyCode::Char(first), KeyModifiers::NONE)
                }
            };
            effects.extend(self.state.update(Event::Key(event)));
        }
        effects
    }

    fn grid(&self) -> Buffer {
        let (columns, rows) = self.state.size;
        let mut grid = Buffer::empty(Rect::new(0, 0, columns, rows));
        draw::draw(&self.state, &mut grid);
        grid
    }

    fn text(&self) -> String {
        draw::text(&self.state).trim_end_matches('\n').to_owned()
    }

    #[track_caller]
    fn has(&self, wanted: &str) {
        let text = self.text();
        assert!(
            text.contains(wanted),
            "{wanted:?} is not on screen:\n{text}"
        );
    }

    #[track_caller]
    fn lacks(&self, unwanted: &str) {
        let text = self.text();
        assert!(
            !text.contains(unwanted),
            "{unwanted:?} is on screen:\n{text}"
        );
    }

    /// The row with the cursor.
    fn selected(&self) -> String {
        let text = self.text();
        text.lines()
            .find(|l| l.starts_with('▸'))
            .unwrap_or("")
            .to_owned()
    }
}

fn by_name(name: &str) -> Option<KeyEvent> {
    let code = match name {
        "Enter" => KeyCode::Enter,
        "Esc" => KeyCode::Esc,
        "Tab" => KeyCode::Tab,
        "BackTab" => KeyCode::BackTab,
        "Down" => KeyCode::Down,
        "Up" => KeyCode::Up,
        "End" => KeyCode::End,
        "Home" => KeyCode::Home,
        "PgDn" => KeyCode::PageDown,
        "PgUp" => KeyCode::PageUp,
        "Backspace" => KeyCode::Backspace,
        "F1" => KeyCode::F(1),
        _ => {
            let c = name.strip_prefix('^')?.chars().next()?;
            return Some(KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL));
        }
    };
    Some(KeyEvent::new(code, KeyModifiers::NONE))
}

/// Prints screens for a critical eye: `cargo test --test screens look -- --ignored --nocapture`.
#[test]
#[ignore = "prints, proves nothing"]
fn look() {
    let show = |screen: &Screen, what: &str| {
        let (columns, _) = screen.state.size;
        println!(
            "{} {what}\n{}\n",
            "=".repeat(usize::from(columns) - what.len() - 1),
            screen.text()
        );
    };
    for (columns, rows) in [(80, 24), (120, 36), (160, 48), (40, 10)] {
        let mut screen = Screen::new(columns, rows, UNICODE);
        if rows == 24 {
            show(&screen, "before");
        }
        screen.see(fixture::busy(0.0));
        show(&screen, "busy");
        if columns == 120 {
            continue;
        }
        for keys in [
            "2",
            "<Esc>j",
            "1",
            "<Esc>jj",
            "4",
            "<Esc>j<Enter>",
            "j<Enter>",
            "3",
            "<Esc><Esc><Esc>G<Enter>",
            "/gun",
            "<Enter>",
            "?",
        ] {
            screen.keys(keys);
            show(&screen, keys);
        }
    }
}

/// Compares the screen with the picture in `tests/snapshots`; `STETH_BLESS=1` makes the present one the right one.
#[track_caller]
fn check(name: &str, screen: &Screen) {
    let path = format!("{}/tests/snapshots/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    let text = screen.text() + "\n";
    if std::env::var_os("STETH_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let wanted = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        text == wanted,
        "{name} has changed; it was\n{wanted}\nand is\n{text}"
    );
}

#[test]
fn pictures() {
    for (columns, rows) in ALL_SIZES {
        let cases = [
            ("all", ""),
            ("starting", "j"),
            ("stacks", "j2"),
            ("sockets", "jj1"),
            ("exits", "4"),
            ("why", "w"),
            ("why-second", "wj"),
            ("finding", "w<Enter>"),
            ("unseen", "jjj"),
            ("tree", "t"),
            ("inside", "jjjj<Enter>"),
            ("process", "jjjj<Enter>j<Enter>3"),
            ("others", "G<Enter>j"),
            ("filter", "/kind:gun"),
            ("help", "?"),
        ];
        for (name, keys) in cases {
            let mut screen = Screen::showing(columns, rows, fixture::busy(0.0));
            screen.keys(keys);
            check(&format!("{name}-{columns}x{rows}"), &screen);
        }
    }
    let mut ascii = Screen::new(
        80,
        24,
        Theme {
            colours: false,
            ascii: true,
        },
    );
    ascii.see(fixture::busy(0.0));
    check("ascii-80x24", &ascii);
}

const ALL_SIZES: [(u16, u16); 3] = [(80, 24), (160, 48), (40, 10)];

#[test]
fn the_first_screen_shows_the_cause_at_every_size() {
    for (columns, rows) in ALL_SIZES {
        let server = fixture::scene(
            0.0,
            vec![fixture::serving_gunicorn(), fixture::starting_uvicorn()],
            vec![],
            vec![],
        );
        let screen = Screen::showing(columns, rows, server);
        let selected = screen.selected();
        assert!(selected.starts_with("▸✖ starting"), "{selected}");
        screen.has("WHY  ✖ startup has run");
        screen.has("✖ 1 failing");
        if columns >= 80 {
            screen.has("wait_for_database (app/db.py:31) for 43 s");
            screen.has("move it off the loop");
            screen.has("check it: ss -tnp state syn-sent dst 10.0.0.5");
            screen.has("14:01:28 starting");
            screen.has("▸ wait_for_database (app/db.py:31)");
        }
    }
}

#[test]
fn before_the_first_look_it_says_that_it_looks() {
    for (columns, rows) in ALL_SIZES {
        Screen::new(columns, rows, UNICODE).has("looking…");
    }
}

#[test]
fn a_machine_without_python_is_told_from_one_that_cannot_be_seen() {
    let screen = Screen::showing(80, 24, fixture::scene(0.0, vec![], vec![], vec![]));
    screen.has("no Python process on this machine");
    screen.has("● 0 serving");
    let (_, gaps) = fixture::unseen();
    let screen = Screen::showing(80, 24, fixture::scene(0.0, vec![], vec![], gaps));
    screen.has("no Python process that this user can see");
}

#[test]
fn a_crash_loop_shows_its_exits() {
    let mut screen = Screen::showing(
        80,
        24,
        fixture::scene(0.0, vec![fixture::crash_looping_gunicorn()], vec![], vec![]),
    );
    screen.has("▸⟳ crash-looping");
    screen.has("▄▆█ 6/5 full");
    screen.keys("4");
    screen.has("14 processes have ended since we look");
    screen.has("14:02:10  worker 4100         lived 0.8 s        code 3");
    screen.has("last in <module> (api/settings.py:12)");
    screen.has("SIGKILL");
    screen.keys("G");
    screen.lacks("14:02:10  worker 4100");
    screen.has("worker 4087");
}

#[test]
fn a_healthy_server_shows_its_workers_and_where_it_listens() {
    let mut screen = Screen::showing(
        160,
        48,
        fixture::scene(0.0, vec![fixture::serving_gunicorn()], vec![], vec![]),
    );
    let row = screen.selected();
    for wanted in [
        "● serving",
        "41d",
        "gunicorn shop:app (900), 4 workers",
        "0.0.0.0:8000",
        "3/2048",
        "35",
        "31%",
        "205M",
    ] {
        assert!(row.contains(wanted), "{wanted:?} is not in {row}");
    }
    screen.has("0.0.0.0:9100  side port  LISTEN");
    screen.has("accepting: 911 912 913 914 · held by 900 911 912 913 914");
    screen.has("sockets 4 (+12/min)");
    screen.keys("<Enter>");
    screen.has("web-3 › gunicorn shop:app (900)");
    screen.has("└ worker (914)");
    screen.keys("jj<Enter>");
    screen.has("› worker 912");
    screen.has("PROCESS");
    screen.keys("3");
    screen.has("worker 912  S sleeping");
    screen.lacks("worker 911  S sleeping");
    screen.keys("<Esc><Esc><Esc>");
    screen.has("gunicorn shop:app (900), 4 workers");
}

#[test]
fn a_full_queue_says_full_and_tells_of_drops() {
    let scene = fixture::scene(0.0, vec![fixture::overflowing()], vec![], vec![]);
    let mut screen = Screen::showing(80, 24, Arc::clone(&scene));
    assert!(screen.selected().contains("129/128 full"));
    screen.keys("1");
    screen.has("syn 64   drops 532 (now 17.2/s)");
    assert!(
        Screen::showing(200, 48, scene)
            .selected()
            .contains("129/128 17 drops/s")
    );
}

#[test]
fn what_was_not_seen_is_a_question_mark_and_names_the_right() {
    let (server, gaps) = fixture::unseen();
    let mut screen = Screen::showing(160, 48, fixture::scene(0.0, vec![server], vec![], gaps));
    let row = screen.selected();
    assert!(row.contains("≥5m"), "{row}");
    assert_eq!(
        row.matches('?').count(),
        5,
        "queue, syn, fds, cpu and python: {row}"
    );
    assert!(!row.contains("0%"), "{row}");
    screen.has("? not seen: python-stack of 977 (ptrace access denied) → sudo steth");
    screen.has("? stacks not seen: ptrace access denied → sudo steth");
    screen.has("? open files not seen: permission denied → sudo steth");
    screen.keys("1");
    screen.has("accept queue ?   syn ?   drops ?");
    screen.has("accepting: ?");
}

#[test]
fn other_python_is_folded_apart_and_never_red() {
    let others = vec![
        fixture::outsider(50, "celery -A shop worker"),
        fixture::outsider(51, "backup.py"),
    ];
    let mut screen = Screen::showing(80, 24, fixture::scene(0.0, vec![], others, vec![]));
    screen.has("other Python: 2 (celery -A shop worker, backup.py)");
    screen.has("● 0 serving");
    screen.keys("<Enter>j");
    assert!(screen.selected().contains("not-a-server"));
    screen.has("nothing says that it means to listen: never counted as failing");
    let grid = screen.grid();
    assert!(
        grid.content
            .iter()
            .all(|cell| cell.fg != ratatui::style::Color::Red)
    );
}

#[test]
fn the_selection_follows_its_server_when_rows_move() {
    let calm = |seconds: f64, fails: bool| {
        let mut second = fixture::starting_uvicorn();
        if !fails {
            second.findings.clear();
            second.phase = steth::diagnosis::Phase::Serving;
        }
        fixture::scene(
            seconds,
            vec![fixture::serving_gunicorn(), second],
            vec![],
            vec![],
        )
    };
    let mut screen = Screen::showing(80, 24, calm(0.0, false));
    assert!(screen.selected().contains("gunicorn shop:app"));
    let effects = screen.keys("j");
    assert_eq!(effects, [Effect::Focus(Some(fixture::key(4127)))]);
    let row_of = |screen: &Screen, name: &str| {
        screen
            .text()
            .lines()
            .position(|l| l.contains(name))
            .unwrap()
    };
    assert_eq!(row_of(&screen, "(4127)"), 3);
    screen.see(calm(1.0, true));
    assert_eq!(row_of(&screen, "(4127)"), 3, "a row does not jump at once");
    screen.see(calm(2.0, true));
    assert_eq!(row_of(&screen, "(4127)"), 3);
    screen.see(calm(3.1, true));
    assert_eq!(
        row_of(&screen, "(4127)"),
        2,
        "it moves when the change has lasted"
    );
    assert!(
        screen.selected().contains("(4127)"),
        "the selection went with it"
    );
}

#[test]
fn a_group_that_flaps_moves_nothing() {
    let flapping = |seconds: f64| {
        let mut second = fixture::starting_uvicorn();
        if (seconds as u64).is_multiple_of(2) {
            second.findings.clear();
        }
        fixture::scene(
            seconds,
            vec![fixture::starting_uvicorn_like(900), second],
            vec![],
            vec![],
        )
    };
    let mut screen = Screen::showing(80, 24, flapping(0.0));
    let order = |screen: &Screen| {
        screen
            .text()
            .lines()
            .skip(2)
            .take(2)
            .map(|l| l.contains("(4127)"))
            .collect::<Vec<_>>()
    };
    let before = order(&screen);
    for second in 1..8 {
        screen.see(flapping(f64::from(second)));
        assert_eq!(order(&screen), before, "at {second} s");
    }
}

#[test]
fn nobody_having_chosen_a_row_the_first_failure_is_selected() {
    let mut screen = Screen::showing(
        80,
        24,
        fixture::scene(0.0, vec![fixture::serving_gunicorn()], vec![], vec![]),
    );
    assert!(screen.selected().contains("gunicorn shop:app"));
    screen.see(fixture::scene(
        1.0,
        vec![fixture::serving_gunicorn(), fixture::starting_uvicorn()],
        vec![],
        vec![],
    ));
    assert!(screen.selected().contains("(4127)"));
}

#[test]
fn a_server_that_is_gone_leaves_the_selection_in_its_place() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    screen.keys("j<Enter>");
    screen.has("› uvicorn app.main:app (4127)");
    screen.see(fixture::scene(
        1.0,
        vec![fixture::serving_gunicorn()],
        vec![],
        vec![],
    ));
    assert!(screen.selected().contains("gunicorn shop:app"));
}

#[test]
fn paused_the_picture_stands_and_says_what_it_misses() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    screen.keys(" ");
    screen.has("PAUSED");
    let mut changed = fixture::starting_uvicorn();
    changed.phase = steth::diagnosis::Phase::Serving;
    changed.findings.clear();
    changed.timeline.push(steth::diagnosis::PhaseChange {
        at: fixture::at(5.0),
        phase: changed.phase,
    });
    screen.see(fixture::scene(12.4, vec![changed], vec![], vec![]));
    screen.has("PAUSED 12 s, 1 phase change since");
    screen.has("14:02:11");
    screen.has("crash-looping");
    screen.keys(" ");
    screen.lacks("PAUSED");
    screen.lacks("crash-looping");
    screen.has("● 1 serving");
}

#[test]
fn a_filter_works_while_it_is_typed() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    let cases = [
        ("gunicorn", vec!["(3001)", "(900)"]),
        ("port:9000", vec!["(7001)"]),
        ("phase:starting", vec!["(4127)"]),
        ("pid:912", vec!["(900)"]),
        ("py:3.11 !kind:gunicorn", vec!["(4127)", "(7001)"]),
        ("kind:uvicorn", vec!["(4127)"]),
        ("/run/api", vec!["(3001)"]),
        ("nothing-like-this", vec![]),
    ];
    for (typed, wanted) in cases {
        screen.keys("/");
        screen.keys(typed);
        screen.has(&format!("/{typed}"));
        let text = screen.text();
        let table: Vec<&str> = text
            .lines()
            .skip(2)
            .take_while(|l| !l.starts_with('─'))
            .collect();
        for pid in ["(3001)", "(4127)", "(7001)", "(977)", "(900)"] {
            let there = table.iter().any(|l| l.contains(pid));
            assert_eq!(there, wanted.contains(&pid), "{typed}: {pid}\n{text}");
        }
        screen.keys("<Esc>");
    }
    screen.keys("/uvi<Enter>");
    screen.has("filter \"uvi\"");
    screen.lacks("(7001)");
    screen.keys("<Esc>");
    screen.has("(7001)");
}

#[test]
fn letters_are_text_while_a_filter_is_typed_and_control_c_still_ends() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    let effects = screen.keys("/q t?");
    assert!(!effects.contains(&Effect::Quit), "{effects:?}");
    screen.has("/q t?");
    assert!(screen.keys("<^c>").contains(&Effect::Interrupt));
}

#[test]
fn only_failing_servers() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    screen.keys("!");
    screen.has("only failing");
    screen.lacks("(900)");
    screen.lacks("other Python");
    screen.has("(7001)");
    screen.keys("!");
    screen.has("(900)");
}

#[test]
fn the_tree_shows_processes_under_their_server() {
    let mut screen = Screen::showing(160, 48, fixture::busy(0.0));
    screen.lacks("└ worker");
    screen.keys("t");
    screen.has("├ master (900)");
    screen.has("└ worker (914)");
    screen.keys("t");
    screen.lacks("└ worker");
}

#[test]
fn sorting_by_a_column_and_back() {
    let mut screen = Screen::showing(160, 48, fixture::sixty(0.0));
    assert!(
        screen.selected().contains("svc40"),
        "the failing one comes first"
    );
    screen.keys("<<<");
    screen.has("CPU↓");
    let first = |screen: &Screen| screen.text().lines().nth(2).unwrap().to_owned();
    assert!(first(&screen).contains("svc59"));
    screen.keys("I");
    screen.has("CPU↑");
    assert!(first(&screen).contains("svc0:"));
    screen.keys("I>>>");
    assert!(first(&screen).contains("svc40"));
}

#[test]
fn sixty_servers_can_all_be_reached() {
    for (columns, rows) in ALL_SIZES {
        let mut screen = Screen::showing(columns, rows, fixture::sixty(0.0));
        screen.has(" of 60 ");
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..60 {
            seen.insert(screen.selected());
            screen.keys("j");
        }
        assert_eq!(seen.len(), 60, "at {columns}x{rows}");
        screen.keys("<PgUp>k<Home>");
        let top = screen.selected();
        screen.keys("<PgDn><PgDn><PgDn><End>");
        assert_ne!(screen.selected(), top);
    }
}

#[test]
fn every_panel_can_be_scrolled_to_its_end() {
    for (columns, rows) in ALL_SIZES {
        for keys in ["w", "1", "2", "3", "4", "5"] {
            let mut screen = Screen::showing(columns, rows, fixture::busy(0.0));
            screen.keys(keys);
            for _ in 0..200 {
                screen.keys("j");
            }
            screen.lacks("more line: ↓");
            screen.lacks("more lines: ↓");
            let end = screen.text();
            screen.keys("G");
            assert_eq!(screen.text(), end);
            screen.keys("g");
        }
    }
}

#[test]
fn tab_goes_round_and_escape_leaves() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    screen.keys("1<Esc>");
    let before = screen.text();
    screen.keys("<Tab>");
    screen.has("WHY");
    assert_ne!(screen.text(), before);
    screen.keys("<Tab><Tab><Tab><Tab>");
    screen.has("▸[4] Exits");
    screen.keys("<BackTab><BackTab><BackTab>");
    screen.has("▸[1] Sockets");
    screen.keys("<Esc>");
    assert_eq!(screen.text(), before);
}

#[test]
fn the_help_lists_every_key() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    screen.keys("?");
    let mut pages = screen.text();
    for _ in 0..4 {
        screen.keys("<PgDn>");
        pages.push_str(&screen.text());
    }
    let words: Vec<&str> = pages.split_whitespace().collect();
    for binding in steth::view::tui::keymap::KEYS {
        for chord in binding.keys {
            assert!(
                words.contains(&chord.label().as_str()),
                "{} is not in the help",
                chord.label()
            );
        }
        let first_words: Vec<&str> = binding.help.split_whitespace().take(3).collect();
        assert!(pages.contains(&first_words.join(" ")), "{}", binding.help);
    }
    screen.keys("<Esc>");
    screen.has("crash-looping");
}

#[test]
fn the_rate_is_asked_for_and_shown_at_once() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    assert_eq!(screen.keys("+"), [Effect::SetInterval(0.5)]);
    screen.has("live 0.5s");
    assert_eq!(
        screen.keys("--"),
        [Effect::SetInterval(1.0), Effect::SetInterval(2.0)]
    );
    for _ in 0..20 {
        screen.keys("-");
    }
    screen.has("live 10s");
    assert_eq!(screen.keys("-"), []);
}

#[test]
fn looks_that_do_not_come_are_told() {
    let mut screen = Screen::showing(80, 24, fixture::busy(0.0));
    for _ in 0..5 {
        screen.state.update(Event::Tick);
    }
    screen.has("no look for 5 s");
    screen.see(fixture::busy(1.0));
    screen.has("live 1s");
}

#[test]
fn ascii_terminals_get_ascii_and_colourless_ones_no_colour() {
    let theme = Theme {
        colours: false,
        ascii: true,
    };
    for keys in ["", "t", "1", "2", "3", "4", "5", "w", "?", "/ü日本", " "] {
        let mut screen = Screen::new(160, 48, theme);
        screen.see(fixture::busy(0.0));
        screen.keys(keys);
        let text = screen.text();
        assert!(text.is_ascii(), "{keys}: {text}");
        let plain = ratatui::style::Color::Reset;
        assert!(
            screen
                .grid()
                .content
                .iter()
                .all(|c| c.fg == plain && c.bg == plain)
        );
    }
    let mut screen = Screen::new(80, 24, theme);
    screen.see(fixture::busy(0.0));
    screen.has(">@ crash-looping");
    screen.has("X starting");
    screen.has("468 6/5 full");
}

#[test]
fn every_state_has_its_own_word_and_glyph() {
    let screen = Screen::showing(80, 24, fixture::busy(0.0));
    for wanted in [
        "⟳ crash-looping",
        "✖ starting",
        "✖ stalled",
        "◐ listening",
        "● serving",
    ] {
        screen.has(wanted);
    }
}

#[test]
fn too_small_a_terminal_is_told_in_a_sentence() {
    let screen = Screen::showing(39, 10, fixture::busy(0.0));
    assert_eq!(
        screen
            .text()
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        "The terminal is too small: 39x10. steth needs 40x10."
    );
}

#[test]
fn no_size_makes_it_fail() {
    for scene in [
        fixture::busy(0.0),
        fixture::sixty(0.0),
        fixture::scene(0.0, vec![], vec![], vec![]),
    ] {
        for columns in (1..=200).step_by(13) {
            for rows in (1..=60).step_by(5) {
                let mut screen = Screen::showing(columns, rows, Arc::clone(&scene));
                for keys in ["", "2", "w", "<Esc><Enter>", "<Enter>", "?", "<Esc>/x"] {
                    screen.keys(keys);
                    screen.grid();
                }
            }
        }
    }
}

#[test]
fn a_steady_picture_changes_nothing_but_its_clocks() {
    let mut screen = Screen::showing(160, 48, fixture::sixty(0.0));
    let before = screen.grid();
    screen.see(fixture::sixty(0.1));
    assert_eq!(
        before.diff(&screen.grid()).len(),
        0,
        "ten looks within a second draw nothing"
    );
    screen.see(fixture::sixty(1.0));
    assert!(before.diff(&screen.grid()).len() < 20);
}

/// What targets control comes cleaned from the sources; should one forget it, the screen still stands.
#[test]
fn hostile_text_stays_in_its_cells() {
    let long = "日本語".repeat(2000);
    for name in [
        "\u{1b}[31mred\u{1b}[2J",
        "two\nlines\tand\rmore",
        "\u{9b}1mbold \u{202e}txt.exe",
        &long,
        "",
    ] {
        let mut server = fixture::starting_uvicorn();
        server.name = name.to_owned();
        server.why = name.to_owned();
        for finding in &mut server.findings {
            finding.summary = name.to_owned();
            finding.evidence = vec![name.to_owned(); 500];
            finding.remedy = name.to_owned();
            finding.confirm = name.to_owned();
        }
        let scene = fixture::scene(0.0, vec![server], vec![fixture::outsider(50, name)], vec![]);
        for (columns, rows) in ALL_SIZES {
            for keys in ["", "<Enter>", "w", "2", "<Esc><Esc>G<Enter>"] {
                let mut screen = Screen::showing(columns, rows, Arc::clone(&scene));
                screen.keys(keys);
                let hostile = |c: char| c.is_control() || ('\u{202a}'..='\u{202e}').contains(&c);
                let text = screen.text().replace('\n', "");
                assert!(!text.contains(hostile), "{text:?}");
            }
        }
    }
}

#[test]
fn columns_stand_still_beside_wide_characters() {
    let mut server = fixture::serving_gunicorn();
    server.name = "日本語のサーバー app:日本".to_owned();
    let scene = fixture::scene(0.0, vec![server, fixture::overflowing()], vec![], vec![]);
    let screen = Screen::showing(80, 24, scene);
    let grid = screen.grid();
    let at = |row: u16| {
        (0..80)
            .find(|x| grid.cell((*x, row)).is_some_and(|c| c.symbol() == ":"))
            .unwrap()
    };
    assert_eq!(at(2), at(3), "\n{}", screen.text());
}

#[test]
fn the_environment_chooses_the_theme() {
    let of = |pairs: &'static [(&str, &str)]| {
        let look_up = |name: &str| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        };
        Options::from_environment(look_up, 3600)
    };
    let rich = of(&[("TERM", "tmux-256color"), ("LANG", "C.UTF-8")]);
    assert!(rich.theme.colours && !rich.theme.ascii && !rich.dumb);
    let plain = of(&[
        ("TERM", "xterm"),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C"),
        ("NO_COLOR", "1"),
    ]);
    assert!(!plain.theme.colours && plain.theme.ascii);
    assert!(of(&[("TERM", "dumb")]).dumb);
}

/// `cargo test --release --test screens cost -- --ignored --nocapture`.
#[test]
#[ignore = "prints, proves nothing"]
fn cost() {
    let mut crowd = fixture::serving_gunicorn();
    let worker = crowd.members.last().unwrap().clone();
    crowd.members.extend((0..64).map(|_| worker.clone()));
    for (what, scene) in [
        ("60 servers", fixture::sixty(0.0)),
        (
            "64 workers",
            fixture::scene(0.0, vec![crowd], vec![], vec![]),
        ),
    ] {
        let mut screen = Screen::showing(160, 48, Arc::clone(&scene));
        let since = std::time::Instant::now();
        for _ in 0..100 {
            screen.see(Arc::clone(&scene));
            screen.grid();
        }
        println!(
            "{what}: {:?} for taking in a look and drawing it",
            since.elapsed() / 100
        );
    }
}
