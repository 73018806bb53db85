//! The live screen: scenes and keys in, pictures out. One loop, one thread, no state of its own: what happens goes to
//! [`state::State`], what it shows comes from [`draw::draw`], the terminal belongs to [`terminal`].

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossterm::event::{Event as Input, EventStream};
use futures_util::StreamExt;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use crate::diagnosis::Phase;
use crate::feed::Move;
use crate::snapshot::ProcessKey;

use super::Scene;

pub mod arrange;
pub mod cell;
pub mod clipboard;
pub mod column;
pub mod draw;
pub mod facts;
pub mod filter;
pub mod keymap;
pub mod layout;
pub mod order;
pub mod panel;
pub mod sheet;
pub mod standing;
pub mod state;
pub mod terminal;
pub mod text;
pub mod theme;

pub use state::{Effect, Event, Options, State};
pub use theme::Theme;

use terminal::Terminal;

/// What the screen asks for.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// Look in another way from now on.
    Collect(Wish),
    /// Show another look of those that were kept.
    Travel(Move),
    /// Save the looks that were kept.
    SaveLooks,
    /// Save this picture of the screen.
    SaveView(String),
}

/// What the screen asks of whoever collects.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// Look at quiet processes this often, in seconds.
    Interval(f64),
    /// Look at this process, and the server that it is the root of, more often; at none in particular.
    Focus(Option<ProcessKey>),
    /// Read the locals of these processes, once, and hand them on with the scenes.
    Locals(Vec<ProcessKey>),
}

/// What the screen is connected to.
pub struct Links {
    /// Newest looks.
    pub scenes: watch::Receiver<Arc<Scene>>,
    /// Looks of the past that were asked for; `None` for the present.
    pub past: watch::Receiver<Option<Arc<Scene>>>,
    /// What has come of a request, to be read once.
    pub notices: mpsc::UnboundedReceiver<String>,
    /// Sees to what the screen asks for, and returns at once.
    pub ask: Box<dyn Fn(Request)>,
}

/// How the screen ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// By `q`.
    Quit,
    /// By `^C`, or SIGINT from elsewhere.
    Interrupted,
    /// By this signal: SIGTERM or SIGHUP.
    Signal(i32),
    /// The terminal has gone.
    OutputClosed,
    /// Nobody makes scenes any more.
    ScenesEnded,
}

/// Why there was no screen.
#[derive(Debug, thiserror::Error)]
pub enum TuiError {
    /// Standard output is no terminal, or one that cannot move its cursor (`TERM=dumb`).
    #[error("the output is not a terminal that a screen can be drawn on")]
    NotATerminal,
    /// The terminal could not be taken over.
    #[error("the terminal could not be set up")]
    Terminal(#[source] io::Error),
}

/// The least time between two pictures.
const FRAME: Duration = Duration::from_millis(50);
/// The same, where only numbers have moved.
const CALM_FRAME: Duration = Duration::from_millis(200);

/// Shows scenes until the user leaves. The terminal is restored when this returns, however it does.
///
/// # Errors
/// If there is no terminal to draw on; that is known before anything is written.
pub async fn run(links: Links, options: Options) -> Result<Ended, TuiError> {
    if options.dumb || !Terminal::is_there() {
        return Err(TuiError::NotATerminal);
    }
    let signals = Signals::install().map_err(TuiError::Terminal)?;
    let terminal = Terminal::enter().map_err(TuiError::Terminal)?;
    let mut screen = Screen {
        state: State::new(options),
        terminal,
    };
    let size = screen.terminal.size();
    screen.state.update(Event::Resize(size.0, size.1));
    Ok(screen
        .live(links, signals)
        .await
        .unwrap_or(Ended::OutputClosed))
}

struct Signals {
    terminate: Signal,
    hangup: Signal,
    interrupt: Signal,
    stop: Signal,
    resume: Signal,
}

impl Signals {
    fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
            interrupt: signal(SignalKind::interrupt())?,
            stop: signal(SignalKind::from_raw(libc::SIGTSTP))?,
            resume: signal(SignalKind::from_raw(libc::SIGCONT))?,
        })
    }
}

struct Screen {
    state: State,
    terminal: Terminal,
}

impl Screen {
    /// The loop. An error is the terminal's, and means that it has gone.
    async fn live(&mut self, mut links: Links, mut signals: Signals) -> io::Result<Ended> {
        let mut keys = EventStream::new();
        let mut seconds = interval(Duration::from_secs(1));
        seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        links.scenes.mark_changed();
        self.draw()?;
        let mut drawn = Instant::now();
        let mut due: Option<Instant> = None;
        let mut told = Vec::new();
        loop {
            let event = tokio::select! {
                biased;
                _ = signals.terminate.recv() => return Ok(Ended::Signal(libc::SIGTERM)),
                _ = signals.hangup.recv() => return Ok(Ended::Signal(libc::SIGHUP)),
                _ = signals.interrupt.recv() => return Ok(Ended::Interrupted),
                _ = signals.stop.recv() => { self.terminal.suspend()?; Some(Event::Resumed) }
                _ = signals.resume.recv() => { self.terminal.resumed()?; Some(Event::Resumed) }
                input = keys.next() => match input {
                    Some(Ok(input)) => of_input(input),
                    Some(Err(_)) | None => return Ok(Ended::OutputClosed),
                },
                _ = sleep_until(due.unwrap_or(drawn)), if due.is_some() => {
                    self.draw()?;
                    drawn = Instant::now();
                    due = None;
                    None
                }
                Some(words) = links.notices.recv() => Some(Event::Notice(words)),
                Ok(()) = links.past.changed() => Some(Event::Past(links.past.borrow_and_update().clone())),
                changed = links.scenes.changed() => match changed {
                    Ok(()) => Some(Event::Scene(Arc::clone(&links.scenes.borrow_and_update()))),
                    Err(_) => return Ok(Ended::ScenesEnded),
                },
                _ = seconds.tick() => Some(Event::Tick),
            };
            let Some(event) = event else { continue };
            if matches!(event, Event::Tick) {
                self.state.update(event);
                // Nothing else shows the time that passes without a look.
                if self.state.is_late() {
                    due.get_or_insert(drawn + CALM_FRAME);
                }
                continue;
            }
            let pause = match &event {
                Event::Scene(scene) if news(scene) == told => CALM_FRAME,
                _ => FRAME,
            };
            if let Event::Scene(scene) = &event {
                told = news(scene);
            }
            let next = drawn + pause;
            due = Some(due.map_or(next, |due| due.min(next)));
            for effect in self.state.update(event) {
                if let Some(ended) = self.carry_out(effect, &links)? {
                    return Ok(ended);
                }
            }
        }
    }

    fn carry_out(&mut self, effect: Effect, links: &Links) -> io::Result<Option<Ended>> {
        let ask = &links.ask;
        match effect {
            Effect::Quit => return Ok(Some(Ended::Quit)),
            Effect::Interrupt => return Ok(Some(Ended::Interrupted)),
            Effect::Suspend => {
                self.terminal.suspend()?;
                let (columns, rows) = self.terminal.size();
                self.state.update(Event::Resize(columns, rows));
            }
            Effect::Redraw => self.terminal.redraw(),
            Effect::Copy(text) => {
                let sequence = self.state.options.clipboard.sequence(&text);
                self.terminal.send(&sequence)?;
            }
            Effect::SetInterval(seconds) => ask(Request::Collect(Wish::Interval(seconds))),
            Effect::ReadLocals(keys) => ask(Request::Collect(Wish::Locals(keys))),
            Effect::Focus(key) => ask(Request::Collect(Wish::Focus(key))),
            Effect::Travel(to) => ask(Request::Travel(to)),
            Effect::SaveLooks => ask(Request::SaveLooks),
            Effect::SaveView => ask(Request::SaveView(draw::text(&self.state))),
        }
        Ok(None)
    }

    fn draw(&mut self) -> io::Result<()> {
        self.terminal.draw(draw::compose(&self.state))
    }
}

/// What an operator waits for: who is in which phase, with how many findings.
fn news(scene: &Scene) -> Vec<(ProcessKey, Phase, usize)> {
    let servers = scene.diagnosis.servers.iter();
    servers
        .map(|s| (s.root, s.phase, s.findings.len()))
        .collect()
}

fn of_input(input: Input) -> Option<Event> {
    match input {
        Input::Key(key) => Some(Event::Key(key)),
        Input::Resize(columns, rows) => Some(Event::Resize(columns, rows)),
        _ => None,
    }
}
