//! The asyncio tasks of live interpreters, against what the interpreters say of themselves, at rest and in motion.
//!
//! Needs the right to read other processes of the same user (no Yama, or root); 3.14 and 3.15 need root for their chroot, see
//! `tests/pythons/make_root.sh`; uvloop comes with `tests/setup.sh`. What is missing is said aloud, and is an error in CI.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;
#[expect(dead_code, reason = "shared with the tests of stacks")]
#[path = "../support/python_stacks/mod.rs"]
mod targets;
#[path = "../support/python_tasks/mod.rs"]
mod tasks;

mod busy;
mod matrix;
