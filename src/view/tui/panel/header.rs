//! The first line: whose machine, what time, is it live, how many fail; inside a server, where one is.

use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::feed::{Origin, Past};
use crate::view::tui::facts;
use crate::view::tui::standing::{self, Group};
use crate::view::tui::state::{Place, State, cursor::RowId};
use crate::view::tui::{text, theme};
use crate::view::{Scene, format};

/// The line. The right end gives way in steps: our own cost, the count of all, what is fine; never what fails.
pub fn line(state: &State, width: usize) -> Line<'static> {
    let mut left = vec![Span::styled(" steth", theme::BOLD)];
    let Some(snapshot) = &state.shown().snapshot else {
        return text::ends(left, vec![Span::raw("looking… ")], width);
    };
    let clock = format::clock(snapshot.wall_ms, state.options.utc_offset_s);
    let (word, style) = liveness(state);
    let tail = if width < 64 {
        " · ".to_owned()
    } else {
        format!(" · {clock} · ")
    };
    let counts = Counts::of(state);
    let fixed = 6 + 3 + tail.width() + word.width() + 1;
    let room = width.saturating_sub(fixed + counts.failing().width());
    let place = breadcrumb(state, &snapshot.host, room);
    left.push(Span::raw(format!(" · {place}{tail}")));
    left.push(Span::styled(word, style));
    let used: usize = left.iter().map(Span::width).sum();
    let fits = |right: &Vec<Span<'_>>| used + right.iter().map(Span::width).sum::<usize>() < width;
    let right = counts.forms(state, width).into_iter().find(fits);
    text::ends(left, right.unwrap_or_default(), width)
}

/// `own cost 0.6 % cpu, 18 MB`: of the newest look, paused or not.
pub fn own_cost(state: &State) -> Option<String> {
    // Of a recording it would be what the recorder cost then.
    let snapshot = state
        .live
        .snapshot
        .as_ref()
        .filter(|_| !state.is_replay())?;
    let cpu = state
        .live
        .own_cpu_percent
        .map_or_else(|| "?".to_owned(), |p| format!("{p:.1}"));
    Some(format!(
        "own cost {cpu} % cpu, {} MB",
        snapshot.own.rss >> 20
    ))
}

fn liveness(state: &State) -> (String, Style) {
    if let Some(past) = state.past() {
        return (past_words(state, past), theme::SELECTED);
    }
    let interval = state.interval_s();
    if let Some((seconds, changes)) = state.paused() {
        let changes = match changes {
            0 => String::new(),
            1 => ", 1 phase change since".to_owned(),
            n => format!(", {n} phase changes since"),
        };
        return (
            format!("PAUSED {}{changes}", format::duration(seconds.trunc())),
            theme::SELECTED,
        );
    }
    if state.is_late() {
        return (format!("no look for {} s", state.quiet_s), theme::WARN);
    }
    (format!("live {interval}s"), theme::PLAIN)
}

/// `▶ 4×` of a recording, `◀ 2m 10s ago` of the last minutes.
fn past_words(state: &State, past: &Past) -> String {
    let pace = match (past.playing, past.speed) {
        (false, _) => String::new(),
        (true, speed) => format!(" {speed}×"),
    };
    let mark = if past.playing { '▶' } else { '◀' };
    let of = |scene: &Scene| scene.snapshot.as_ref().map_or(0, |s| s.wall_ms);
    match past.origin {
        Origin::Memory => {
            let ago = of(&state.live).saturating_sub(of(state.shown())).max(0) as f64 / 1e3;
            format!("{mark}{pace} {} ago", format::duration(ago.trunc()))
        }
        Origin::File(_) if past.playing => format!("{mark}{pace} recorded"),
        Origin::File(_) => "PAUSED, recorded".to_owned(),
    }
}

/// `web-3 › uvicorn app.main:app (4127) › worker 4131`, within `room` cells; the server's name gives way.
fn breadcrumb(state: &State, host: &str, room: usize) -> String {
    let Some(server) = state.inside() else {
        return text::cut(host, room.max(8));
    };
    let process = match (state.place, state.cursor().row()) {
        (Place::Process(_), Some(RowId::Member { process, .. })) => {
            let role = facts::member(server, process).map_or("process", |m| m.role.word());
            format!(" › {role} {}", process.pid)
        }
        _ => String::new(),
    };
    let pid = format!(" ({})", server.root.pid);
    let host = format!("{} › ", text::cut(host, 20));
    let rest = room.saturating_sub(host.width() + pid.width() + process.width());
    let host = if rest < 8 { String::new() } else { host };
    let rest = room
        .saturating_sub(host.width() + pid.width() + process.width())
        .max(6);
    format!("{host}{}{pid}{process}", text::cut(&server.name, rest))
}

/// How many servers there are of each sort.
struct Counts {
    all: usize,
    failing: usize,
    moving: usize,
    fine: usize,
}

impl Counts {
    fn of(state: &State) -> Self {
        let servers = &state.shown().diagnosis.servers;
        let of = |group: Group| {
            servers
                .iter()
                .filter(|s| standing::group(s) == group)
                .count()
        };
        Self {
            all: servers.len(),
            failing: of(Group::Failing),
            moving: of(Group::Moving),
            fine: of(Group::Fine),
        }
    }

    /// The right end in its forms, the fullest first.
    fn forms(&self, state: &State, width: usize) -> Vec<Vec<Span<'static>>> {
        let word = if self.all == 1 { "server" } else { "servers" };
        let all = Span::raw(format!("{} {word}", self.all));
        let cost = own_cost(state).filter(|_| width >= 110);
        let cost = cost.map(|c| Span::styled(format!("      {c}"), theme::DIM));
        let failing = Span::styled(self.failing(), theme::FAIL);
        let moving = Span::styled(self.moving(), theme::WARN);
        let fine = Span::styled(
            self.fine(),
            if self.fine > 0 { theme::OK } else { theme::DIM },
        );
        let end = Span::raw(" ");
        let states = vec![failing.clone(), moving, fine];
        let mut full = vec![all];
        full.extend(states.clone());
        let mut fullest = full.clone();
        fullest.extend(cost);
        let all_forms = [fullest, full, states, vec![failing]];
        all_forms
            .into_iter()
            .map(|mut form| {
                form.push(end.clone());
                form
            })
            .collect()
    }

    fn failing(&self) -> String {
        if self.failing > 0 {
            format!("  ✖ {} failing", self.failing)
        } else {
            String::new()
        }
    }

    fn moving(&self) -> String {
        if self.moving > 0 {
            format!("  ◐ {} starting", self.moving)
        } else {
            String::new()
        }
    }

    fn fine(&self) -> String {
        if self.fine > 0 || self.failing + self.moving == 0 {
            format!("  ● {} serving", self.fine)
        } else {
            String::new()
        }
    }
}
