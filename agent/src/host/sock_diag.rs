//! Asking the kernel for the sockets in one state, over netlink. A program that lists them (`ss`) costs a
//! process, and reading `/proc/net/tcp` a line for every connection of the host.

use std::io;
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeVal;

const HEADER_BYTES: usize = 16;
const REQUEST_BYTES: usize = HEADER_BYTES + 56;
const ANSWER_BYTES: usize = 32 << 10;
/// A flood has more half-open connections than are worth counting; this many answers hold about 60,000.
const ANSWERS_MAX: usize = 192;
const PATIENCE_SECONDS: i64 = 1;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// A request (1) for everything that fits (0x300).
const DUMP: u16 = 0x301;
const IPPROTO_TCP: u8 = 6;
const STATE_SYN_RECV: u32 = 3;
const FAMILIES: [u8; 2] = [AddressFamily::Inet as u8, AddressFamily::Inet6 as u8];

/// Connections that were asked for and not confirmed yet, over IPv4 and IPv6: the state SYN_RECV.
///
/// # Errors
/// When the kernel has no socket diagnosis, or the process may not use it.
pub fn half_open_connections() -> io::Result<u64> {
    let mut buffer = vec![0; ANSWER_BYTES];
    FAMILIES.into_iter().try_fold(0, |sum, family| Ok(sum + count(family, &mut buffer)?))
}

// A socket for each question: an answer that was not read to its end must not mix with the next.
fn count(family: u8, buffer: &mut [u8]) -> io::Result<u64> {
    let (kind, flags) = (SockType::Raw, SockFlag::SOCK_CLOEXEC);
    let socket = socket(AddressFamily::Netlink, kind, flags, SockProtocol::NetlinkSockDiag)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::new(PATIENCE_SECONDS, 0))?;
    let fd = socket.as_raw_fd();
    sendto(fd, &request(family), &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    let mut sockets = 0;
    for _ in 0..ANSWERS_MAX {
        let length = recv(fd, buffer, MsgFlags::empty())?;
        let answer = read_answer(buffer.get(..length).unwrap_or_default())?;
        sockets += answer.sockets;
        if answer.is_last {
            return Ok(sockets);
        }
    }
    Ok(sockets)
}

// struct nlmsghdr and struct inet_diag_req_v2, in the machine's byte order.
fn request(family: u8) -> [u8; REQUEST_BYTES] {
    let mut request = [0; REQUEST_BYTES];
    request[0..4].copy_from_slice(&(REQUEST_BYTES as u32).to_ne_bytes());
    request[4..6].copy_from_slice(&SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    request[6..8].copy_from_slice(&DUMP.to_ne_bytes());
    request[HEADER_BYTES] = family;
    request[HEADER_BYTES + 1] = IPPROTO_TCP;
    request[HEADER_BYTES + 4..HEADER_BYTES + 8]
        .copy_from_slice(&(1u32 << STATE_SYN_RECV).to_ne_bytes());
    request
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Answer {
    sockets: u64,
    is_last: bool,
}

// A part of the answer: messages one after the other, each with its length in front and padded to four bytes.
fn read_answer(mut bytes: &[u8]) -> io::Result<Answer> {
    let mut answer = Answer::default();
    while let Some(header) = bytes.first_chunk::<HEADER_BYTES>() {
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if length < HEADER_BYTES || length > bytes.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a netlink answer is cut off"));
        }
        match u16::from_ne_bytes([header[4], header[5]]) {
            SOCK_DIAG_BY_FAMILY => answer.sockets += 1,
            NLMSG_DONE => answer.is_last = true,
            NLMSG_ERROR => return Err(refusal(&bytes[HEADER_BYTES..length])),
            _ => {}
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(answer)
}

fn refusal(body: &[u8]) -> io::Error {
    match body.first_chunk::<4>().map(|code| i32::from_ne_bytes(*code)) {
        Some(code @ i32::MIN..=-1) => io::Error::from_raw_os_error(code.saturating_neg()),
        _ => io::Error::new(io::ErrorKind::InvalidData, "netlink answered with no reason"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let mut message = ((HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&[0; 10]);
        message.extend_from_slice(body);
        message.resize(message.len().next_multiple_of(4), 0);
        message
    }

    #[test]
    fn sockets_are_counted_up_to_the_last_message() {
        let socket = message(SOCK_DIAG_BY_FAMILY, &[1; 73]);
        let part = [socket.clone(), socket].concat();
        assert_eq!(read_answer(&part).unwrap(), Answer { sockets: 2, is_last: false });
        let end = message(NLMSG_DONE, &[0; 4]);
        assert_eq!(read_answer(&end).unwrap(), Answer { sockets: 0, is_last: true });
    }

    #[test]
    fn a_refusal_is_told_with_its_reason() {
        let error = read_answer(&message(NLMSG_ERROR, &(-2i32).to_ne_bytes())).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(read_answer(&message(NLMSG_ERROR, &[])).is_err());
        assert!(read_answer(&message(NLMSG_DONE, &[0; 40])[..30]).is_err());
    }

    #[test]
    fn the_kernel_of_this_host_answers() {
        half_open_connections().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, tail: Vec<u8>) {
            let _ = read_answer(&bytes);
            let _ = read_answer(&message(NLMSG_ERROR, &tail));
        }
    }
}
