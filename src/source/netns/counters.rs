//! How often listeners of a namespace dropped a connection: the TcpExt counters of `/proc/PID/net/netstat`, which
//! anyone may read. Counters only: rates are for the reader.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use crate::snapshot::TcpCounters;

/// Bytes read of each file; Linux 6.18 writes 4 KiB.
const MAX_BYTES: usize = 32 * 1024;

/// The files of one namespace, held open: to read one again is a single pread(2).
#[derive(Debug, Default)]
pub struct Counters {
    netstat: Option<File>,
    snmp: Option<File>,
}

impl Counters {
    /// The counters of the namespace behind a `/proc/PID/net`; `None` if the file is unreadable or has none of them.
    pub fn read(&mut self, directory: &str) -> Option<TcpCounters> {
        parse(&read(&mut self.netstat, directory, "netstat")?)
    }

    /// TCP segments that the namespace has received so far: while there are none, no connection begins. `None` if that cannot
    /// be read.
    pub fn segments_received(&mut self, directory: &str) -> Option<u64> {
        parse_segments(&read(&mut self.snmp, directory, "snmp")?)
    }
}

/// Reads a file of `/proc/PID/net`. An open one means the namespace, and outlives the process that it was found through.
fn read(held: &mut Option<File>, directory: &str, name: &str) -> Option<String> {
    if held.is_none() {
        *held = File::open(format!("{directory}/{name}")).ok();
    }
    let mut bytes = vec![0; MAX_BYTES];
    let length = loop {
        match held.as_ref()?.read_at(&mut bytes, 0) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => break read.ok()?,
        }
    };
    bytes.truncate(length);
    String::from_utf8(bytes).ok()
}

/// Reads the file: pairs of lines, names above, values below, both led by `TcpExt:`. Which names there are differs between
/// kernels; those that are missing count 0, since a kernel without a counter does not do what it counts.
pub fn parse(text: &str) -> Option<TcpCounters> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let mut counters = TcpCounters::default();
    let mut found = false;
    for (name, value) in names
        .split_ascii_whitespace()
        .zip(values.split_ascii_whitespace())
    {
        let place = match name {
            "ListenOverflows" => &mut counters.listen_overflows,
            "ListenDrops" => &mut counters.listen_drops,
            "TCPReqQFullDrop" => &mut counters.req_q_full_drop,
            "TCPReqQFullDoCookies" => &mut counters.req_q_full_do_cookies,
            _ => continue,
        };
        *place = value.parse().ok()?;
        found = true;
    }
    found.then_some(counters)
}

fn parse_segments(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp:"));
    let (names, values) = (lines.next()?, lines.next()?);
    let at = names.split_ascii_whitespace().position(|n| n == "InSegs")?;
    values.split_ascii_whitespace().nth(at)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_found_by_name() {
        let text = "Udp: InSegs\nUdp: 4\nTcp: MaxConn ActiveOpens InSegs OutSegs\nTcp: -1 7 80 9\n";
        assert_eq!(parse_segments(text), Some(80));
        for torn in [
            "",
            "Tcp: InSegs\n",
            "Tcp: InSegs\nTcp:\n",
            "Tcp: A\nTcp: 1\n",
        ] {
            assert_eq!(parse_segments(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn counters_are_found_by_name() {
        let text = "TcpExt: SyncookiesSent ListenOverflows ListenDrops TCPReqQFullDoCookies TCPReqQFullDrop\n\
                    TcpExt: 1 22 33 4 5\nIpExt: InNoRoutes ListenDrops\nIpExt: 7 8\n";
        let want = TcpCounters {
            listen_overflows: 22,
            listen_drops: 33,
            req_q_full_drop: 5,
            req_q_full_do_cookies: 4,
        };
        assert_eq!(parse(text), Some(want));
    }

    #[test]
    fn what_is_no_counter_is_none_not_zero() {
        for text in [
            "",
            "TcpExt: ListenDrops\n",
            "TcpExt: ListenDrops\nTcpExt: many\n",
            "TcpExt: A\nTcpExt: 1\n",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
