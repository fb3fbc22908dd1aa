//! What a found value becomes under an operator: as text, as a bare JSON number, in binary.
//!
//! Values come as they stand in the payload; disguises (escapes, full-width digits) are undone
//! before anything is kept or computed of them.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr};

use tidegate_core::words::DataClass;

use super::key::MaskKey;
use super::{Class, Operator};
use crate::scan::normalised;

/// Digits of a card that name its issuer (ISO/IEC 7812-1 before 2017; what PCI DSS lets be shown).
const ISSUER_DIGITS: usize = 6;

/// Writes what `found`, in text, becomes.
pub(super) fn text(class: Class<'_>, operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    match operator {
        Operator::None => out.extend_from_slice(found),
        Operator::Redact => marker(class, out),
        Operator::Replace(text) => out.extend_from_slice(text.as_bytes()),
        Operator::KeepLast(count) => keep_last(*count, &plain(found), out),
        Operator::Nullify | Operator::DropRecord => {}
        Operator::Truncate(count) => truncate(*count, &plain(found), out),
        Operator::Generalise => match generalise(class, &plain(found)) {
            Some(general) => out.extend_from_slice(general.as_bytes()),
            None => marker(class, out),
        },
        Operator::Pseudonym(key) => {
            let pseudonym = pseudonym(class, key, found);
            out.extend_from_slice(format!("{}_{}_{pseudonym:032x}", class.name(), key.epoch()).as_bytes());
        }
        Operator::Encrypt(key) => {
            let mut plain = plain(found).into_owned().into_bytes();
            if encrypt(class, key, &mut plain) { out.extend_from_slice(&plain) } else { marker(class, out) }
        }
    }
}

/// Writes what `found`, the digits of a bare number in a JSON document, becomes: a number or `null`.
pub(super) fn number(class: Class<'_>, operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    match operator {
        Operator::None => out.extend_from_slice(found),
        Operator::KeepLast(count) => {
            let masked = found.len() - usize::from(*count).min(found.len() / 2);
            out.push(b'1');
            out.extend(std::iter::repeat_n(b'0', masked - 1));
            out.extend_from_slice(&found[masked..]);
        }
        Operator::Replace(text) if serde_json::from_str::<serde_json::Number>(text).is_ok() => {
            out.extend_from_slice(text.as_bytes());
        }
        Operator::Nullify | Operator::DropRecord => out.extend_from_slice(b"null"),
        Operator::Truncate(count) => keep_first(usize::from(*count).min(found.len() / 2), found, b'0', out),
        Operator::Generalise if class == Class::Known(DataClass::PaymentCard) => {
            keep_first(ISSUER_DIGITS, found, b'0', out)
        }
        // A day as a number: 19800517.
        Operator::Generalise if class == Class::Known(DataClass::DateOfBirth) && found.len() == 8 => {
            keep_first(4, found, b'0', out);
        }
        Operator::Pseudonym(key) => number_of(pseudonym(class, key, found), found.len(), out),
        Operator::Encrypt(key) => {
            let mut digits = found.to_vec();
            // A number has no zero before it, so the permutation is walked on to one that has none;
            // undoing walks back the same way.
            loop {
                if !encrypt(class, key, &mut digits) {
                    return out.push(b'0');
                }
                if digits.first() != Some(&b'0') {
                    return out.extend_from_slice(&digits);
                }
            }
        }
        Operator::Redact | Operator::Replace(_) | Operator::Generalise => out.push(b'0'),
    }
}

/// Writes what `found`, in binary, becomes: as many bytes.
pub(super) fn binary(class: Class<'_>, operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    let stars = |count| std::iter::repeat_n(b'*', count);
    match operator {
        Operator::None => out.extend_from_slice(found),
        Operator::KeepLast(count) => {
            let (masked, kept) = found.split_at(found.len() - usize::from(*count).min(found.len() / 2));
            out.extend(stars(masked.len()));
            out.extend_from_slice(kept);
        }
        Operator::Truncate(count) => keep_first(usize::from(*count).min(found.len() / 2), found, b'*', out),
        Operator::Pseudonym(key) => {
            let pseudonym = format!("{:032x}", pseudonym(class, key, found));
            out.extend(pseudonym.bytes().cycle().take(found.len()));
        }
        Operator::Encrypt(key) => {
            let at = out.len();
            out.extend_from_slice(found);
            if !encrypt(class, key, &mut out[at..]) {
                out.truncate(at);
                out.extend(stars(found.len()));
            }
        }
        Operator::Redact | Operator::Replace(_) | Operator::Nullify | Operator::Generalise | Operator::DropRecord => {
            out.extend(stars(found.len()));
        }
    }
}

/// Writes what a JSON number that is a field's value becomes: a number or `null`.
pub(super) fn number_field(class: Class<'_>, operator: &Operator, found: &[u8], out: &mut Vec<u8>) {
    let (sign, digits) = match found.strip_prefix(b"-") {
        Some(digits) => (&b"-"[..], digits),
        None => (&b""[..], found),
    };
    match operator {
        Operator::None => out.extend_from_slice(found),
        // What is no whole number has no digits to keep apart.
        _ if !digits.iter().all(u8::is_ascii_digit)
            && !matches!(operator, Operator::Nullify | Operator::Replace(_) | Operator::DropRecord) =>
        {
            out.push(b'0')
        }
        Operator::KeepLast(_) | Operator::Truncate(_) | Operator::Pseudonym(_) | Operator::Encrypt(_) => {
            out.extend_from_slice(sign);
            number(class, operator, digits, out);
        }
        _ => number(class, operator, digits, out),
    }
}

/// The year of a date, wherever it stands in it.
fn year(date: &str) -> Option<&str> {
    let is_year = |part: &&str| part.len() == 4 && part.bytes().all(|byte| byte.is_ascii_digit());
    let compact = |part: &str| part.len() == 8 && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut parts = date.split(|c: char| !c.is_alphanumeric());
    parts
        .clone()
        .find(is_year)
        .or_else(|| parts.find(|part| compact(part))?.get(..4))
        // 1980-05-17T00:00:00Z has its year first.
        .filter(|year| year.starts_with(['1', '2']))
}

fn marker(class: Class<'_>, out: &mut Vec<u8>) {
    out.push(b'[');
    out.extend_from_slice(class.name().as_bytes());
    out.push(b']');
}

/// The value without its disguise. What it hides may not be written as it is into JSON, and no
/// finding has a quotation mark or a backslash in it otherwise.
fn plain(found: &[u8]) -> Cow<'_, str> {
    // Nearly all findings are plain already: nothing to undo, and nothing that JSON escapes.
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\' | b'%');
    if found.iter().all(is_plain)
        && let Ok(found) = str::from_utf8(found)
    {
        return Cow::Borrowed(found);
    }
    let plain = normalised(found);
    String::from_utf8_lossy(&plain).chars().filter(|character| super::fits_json(*character)).collect()
}

fn keep_last(count: u8, found: &str, out: &mut Vec<u8>) {
    let total = found.chars().filter(|character| character.is_alphanumeric()).count();
    let mut masked = total - usize::from(count).min(total / 2);
    for character in found.chars() {
        let mask = masked > 0 && character.is_alphanumeric();
        masked -= usize::from(mask);
        let character = if mask { '*' } else { character };
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn truncate(count: u8, found: &str, out: &mut Vec<u8>) {
    let total = found.chars().filter(|character| character.is_alphanumeric()).count();
    let mut kept = usize::from(count).min(total / 2);
    for character in found.chars() {
        if kept == 0 {
            return;
        }
        kept -= usize::from(character.is_alphanumeric());
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn keep_first(count: usize, found: &[u8], filler: u8, out: &mut Vec<u8>) {
    let (kept, masked) = found.split_at(count.min(found.len()));
    out.extend_from_slice(kept);
    out.extend(std::iter::repeat_n(filler, masked.len()));
}

/// The range that a value belongs to; `None` where no range is known.
fn generalise(class: Class<'_>, found: &str) -> Option<String> {
    let Class::Known(class) = class else { return None };
    match class {
        DataClass::DateOfBirth => year(found).map(str::to_owned),
        DataClass::Email => found.rsplit_once('@').map(|(_, domain)| format!("*@{domain}")),
        DataClass::Ipv4 => {
            let [a, b, c, _] = found.parse::<Ipv4Addr>().ok()?.octets();
            Some(format!("{a}.{b}.{c}.0"))
        }
        DataClass::Ipv6 => {
            let [a, b, c, ..] = found.parse::<Ipv6Addr>().ok()?.segments();
            Some(Ipv6Addr::new(a, b, c, 0, 0, 0, 0, 0).to_string())
        }
        DataClass::MacAddress => {
            let separator = found.chars().nth(2)?;
            let zeros = [""; 3].map(|_| format!("{separator}00")).concat();
            Some(format!("{}{zeros}", found.get(..8)?))
        }
        DataClass::PaymentCard => {
            let mut shown = 0;
            let digit = |character: char| {
                shown += usize::from(character.is_ascii_digit());
                if character.is_ascii_digit() && shown > ISSUER_DIGITS { '*' } else { character }
            };
            Some(found.chars().map(digit).collect())
        }
        DataClass::Iban | DataClass::EuVat => found.get(..2).map(str::to_ascii_uppercase),
        _ => None,
    }
}

/// The pseudonym of a value, in the one spelling of it.
fn pseudonym(class: Class<'_>, key: &MaskKey, found: &[u8]) -> u128 {
    u128::from_be_bytes(key.pseudonym(class.name(), canonical(class, found).as_bytes()))
}

/// The one spelling of a value. Pseudonyms and the tags of subjects depend on it: a change makes those of
/// before strangers.
pub(crate) fn canonical<'f>(class: Class<'_>, found: &'f [u8]) -> Cow<'f, str> {
    let plain = plain(found);
    let Class::Known(known) = class else { return plain };
    match known {
        DataClass::Email if plain.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) => plain,
        DataClass::Email => plain.to_lowercase().into(),
        // Case and spacing do not tell people and places apart.
        DataClass::PersonName | DataClass::PostalAddress => {
            plain.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>().join(" ").into()
        }
        DataClass::Ipv6 => plain.parse::<Ipv6Addr>().map_or(plain, |address| address.to_string().into()),
        // Case tells secrets and addresses apart.
        DataClass::ApiSecret | DataClass::BtcAddress | DataClass::CryptoAddress | DataClass::Jwt | DataClass::Ipv4 => {
            plain
        }
        // `+49 (0) 30` is `+49 30`.
        DataClass::Phone if plain.contains("(0)") => only(&plain.replace("(0)", ""), u8::is_ascii_digit),
        DataClass::Phone => only(&plain, u8::is_ascii_digit),
        _ => only(&plain, u8::is_ascii_alphanumeric),
    }
}

/// The characters of ASCII that are of a kind, in upper case.
fn only<'a>(text: &str, is_of_kind: impl Fn(&u8) -> bool) -> Cow<'a, str> {
    let mut kept = String::with_capacity(text.len());
    kept.extend(text.bytes().filter(is_of_kind).map(|byte| char::from(byte.to_ascii_uppercase())));
    kept.into()
}

/// Writes a number of `length` digits that is determined by `pseudonym`.
fn number_of(pseudonym: u128, length: usize, out: &mut Vec<u8>) {
    // JSON's readers keep 15 digits exactly, and the finding had its length to begin with.
    let least = 10u128.pow(length.clamp(1, 30) as u32 - 1);
    out.extend_from_slice((least + pseudonym % (9 * least)).to_string().as_bytes());
}

/// Encrypts the digits among `text`, in place.
fn encrypt(class: Class<'_>, key: &MaskKey, text: &mut [u8]) -> bool {
    let mut digits: Vec<u8> = text.iter().filter(|byte| byte.is_ascii_digit()).map(|byte| byte - b'0').collect();
    if !key.encrypt(class.name(), &mut digits) {
        return false;
    }
    let places = text.iter_mut().filter(|byte| byte.is_ascii_digit());
    places.zip(digits).for_each(|(byte, digit)| *byte = digit + b'0');
    true
}
