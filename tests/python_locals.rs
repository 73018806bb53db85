//! Local variables of live interpreters, read from outside.
//!
//! Needs the right to read other processes of the same user.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test ends at the first surprise"
)]

// Other tests use more of it.
#[expect(dead_code, reason = "shared with the tests of stacks")]
#[path = "support/python_stacks/mod.rs"]
mod support;

use std::process::Command;

use steth::source::python::{StackError, read_locals};

use support::{Interpreter, Target};

const CODE: &str = r#"
import sys, time
def connect(host, port, password):
    url = "postgresql://app:hunter2@db/shop"
    attempts = [1, 2, 3]
    print('ready'); sys.stdout.flush()
    time.sleep(120)
connect('db.internal', 5432, 'hunter2')
"#;

#[test]
fn locals_are_read_and_secrets_masked() {
    for version in ["3.8", "3.11", "3.13"] {
        let interpreter = Interpreter::first_of(&[version]).unwrap();
        let mut command = Command::new(&interpreter.path);
        command.args(["-c", CODE]);
        let mut target = Target::start(command, None);
        assert_eq!(target.line(), "ready\n");
        target.settle();
        let read = read_locals(target.pid()).unwrap();
        let frames: Vec<_> = read.iter().flat_map(|thread| &thread.frames).collect();
        let frame = frames.iter().find(|f| f.function == "connect").unwrap();
        assert_eq!(frames[0].function, "<module>", "outermost first");
        let value = |name: &str| {
            let local = frame.locals.iter().find(|l| l.name == name);
            local.map(|l| l.value.as_str()).unwrap_or("absent")
        };
        assert_eq!(value("port"), "5432", "{version}: {frame:#?}");
        assert!(value("host").contains("db.internal"), "{version}");
        assert!(value("attempts").starts_with("[1, 2"), "{version}");
        assert_eq!(value("password"), "•••", "{version}");
        assert!(
            value("url").contains("app:•••@db/shop"),
            "{version}: {}",
            value("url")
        );
        assert_eq!(frame.line, 7, "{version}");
    }
}

#[test]
fn a_process_that_is_gone_has_none() {
    assert_eq!(read_locals(4_194_305).unwrap_err(), StackError::Gone);
}
