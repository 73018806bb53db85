//! The real program in a pseudo-terminal: what a person would see, and what was really written.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};

use super::eventually;

/// How long the screen may take to show what a test waits for, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program in a terminal. Dropping it kills the program.
pub struct Terminal {
    master: Box<dyn MasterPty + Send>,
    child: Box<dyn Child + Send + Sync>,
    keyboard: Box<dyn Write + Send>,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    emulator: vt100::Parser,
    bytes: Vec<u8>,
    first_byte: Option<Instant>,
}

impl Terminal {
    /// Runs steth in a terminal of this size. The environment is `xterm-256color` in UTF-8 unless `env` says otherwise.
    pub fn steth(rows: u16, columns: u16, env: &[(&str, &str)], args: &[&str]) -> Terminal {
        let program = Path::new(env!("CARGO_BIN_EXE_steth"));
        Terminal::open(program, rows, columns, env, args)
    }

    /// The same for any program.
    pub fn open(
        program: &Path,
        rows: u16,
        columns: u16,
        env: &[(&str, &str)],
        args: &[&str],
    ) -> Terminal {
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system()
            .openpty(size)
            .expect("a pseudo-terminal");
        let mut command = CommandBuilder::new(program);
        command.args(args);
        command.cwd(env!("CARGO_MANIFEST_DIR"));
        for inherited in ["NO_COLOR", "TMUX", "STY"] {
            command.env_remove(inherited);
        }
        command.env("TERM", "xterm-256color");
        command.env("LC_ALL", "C.UTF-8");
        for (name, value) in env {
            command.env(name, value);
        }
        let child = pair.slave.spawn_command(command).expect("it starts");
        let seen = Arc::new(Mutex::new(Seen {
            emulator: vt100::Parser::new(rows, columns, 0),
            bytes: Vec::new(),
            first_byte: None,
        }));
        let reader = pair.master.try_clone_reader().expect("a reader");
        watch(reader, Arc::clone(&seen));
        Terminal {
            keyboard: pair.master.take_writer().expect("a writer"),
            master: pair.master,
            child,
            seen,
        }
    }

    /// Types.
    pub fn keys(&mut self, keys: &str) {
        self.keyboard
            .write_all(keys.as_bytes())
            .expect("the terminal takes keys");
        self.keyboard.flush().expect("the terminal takes keys");
    }

    /// What is on the screen now.
    pub fn text(&self) -> String {
        self.look(|seen| seen.emulator.screen().contents())
    }

    /// The screen as an SVG picture.
    pub fn picture(&self) -> String {
        self.look(|seen| super::picture::svg(seen.emulator.screen()))
    }

    /// Everything that was written so far, as it was written.
    pub fn bytes(&self) -> Vec<u8> {
        self.look(|seen| seen.bytes.clone())
    }

    /// When the first byte came.
    pub fn first_byte(&self) -> Option<Instant> {
        self.look(|seen| seen.first_byte)
    }

    /// Waits until the screen holds all of these.
    pub fn wait_text(&self, parts: &[&str]) -> &Terminal {
        self.wait(&format!("{parts:?}"), |text| {
            parts.iter().all(|part| text.contains(part))
        })
    }

    /// Waits until the screen satisfies this.
    pub fn wait(&self, what: &str, fits: impl Fn(&str) -> bool) -> &Terminal {
        assert!(
            eventually(PATIENCE, || fits(&self.text())),
            "never saw {what} on the screen:\n{}",
            self.text()
        );
        self
    }

    /// Gives the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        self.look_mut(|seen| seen.emulator.screen_mut().set_size(rows, columns));
        self.master.resize(size).expect("it takes a size");
    }

    /// The program's pid.
    pub fn pid(&self) -> u32 {
        self.child.process_id().expect("it was started")
    }

    /// Sends the program a signal.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.pid()).expect("a pid fits");
        // SAFETY: kill takes plain numbers; the child is ours and not reaped yet.
        unsafe { libc::kill(pid, signal) };
    }

    /// The terminal's modes, to be compared.
    pub fn modes(&self) -> String {
        format!("{:?}", self.master.get_termios())
    }

    /// Waits for the program's end; its exit code as a shell tells it, 128 and the number where SIGINT or SIGTERM ended it.
    pub fn ended(&mut self) -> u32 {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                return match status.signal() {
                    Some("Interrupt") => 130,
                    Some("Terminated") => 143,
                    _ => status.exit_code(),
                };
            }
            assert!(
                Instant::now() < deadline,
                "did not end; screen:\n{}",
                self.text()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// True if the alternate screen has been left and the cursor is shown.
    pub fn is_restored(&self) -> bool {
        self.look(|seen| {
            let screen = seen.emulator.screen();
            !screen.alternate_screen() && !screen.hide_cursor()
        })
    }

    /// True while a full-screen program has the terminal.
    pub fn is_taken(&self) -> bool {
        self.look(|seen| seen.emulator.screen().alternate_screen())
    }

    fn look<T>(&self, at: impl FnOnce(&Seen) -> T) -> T {
        at(&self.seen.lock().expect("the reader does not panic"))
    }

    fn look_mut(&self, at: impl FnOnce(&mut Seen)) {
        at(&mut self.seen.lock().expect("the reader does not panic"));
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn watch(mut reader: Box<dyn Read + Send>, seen: Arc<Mutex<Seen>>) {
    std::thread::spawn(move || {
        let mut chunk = [0; 65536];
        while let Ok(length @ 1..) = reader.read(&mut chunk) {
            let mut seen = seen.lock().expect("nobody panics with it");
            seen.first_byte.get_or_insert_with(Instant::now);
            seen.emulator.process(&chunk[..length]);
            seen.bytes.extend_from_slice(&chunk[..length]);
        }
    });
}
