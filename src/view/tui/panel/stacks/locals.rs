//! Local variables under their frames, where the user has asked for them.

use ratatui::text::{Line, Span};

use crate::snapshot::{Frame, FrameLocals, LocalsAnswer, Moment, Stack, ThreadLocals};
use crate::view::format;
use crate::view::tui::{text, theme};

/// What has become of the question.
pub(super) fn about(answer: Option<&LocalsAnswer>, now: Moment) -> Line<'static> {
    let words = match answer {
        None => "  locals: being read …".to_owned(),
        Some(LocalsAnswer {
            result: Err(error), ..
        }) => format!("  ? locals not read: {error}"),
        Some(LocalsAnswer { at, .. }) => {
            let ago = format::duration(now.seconds_since(*at).trunc());
            format!("  locals as py-spy read them {ago} ago; l reads them again, Esc hides them")
        }
    };
    Line::from(Span::styled(words, theme::DIM))
}

/// The locals of a frame of this thread, counted from the outermost: where the thread has moved on since, those of the same place.
pub(super) fn of<'a>(
    threads: &'a [ThreadLocals],
    stack: &Stack,
    at: usize,
) -> Option<&'a FrameLocals> {
    let frame = stack.frames.get(at)?;
    let own = threads
        .iter()
        .find(|t| t.tid.is_some() && t.tid == stack.tid);
    let here = own.and_then(|own| own.frames.get(at));
    let same = |found: &&FrameLocals| is_same(found, frame) && found.line == frame.line;
    here.filter(|found| is_same(found, frame))
        .or_else(|| own?.frames.iter().find(same))
        .or_else(|| {
            let others = threads.iter().filter(|_| own.is_none());
            let mut there = others.flat_map(|t| &t.frames).filter(same);
            // Where several threads stand in one place, whose they are is not known.
            there.next().filter(|_| there.next().is_none())
        })
}

fn is_same(found: &FrameLocals, frame: &Frame) -> bool {
    // Of a qualified name the last part is the plain one.
    let plain = frame.function.rsplit('.').next().unwrap_or_default();
    found.file == frame.file && found.function.rsplit('.').next() == Some(plain)
}

/// `          port = 5432`, a line for each.
pub(super) fn lines(found: &FrameLocals, width: usize) -> Vec<Line<'static>> {
    let line = |local: &crate::snapshot::Local| {
        let words = format!("{INDENT}{} = {}", local.name, local.value);
        Line::from(text::cut(&words, width))
    };
    found.locals.iter().map(line).collect()
}

const INDENT: &str = "          ";
