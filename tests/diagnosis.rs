//! What the diagnosis says of worlds that are built by hand: series of snapshots in, servers, phases and findings out.
//!
//! No clock and no processes: time passes because the test says so.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it is wrong"
)]

#[path = "diagnosis/awaited.rs"]
mod awaited;
#[path = "diagnosis/calm.rs"]
mod calm;
#[path = "diagnosis/coroutines.rs"]
mod coroutines;
#[path = "diagnosis/fleet.rs"]
mod fleet;
#[path = "diagnosis/lives.rs"]
mod lives;
#[path = "diagnosis/locks_aside.rs"]
mod locks_aside;
#[path = "diagnosis/logs.rs"]
mod logs;
#[path = "diagnosis/phases.rs"]
mod phases;
#[path = "diagnosis/robust.rs"]
mod robust;
#[path = "diagnosis/roots.rs"]
mod roots;
#[path = "diagnosis/rules.rs"]
mod rules;
#[path = "diagnosis/stacks.rs"]
mod stacks;
#[path = "diagnosis/task_graph.rs"]
mod task_graph;
#[path = "diagnosis/task_rules.rs"]
mod task_rules;
#[path = "support/tasks.rs"]
mod tasks;
#[path = "diagnosis/waits.rs"]
mod waits;
#[path = "diagnosis/world.rs"]
mod world;
