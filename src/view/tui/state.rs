//! What does the screen show, and what does each event change of it? Pure: events in, effects out; time is the scene's.

use std::sync::Arc;

use crossterm::event::KeyEvent;

use crate::diagnosis::Server;
use crate::feed::Move;
use crate::snapshot::{Moment, ProcessKey};
use crate::view::Scene;

pub mod cursor;
mod keys;
pub mod opened;
mod past;
pub mod rows;
mod settle;

use cursor::{Cursor, RowId};
use opened::{FindingId, Opened};
use rows::Choice;

use super::arrange::{Band, Sort};
use super::clipboard::Clipboard;
use super::facts;
use super::filter::Filter;
use super::layout::{self, Areas, Focus, Wishes};
use super::order::Order;
use super::panel::{self, Asked, PanelId, Person, Room, Subject};
use super::theme::{self, Theme};

/// Seconds without a look, beyond what was asked for, after which the header says so.
const LATE_S: f64 = 3.0;

/// What the screen needs to know of its surroundings, once.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// What the terminal can show.
    pub theme: Theme,
    /// The zone that clocks are shown in: seconds east of UTC.
    pub utc_offset_s: i32,
    /// True for a terminal that cannot move its cursor (`TERM=dumb`): there is no screen then.
    pub dumb: bool,
    /// How text gets into the user's clipboard.
    pub clipboard: Clipboard,
}

impl Options {
    /// What the variables of an environment ask for, by a function that looks one up.
    pub fn from_environment(variable: impl Fn(&str) -> Option<String>, utc_offset_s: i32) -> Self {
        let term = variable("TERM").unwrap_or_default();
        let no_color = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (all, ctype, lang) = (variable("LC_ALL"), variable("LC_CTYPE"), variable("LANG"));
        let utf8 = theme::is_utf8(all.as_deref(), ctype.as_deref(), lang.as_deref());
        Self {
            theme: Theme::choose(no_color, utf8, &term),
            utc_offset_s,
            dumb: term == "dumb",
            clipboard: Clipboard::choose(
                &term,
                variable("TMUX").is_some(),
                variable("STY").is_some(),
            ),
        }
    }
}

/// Something happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// A key.
    Key(KeyEvent),
    /// The terminal has this many columns and rows now.
    Resize(u16, u16),
    /// A newer look.
    Scene(Arc<Scene>),
    /// A look of the past; or that there is none where one wanted to go but the present.
    Past(Option<Arc<Scene>>),
    /// Something that was asked for has been done, or could not be.
    Notice(String),
    /// A second has passed.
    Tick,
    /// The program runs again after a stop.
    Resumed,
}

/// Something is to be done that the state cannot do itself.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// End, as asked by `q`.
    Quit,
    /// End, as asked by `^C`.
    Interrupt,
    /// Stop this program until it is continued.
    Suspend,
    /// Look at quiet processes this often, in seconds.
    SetInterval(f64),
    /// Look at this process, and the server that it is the root of, more often.
    Focus(Option<ProcessKey>),
    /// Read the locals of these processes, once.
    ReadLocals(Vec<ProcessKey>),
    /// Ask the terminal to take this into its clipboard.
    Copy(String),
    /// Go somewhere among the looks that were kept.
    Travel(Move),
    /// Save the looks that were kept.
    SaveLooks,
    /// Save what is on the screen, as text.
    SaveView,
    /// Draw everything again.
    Redraw,
}

/// Where one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Among all servers.
    All,
    /// Inside one server; panels speak of all its processes.
    Server(ProcessKey),
    /// Inside one server; panels speak of the selected process.
    Process(ProcessKey),
}

/// What keys mean at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What the table of keys says.
    Normal,
    /// They are typed into the filter.
    Filter,
    /// The help is on screen.
    Help {
        /// Lines that have gone past its top.
        scroll: usize,
    },
}

/// The state of the screen.
#[derive(Debug)]
pub struct State {
    /// What the screen needs to know of its surroundings.
    pub options: Options,
    /// Columns and rows.
    pub size: (u16, u16),
    /// The newest look.
    pub live: Arc<Scene>,
    /// The look that is shown while paused.
    pub frozen: Option<Arc<Scene>>,
    /// True while what is shown is a look of the last minutes, or will be as soon as it comes.
    travels: bool,
    /// The scene at the moment that the user has marked.
    marked: Option<Arc<Scene>>,
    /// One line that is to be read; gone with the next key.
    pub notice: Option<String>,
    /// Where one is.
    pub place: Place,
    /// What keys mean.
    pub mode: Mode,
    /// Who listens to the arrow keys.
    pub focus: Focus,
    /// The panel that is shown.
    pub panel: PanelId,
    /// True once the user has chosen it: until then it is the one that suits the subject.
    panel_chosen: bool,
    /// Lines that have gone past the top of what has the focus.
    pub scroll: usize,
    /// True while what has the focus shows its end, and is to go on showing it.
    follows: bool,
    /// What was typed as a filter, among servers and inside one.
    typed: [String; 2],
    /// What the user wants to see among all rows.
    pub choice: Choice,
    inner_filter: Filter,
    order: Order,
    /// Rows of the table.
    pub rows: Vec<RowId>,
    outer: Cursor,
    inner: Cursor,
    /// Seconds since the newest look arrived, counted in ticks.
    pub quiet_s: u32,
    wanted_interval_s: Option<f64>,
    focused: Option<ProcessKey>,
    /// The processes whose locals are shown, while the panel of stacks has the focus; and when they were asked for.
    asked: Option<(Vec<ProcessKey>, Moment)>,
    /// The finding that has the cursor in WHY; the first where that is gone, or where none was chosen.
    chosen: Option<FindingId>,
    /// The finding that fills the screen.
    pub opened: Option<Opened>,
}

impl State {
    /// The screen before the first look has ended.
    pub fn new(options: Options) -> Self {
        let nothing = Scene::before_the_first_look(1.0);
        Self {
            options,
            size: (80, 24),
            live: Arc::new(nothing),
            frozen: None,
            travels: false,
            marked: None,
            notice: None,
            place: Place::All,
            mode: Mode::Normal,
            focus: Focus::Table,
            panel: PanelId::Stacks,
            panel_chosen: false,
            scroll: 0,
            follows: false,
            typed: [String::new(), String::new()],
            choice: Choice::default(),
            inner_filter: Filter::default(),
            order: Order::default(),
            rows: Vec::new(),
            outer: Cursor::default(),
            inner: Cursor::default(),
            quiet_s: 0,
            wanted_interval_s: None,
            focused: None,
            asked: None,
            chosen: None,
            opened: None,
        }
    }

    /// Takes in what happened; returns what is to be done.
    pub fn update(&mut self, event: Event) -> Vec<Effect> {
        let mut effects = match event {
            Event::Key(key) => self.key(key),
            Event::Resize(columns, rows) => {
                self.size = (columns, rows);
                vec![Effect::Redraw]
            }
            Event::Resumed => vec![Effect::Redraw],
            Event::Tick => {
                self.quiet_s = self.quiet_s.saturating_add(1);
                return Vec::new();
            }
            Event::Scene(scene) => {
                self.quiet_s = 0;
                self.take_places_anew(&scene);
                self.live = scene;
                if self.wanted_interval_s == Some(self.live.interval_s) {
                    self.wanted_interval_s = None;
                }
                Vec::new()
            }
            Event::Past(scene) => {
                self.see_past(scene);
                Vec::new()
            }
            Event::Notice(words) => {
                self.notice = Some(words);
                Vec::new()
            }
        };
        self.settle();
        let focused = self.focused_now();
        if focused != self.focused {
            self.focused = focused;
            effects.push(Effect::Focus(focused));
        }
        effects
    }

    /// The scene that is on screen: the newest, or the one at which it was paused.
    pub fn shown(&self) -> &Arc<Scene> {
        self.frozen.as_ref().unwrap_or(&self.live)
    }

    /// The moment that is on screen.
    pub fn now(&self) -> Moment {
        self.shown()
            .snapshot
            .as_ref()
            .map_or(Moment::default(), |s| s.at)
    }

    /// Seconds since the pause began and phase changes since then; `None` if not paused.
    pub fn paused(&self) -> Option<(f64, usize)> {
        let since = self.frozen.as_ref()?.snapshot.as_ref()?.at;
        let now = self.live.snapshot.as_ref()?.at;
        let servers = self.live.diagnosis.servers.iter();
        let changes = servers
            .flat_map(|s| s.timeline.iter())
            .filter(|change| change.at > since)
            .count();
        Some((now.seconds_since(since), changes))
    }

    /// Seconds between looks, as last asked for.
    pub fn interval_s(&self) -> f64 {
        self.wanted_interval_s.unwrap_or(self.live.interval_s)
    }

    /// True if the next look has been due for some time.
    pub fn is_late(&self) -> bool {
        f64::from(self.quiet_s) > self.interval_s() + LATE_S
    }

    /// The selection among the rows that are shown.
    pub fn cursor(&self) -> &Cursor {
        match self.place {
            Place::All => &self.outer,
            Place::Server(_) | Place::Process(_) => &self.inner,
        }
    }

    /// The filter that was typed for the rows that are shown.
    pub fn typed(&self) -> &str {
        let [outer, inner] = &self.typed;
        if self.place == Place::All {
            outer
        } else {
            inner
        }
    }

    /// The server that one is inside of.
    pub fn inside(&self) -> Option<&Server> {
        match self.place {
            Place::All => None,
            Place::Server(root) | Place::Process(root) => {
                facts::server(&self.shown().diagnosis, root)
            }
        }
    }

    /// What WHY and the panels speak of; `None` if nothing is selected or nothing has been seen yet.
    pub fn subject(&self) -> Option<Subject<'_>> {
        let scene = self.shown();
        let snapshot = scene.snapshot.as_deref()?;
        let row = self.cursor().row()?;
        let diagnosis = &scene.diagnosis;
        let (server, only, outsider) = match row {
            RowId::Others => (None, None, None),
            RowId::Outsider(key) => (None, None, facts::outsider(diagnosis, key)),
            RowId::Server(root) => (facts::server(diagnosis, root), None, None),
            RowId::Member { server, process } => {
                let only = (!matches!(self.place, Place::Server(_))).then_some(process);
                (facts::server(diagnosis, server), only, None)
            }
        };
        let members = server.into_iter().flat_map(|s| s.members.iter());
        let mut people: Vec<Person<'_>> = members
            .filter(|m| only.is_none_or(|key| m.process.key == key))
            .map(|m| Person {
                process: &m.process,
                member: Some(m),
                standing: &m.standing,
            })
            .collect();
        people.extend(outsider.map(|o| Person {
            process: &o.process,
            member: None,
            standing: &o.standing,
        }));
        let utc_offset_s = self.options.utc_offset_s;
        (server.is_some() || outsider.is_some()).then(|| Subject {
            snapshot,
            server,
            outsider,
            people,
            narrowed: only.is_some(),
            locals: self.asked.as_ref().map(|(keys, since)| Asked {
                keys,
                since: *since,
                answers: &self.live.locals,
            }),
            marked: self.marked.as_deref(),
            chosen: server.and_then(|s| self.chosen_in(s)),
            utc_offset_s,
        })
    }

    /// Where each part of the screen stands; `None` if it is too small.
    pub fn areas(&self) -> Option<Areas> {
        let why = self
            .subject()
            .map_or(1, |s| panel::why::lines(&s, self.why_room()).len());
        layout::areas(Wishes {
            size: self.size,
            rows: self.rows.len(),
            why,
            focus: self.focus,
            inside: self.place != Place::All,
            past: self.past().is_some(),
        })
    }

    /// The room that WHY has.
    pub fn why_room(&self) -> Room {
        Room {
            width: usize::from(self.size.0).saturating_sub(2),
            focused: self.focus == Focus::Why,
        }
    }

    /// The room that a panel has in an area of this width.
    pub fn panel_room(&self, id: PanelId, width: u16) -> Room {
        Room {
            width: usize::from(width).saturating_sub(2),
            focused: self.focus == Focus::Panel && self.panel == id,
        }
    }

    /// The width of the panel that is in focus: it never has more than half of a wide screen.
    pub(super) fn focused_width(&self) -> u16 {
        match self.is_wide() {
            true => self.size.0 / 2 - 1,
            false => self.size.0,
        }
    }

    /// Which panels are shown, in this many rows: one, or, on a wide screen, pairs of them; all of them where none is in focus and
    /// there is room.
    pub fn bands(&self, sort: Sort, rows: u16) -> Vec<Band> {
        if !self.is_wide() {
            let (left, right) = (self.panel, None);
            return vec![Band { left, right, rows }];
        }
        let rows_for_all = if self.focus == Focus::Panel { 1 } else { rows };
        let mut bands = sort.bands(rows_for_all, self.panel);
        if let [only] = bands.as_mut_slice() {
            only.rows = rows;
        }
        bands
    }

    /// True if two panels stand side by side.
    pub fn is_wide(&self) -> bool {
        self.size.0 >= layout::WIDE
    }
}
