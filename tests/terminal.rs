//! Is the terminal given back on every way out? The screen runs in a pseudo-terminal, in a child of this test, and is read there as a
//! terminal reads it.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may stop where it is wrong"
)]

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use steth::view::tui::clipboard::Clipboard;
use steth::view::tui::{Links, Options, Theme, TuiError, run};

#[path = "screens/fixture.rs"]
#[expect(
    dead_code,
    reason = "shared with tests/screens.rs, which uses all of it"
)]
mod fixture;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the child does; told by the environment.
const ROLE: &str = "STETH_TEST_ROLE";

/// The program under test: the live screen over sixty servers, ten looks per second.
#[test]
#[ignore = "started by the other tests, in a pseudo-terminal"]
fn child() {
    let Ok(role) = std::env::var(ROLE) else {
        return;
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (scenes, scenes_end) = tokio::sync::watch::channel(fixture::sixty(0.0));
    std::thread::spawn(move || {
        for look in 1.. {
            std::thread::sleep(Duration::from_millis(100));
            if scenes.send(fixture::sixty(f64::from(look) / 10.0)).is_err() {
                return;
            }
        }
    });
    if role == "other-thread-panics" {
        let _ = std::thread::spawn(|| panic!("noise from elsewhere")).join();
    }
    let theme = Theme {
        colours: true,
        ascii: false,
    };
    let screen = run(
        only(scenes_end),
        Options {
            theme,
            utc_offset_s: 0,
            dumb: false,
            clipboard: Clipboard::Terminal,
        },
    );
    let ended = runtime.block_on(async {
        tokio::select! {
            ended = screen => ended,
            () = fail_on_purpose(&role) => unreachable!(),
        }
    });
    println!("ended: {ended:?}");
}

/// Scenes, and nobody who does what the screen asks for.
fn only(scenes: tokio::sync::watch::Receiver<std::sync::Arc<steth::view::Scene>>) -> Links {
    let (_, past) = tokio::sync::watch::channel(None);
    let (_, notices) = tokio::sync::mpsc::unbounded_channel();
    Links {
        scenes,
        past,
        notices,
        ask: Box::new(|_| {}),
    }
}

async fn fail_on_purpose(role: &str) {
    tokio::time::sleep(Duration::from_millis(300)).await;
    match role {
        "panics" => panic!("as planned"),
        "other-thread-panics" => drop(std::thread::spawn(|| panic!("noise from elsewhere")).join()),
        _ => {}
    }
    std::future::pending::<()>().await;
}

/// A terminal with the child in it.
struct Session {
    parser: vt100::Parser,
    child: Box<dyn Child + Send + Sync>,
    master: Option<Box<dyn MasterPty + Send>>,
    keys: Option<Box<dyn Write + Send>>,
    output: Receiver<Vec<u8>>,
    raw: Vec<u8>,
}

impl Session {
    fn start(role: &str, columns: u16, rows: u16) -> Self {
        let program = std::env::current_exe().unwrap();
        let mut command = CommandBuilder::new(program);
        command.args([
            "--exact",
            "child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]);
        Self::start_command(command, role, columns, rows)
    }

    fn start_command(mut command: CommandBuilder, role: &str, columns: u16, rows: u16) -> Self {
        let size = PtySize {
            rows,
            cols: columns,
            pixel_width: 0,
            pixel_height: 0,
        };
        let pair = native_pty_system().openpty(size).unwrap();
        command.env(ROLE, role);
        command.env("TERM", "xterm-256color");
        command.env("RUST_BACKTRACE", "0");
        let child = pair.slave.spawn_command(command).unwrap();
        drop(pair.slave);
        let mut reader = pair.master.try_clone_reader().unwrap();
        let (send, output) = channel();
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = reader.read(&mut bytes) {
                if n == 0 || send.send(bytes.iter().take(n).copied().collect()).is_err() {
                    return;
                }
            }
        });
        Self {
            parser: vt100::Parser::new(rows, columns, 0),
            child,
            keys: Some(pair.master.take_writer().unwrap()),
            master: Some(pair.master),
            output,
            raw: Vec::new(),
        }
    }

    fn press(&mut self, keys: &str) {
        let writer = self.keys.as_mut().unwrap();
        writer.write_all(keys.as_bytes()).unwrap();
        writer.flush().unwrap();
    }

    fn text(&self) -> String {
        self.parser.screen().contents()
    }

    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !holds(self) {
            let left = PATIENCE.checked_sub(since.elapsed());
            let left =
                left.unwrap_or_else(|| panic!("waited in vain for {what}:\n{}", self.text()));
            match self.output.recv_timeout(left) {
                Ok(bytes) => {
                    self.parser.process(&bytes);
                    self.raw.extend(bytes);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    assert!(
                        holds(self),
                        "the output ended before {what}:\n{}",
                        self.text()
                    );
                }
            }
        }
    }

    #[track_caller]
    fn until_text(&mut self, wanted: &str) {
        self.until(wanted, |s| s.text().contains(wanted));
    }

    fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.process_id().unwrap()).unwrap();
        // SAFETY: the pid is that of a child that has not been waited for.
        unsafe { libc::kill(pid, signal) };
    }

    /// The terminal is as it was: main screen, cursor, modes; and what is printed then can be read.
    #[track_caller]
    fn is_given_back(&mut self, last_words: &str) {
        self.until_text(last_words);
        let screen = self.parser.screen();
        assert!(!screen.alternate_screen(), "still on the alternate screen");
        assert!(!screen.hide_cursor(), "the cursor is hidden");
        let modes = self
            .master
            .as_ref()
            .unwrap()
            .get_termios()
            .expect("a pty has modes");
        let local = modes.local_flags.bits();
        assert!(
            local & libc::ICANON != 0 && local & libc::ECHO != 0,
            "still raw"
        );
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn quit_gives_the_terminal_back() {
    let mut session = Session::start("plain", 80, 24);
    session.until_text("svc40");
    assert!(session.parser.screen().alternate_screen() && session.parser.screen().hide_cursor());
    session.press("q");
    session.is_given_back("ended: Ok(Quit)");
}

#[test]
fn control_c_gives_the_terminal_back() {
    let mut session = Session::start("plain", 80, 24);
    session.until_text("svc40");
    session.press("\u{3}");
    session.is_given_back("ended: Ok(Interrupted)");
}

#[test]
fn signals_give_the_terminal_back() {
    for (signal, words) in [
        (libc::SIGTERM, "ended: Ok(Signal(15))"),
        (libc::SIGINT, "ended: Ok(Interrupted)"),
        (libc::SIGHUP, "ended: Ok(Signal(1))"),
    ] {
        let mut session = Session::start("plain", 80, 24);
        session.until_text("svc40");
        session.signal(signal);
        session.is_given_back(words);
    }
}

#[test]
fn a_panic_gives_the_terminal_back_before_it_speaks() {
    let mut session = Session::start("panics", 80, 24);
    session.is_given_back("as planned");
}

#[test]
fn a_panic_that_another_thread_survives_does_not_touch_the_screen() {
    let mut session = Session::start("other-thread-panics", 80, 24);
    session.until_text("live 1s");
    session.until_text("14:02:12");
    assert!(session.parser.screen().alternate_screen());
    assert!(!session.text().contains("noise"));
    session.press("q");
    session.is_given_back("ended: Ok(Quit)");
}

#[test]
fn a_closed_terminal_ends_the_program() {
    let mut session = Session::start("plain", 80, 24);
    session.until_text("svc40");
    // The reader's thread holds the terminal open too; it ends when nobody takes what it has read.
    session.keys = None;
    session.master = None;
    session.output = channel().1;
    let since = Instant::now();
    while session.child.try_wait().unwrap().is_none() {
        assert!(
            since.elapsed() < PATIENCE,
            "the program outlives its terminal"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_new_size_is_drawn_whole() {
    let mut session = Session::start("plain", 80, 24);
    session.until_text("svc40");
    session.parser = vt100::Parser::new(40, 160, 0);
    let size = PtySize {
        rows: 40,
        cols: 160,
        pixel_width: 0,
        pixel_height: 0,
    };
    session.master.as_ref().unwrap().resize(size).unwrap();
    session.until_text("PYTHON");
    session.until_text("own cost");
}

#[test]
fn control_z_stops_and_fg_goes_on() {
    let mut command = CommandBuilder::new("bash");
    let program = std::env::current_exe().unwrap();
    let program = program.to_str().unwrap();
    let script = format!(
        "set -m; {program} --exact child --ignored --nocapture --test-threads=1; echo now-stopped; read; fg"
    );
    command.args(["-c", &script]);
    let mut session = Session::start_command(command, "plain", 80, 24);
    session.until_text("svc40");
    session.press("\u{1a}");
    session.is_given_back("now-stopped");
    session.press("\n");
    session.until("the screen again", |s| {
        s.parser.screen().alternate_screen() && s.text().contains("svc40")
    });
    session.press("q");
    session.is_given_back("ended: Ok(Quit)");
}

#[test]
fn continued_after_a_stop_from_elsewhere_it_draws_everything_again() {
    let mut session = Session::start("plain", 80, 24);
    session.until_text("svc40");
    session.parser.process(b"\x1b[2J");
    session.signal(libc::SIGSTOP);
    session.signal(libc::SIGCONT);
    session.until_text("svc40");
}

#[test]
fn a_steady_screen_is_quiet() {
    let mut session = Session::start("plain", 160, 48);
    session.until_text("14:02:12");
    let before = session.raw.len();
    session.until_text("14:02:17");
    let per_second = (session.raw.len() - before) / 5;
    assert!(per_second < 2048, "{per_second} bytes per second");
    println!(
        "{per_second} bytes per second on a steady screen of sixty servers, ten looks per second"
    );
}

#[test]
fn without_a_terminal_there_is_no_screen() {
    let (_scenes, scenes_end) = tokio::sync::watch::channel(fixture::sixty(0.0));
    let options = Options {
        theme: Theme {
            colours: true,
            ascii: false,
        },
        utc_offset_s: 0,
        dumb: true,
        clipboard: Clipboard::Terminal,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let ended = runtime.block_on(run(only(scenes_end), options));
    assert!(matches!(ended, Err(TuiError::NotATerminal)), "{ended:?}");
}
