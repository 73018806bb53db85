//! What can be seen: readers of /proc, sock_diag, process events and Python memory. The only place with rights and IO.

pub mod clock;
pub mod events;
mod holder;
pub mod intent;
pub mod log;
pub mod memory;
pub mod netns;
pub mod privilege;
pub mod procfs;
pub mod python;
pub mod sampler;
pub mod secret;
pub mod sock_diag;
pub mod text;
