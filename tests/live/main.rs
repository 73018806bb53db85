//! Live tests: what `steth check` says about real servers, started here and ended here.
//!
//! Written apart from the zoo: other applications, names and ports, so that neither is fitted to the other. Each test
//! waits for its state at the kernel or in the server's own output, asks once, and compares. `tests/setup.sh` makes
//! the environments; what is missing is said aloud, and is an error in CI.
#![cfg(test)]

#[path = "../support/mod.rs"]
mod support;

mod cgroups;
mod demo;
mod drivers;
mod elsewhere;
mod failing;
mod healthy;
mod limits;
mod locks;
mod logs;
mod others;
mod outsiders;
mod pressure;
mod pythons;
mod roots;
mod wait;
mod waiting;
