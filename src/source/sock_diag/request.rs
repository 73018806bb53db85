//! What sock_diag is asked: which sockets, in which states, with which attributes (linux/inet_diag.h, linux/unix_diag.h).

use netlink_packet_core::{NetlinkPayload, NetlinkSerializable};
use netlink_packet_sock_diag::SockDiagMessage;
use netlink_packet_sock_diag::constants::{AF_INET, AF_INET6, IPPROTO_TCP};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::unix::{ShowFlags, StateFlags as UnixStateFlags, UnixRequest};

/// TCP_BOUND_INACTIVE as a bit of `idiag_states`, kernel 6.8 and newer; older ones ignore it.
const BOUND_INACTIVE: u32 = 1 << 13;
/// UDIAG_SHOW_UID, kernel 5.3 and newer; older ones ignore it.
const SHOW_UID: u32 = 1 << 6;
/// TCPDIAG_GETSOCK: the request from before families were told apart, and the only one that asks for both.
const GET_TCP: u16 = 18;
/// Bytes of `struct inet_diag_req`.
const GET_TCP_LENGTH: usize = 60;

/// A question to the kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Diag(SockDiagMessage),
    /// TCP over IPv4 and IPv6 in one walk of the kernel's tables (inet_diag_dump_compat, net/ipv4/inet_diag.c).
    BothTcp(StateFlags),
}

/// States that a descriptor can have, and half-open connections; TIME_WAIT has neither descriptor nor listener.
pub fn every_state() -> StateFlags {
    let states = StateFlags::all().difference(StateFlags::TIME_WAIT);
    StateFlags::from_bits_retain(states.bits() | BOUND_INACTIVE)
}

impl Request {
    /// This message.
    pub fn of(message: SockDiagMessage) -> Self {
        Self(Kind::Diag(message))
    }

    /// TCP sockets of both families in these states.
    pub fn tcp(states: StateFlags) -> Self {
        Self(Kind::BothTcp(states))
    }

    /// TCP sockets of one family in these states.
    pub fn tcp_of(family: u8, states: StateFlags) -> Self {
        let socket_id = if family == AF_INET6 {
            SocketId::new_v6()
        } else {
            SocketId::new_v4()
        };
        Self(Kind::Diag(SockDiagMessage::InetRequest(InetRequest {
            family,
            protocol: IPPROTO_TCP,
            extensions: ExtensionFlags::SKMEMINFO,
            states,
            socket_id,
        })))
    }

    /// Unix sockets that listen.
    pub fn unix() -> Self {
        let show = ShowFlags::NAME.bits() | ShowFlags::RQLEN.bits() | SHOW_UID;
        Self(Kind::Diag(SockDiagMessage::UnixRequest(UnixRequest {
            state_flags: UnixStateFlags::LISTEN,
            inode: 0,
            show_flags: ShowFlags::from_bits_retain(show),
            cookie: [0xff; 8],
        })))
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        match &self.0 {
            Kind::Diag(message) => message.message_type(),
            Kind::BothTcp(_) => GET_TCP,
        }
    }

    fn buffer_len(&self) -> usize {
        match &self.0 {
            Kind::Diag(message) => NetlinkSerializable::buffer_len(message),
            Kind::BothTcp(_) => GET_TCP_LENGTH,
        }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        match &self.0 {
            Kind::Diag(message) => message.serialize(buffer),
            Kind::BothTcp(states) => serialize_both(states, buffer),
        }
    }
}

/// Family, two lengths, attributes; ports, addresses and interface, all 0 for any; the cookie, all ones for any; states; tables.
fn serialize_both(states: &StateFlags, buffer: &mut [u8]) {
    let mut request = [0u8; GET_TCP_LENGTH];
    let mut put = |at: usize, bytes: &[u8]| {
        if let Some(place) = request.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
    };
    put(0, &[AF_INET, 0, 0, ExtensionFlags::SKMEMINFO.bits()]);
    put(44, &[0xff; 8]);
    put(52, &states.bits().to_ne_bytes());
    if let Some(place) = buffer.get_mut(..GET_TCP_LENGTH) {
        place.copy_from_slice(&request);
    }
}

impl From<Request> for NetlinkPayload<Request> {
    fn from(request: Request) -> Self {
        NetlinkPayload::InnerMessage(request)
    }
}
