//! What tests against real servers share: starting and ending them, what the kernel says of them, and asking steth.
//!
//! Nothing here knows a rule of steth. Conditions are waited for at the kernel or in a server's own output, with a
//! deadline; there is no sleep that hopes.
#![allow(
    dead_code,
    reason = "compiled into several test binaries, each of which uses its part"
)]

pub mod cgroup;
pub mod kernel;
pub mod load;
pub mod picture;
pub mod python;
pub mod server;
pub mod terminal;
pub mod verdict;

use std::io::Write;
use std::time::{Duration, Instant};

/// How long a server may take to reach the state that a test waits for, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Says why a test does not run. In CI everything is there, or the build says so: no test skips.
pub fn skip(reason: &str) {
    let test = std::thread::current();
    let name = test.name().unwrap_or("a test");
    assert!(
        std::env::var("CI").as_deref() != Ok("true"),
        "{name} would skip in CI: {reason}"
    );
    // Not eprintln!: the harness captures it in a test that passes.
    let _ = writeln!(std::io::stderr(), "SKIPPED {name}: {reason}");
}

/// The value, or the test says aloud why it cannot run and returns.
#[macro_export]
macro_rules! need {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(reason) => {
                $crate::support::skip(&reason);
                return;
            }
        }
    };
}

/// True as soon as `seen` is; false when `patience` has passed.
pub fn eventually(patience: Duration, mut seen: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if seen() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// One heavy test at a time, in this process and in others: released when dropped.
pub fn heavy() -> std::fs::File {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("heavy.lock");
    let file = std::fs::File::create(path).expect("the lock file can be made");
    file.lock().expect("the lock can be waited for");
    file
}
