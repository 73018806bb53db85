//! What is the socket with this inode? By the tables of `/proc/PID/net`, whose first columns are the same for TCP and UDP.
//! Asked for a single socket that somebody waits on and that no list has, so a text will do.

use std::net::IpAddr;

use super::table::{parse_tcp, read_file, read_tcp};
use crate::snapshot::{Connection, TcpState};

/// A UDP socket that is in the tables of a network namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Datagram {
    /// Address and port that it is connected to; `None` if it is connected to nobody.
    pub peer: Option<(IpAddr, u16)>,
}

/// The TCP connection with this inode in the network namespace of this process; `None` if there is none.
pub fn tcp_socket(pid: u32, inode: u64) -> Option<Connection> {
    let rows = read_tcp(&format!("/proc/{pid}/net")).ok()?;
    let found = rows.into_iter().find(|row| row.inode == inode)?;
    Some(found.into_connection()).filter(|c| c.state != TcpState::Listen)
}

/// The UDP socket with this inode in the network namespace of this process; `None` if there is none.
pub fn udp_socket(pid: u32, inode: u64) -> Option<Datagram> {
    ["udp", "udp6"].iter().find_map(|name| {
        let bytes = read_file(&format!("/proc/{pid}/net/{name}")).ok()?;
        find(&bytes, inode)
    })
}

fn find(bytes: &[u8], inode: u64) -> Option<Datagram> {
    let row = parse_tcp(bytes).into_iter().find(|r| r.inode == inode)?;
    Some(Datagram {
        peer: Some(row.peer).filter(|(_, port)| *port != 0),
    })
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const UDP: &[u8] = b"   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops\n\
        \x20 1253: 0100007F:A0CE 0200000A:0035 01 00000000:00000000 00:00000000 00000000     0        0 171234 2 00000000a1b2c3d4 0\n\
        \x20 1400: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 8756 2 00000000a1b2c3d4 0\n";

    #[test]
    fn a_connection_of_this_process_is_found() {
        use std::os::fd::AsRawFd;
        use std::os::unix::fs::MetadataExt;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let link = format!("/proc/self/fd/{}", client.as_raw_fd());
        let inode = std::fs::metadata(link).unwrap().ino();
        let found = tcp_socket(std::process::id(), inode).unwrap();
        assert_eq!(found.peer.1, listener.local_addr().unwrap().port());
        assert_eq!(tcp_socket(std::process::id(), u64::MAX), None);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn connected_sockets_have_a_peer() {
        let server = (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2)), 53);
        assert_eq!(find(UDP, 171_234).unwrap().peer, Some(server));
        assert_eq!(find(UDP, 8756).unwrap().peer, None);
        assert_eq!(find(UDP, 1), None);
        for length in 0..UDP.len() {
            let _ = find(&UDP[..length], 8756);
        }
    }
}
