//! steth: a stethoscope for Python servers. It looks from outside, live, at why a server logs and does not answer.
//!
//! ```text
//!  /proc   sock_diag   process events   Python memory   source files   logs
//!     \        |             |                |            /          /
//!      +------ source: threads, rights, IO ---------------+
//!                            |
//!              source::sampler: one look ──> Snapshot        what was seen, and Gaps: what was not
//!                            |              |
//!                            |          recording            the same, kept: in memory, in a file, on a wire
//!                            |              |
//!              diagnosis::Analyst <── feed::Player           gone through again, by the rules of today
//!                            |
//!                        Diagnosis                           families, sockets, phases, rules; pure
//!                            |
//!                     view::Scene                            all that a view may see
//!              /         |         |         \            \
//!      view::tui   view::check  view::json  view::report  view::metrics
//!              \         |         |         /            /
//!                           run                              composes, and nothing else knows all of them
//! ```
//!
//! Invariants
//! - A target is never written to, signalled, traced or stopped: memory is read by `process_vm_readv`, files are read.
//! - What could not be seen is `None` and has a [`snapshot::Gap`]; it is never zero.
//! - `snapshot` is plain data; `diagnosis` has no clock and no IO: time comes with the snapshots. The same evidence gives the
//!   same answer.
//! - Collecting never waits for drawing, nor drawing for collecting: the newest scene wins.
//! - Whatever a target controls (command line, thread names, paths, strings in its memory) passes [`source::text`] before it
//!   gets into a snapshot.
//! - A process is known by [`snapshot::ProcessKey`], pid and start time, never by its pid alone.
//!
//! In reading order: [`snapshot`], [`source`], [`diagnosis`], [`view`], [`run`]. Besides: [`cli`] (what was typed), [`select`] (which
//! servers the targets mean), [`recording`] (snapshots that are kept), [`feed`] (going
//! through them again), [`demo`] (failing servers that ship inside the program).

pub mod cli;
pub mod demo;
pub mod diagnosis;
pub mod feed;
pub mod recording;
pub mod run;
pub mod select;
pub mod snapshot;
pub mod source;
pub mod view;

#[cfg(test)]
mod testing;
