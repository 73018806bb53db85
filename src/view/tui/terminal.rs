//! Who owns the terminal? This file: it takes it over, gives it back on every way out, and writes each picture with one
//! `write`, only the cells that have changed.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::Mutex;
use std::thread::ThreadId;
use std::time::Duration;

use crossterm::cursor::{Hide, Show};
use crossterm::queue;
use crossterm::style::ResetColor;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use ratatui::backend::{Backend, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

/// Cells beyond which a terminal's claim about its size is not believed.
const SIZE_MOST: u16 = 1000;

/// The thread that has taken the terminal over; `None` while nobody has.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// The terminal while the screen is up. Dropping it gives the terminal back.
pub struct Terminal {
    out: FrameWriter,
    /// What is on screen.
    shown: Buffer,
    /// False while what is on screen is not known: the next picture is written whole.
    known: bool,
    /// The next picture; kept, so that no memory is asked for while drawing.
    next: Buffer,
}

impl Terminal {
    /// True if standard output is a terminal.
    pub fn is_there() -> bool {
        io::stdout().is_terminal()
    }

    /// Takes the terminal over: raw mode, alternate screen, no cursor. From here on a panic of this thread restores it before
    /// it prints, and panics of other threads print nothing: whoever catches them tells of them.
    pub fn enter() -> io::Result<Self> {
        give_back_on_panic();
        let mut terminal = Self {
            out: FrameWriter::stdout()?,
            shown: Buffer::empty(Rect::ZERO),
            known: false,
            next: Buffer::empty(Rect::ZERO),
        };
        terminal.take_over()?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (columns, rows) = size().unwrap_or((80, 24));
        (columns.min(SIZE_MOST), rows.min(SIZE_MOST))
    }

    /// Draws a picture of this size: what differs from the last one is written, with one `write`; nothing where nothing
    /// differs. An error means that the output is gone.
    pub fn draw(
        &mut self,
        (columns, rows): (u16, u16),
        paint: impl FnOnce(&mut Buffer),
    ) -> io::Result<()> {
        let area = Rect::new(0, 0, columns, rows);
        self.next.resize(area);
        paint(&mut self.next);
        let known = self.known && self.shown.area == area;
        if !known {
            self.shown = Buffer::empty(area);
        }
        let changes = self.shown.diff(&self.next);
        if !known || !changes.is_empty() {
            queue!(self.out, BeginSynchronizedUpdate)?;
            if !known {
                queue!(self.out, ResetColor, Clear(ClearType::All))?;
            }
            CrosstermBackend::new(&mut self.out).draw(changes.into_iter())?;
            queue!(self.out, EndSynchronizedUpdate)?;
            self.out.send()?;
        }
        self.known = true;
        std::mem::swap(&mut self.shown, &mut self.next);
        Ok(())
    }

    /// Forgets what is on screen, so that the next picture is written whole.
    pub fn redraw(&mut self) {
        self.known = false;
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.out.written
    }

    /// Gives the terminal back, stops this program as `^Z` does, and takes the terminal over again when it is continued.
    pub fn suspend(&mut self) -> io::Result<()> {
        give_back();
        stop_self();
        self.take_over()
    }

    /// Takes the terminal over again after somebody else has stopped and continued the program: the shell may have changed its modes.
    pub fn resumed(&mut self) -> io::Result<()> {
        let _ = disable_raw_mode();
        self.take_over()
    }

    fn take_over(&mut self) -> io::Result<()> {
        enable_raw_mode()?;
        if let Ok(mut owner) = OWNER.lock() {
            *owner = Some(std::thread::current().id());
        }
        self.known = false;
        queue!(self.out, EnterAlternateScreen, Hide)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        give_back();
    }
}

/// Restores the terminal if this program has taken it over; does nothing the second time. Output that is gone is no error here.
pub fn give_back() {
    let owned = OWNER.lock().map(|mut owner| owner.take()).unwrap_or(None);
    if owned.is_none() {
        return;
    }
    if let Ok(mut out) = FrameWriter::stdout() {
        let _ = queue!(
            out,
            EndSynchronizedUpdate,
            ResetColor,
            Show,
            LeaveAlternateScreen
        );
        let _ = out.send();
    }
    let _ = disable_raw_mode();
}

fn give_back_on_panic() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |what| {
            let owner = OWNER.lock().map(|owner| *owner).unwrap_or(None);
            match owner {
                Some(owner) if owner != std::thread::current().id() => {}
                Some(_) => {
                    give_back();
                    before(what);
                }
                None => before(what),
            }
        }));
    });
}

/// Stops this process by SIGTSTP with its default action, whatever action is installed; returns when it is continued, or at once
/// where job control does not reach (an orphaned process group).
#[expect(unsafe_code, reason = "signal actions are process-wide C state")]
fn stop_self() {
    // SAFETY: both structures are plain data that sigaction fills in or reads, and outlive the calls; SIG_DFL runs no
    // code of ours; the former action is put back as the kernel gave it.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        let mut former: libc::sigaction = std::mem::zeroed();
        if libc::sigaction(libc::SIGTSTP, &raw const default, &raw mut former) == 0 {
            libc::raise(libc::SIGTSTP);
            libc::sigaction(libc::SIGTSTP, &raw const former, std::ptr::null_mut());
        }
    }
}

/// Collects a picture's bytes and writes them at once. Its `flush` does nothing: a picture is sent when it is whole.
struct FrameWriter {
    out: File,
    frame: Vec<u8>,
    written: u64,
}

impl FrameWriter {
    fn stdout() -> io::Result<Self> {
        let out = File::from(io::stdout().as_fd().try_clone_to_owned()?);
        Ok(Self {
            out,
            frame: Vec::with_capacity(16 * 1024),
            written: 0,
        })
    }

    /// Writes what was collected. A descriptor that somebody has made non-blocking is waited for, at most two seconds.
    fn send(&mut self) -> io::Result<()> {
        let mut rest = self.frame.as_slice();
        let mut patience = 400;
        while !rest.is_empty() {
            match self.out.write(rest) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.written += n as u64;
                    rest = rest.get(n..).unwrap_or_default();
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && patience > 0 => {
                    patience -= 1;
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(e) => return Err(e),
            }
        }
        self.frame.clear();
        Ok(())
    }
}

impl Write for FrameWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.frame.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
