//! Addresses of cryptocurrencies, told by their check: Base58Check, Bech32 and Bech32m, EIP-55.
//!
//! Sources: BIP 13, 141, 173 and 350 (Bitcoin, Litecoin); EIP-55 (Ethereum and what runs on its machine);
//! CIP-19 (Cardano); SLIP-173 (prefixes); the chains' parameters for their version bytes; XRP Ledger,
//! "Base58 Encodings". Chains whose addresses have no check (Solana) are not looked for.

use aws_lc_rs::digest::{SHA256, digest};
use sha3::{Digest as _, Keccak256};
use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

const CHECKED: u8 = 99;
/// An address of Ethereum in one case has no check.
const SPOKEN: u8 = 85;
const BASE58: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
/// The XRP Ledger's order of the same characters.
const RIPPLE: &[u8; 58] = b"rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz";
/// Prefixes of Bech32 besides Bitcoin's.
const PREFIXES: [&[u8]; 6] = [b"ltc", b"addr", b"stake", b"cosmos", b"osmo", b"inj"];
/// The longest of any chain, Cardano's.
pub(super) const BYTES_MAX: usize = 108;

/// Notes the address that is the word at `start..end`; says where it ends.
pub(super) fn find(text: &[u8], start: usize, end: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let word = text.get(start..end)?;
    let (bitcoin, others) = (sink.wants(DataClass::BtcAddress), sink.wants(DataClass::CryptoAddress));
    if !(bitcoin || others) {
        return None;
    }
    let (class, confidence) = match (word.first()?, word.len()) {
        (b'0', 42) if others => (DataClass::CryptoAddress, ethereum(text, start, word)?),
        (b'1' | b'3', 26..=35) if bitcoin => (DataClass::BtcAddress, base58(word, &[0, 5])?),
        // Litecoin, Dogecoin, Dash, Tron.
        (b'L' | b'M' | b'D' | b'X' | b'T', 33 | 34) if others => {
            (DataClass::CryptoAddress, base58(word, &[48, 50, 30, 76, 65])?)
        }
        (b't', 35) if others => (DataClass::CryptoAddress, zcash(word)?),
        (b'r', 25..=35) if others => (DataClass::CryptoAddress, ripple(word)?),
        (b'b' | b'B', 42..=62) if bitcoin && bech32(word, b"bc") => (DataClass::BtcAddress, CHECKED),
        (_, 38..) if others && PREFIXES.iter().any(|prefix| bech32(word, prefix)) => {
            (DataClass::CryptoAddress, CHECKED)
        }
        _ => return None,
    };
    (begins_at(text, start) && ends_at(text, end) && sink.note(class, start..end, confidence)).then_some(end)
}

/// EIP-55: letters are capitals where the hash of the address in small letters says so.
fn ethereum(text: &[u8], start: usize, word: &[u8]) -> Option<u8> {
    let digits = word.strip_prefix(b"0x")?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (upper, lower) = (digits.iter().any(u8::is_ascii_uppercase), digits.iter().any(u8::is_ascii_lowercase));
    if !(upper && lower) {
        return context::speaks_of(DataClass::CryptoAddress, text, start).then_some(SPOKEN);
    }
    let hash = Keccak256::digest(digits.to_ascii_lowercase());
    let agrees = digits.iter().enumerate().all(|(at, digit)| {
        let half = hash.get(at / 2).map_or(0, |byte| if at % 2 == 0 { byte >> 4 } else { byte & 15 });
        !digit.is_ascii_alphabetic() || digit.is_ascii_uppercase() == (half >= 8)
    });
    agrees.then_some(CHECKED)
}

/// 21 bytes and four of their double hash, the first being one of `versions`.
fn base58(word: &[u8], versions: &[u8]) -> Option<u8> {
    let bytes: [u8; 25] = decode(word, BASE58)?;
    (versions.contains(&bytes[0]) && is_checked(&bytes)).then_some(CHECKED)
}

fn ripple(word: &[u8]) -> Option<u8> {
    let bytes: [u8; 25] = decode(word, RIPPLE)?;
    (bytes[0] == 0 && is_checked(&bytes)).then_some(CHECKED)
}

/// Zcash's transparent addresses have two bytes of version.
fn zcash(word: &[u8]) -> Option<u8> {
    let bytes: [u8; 26] = decode(word, BASE58)?;
    (matches!(bytes[..2], [0x1c, 0xb8 | 0xbd]) && is_checked(&bytes)).then_some(CHECKED)
}

/// The number that `word` writes, of exactly so many bytes or fewer.
fn decode<const BYTES: usize>(word: &[u8], alphabet: &[u8; 58]) -> Option<[u8; BYTES]> {
    // Most words of this length have a character of another alphabet.
    if !word.iter().all(|byte| BASE58.contains(byte)) {
        return None;
    }
    let mut bytes = [0u8; BYTES];
    super::looks_at(word.len());
    for byte in word {
        let mut carry = alphabet.iter().position(|other| other == byte)? as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return None;
        }
    }
    Some(bytes)
}

fn is_checked(bytes: &[u8]) -> bool {
    bytes
        .split_last_chunk::<4>()
        .is_some_and(|(payload, check)| digest(&SHA256, digest(&SHA256, payload).as_ref()).as_ref().starts_with(check))
}

/// Bech32, and from witness version 1 on bech32m where there is such a version.
fn bech32(word: &[u8], prefix: &[u8]) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const MODIFIED: u32 = 0x2bc8_30a3;
    let lower = word.iter().all(|byte| !byte.is_ascii_uppercase());
    let upper = word.iter().all(|byte| !byte.is_ascii_lowercase());
    let begins = word.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix));
    if !(lower || upper) || !begins || word.get(prefix.len()) != Some(&b'1') {
        return false;
    }
    let step = |sum: u32, value: u32| {
        const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let top = sum >> 25;
        let next = (sum & 0x01ff_ffff) << 5 ^ value;
        GENERATOR.iter().enumerate().fold(next, |next, (bit, generator)| next ^ (generator * (top >> bit & 1)))
    };
    // The prefix, expanded: high bits, a zero, low bits.
    let high = prefix.iter().map(|byte| u32::from(byte >> 5));
    let low = prefix.iter().map(|byte| u32::from(byte & 31));
    let mut sum = high.chain([0]).chain(low).fold(1, step);
    let mut version = None;
    for byte in &word[prefix.len() + 1..] {
        let Some(value) = ALPHABET.iter().position(|other| *other == byte.to_ascii_lowercase()) else { return false };
        version = version.or(Some(value));
        sum = step(sum, value as u32);
    }
    // Only segregated witness has versions.
    let segwit = matches!(prefix, b"bc" | b"ltc");
    if segwit && version != Some(0) { sum == MODIFIED } else { sum == 1 }
}
