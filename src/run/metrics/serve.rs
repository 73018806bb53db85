//! The HTTP server: HTTP/1, one request per connection, in bounded time, for a bounded number of clients.
//!
//! When too many clients are there at once, the one that has been there for longest has to go: those that hold connections open
//! without asking for anything keep nobody out.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::Seen;
use super::answer::answer;

/// Clients at once.
const CLIENTS: usize = 32;
/// The request has to be there after so long.
const ASKED_WITHIN: Duration = Duration::from_secs(5);
/// And the answer to be taken after so long.
const DONE_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a request's headers, and how much of them and of the answer is kept at once.
const BUFFER: usize = 16 << 10;
/// Headers of a request.
const HEADERS: usize = 64;
/// After accept(2) has failed (no file descriptor is left) it is tried again so much later.
const PAUSE: Duration = Duration::from_millis(200);

/// Answers requests for as long as the program runs.
pub(super) async fn serve(
    listener: std::net::TcpListener,
    seen: watch::Receiver<Arc<Seen>>,
) -> Result<Infallible> {
    listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
        .map(|listener| accept(listener, seen))
        .context("cannot listen")?
        .await
}

async fn accept(listener: TcpListener, seen: watch::Receiver<Arc<Seen>>) -> Result<Infallible> {
    let mut clients: VecDeque<AbortHandle> = VecDeque::with_capacity(CLIENTS);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        clients.retain(|client| !client.is_finished());
        if clients.len() >= CLIENTS
            && let Some(oldest) = clients.pop_front()
        {
            oldest.abort();
        }
        let client = tokio::spawn(attend(stream, seen.clone()));
        clients.push_back(client.abort_handle());
    }
}

/// Answers one client, who may be slow, hang or go away: nothing that it does is an error of ours.
async fn attend(stream: TcpStream, seen: watch::Receiver<Arc<Seen>>) {
    let service = service_fn(move |request| {
        let seen = seen.borrow().clone();
        let response = answer(&request, &seen);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(ASKED_WITHIN)
        .keep_alive(false)
        .max_buf_size(BUFFER)
        .max_headers(HEADERS)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(DONE_WITHIN, connection).await;
}
