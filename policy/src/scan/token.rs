//! Words of fourteen letters and digits or more: codice fiscale, secrets of APIs, JSON Web Tokens,
//! private keys; and what `crypto` and `passport` tell.
//!
//! Sources: DM 23 December 1976 (codice fiscale); RFC 7519 (JWT); RFC 7468 (PEM); for secrets the prefixes that the services document.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use memchr::memmem;
use tidegate_core::words::DataClass;

use super::{Sink, begins_at, crypto, ends_at, national, passport};

const CHECKED: u8 = 99;
const PREFIXED: u8 = 95;
/// Longest part of a token before its first long word: `xoxb-123456789012-1234567890123-`.
const BEFORE_BYTES_MAX: usize = 64;
/// A token that is longer is still found, but not walked beyond.
const TOKEN_BYTES_MAX: usize = 8192;

/// Notes what the word that begins at `start` is or belongs to; says where that ends.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let rest = text.get(start..)?;
    let length = rest.iter().take(crypto::BYTES_MAX + 1).take_while(|byte| byte.is_ascii_alphanumeric()).count();
    let word = &rest[..length];
    let end = start + length;
    super::looks_at(length);
    match word.first()? {
        b'A'..=b'Z' | b'a'..=b'z'
            if length == 16 && sink.wants(DataClass::ItCodiceFiscale) && is_codice_fiscale(word) =>
        {
            return (begins_at(text, start)
                && ends_at(text, end)
                && sink.note(DataClass::ItCodiceFiscale, start..end, PREFIXED))
            .then_some(end);
        }
        b'1'..=b'8' if length == 15 && sink.wants(DataClass::FrNir) && matches!(word[6], b'A' | b'B' | b'a' | b'b') => {
            let end = national::corsican(text, start)?;
            return (begins_at(text, start) && ends_at(text, end) && sink.note(DataClass::FrNir, start..end, 80))
                .then_some(end);
        }
        _ => {}
    }
    if (25..=crypto::BYTES_MAX).contains(&length)
        && let Some(end) = crypto::find(text, start, end, sink)
    {
        return Some(end);
    }
    if sink.wants(DataClass::Passport)
        && !word.iter().any(u8::is_ascii_lowercase)
        && let Some(end) = passport::zone(text, start, sink)
    {
        return Some(end);
    }
    secret(text, start, sink)
}

fn secret(text: &[u8], word: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let before = text[..word].iter().rev().take(BEFORE_BYTES_MAX).take_while(|byte| is_part(byte)).count();
    super::looks_at(before);
    if before == BEFORE_BYTES_MAX {
        return None;
    }
    let mut start = word - before;
    if matches!(text.get(..=start), Some([.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'])) {
        start += 1;
    }
    let rest = text.get(start..)?;
    if sink.wants(DataClass::Jwt) && rest.starts_with(b"eyJ") {
        return jwt(text, start, sink);
    }
    if !sink.wants(DataClass::ApiSecret) {
        return None;
    }
    if let Some(end) = pem(text, word, sink) {
        return Some(end);
    }
    // SendGrid's is the one with dots.
    let start = if text[..start].ends_with(b"SG.") { start - 3 } else { start };
    let rest = text.get(start..)?;
    let dots = rest.starts_with(b"SG.");
    let is_part = |byte: &u8| is_part(byte) || dots && *byte == b'.';
    if !matches!(rest.first()?, b'A' | b'S' | b'd' | b'g' | b'h' | b'n' | b'p' | b'r' | b's' | b'w' | b'x') {
        return None;
    }
    let service = SERVICES.iter().find(|service| rest.starts_with(service.prefix))?;
    let body = rest.get(service.prefix.len()..)?;
    let length = body.iter().take(TOKEN_BYTES_MAX).take_while(|byte| is_part(byte)).count();
    let valid = (service.least..=service.most).contains(&length) && body[..length].iter().all(service.takes);
    let end = start + service.prefix.len() + length;
    super::looks_at(length);
    (valid && begins_at(text, start) && sink.note(DataClass::ApiSecret, start..end, PREFIXED)).then_some(end)
}

/// A service's secrets: how they begin and what follows.
struct Service {
    prefix: &'static [u8],
    least: usize,
    most: usize,
    takes: fn(&u8) -> bool,
}

const fn service(prefix: &'static [u8], least: usize, most: usize, takes: fn(&u8) -> bool) -> Service {
    Service { prefix, least, most, takes }
}

fn any(_: &u8) -> bool {
    true
}

fn solid(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric()
}

fn base32(byte: &u8) -> bool {
    matches!(byte, b'A'..=b'Z' | b'2'..=b'7')
}

fn hexadecimal(byte: &u8) -> bool {
    byte.is_ascii_hexdigit()
}

/// Longer prefixes before those that they begin with.
const SERVICES: &[Service] = &[
    // AWS, "IAM identifiers": access keys, permanent and temporary.
    service(b"AKIA", 16, 16, base32),
    service(b"ASIA", 16, 16, base32),
    // GitHub, "Behind GitHub's new authentication token formats".
    service(b"github_pat_", 60, 255, any),
    service(b"ghp_", 36, 255, solid),
    service(b"gho_", 36, 255, solid),
    service(b"ghu_", 36, 255, solid),
    service(b"ghs_", 36, 255, any),
    service(b"ghr_", 36, 255, any),
    // GitLab, "Token overview".
    service(b"glpat-", 20, 64, any),
    service(b"gldt-", 20, 64, any),
    service(b"glrt-", 20, 64, any),
    // Slack, "Token types".
    service(b"xoxb-", 20, 255, any),
    service(b"xoxp-", 20, 255, any),
    service(b"xoxa-", 20, 255, any),
    service(b"xoxs-", 20, 255, any),
    // Stripe, "API keys"; publishable keys are no secret.
    service(b"sk_live_", 16, 255, solid),
    service(b"rk_live_", 16, 255, solid),
    service(b"sk_test_", 16, 255, solid),
    service(b"whsec_", 24, 64, solid),
    // Google Cloud, "API keys".
    service(b"AIza", 35, 35, any),
    // npm and PyPI.
    service(b"npm_", 36, 36, solid),
    service(b"pypi-AgEIcHlwaS5vcmc", 50, 512, any),
    // SendGrid, Shopify, DigitalOcean, Hugging Face.
    service(b"SG.", 66, 66, |byte| solid(byte) || matches!(byte, b'.' | b'_' | b'-')),
    service(b"shpat_", 32, 32, hexadecimal),
    service(b"shpss_", 32, 32, hexadecimal),
    service(b"dop_v1_", 64, 64, hexadecimal),
    service(b"hf_", 34, 37, solid),
    // Anthropic and OpenAI.
    service(b"sk-ant-", 32, 255, any),
    service(b"sk-proj-", 32, 255, any),
    service(b"sk-", 40, 64, solid),
];

/// Notes the private key in PEM whose body the word at `word` begins.
fn pem(text: &[u8], word: usize, sink: &mut Sink<'_>) -> Option<usize> {
    if !matches!(text[..word], [.., b'\n'] | [.., b'\\', b'n' | b'r']) {
        return None;
    }
    let from = word.saturating_sub(BEFORE_BYTES_MAX);
    let before = &text[from..word];
    let label = memmem::find(before, b"PRIVATE KEY-----")?;
    let start = from + memmem::rfind(&before[..label], b"-----BEGIN ")?;
    let limit = text.len().min(word + TOKEN_BYTES_MAX);
    super::looks_at(limit - word);
    let end = memmem::find(&text[word..limit], b"-----END ")
        .and_then(|at| {
            let footer = word + at + b"-----END ".len();
            memmem::find(&text[footer..limit.max(footer)], b"-----").map(|dashes| footer + dashes + 5)
        })
        .unwrap_or(limit);
    sink.note(DataClass::ApiSecret, start..end, CHECKED).then_some(end)
}

/// Notes the JSON Web Token that begins at `start`: three parts in base64url, the first an object
/// that names an algorithm.
fn jwt(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let part = |at: usize| {
        let rest = text.get(at..).unwrap_or_default();
        at..at + rest.iter().take(TOKEN_BYTES_MAX).take_while(|byte| is_part(byte)).count()
    };
    let header = part(start);
    super::looks_at(header.len());
    let dot = |at: usize| text.get(at) == Some(&b'.');
    if !dot(header.end) || header.len() > 2048 {
        return None;
    }
    let payload = part(header.end + 1);
    super::looks_at(payload.len());
    if !dot(payload.end) || payload.is_empty() {
        return None;
    }
    let decoded = URL_SAFE_NO_PAD.decode(text.get(header)?).ok()?;
    memmem::find(&decoded, b"\"alg\"")?;
    let end = part(payload.end + 1).end;
    (begins_at(text, start) && sink.note(DataClass::Jwt, start..end, CHECKED)).then_some(end)
}

fn is_codice_fiscale(word: &[u8]) -> bool {
    let Ok(word): Result<[u8; 16], _> = word.try_into() else { return false };
    let word = word.map(|byte| byte.to_ascii_uppercase());
    // Where two people would have the same code, digits become letters, L for 0 to V for 9.
    let digit = |at: usize| match word[at] {
        byte @ b'0'..=b'9' => Some(u32::from(byte - b'0')),
        letter => b"LMNPQRSTUV".iter().position(|other| *other == letter).map(|digit| digit as u32),
    };
    let letters = [0, 1, 2, 3, 4, 5, 8, 11, 15];
    let digits = [6, 7, 9, 10, 12, 13, 14];
    let day = digit(9).zip(digit(10)).map_or(0, |(tens, ones)| tens * 10 + ones);
    letters.iter().all(|at| word[*at].is_ascii_uppercase())
        && digits.iter().all(|at| digit(*at).is_some())
        && b"ABCDEHLMPRST".contains(&word[8])
        && matches!(day, 1..=31 | 41..=71)
        && codice_check(&word) == word[15]
}

fn codice_check(word: &[u8; 16]) -> u8 {
    const ODD: [u8; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let sum: u32 = word[..15]
        .iter()
        .enumerate()
        .map(|(index, byte)| {
            let value = if byte.is_ascii_digit() { byte - b'0' } else { byte - b'A' };
            // Counted from one, the first is odd.
            u32::from(if index % 2 == 0 { ODD[usize::from(value) % 26] } else { value })
        })
        .sum();
    b'A' + (sum % 26) as u8
}
