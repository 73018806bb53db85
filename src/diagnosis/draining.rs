//! Is a process shutting down that was not seen to serve? By its frames, and by connections where nothing listens any more.

use super::framework::{self, Says};
use super::kind::{self, Intent};
use super::{ServerListener, frames};
use crate::snapshot::{Connection, ListenerState, Process, Reach, Stack, TcpState};

/// Ports from which the kernel takes those of clients (`net.ipv4.ip_local_port_range`, unless it was changed).
const CLIENTS_FROM: u16 = 32768;

/// True if the frames on its main thread say that it is on its way out.
pub fn ends(process: &Process) -> bool {
    let Some(main) = process.main_stack() else {
        return false;
    };
    let intent = process.python.as_ref().and_then(|p| p.intent.as_ref());
    let has_run = |reach| intent.is_some_and(|i| i.reach == reach);
    // A loop that a script has run and closed is not the server's: frames of a server stand around it, or the coroutine that it
    // has run starts one.
    framework::says(main, Says::Ends) && (kind::by_stack(main).is_some() || has_run(Reach::Within))
        || framework::says(main, Says::Exits)
            && (was_started_as_server(process) || has_run(Reach::Behind))
            && !another_may_serve(process, main)
}

/// True if the root of a server is on its way out, who `ends` by its frames. A script may only have started a thread that
/// serves: where a socket listens, its source is no proof.
pub fn root_ends(root: &Process, ends: bool, listeners: &[ServerListener]) -> bool {
    let listens = |l: &ServerListener| !l.side && l.socket.state == ListenerState::Listening;
    let says = |what| root.main_stack().is_some_and(|s| framework::says(s, what));
    let by_source = says(Says::Exits) && !says(Says::Ends) && !was_started_as_server(root);
    ends && !(by_source && listeners.iter().any(listens))
}

fn was_started_as_server(process: &Process) -> bool {
    matches!(kind::intent(&process.cmdline), Intent::Serves(_))
}

/// True if another thread than the main one may serve.
fn another_may_serve(process: &Process, main: &Stack) -> bool {
    let stacks = process.python.as_ref().and_then(|p| p.stacks.as_ref());
    let others = || {
        stacks
            .iter()
            .flat_map(|s| &s.list)
            .filter(|s| s.tid != main.tid)
    };
    let may_serve =
        |s: &Stack| kind::by_stack(s).is_some() || frames::has_loop(s) || frames::is_importing(s);
    others().any(may_serve)
}

/// Connections that came in, and no socket that listens there: a server that has closed its listener and waits for them.
/// They came in on the port that the command line names; or from one of the ports that are given to clients, to one that is
/// not, or that several of them have in common.
pub fn has_clients(process: &Process, asked: &[String], listeners: &[ServerListener]) -> bool {
    let listens = |c: &Connection| listens_at(listeners, c.local.1);
    let wanted = kind::wanted_port(asked);
    let mut came_in = came_in(process, asked).into_iter();
    came_in.any(|c| wanted == Some(c.local.1) || !listens(c))
}

/// Connections of clients to a server that is known to shut down, whether its listener is closed or not. Which port that had
/// may not be known any more: whoever comes from a port that is given to clients is one.
pub fn clients<'a>(
    process: &'a Process,
    asked: &[String],
    listeners: &[ServerListener],
) -> Vec<&'a Connection> {
    let wanted = kind::wanted_port(asked);
    let is_client = |c: &&Connection| {
        wanted == Some(c.local.1) || c.peer.1 >= CLIENTS_FROM || listens_at(listeners, c.local.1)
    };
    live(process).filter(is_client).collect()
}

fn listens_at(listeners: &[ServerListener], port: u16) -> bool {
    listeners.iter().any(|l| l.socket.port == port && port != 0)
}

fn live(process: &Process) -> impl Iterator<Item = &Connection> {
    let live = |c: &&Connection| {
        use TcpState::{CloseWait, Established, FinWait1};
        matches!(c.state, Established | CloseWait | FinWait1)
    };
    process
        .connections
        .iter()
        .flat_map(|c| &c.list)
        .filter(live)
}

/// Those that came in, as far as their ports tell.
fn came_in<'a>(process: &'a Process, asked: &[String]) -> Vec<&'a Connection> {
    let wanted = kind::wanted_port(asked);
    let of_client = |c: &Connection| c.peer.1 >= CLIENTS_FROM;
    let shared = |c: &Connection| {
        let other = |o: &Connection| o.local.1 == c.local.1 && o.peer != c.peer && of_client(o);
        live(process).any(other)
    };
    let looks_so = |c: &&Connection| of_client(c) && (c.local.1 < CLIENTS_FROM || shared(c));
    live(process)
        .filter(|c| wanted == Some(c.local.1) || looks_so(c))
        .collect()
}
