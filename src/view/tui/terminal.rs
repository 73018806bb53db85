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
use ratatui::buffer::{Buffer, Cell};
use ratatui::layout::Rect;

use super::sheet::Sheet;

/// Cells beyond which a terminal's claim about its size is not believed.
const SIZE_MOST: u16 = 1000;

/// The thread that has taken the terminal over; `None` while nobody has.
static OWNER: Mutex<Option<ThreadId>> = Mutex::new(None);

/// The terminal while the screen is up. Dropping it gives the terminal back.
pub struct Terminal {
    out: FrameWriter,
    /// What is on screen; `None` while that is not known: the next picture is written whole.
    shown: Option<Shown>,
}

/// A picture as it is on screen.
struct Shown {
    sheet: Sheet,
    /// The cells of each of its rows.
    rows: Vec<Buffer>,
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
            shown: None,
        };
        terminal.take_over()?;
        Ok(terminal)
    }

    /// Columns and rows.
    pub fn size(&self) -> (u16, u16) {
        let (columns, rows) = size().unwrap_or((80, 24));
        (columns.min(SIZE_MOST), rows.min(SIZE_MOST))
    }

    /// Draws a picture: what differs from the last one is written, with one `write`; nothing where nothing differs. An error
    /// means that the output is gone.
    pub fn draw(&mut self, sheet: Sheet) -> io::Result<()> {
        let known = self.shown.take().filter(|s| s.sheet.size == sheet.size);
        let is_new = known.is_none();
        let mut shown = known.unwrap_or_else(|| Shown::nothing(&sheet));
        let painted = shown.paint(&sheet, is_new);
        let changes = shown.changes(&painted);
        if is_new || !changes.is_empty() {
            queue!(self.out, BeginSynchronizedUpdate)?;
            if is_new {
                queue!(self.out, ResetColor, Clear(ClearType::All))?;
            }
            CrosstermBackend::new(&mut self.out).draw(changes.into_iter())?;
            queue!(self.out, EndSynchronizedUpdate)?;
            self.out.send()?;
        }
        shown.take(sheet, painted);
        self.shown = Some(shown);
        Ok(())
    }

    /// Writes a sequence that moves no cursor and changes no cell.
    pub fn send(&mut self, sequence: &[u8]) -> io::Result<()> {
        self.out.write_all(sequence)?;
        self.out.send()
    }

    /// Forgets what is on screen, so that the next picture is written whole.
    pub fn redraw(&mut self) {
        self.shown = None;
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
        self.shown = None;
        queue!(self.out, EnterAlternateScreen, Hide)
    }
}

impl Shown {
    /// An empty screen as large as this picture.
    fn nothing(sheet: &Sheet) -> Self {
        let rows = (0..sheet.size.1).map(|row| empty_row(sheet, row));
        Self {
            sheet: Sheet::new(sheet.size, sheet.theme),
            rows: rows.collect(),
        }
    }

    /// The rows of another picture that are not the same, or all of them.
    fn paint(&self, sheet: &Sheet, all: bool) -> Vec<Buffer> {
        let paint = |row: u16| {
            let mut grid = empty_row(sheet, row);
            sheet.paint(row, &mut grid);
            sheet.theme.apply(&mut grid);
            grid
        };
        if all {
            return (0..sheet.size.1).map(paint).collect();
        }
        sheet.differing(&self.sheet).map(paint).collect()
    }

    /// The cells of painted rows that are not what is on screen.
    fn changes<'a>(&self, painted: &'a [Buffer]) -> Vec<(u16, u16, &'a Cell)> {
        let of_row = |now: &'a Buffer| {
            let shown = self.rows.get(usize::from(now.area.y));
            shown.map(|shown| shown.diff(now)).unwrap_or_default()
        };
        painted.iter().flat_map(of_row).collect()
    }

    fn take(&mut self, sheet: Sheet, painted: Vec<Buffer>) {
        self.sheet = sheet;
        for row in painted {
            if let Some(place) = self.rows.get_mut(usize::from(row.area.y)) {
                *place = row;
            }
        }
    }
}

fn empty_row(sheet: &Sheet, row: u16) -> Buffer {
    Buffer::empty(Rect::new(0, row, sheet.size.0, 1))
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
