//! Panel 1: where does it listen, who holds and who accepts, how full are the queues; which connections are open.

use std::collections::BTreeMap;

use ratatui::text::{Line, Span};

use crate::diagnosis::{ServerListener, TcpRates, sockets};
use crate::snapshot::{Connection, ListenerState, TcpState};
use crate::view::format;
use crate::view::tui::facts::{self, Seen};
use crate::view::tui::{text, theme};

use super::{Person, Room, Subject, gather, heading};

/// Connections of one process that are listed while the panel is not in focus.
const FEW: usize = 6;

/// The lines.
pub fn lines(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for listener in listeners(subject) {
        lines.extend(of_listener(listener, room));
    }
    if lines.is_empty() {
        lines.push(no_listener(subject));
    }
    lines.extend(host_counters(subject));
    lines.extend(connections(subject, room));
    lines
}

fn listeners<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a ServerListener> {
    let pid = subject
        .people
        .first()
        .filter(|_| subject.narrowed)
        .map(|p| p.process.key.pid);
    let all = subject.server.into_iter().flat_map(|s| s.listeners.iter());
    all.filter(move |l| pid.is_none_or(|pid| l.holders.contains(&pid)))
}

/// Says whether there is no socket, or whether nobody could look.
fn no_listener(subject: &Subject<'_>) -> Line<'static> {
    let blind = subject
        .gaps()
        .any(|g| g.source.contains("sock_diag") || g.source.contains("netns"));
    let words = match (blind, subject.narrowed) {
        (true, _) => " ? sockets could not be seen: see WHY",
        (false, true) => " – this process holds no socket for listening",
        (false, false) => " – no socket is bound or listens for it",
    };
    Line::from(Span::styled(words, theme::DIM))
}

/// ```text
///  0.0.0.0:8000  LISTEN  queue ▂▅█ 6/5 full  12 drops (0.5/s)  syn 0
///      held by 4127 4131 4132   accepting: 4131
/// ```
fn of_listener(listener: &ServerListener, room: Room) -> Vec<Line<'static>> {
    let socket = &listener.socket;
    let state = match socket.state {
        ListenerState::Bound => "bound, listen() not called: connections are refused",
        ListenerState::Listening => "LISTEN",
    };
    let mut first = vec![Span::styled(
        format!(" {}", sockets::address(socket)),
        theme::BOLD,
    )];
    if listener.side {
        first.push(Span::styled("  side port", theme::DIM));
    }
    let style = if socket.state == ListenerState::Bound {
        theme::WARN
    } else {
        theme::PLAIN
    };
    first.push(Span::styled(format!("  {state}"), style));
    match socket.v6only {
        Some(true) => first.push(Span::raw("  IPv6 only")),
        Some(false) => first.push(Span::styled("  also IPv4", theme::DIM)),
        None => {}
    }
    let mut lines = vec![Line::from(first)];
    if socket.state == ListenerState::Listening {
        lines.push(queues(listener));
    }
    lines.extend(holders(listener, room));
    lines
}

fn queues(listener: &ServerListener) -> Line<'static> {
    let socket = &listener.socket;
    let mut spans = vec![Span::raw("   accept queue ")];
    match facts::queue(listener) {
        Seen::Is(queue) => {
            let style = if queue.is_full() {
                theme::FAIL
            } else if queue.depth > 0 {
                theme::WARN
            } else {
                theme::PLAIN
            };
            let limit = queue.backlog.map_or(0, |b| b.saturating_add(1));
            let bars = format::bars(queue.history.iter().copied(), limit, 32);
            let backlog = queue
                .backlog
                .map_or_else(|| "?".to_owned(), |b| b.to_string());
            let full = if queue.is_full() { " full" } else { "" };
            spans.push(Span::styled(
                format!("{bars} {}/{backlog}{full}", queue.depth),
                style,
            ));
        }
        Seen::Unseen | Seen::None => spans.push(Span::styled("?", theme::DIM)),
    }
    if socket.path.is_none() {
        spans.push(counted("   syn ", socket.syn_queue));
        spans.push(counted("   drops ", socket.drops));
        match listener.drops_per_second {
            Some(rate) if rate >= 0.05 => {
                spans.push(Span::styled(format!(" (now {rate:.1}/s)"), theme::FAIL))
            }
            _ => {}
        }
    }
    Line::from(spans)
}

fn counted(label: &str, value: Option<u32>) -> Span<'static> {
    match value {
        None => Span::styled(format!("{label}?"), theme::DIM),
        Some(n) => Span::raw(format!("{label}{n}")),
    }
}

fn holders(listener: &ServerListener, room: Room) -> Vec<Line<'static>> {
    let accepting = match &listener.accepting {
        None => "?".to_owned(),
        Some(pids) if pids.is_empty() => "nobody".to_owned(),
        Some(pids) => list(pids, room.focused),
    };
    let accepting = if listener.socket.state == ListenerState::Bound {
        "–".to_owned()
    } else {
        accepting
    };
    let words = format!(
        "accepting: {accepting} · held by {}",
        list(&listener.holders, room.focused)
    );
    text::hanging(Span::raw("   "), 3, &words, theme::PLAIN, room.width)
}

fn list(pids: &[u32], whole: bool) -> String {
    let most = if whole { 400 } else { 8 };
    let mut words: Vec<String> = pids.iter().take(most).map(u32::to_string).collect();
    if pids.len() > most {
        words.push(format!("and {} more", pids.len() - most));
    }
    words.join(" ")
}

/// Counters of the network namespace: they tell of drops that no single socket's do.
fn host_counters(subject: &Subject<'_>) -> Option<Line<'static>> {
    let inode = subject.people.first()?.process.netns?;
    let netns = subject.snapshot.netns.iter().find(|n| n.inode == inode)?;
    let c = netns.counters?;
    let rate = |of: fn(&TcpRates) -> f64| match subject.server.and_then(|s| s.tcp_rates.as_ref()) {
        Some(rates) => format!("{:.1}/s", of(rates)),
        None => "?/s".to_owned(),
    };
    let words = format!(
        " whole network namespace: overflows {} ({} since boot), drops {} ({})",
        rate(|r| r.overflows_per_second),
        c.listen_overflows,
        rate(|r| r.drops_per_second),
        c.listen_drops
    );
    let bound = if netns.bound_visible {
        ""
    } else {
        "; this kernel does not list bound sockets"
    };
    Some(Line::from(Span::styled(
        format!("{words}{bound}"),
        theme::DIM,
    )))
}

fn connections(subject: &Subject<'_>, room: Room) -> Vec<Line<'static>> {
    let alive = subject.people.iter().filter(|p| !p.has_ended());
    gather(alive, room, |p| of_process(subject, p, room))
}

fn of_process(subject: &Subject<'_>, person: &Person<'_>, room: Room) -> Vec<Line<'static>> {
    let Some(connections) = &person.process.connections else {
        return vec![
            heading(format!(" {} ", person.title()), "connections".to_owned()),
            subject.why_unseen(
                person.process.key.pid,
                "connections",
                &["sock", "conn", "netns", "fd"],
            ),
        ];
    };
    let states: Vec<String> = connections
        .by_state
        .iter()
        .map(|(s, n)| format!("{n} {}", s.word()))
        .collect();
    let states = if states.is_empty() {
        "–".to_owned()
    } else {
        states.join(", ")
    };
    let mut lines = vec![heading(
        format!(" {} ", person.title()),
        format!("connections: {states}"),
    )];
    let mut shown: Vec<&Connection> = connections.list.iter().collect();
    shown.sort_by_key(|c| (urgency(c), c.peer));
    let most = if room.focused { shown.len() } else { FEW };
    lines.extend(folded(&shown).into_iter().take(most));
    let hidden = connections
        .total
        .saturating_sub(connections.list.len() as u64);
    if hidden > 0 && room.focused {
        lines.push(Line::from(Span::styled(
            format!("   and {hidden} more"),
            theme::DIM,
        )));
    }
    lines
}

/// What does not get through comes first.
fn urgency(connection: &Connection) -> u8 {
    match connection.state {
        TcpState::SynSent => 0,
        TcpState::CloseWait => 1,
        _ if connection.retransmits > 0 => 2,
        _ if connection.recv_q > 0 || connection.send_q > 0 => 3,
        TcpState::Established => 4,
        _ => 5,
    }
}

/// Connections that differ in the local port alone stand on one line.
fn folded(connections: &[&Connection]) -> Vec<Line<'static>> {
    let mut alike: BTreeMap<_, (&Connection, usize)> = BTreeMap::new();
    for c in connections {
        let quiet = c.recv_q == 0 && c.send_q == 0 && c.retransmits == 0;
        let inode = if quiet { 0 } else { c.inode };
        alike
            .entry((urgency(c), c.state, c.peer, inode))
            .or_insert((c, 0))
            .1 += 1;
    }
    alike.into_values().map(|(c, n)| connection(c, n)).collect()
}

fn connection(c: &Connection, times: usize) -> Line<'static> {
    let style = match urgency(c) {
        0 => theme::FAIL,
        1 | 2 => theme::WARN,
        _ => theme::PLAIN,
    };
    let (local, peer) = (
        format::endpoint(c.local.0, c.local.1),
        format::endpoint(c.peer.0, c.peer.1),
    );
    let mut words = format!("   {} {local} → {peer}", text::left(c.state.word(), 10));
    if times > 1 {
        words.push_str(&format!(" ×{times}"));
    }
    if c.recv_q > 0 {
        words.push_str(&format!("  unread {}", format::bytes(u64::from(c.recv_q))));
    }
    if c.send_q > 0 {
        words.push_str(&format!(
            "  unacknowledged {}",
            format::bytes(u64::from(c.send_q))
        ));
    }
    if c.retransmits > 0 {
        words.push_str(&format!("  {} retransmits", c.retransmits));
    }
    Line::from(Span::styled(words, style))
}
