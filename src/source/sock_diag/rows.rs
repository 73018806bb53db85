//! What becomes of the rows of a dump: listeners, half-open connections and connections, bounded and counted.

use std::net::IpAddr;

use super::dump::Rows;
use super::half_open::HalfOpen;
use super::reply::{Malformed, TcpRow, parse_tcp, parse_unix};
use super::{MAX_CONNECTIONS, MAX_LISTENERS};
use crate::snapshot::{Connection, Listener};

/// Half-open connections that are kept of one dump: beyond it is a flood, and its size is known well enough.
const MAX_HALF_OPEN: usize = 262_144;

/// TCP rows of one dump.
#[derive(Debug, Default)]
pub struct TcpRows {
    listeners: Vec<Listener>,
    half_open: Vec<(IpAddr, u16)>,
    connections: Vec<Connection>,
    malformed: u32,
}

/// TCP sockets of both families.
#[derive(Debug, Default)]
pub struct TcpSockets {
    /// With their half-open connections counted.
    pub listeners: Vec<Listener>,
    /// How many connections are half open.
    pub half_open: usize,
    /// In no order.
    pub connections: Vec<Connection>,
    /// Replies that could not be read, wholly or in part.
    pub malformed: u32,
}

impl TcpRows {
    /// Joins the families: an IPv6 listener may take IPv4 connections, so half-open ones are assigned when both are there.
    pub fn join(mut self, mut other: TcpRows) -> TcpSockets {
        let mut half_open = HalfOpen::default();
        let mut count = 0;
        for (address, port) in self.half_open.drain(..).chain(other.half_open.drain(..)) {
            half_open.count(address, port);
            count += 1;
        }
        let mut listeners = self.listeners;
        listeners.append(&mut other.listeners);
        half_open.add_to(&mut listeners);
        let mut connections = self.connections;
        connections.append(&mut other.connections);
        connections.truncate(MAX_CONNECTIONS);
        TcpSockets {
            listeners,
            half_open: count,
            connections,
            malformed: self.malformed.saturating_add(other.malformed),
        }
    }
}

impl Rows for TcpRows {
    fn restart(&mut self) {
        self.listeners.clear();
        self.half_open.clear();
        self.connections.clear();
        self.malformed = 0;
    }

    fn row(&mut self, body: &[u8]) {
        let Some(parsed) = parse_tcp(body) else {
            return self.torn();
        };
        self.malformed = self.malformed.saturating_add(u32::from(parsed.damaged));
        match parsed.row {
            TcpRow::Listener(listener) if self.listeners.len() < MAX_LISTENERS => {
                self.listeners.push(listener);
            }
            TcpRow::HalfOpen(address, port) if self.half_open.len() < MAX_HALF_OPEN => {
                self.half_open.push((address, port));
            }
            TcpRow::Connection(connection) if self.connections.len() < MAX_CONNECTIONS => {
                self.connections.push(connection);
            }
            TcpRow::Listener(_) | TcpRow::HalfOpen(..) | TcpRow::Connection(_) | TcpRow::Other => {}
        }
    }

    fn torn(&mut self) {
        self.malformed = self.malformed.saturating_add(1);
    }
}

/// Unix listeners.
#[derive(Debug, Default)]
pub struct UnixRows {
    /// What listens.
    pub listeners: Vec<Listener>,
    /// Replies that could not be read, wholly or in part.
    pub malformed: u32,
}

impl Rows for UnixRows {
    fn restart(&mut self) {
        self.listeners.clear();
        self.malformed = 0;
    }

    fn row(&mut self, body: &[u8]) {
        match parse_unix(body) {
            Ok(Some(parsed)) => {
                self.malformed = self.malformed.saturating_add(u32::from(parsed.damaged));
                if self.listeners.len() < MAX_LISTENERS {
                    self.listeners.push(parsed.row);
                }
            }
            Ok(None) => {}
            Err(Malformed) => self.torn(),
        }
    }

    fn torn(&mut self) {
        self.malformed = self.malformed.saturating_add(1);
    }
}
