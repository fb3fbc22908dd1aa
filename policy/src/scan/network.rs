//! Addresses of networks: IPv4 and IPv6 in text form, MAC addresses as pairs of hexadecimal digits.
//!
//! Addresses that name nobody (unspecified, loopback, multicast, reserved) are no findings.
//! Sources: RFC 791, RFC 4291 with RFC 5952, IANA's special-purpose registries, IEEE 802 (EUI-48).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::str::FromStr;

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

/// A version number may look the same.
const IPV4_CONFIDENCE: u8 = 75;
const IPV6_CONFIDENCE: u8 = 92;
const MAC_CONFIDENCE: u8 = 92;
/// RFC 4291, 2.2, with an IPv4 address at the end.
const IPV6_BYTES_MAX: usize = 45;
const MAC_BYTES: usize = 17;
/// Words that make four numbers a version.
const VERSIONS: &[&str] = &["version", "ver", "release", "firmware", "build", "userversion", "assembly"];

/// Notes the IPv4 address that begins at `start`; says where it ends.
pub(super) fn ipv4(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let mut octets = [0u8; 4];
    let mut at = start;
    for (index, octet) in octets.iter_mut().enumerate() {
        if index > 0 {
            at += usize::from(text.get(at) == Some(&b'.'));
        }
        let digits = text.get(at..)?.iter().take(4).take_while(|byte| byte.is_ascii_digit()).count();
        let number = std::str::from_utf8(text.get(at..at + digits)?).ok()?;
        if digits > 1 && number.starts_with('0') {
            return None;
        }
        *octet = number.parse().ok()?;
        at += digits;
    }
    let goes_on = |at: usize| text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_alphanumeric);
    let begins = begins_at(text, start) && !matches!(text[..start], [.., b'0'..=b'9', b'.']);
    if !begins || !ends_at(text, at) || goes_on(at) || names_nobody(octets.into()) {
        return None;
    }
    if is_product(text, start, octets, at) || context::has_any(VERSIONS, text, start) {
        return None;
    }
    sink.note(DataClass::Ipv4, start..at, IPV4_CONFIDENCE).then_some(at)
}

/// Whether it is the version of a product, as browsers have it (RFC 9110, 10.1.5): `Chrome/118.0.5.9`.
/// Java writes `host/10.0.0.1:9092`.
fn is_product(text: &[u8], start: usize, octets: [u8; 4], end: usize) -> bool {
    let named = matches!(text[..start], [.., letter, b'/'] if letter.is_ascii_alphabetic());
    named && octets[1] == 0 && octets[0] != 10 && text.get(end) != Some(&b':')
}

fn names_nobody(address: Ipv4Addr) -> bool {
    matches!(address.octets()[0], 0 | 127 | 224..)
}

/// Notes the IPv6 or MAC address around the colon at `colon`; says where it ends.
pub(super) fn around_colon(text: &[u8], colon: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
    let before = text[..colon].iter().rev().take(IPV6_BYTES_MAX + 1).take_while(|byte| is_part(byte)).count();
    let mut start = colon - before;
    // As in `ip:2001:db8::1`, and the letter of an escape.
    if text.get(start) == Some(&b':') && text.get(start + 1) != Some(&b':') {
        start += 1;
    }
    if matches!(text.get(..=start), Some([.., b'\\', b'b' | b'f'])) {
        start += 1;
    }
    let rest = text.get(start..)?;
    let length = rest.iter().take(IPV6_BYTES_MAX + 1).take_while(|byte| is_part(byte) || **byte == b'.').count();
    let token = rest.get(..length)?;
    super::looks_at(before + length);
    let is_start = begins_at(text, start);
    if is_start
        && sink.wants(DataClass::MacAddress)
        && let Some(end) = mac(text, start, sink)
    {
        return Some(end);
    }
    if !is_start || !sink.wants(DataClass::Ipv6) {
        return None;
    }
    // What ends a sentence or a clause is no part of it.
    let token = token.strip_suffix(b".").unwrap_or(token);
    let token = if token.ends_with(b"::") { token } else { token.strip_suffix(b":").unwrap_or(token) };
    let end = start + token.len();
    let address = Ipv6Addr::from_str(std::str::from_utf8(token).ok()?).ok()?;
    (ends_at(text, end) && names_somebody(address) && sink.note(DataClass::Ipv6, start..end, IPV6_CONFIDENCE))
        .then_some(end)
}

/// Global and unique local unicast, link-local, translated and mapped IPv4. `dead::beef` is none of
/// these, and most `a::b` in texts is code.
fn names_somebody(address: Ipv6Addr) -> bool {
    match address.segments() {
        [0, 0, 0, 0, 0, 0xffff, ..] => address.to_ipv4_mapped().is_some_and(|address| !names_nobody(address)),
        [0x64, 0xff9b, ..] => true,
        [first, ..] => matches!(first, 0x2000..=0x3fff | 0xfc00..=0xfdff | 0xfe80..=0xfebf),
    }
}

/// Notes the MAC address with dashes whose third dash stands at `dash`.
pub(super) fn mac_with_dashes(text: &[u8], dash: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let start = dash.checked_sub(8)?;
    begins_at(text, start).then(|| mac(text, start, sink)).flatten()
}

fn mac(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let span: Range<usize> = start..start + MAC_BYTES;
    let bytes = text.get(span.clone())?;
    let separator = bytes[2];
    let well_formed = bytes.iter().enumerate().all(|(index, byte)| match index % 3 {
        2 => *byte == separator,
        _ => byte.is_ascii_hexdigit(),
    });
    let goes_on = text.get(span.end) == Some(&separator) && text.get(span.end + 1).is_some_and(u8::is_ascii_hexdigit);
    let before = matches!(text[..start], [.., before, last] if last == separator && before.is_ascii_hexdigit());
    // All zeros and all ones name no interface.
    let nobody = |digit: u8| bytes.iter().all(|byte| byte.to_ascii_lowercase() == digit || *byte == separator);
    if !well_formed || !ends_at(text, span.end) || goes_on || before || nobody(b'0') || nobody(b'f') {
        return None;
    }
    let end = span.end;
    sink.note(DataClass::MacAddress, span, MAC_CONFIDENCE).then_some(end)
}
