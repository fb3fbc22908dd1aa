//! The PROXY protocol's header, versions 1 and 2, by which a load balancer says who its client is
//! (HAProxy's `proxy-protocol.txt`). Parsed by the `ppp` crate; bounded here.

use std::net::SocketAddr;

use ppp::{HeaderResult, PartialResult, v1, v2};

/// The longest header looked at: version 2 with every address and room for extensions. A longer
/// one is refused, so that a client cannot make the gateway buffer without end.
const HEADER_BYTES_MAX: usize = 4096;

/// How a version 1 header begins, and the longest that it can be.
const V1_START: &[u8] = b"PROXY ";
const V1_BYTES_MAX: usize = 107;

/// A header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProxyHeader {
    /// Its length: what follows is the client's.
    pub length: usize,
    /// The client's address; `None` where the load balancer speaks for itself (a health check).
    pub source: Option<SocketAddr>,
}

/// Bytes that are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the connection does not begin with a PROXY header, which this listener requires")]
pub struct NoProxyHeader;

/// Reads a header at the start of `bytes`; `None` where more bytes are needed.
///
/// # Errors
/// [`NoProxyHeader`].
pub fn parse(bytes: &[u8]) -> Result<Option<ProxyHeader>, NoProxyHeader> {
    // A version 1 header is a line; `ppp` takes some lines that are cut short for wrong ones.
    if bytes.starts_with(V1_START) && !bytes.contains(&b'\n') {
        return if bytes.len() < V1_BYTES_MAX { Ok(None) } else { Err(NoProxyHeader) };
    }
    let result = HeaderResult::parse(bytes);
    if result.is_incomplete() {
        return if bytes.len() < HEADER_BYTES_MAX { Ok(None) } else { Err(NoProxyHeader) };
    }
    let header = match result {
        HeaderResult::V1(Ok(header)) => ProxyHeader { length: header.header.len(), source: v1_source(&header) },
        HeaderResult::V2(Ok(header)) => ProxyHeader { length: header.len(), source: v2_source(&header) },
        HeaderResult::V1(Err(_)) | HeaderResult::V2(Err(_)) => return Err(NoProxyHeader),
    };
    Ok(Some(header))
}

fn v1_source(header: &v1::Header<'_>) -> Option<SocketAddr> {
    match header.addresses {
        v1::Addresses::Tcp4(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Tcp6(ip) => Some((ip.source_address, ip.source_port).into()),
        v1::Addresses::Unknown => None,
    }
}

fn v2_source(header: &v2::Header<'_>) -> Option<SocketAddr> {
    if header.command == v2::Command::Local {
        return None;
    }
    match header.addresses {
        v2::Addresses::IPv4(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::IPv6(ip) => Some((ip.source_address, ip.source_port).into()),
        v2::Addresses::Unix(_) | v2::Addresses::Unspecified => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.1 5555 9092\r\n";

    fn v2() -> Vec<u8> {
        let mut bytes = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c".to_vec();
        bytes.extend([192, 0, 2, 7, 198, 51, 100, 1, 0x15, 0xb3, 0x23, 0x84]);
        bytes
    }

    #[test]
    fn both_versions_give_the_client_and_leave_what_follows() {
        for header in [V1.to_vec(), v2()] {
            let length = header.len();
            let mut bytes = header;
            bytes.extend(b"\0\0\0\x01x");
            let parsed = parse(&bytes).unwrap().unwrap();
            assert_eq!(parsed.length, length);
            assert_eq!(parsed.source, Some("192.0.2.7:5555".parse().unwrap()));
        }
    }

    #[test]
    fn a_header_cut_at_every_byte_waits_for_more() {
        for header in [V1.to_vec(), v2()] {
            for cut in 1..header.len() {
                assert_eq!(parse(&header[..cut]), Ok(None), "cut at {cut}");
            }
        }
    }

    #[test]
    fn anything_else_is_refused() {
        assert_eq!(parse(b"\0\0\0\x14\0\x12\0\x03rest of a frame"), Err(NoProxyHeader));
        assert_eq!(parse(b"GET / HTTP/1.1\r\n"), Err(NoProxyHeader));
        assert_eq!(parse(&[b"PROXY ".as_slice(), &[b'1'; 120]].concat()), Err(NoProxyHeader));
    }

    #[test]
    fn a_health_check_of_the_balancer_has_no_client() {
        let local = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";
        assert_eq!(parse(local).unwrap().unwrap().source, None);
    }
}
