//! The frames of one thread as lines.

use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use crate::snapshot::{Frame, Stack, ThreadLocals};
use crate::view::format;
use crate::view::tui::panel::Room;
use crate::view::tui::{text, theme};

use super::locals;

/// Frames that stay while the panel is not in focus: of what the application's frame calls, of those above it, and outermost.
const CALLED: usize = 2;
const CALLERS: usize = 6;
const OUTERMOST: usize = 2;

/// What is to be drawn.
pub(super) struct Frames<'a> {
    pub stack: &'a Stack,
    pub cwd: Option<&'a str>,
    pub room: Room,
    /// The frame that has changed, counted from the outermost.
    pub changed: Option<usize>,
    /// Of its process, where the user has asked for them.
    pub locals: &'a [ThreadLocals],
}

/// How a frame stands to the application's innermost one.
#[derive(Clone, Copy)]
enum Rank {
    /// It is that one, or above it, or there is none.
    Caller,
    /// It is called from there.
    Called,
}

impl Frames<'_> {
    /// The application's innermost frame, what it calls down to the leaf, then its callers; from the leaf on where nothing is the
    /// application's.
    pub(super) fn lines(&self) -> Vec<Line<'static>> {
        let frames = &self.stack.frames;
        let own = frames.iter().rposition(|f| !f.is_library());
        let top = own.unwrap_or(frames.len().saturating_sub(1));
        let mut lines = Vec::new();
        lines.extend(self.line(top, Rank::Caller));
        if own.is_some() {
            let called: Vec<usize> = (top + 1..frames.len()).collect();
            lines.extend(self.folded(&called, CALLED, 1, Rank::Called));
        }
        let callers: Vec<usize> = (0..top).rev().collect();
        lines.extend(self.folded(&callers, CALLERS, OUTERMOST, Rank::Caller));
        lines
    }

    /// Lines of these frames, those in the middle left out where they are too many and the panel is not in focus.
    fn folded(&self, at: &[usize], first: usize, last: usize, rank: Rank) -> Vec<Line<'static>> {
        let hidden = match self.room.focused {
            true => 0,
            false => at.len().saturating_sub(first + last),
        };
        // A line that says that one is left out takes as much room as the one.
        if hidden < 2 {
            return at.iter().flat_map(|at| self.line(*at, rank)).collect();
        }
        let (shown, rest) = at.split_at_checked(first).unwrap_or((at, &[]));
        let mut lines: Vec<Line<'static>> =
            shown.iter().flat_map(|at| self.line(*at, rank)).collect();
        let indent = match rank {
            Rank::Caller => "      ",
            Rank::Called => "          ",
        };
        let words = format!("{indent}… {hidden} frames");
        lines.push(Line::from(Span::styled(words, theme::DIM)));
        let tail = rest.iter().skip(hidden);
        lines.extend(tail.flat_map(|at| self.line(*at, rank)));
        lines
    }

    /// `    ▸ connect (app/db.py:31)` for the application's own frames, `        → recv (socket.py:9)` for what they call; what has
    /// changed has a star before it. Its locals are below it.
    fn line(&self, at: usize, rank: Rank) -> Vec<Line<'static>> {
        let Some(frame) = self.stack.frames.get(at) else {
            return Vec::new();
        };
        let changed = match self.changed == Some(at) {
            true => "*",
            false => " ",
        };
        let (sign, style) = match (frame.is_library(), rank) {
            (false, _) => ("▸", theme::OWN),
            (true, Rank::Caller) => (" ", theme::DIM),
            (true, Rank::Called) => ("    →", theme::DIM),
        };
        let words = self.words(frame, 7 + sign.width());
        let mut lines = vec![Line::from(vec![
            Span::styled(format!("   {changed}"), theme::WARN),
            Span::styled(format!("{sign} {words}"), style),
        ])];
        let found = locals::of(self.locals, self.stack, at);
        lines.extend(
            found
                .map(|l| locals::lines(l, self.room.width))
                .into_iter()
                .flatten(),
        );
        lines
    }

    /// `connect (app/db.py:31)`; the path gives way.
    fn words(&self, frame: &Frame, used: usize) -> String {
        let width = self.room.width;
        let most = width.saturating_sub(used + 14).max(8);
        let function = text::cut(&frame.function, most);
        let room = width.saturating_sub(used + 2 + function.width());
        let place = text::cut_middle(&format::place(frame, self.cwd), room.max(12));
        format!("{function} ({place})")
    }
}
