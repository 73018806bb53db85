//! Replies captured on Linux 6.18 in a namespace of their own, whole and damaged.

use std::net::IpAddr;

use super::*;
use crate::source::sock_diag::frame::{Content, frames};

const TCP4: &[u8] = include_bytes!("../../../../tests/data/sock_diag/tcp4_listeners.bin");
const TCP6: &[u8] = include_bytes!("../../../../tests/data/sock_diag/tcp6_listeners.bin");
const CONNECTIONS: &[u8] = include_bytes!("../../../../tests/data/sock_diag/tcp4_connections.bin");
const UNIX: &[u8] = include_bytes!("../../../../tests/data/sock_diag/unix_listeners.bin");

fn bodies(datagram: &[u8]) -> Vec<&[u8]> {
    let content = frames(datagram).map(|f| f.content);
    content
        .filter_map(|c| {
            if let Content::Body(body) = c {
                Some(body)
            } else {
                None
            }
        })
        .collect()
}

fn tcp(datagram: &[u8]) -> Vec<Parsed<TcpRow>> {
    bodies(datagram).into_iter().filter_map(parse_tcp).collect()
}

fn unix(datagram: &[u8]) -> Vec<Parsed<Listener>> {
    bodies(datagram)
        .into_iter()
        .filter_map(|b| parse_unix(b).ok().flatten())
        .collect()
}

/// One line per row: address, state, depth/backlog, drops, v6only.
fn line(row: &TcpRow) -> String {
    match row {
        TcpRow::Listener(l) => format!(
            "{}:{} {:?} {:?}/{:?} drops {:?} v6only {:?}",
            l.address.unwrap(),
            l.port,
            l.state,
            l.accept_queue,
            l.backlog,
            l.drops,
            l.v6only
        ),
        TcpRow::HalfOpen(address, port) => format!("{address}:{port} half-open"),
        TcpRow::Connection(c) => format!("{:?} {:?} {:?}", c.state, c.local, c.peer),
        TcpRow::Other => "other".to_owned(),
    }
}

#[test]
fn captured_tcp_listeners_read_as_ss_shows_them() {
    let lines = |datagram| -> Vec<String> {
        let rows = tcp(datagram);
        assert!(rows.iter().all(|r| !r.damaged));
        let mut lines: Vec<String> = rows.iter().map(|r| line(&r.row)).collect();
        lines.sort();
        lines
    };
    let want4 = [
        "0.0.0.0:8002 Bound None/None drops Some(0) v6only None",
        "127.0.0.1:8001 Listening Some(2)/Some(5) drops Some(0) v6only None",
        "127.0.0.1:8003 Listening Some(2)/Some(1) drops Some(3) v6only None",
    ];
    assert_eq!(lines(TCP4), want4);
    // Bound to one IPv6 address is v6only by nature; 8004 has TCP_DEFER_ACCEPT, where the kernel counts each bare ACK that
    // it leaves unanswered as a drop.
    let want6 = [
        "::1:8004 half-open",
        "::1:8006 Bound None/None drops Some(0) v6only Some(true)",
        "::8004 Listening Some(0)/Some(7) drops Some(2) v6only Some(false)",
        "::8005 Listening Some(0)/Some(9) drops Some(0) v6only Some(true)",
        "::ffff:127.0.0.1:8004 half-open",
    ];
    let got: Vec<String> = lines(TCP6)
        .iter()
        .map(|l| l.replacen(":::", "::", 1))
        .collect();
    assert_eq!(got, want6);
}

#[test]
fn captured_unix_listeners_keep_every_name_however_odd() {
    let rows = unix(UNIX);
    assert!(rows.iter().all(|r| !r.damaged && r.row.uid == 0));
    let mut got: Vec<(String, Option<u32>, Option<u32>)> = rows
        .into_iter()
        .map(|r| {
            (
                r.row.path.unwrap_or_default(),
                r.row.accept_queue,
                r.row.backlog,
            )
        })
        .collect();
    got.sort();
    let want = [
        ("@\\u{1b}[31mred".to_owned(), 0),
        ("@abstract".to_owned(), 0),
        ("@nul\\u{0}inside\\u{0}".to_owned(), 0),
        ("api.sock".to_owned(), 2),
        ("x".repeat(108), 0),
        ("\u{fffd}\u{fffd}.sock".to_owned(), 0),
    ];
    assert_eq!(
        got,
        want.map(|(name, pending)| (name, Some(pending), Some(3)))
    );
}

#[test]
fn captured_connections_are_those_that_somebody_has() {
    let rows = tcp(CONNECTIONS).into_iter().map(|parsed| parsed.row);
    let all: Vec<Connection> = rows
        .filter_map(|row| match row {
            TcpRow::Connection(connection) => Some(connection),
            _ => None,
        })
        .collect();
    let count = |state| all.iter().filter(|c| c.state == state).count();
    assert_eq!(
        (
            count(TcpState::Established),
            count(TcpState::SynSent),
            all.len()
        ),
        (5, 3, 8)
    );
    let waiting = all.iter().find(|c| c.state == TcpState::SynSent).unwrap();
    let loopback: IpAddr = "127.0.0.1".parse().unwrap();
    assert_eq!(
        (waiting.local.0, waiting.peer),
        (loopback, (loopback, 8003))
    );
    let mut orphan = bodies(CONNECTIONS)[0].to_vec();
    // idiag_inode, the last field of struct inet_diag_msg.
    orphan[68..72].fill(0);
    assert_eq!(parse_tcp(&orphan).unwrap().row, TcpRow::Other);
}

#[test]
fn names_without_an_end_or_a_beginning_are_read() {
    let cases: &[(&[u8], Option<&str>)] = &[
        (b"", None),
        (b"\0", Some("@")),
        (b"/run/a.sock\0", Some("/run/a.sock")),
        (b"/run/a.sock", Some("/run/a.sock")),
        (b"/run/a.sock\0stale bytes", Some("/run/a.sock")),
        (b"\0a\0b", Some("@a\\u{0}b")),
    ];
    for (bytes, want) in cases {
        assert_eq!(unix_name(bytes).as_deref(), *want, "{bytes:?}");
    }
}

#[test]
fn a_reply_cut_at_any_length_costs_at_most_itself() {
    for datagram in [TCP4, TCP6, UNIX, CONNECTIONS] {
        let whole = bodies(datagram).len();
        for length in 0..datagram.len() {
            let cut = &datagram[..length];
            let rows = bodies(cut).len();
            assert!(rows <= whole);
            tcp(cut);
            unix(cut);
        }
        for body in bodies(datagram) {
            for length in 0..body.len() {
                let cut = &body[..length];
                assert_eq!(
                    parse_tcp(cut).is_some() && body[0] != AF_UNIX,
                    length >= 72 && body[0] != AF_UNIX
                );
                assert_eq!(parse_unix(cut).is_ok(), length >= 16 && body[0] == AF_UNIX);
            }
        }
    }
}

#[test]
fn an_attribute_length_that_lies_costs_the_attributes_not_the_row() {
    let body = bodies(TCP4)
        .into_iter()
        .find(|b| b[1] == TCP_LISTEN)
        .unwrap();
    let good = parse_tcp(body).unwrap();
    for length in [0u16, 1, 3, 0x7fff, 0xffff] {
        let mut bytes = body.to_vec();
        bytes[72..74].copy_from_slice(&length.to_ne_bytes());
        let parsed = parse_tcp(&bytes).unwrap();
        assert!(parsed.damaged, "{length}");
        let (TcpRow::Listener(good), TcpRow::Listener(bad)) = (&good.row, &parsed.row) else {
            panic!("a listener");
        };
        assert_eq!(
            (good.inode, good.port, good.accept_queue),
            (bad.inode, bad.port, bad.accept_queue)
        );
        assert_eq!(bad.drops, None);
    }
}

#[test]
fn any_byte_may_be_wrong_without_a_panic() {
    for datagram in [TCP4, TCP6, UNIX, CONNECTIONS] {
        for at in 0..datagram.len() {
            for value in [0x00, 0x01, 0x7f, 0x80, 0xff] {
                let mut bytes = datagram.to_vec();
                bytes[at] = value;
                tcp(&bytes);
                unix(&bytes);
            }
        }
    }
}
