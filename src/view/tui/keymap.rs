//! Which key does what? One table, from which both dispatch and the help screen are made: what is listed works, and
//! what works is listed.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::feed::Move;

use super::panel::PanelId;

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq)]
#[expect(missing_docs, reason = "the table below says what each does")]
pub enum Action {
    Up,
    Down,
    First,
    Last,
    PageUp,
    PageDown,
    HalfPageUp,
    HalfPageDown,
    Enter,
    Back,
    NextPanel,
    PreviousPanel,
    Show(PanelId),
    ShowWhy,
    Locals,
    Filter,
    OnlyFailing,
    SortLeft,
    SortRight,
    SortInvert,
    Tree,
    Pause,
    Travel(Move),
    Present,
    Mark,
    SaveLooks,
    SaveView,
    Faster,
    Slower,
    Help,
    Redraw,
    Suspend,
    Quit,
    Interrupt,
}

/// Groups of the help screen, in its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// Moving about.
    Move,
    /// The lower half of the screen.
    Panels,
    /// Which rows, in which order.
    Rows,
    /// What was seen before.
    Past,
    /// The program itself.
    Program,
}

impl Section {
    /// All of them, in the order of the help screen.
    pub const ALL: [Section; 5] = [
        Self::Move,
        Self::Panels,
        Self::Rows,
        Self::Past,
        Self::Program,
    ];

    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Move => "Move",
            Self::Panels => "Look closer",
            Self::Rows => "Choose rows",
            Self::Past => "Go back",
            Self::Program => "Program",
        }
    }
}

/// A key, with Control or without. Shift is part of the character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chord {
    /// The key alone.
    Key(KeyCode),
    /// The character together with Control.
    Ctrl(char),
}

impl Chord {
    /// The chord that a terminal reported.
    pub fn of(key: KeyEvent) -> Option<Self> {
        if key.modifiers.contains(KeyModifiers::ALT) {
            return None;
        }
        match key.code {
            KeyCode::Char(c) if key.modifiers.contains(KeyModifiers::CONTROL) => {
                Some(Self::Ctrl(c.to_ascii_lowercase()))
            }
            code => Some(Self::Key(code)),
        }
    }

    /// How people write it: `^u`, `PgDn`, `j`.
    pub fn label(self) -> String {
        match self {
            Self::Ctrl(c) => format!("^{}", c.to_ascii_uppercase()),
            Self::Key(code) => match code {
                KeyCode::Char(' ') => "space".to_owned(),
                KeyCode::Char(c) => c.to_string(),
                KeyCode::Up => "↑".to_owned(),
                KeyCode::Down => "↓".to_owned(),
                KeyCode::Left => "←".to_owned(),
                KeyCode::Right => "→".to_owned(),
                KeyCode::PageUp => "PgUp".to_owned(),
                KeyCode::PageDown => "PgDn".to_owned(),
                KeyCode::BackTab => "Shift-Tab".to_owned(),
                KeyCode::F(n) => format!("F{n}"),
                other => format!("{other:?}"),
            },
        }
    }
}

/// One line of the table.
#[derive(Debug)]
pub struct Binding {
    /// Keys that do it.
    pub keys: &'static [Chord],
    /// What they do.
    pub action: Action,
    /// Where the help screen lists it.
    pub section: Section,
    /// The help screen's words.
    pub help: &'static str,
    /// One word for the bottom line of the screen, for the few that belong there.
    pub hint: Option<&'static str>,
}

const fn key(code: KeyCode) -> Chord {
    Chord::Key(code)
}

const fn char(c: char) -> Chord {
    Chord::Key(KeyCode::Char(c))
}

const fn bind(
    keys: &'static [Chord],
    action: Action,
    section: Section,
    help: &'static str,
    hint: Option<&'static str>,
) -> Binding {
    Binding {
        keys,
        action,
        section,
        help,
        hint,
    }
}

use Section::{Move as Moves, Panels, Past, Program, Rows};

/// The table. One line for each: a table is read by its columns.
#[rustfmt::skip]
pub const KEYS: &[Binding] = &[
    bind(&[key(KeyCode::Up), char('k')], Action::Up, Moves, "one row up", None),
    bind(&[key(KeyCode::Down), char('j')], Action::Down, Moves, "one row down", None),
    bind(&[key(KeyCode::Home), char('g')], Action::First, Moves, "to the top", None),
    bind(&[key(KeyCode::End), char('G')], Action::Last, Moves, "to the end", None),
    bind(&[key(KeyCode::PageUp), Chord::Ctrl('b')], Action::PageUp, Moves, "a page up", None),
    bind(&[key(KeyCode::PageDown), Chord::Ctrl('f')], Action::PageDown, Moves, "a page down", None),
    bind(&[Chord::Ctrl('u')], Action::HalfPageUp, Moves, "half a page up", None),
    bind(&[Chord::Ctrl('d')], Action::HalfPageDown, Moves, "half a page down", None),
    bind(&[key(KeyCode::Enter)], Action::Enter, Moves, "into the server, the process; a finding whole, and copies its command", Some("open")),
    bind(&[key(KeyCode::Esc), key(KeyCode::Backspace)], Action::Back, Moves, "back; clears the filter", Some("back")),
    bind(&[char('1')], Action::Show(PanelId::Sockets), Panels, "sockets: listeners, queues, connections", None),
    bind(&[char('2')], Action::Show(PanelId::Stacks), Panels, "Python stacks of all threads", None),
    bind(&[char('3')], Action::Show(PanelId::Threads), Panels, "threads and open files", None),
    bind(&[char('4')], Action::Show(PanelId::Exits), Panels, "recent exits", None),
    bind(&[char('5')], Action::Show(PanelId::Tasks), Panels, "asyncio tasks: who waits for what, and for whom", None),
    bind(&[char('6')], Action::Show(PanelId::Log), Panels, "log: the newest lines, beside the phases", None),
    bind(&[char('7')], Action::Show(PanelId::Changes), Panels, "changes: what is not as it was at the marked moment", None),
    bind(&[char('w'), char('0')], Action::ShowWhy, Panels, "WHY: all findings; arrows choose one, Enter opens it", Some("why")),
    bind(&[char('l')], Action::Locals, Panels, "local variables of the frames, read once; secrets masked", None),
    bind(&[key(KeyCode::Tab), key(KeyCode::Right)], Action::NextPanel, Panels, "next panel (arrows scroll it, Esc leaves it)", Some("panels")),
    bind(&[key(KeyCode::BackTab), key(KeyCode::Left)], Action::PreviousPanel, Panels, "previous panel", None),
    bind(&[char('/')], Action::Filter, Rows, "filter: text port:8000 phase:bound pid:1 py:3.11 kind:flask !not", Some("filter")),
    bind(&[char('!')], Action::OnlyFailing, Rows, "only failing servers, or all again", None),
    bind(&[char('<')], Action::SortLeft, Rows, "sort by the column to the left", None),
    bind(&[char('>')], Action::SortRight, Rows, "sort by the column to the right", None),
    bind(&[char('I')], Action::SortInvert, Rows, "invert the order", None),
    bind(&[char('t')], Action::Tree, Rows, "tree: processes under each server", None),
    bind(&[char(' ')], Action::Pause, Past, "pause the picture, collecting goes on; in the past: play, stop", Some("pause")),
    bind(&[char('[')], Action::Travel(Move::Looks(-1)), Past, "a look back: ten minutes are kept", Some("back")),
    bind(&[char(']')], Action::Travel(Move::Looks(1)), Past, "a look on", Some("on")),
    bind(&[char(',')], Action::Travel(Move::Seconds(-10)), Past, "ten seconds back", None),
    bind(&[char('.')], Action::Travel(Move::Seconds(10)), Past, "ten seconds on", None),
    bind(&[char('{')], Action::Travel(Move::Change(-1)), Past, "to the last change of a phase or finding", None),
    bind(&[char('}')], Action::Travel(Move::Change(1)), Past, "to the next change", Some("next change")),
    bind(&[char('(')], Action::Travel(Move::First), Past, "to the first look that is kept", None),
    bind(&[char(')')], Action::Travel(Move::Last), Past, "to the last one", None),
    bind(&[char('m')], Action::Mark, Past, "mark this moment: 7 tells what differs from it", None),
    bind(&[char('L')], Action::Present, Past, "to the present", Some("present")),
    bind(&[char('R')], Action::SaveLooks, Past, "save the looks that are kept, for steth replay", None),
    bind(&[char('S')], Action::SaveView, Past, "save this screen as text", None),
    bind(&[char('+'), char('=')], Action::Faster, Program, "look more often; in the past: play faster", None),
    bind(&[char('-')], Action::Slower, Program, "look less often; in the past: play slower", None),
    bind(&[char('?'), char('h'), key(KeyCode::F(1))], Action::Help, Program, "this help", Some("help")),
    bind(&[Chord::Ctrl('l')], Action::Redraw, Program, "draw everything again", None),
    bind(&[Chord::Ctrl('z')], Action::Suspend, Program, "suspend; fg resumes", None),
    bind(&[char('q')], Action::Quit, Program, "quit", Some("quit")),
    bind(&[Chord::Ctrl('c')], Action::Interrupt, Program, "quit from anywhere", None),
];

/// What the key asks for; `None` for a key that means nothing.
pub fn action(event: KeyEvent) -> Option<Action> {
    let chord = Chord::of(event)?;
    KEYS.iter()
        .find(|binding| binding.keys.contains(&chord))
        .map(|binding| binding.action)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_bound_once_and_dispatches() {
        let mut seen: Vec<Chord> = Vec::new();
        for binding in KEYS {
            assert!(!binding.help.is_empty(), "{binding:?}");
            for &chord in binding.keys {
                assert!(!seen.contains(&chord), "{chord:?} is bound twice");
                seen.push(chord);
                let event = match chord {
                    Chord::Key(code) => KeyEvent::new(code, KeyModifiers::NONE),
                    Chord::Ctrl(c) => KeyEvent::new(KeyCode::Char(c), KeyModifiers::CONTROL),
                };
                assert_eq!(action(event), Some(binding.action), "{chord:?}");
            }
        }
        assert!(seen.len() > 35);
    }

    #[test]
    fn shift_is_part_of_the_character_and_alt_is_not_ours() {
        let shifted = KeyEvent::new(KeyCode::Char('G'), KeyModifiers::SHIFT);
        assert_eq!(action(shifted), Some(Action::Last));
        let alt = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::ALT);
        assert_eq!(action(alt), None);
    }
}
