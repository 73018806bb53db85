//! What a program has to do for itself where it is the first process of a container: the kernel drops signals to pid 1 that it has
//! no handler for (pid_namespaces(7)), and `docker stop` would have to wait for its SIGKILL.

use tokio::signal::unix::{SignalKind, signal};

use crate::cli::ExitStatus;

/// From here on SIGTERM and SIGINT end this program, pid 1 or not. As any other process it is ended by their default action, so
/// that its parent sees which it was.
pub(super) fn end_by_signals() {
    if std::process::id() != 1 {
        return;
    }
    let listener = std::thread::Builder::new().name("steth-signals".into());
    // Without the thread the program does its work all the same, and ends when that is done.
    let _ = listener.spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let ended = runtime
            .ok()
            .and_then(|runtime| runtime.block_on(first_signal()));
        if let Some(number) = ended {
            std::process::exit(i32::from(ExitStatus::Signalled(number).code()));
        }
    });
}

async fn first_signal() -> Option<i32> {
    let mut terminate = signal(SignalKind::terminate()).ok()?;
    let mut interrupt = signal(SignalKind::interrupt()).ok()?;
    tokio::select! {
        _ = terminate.recv() => Some(libc::SIGTERM),
        _ = interrupt.recv() => Some(libc::SIGINT),
    }
}
