//! Base64 within a text, where a rule asks for it: what it hides is found, and the whole of it is the
//! finding.
//!
//! Runs of the alphabet hang on long words, which the one pass finds anyway, so a text without any
//! costs nothing more. Each byte is decoded once a level at most, and levels are bounded; what is
//! no text when decoded is let be. Sources: RFC 4648, 4 and 5.

use std::ops::Range;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// Base64 within base64 that a rule may ask for.
pub const DEPTH_MAX: u8 = 3;
/// Shorter runs hide nothing that any class has.
const RUN_BYTES_MIN: usize = 12;

const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
static STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, CONFIG);
static URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, CONFIG);

/// The run around the long word that begins at `word`; not before `floor`, where the last one ended.
pub(super) fn run(text: &[u8], word: usize, floor: usize) -> Range<usize> {
    let before = text.get(floor.min(word)..word).unwrap_or_default();
    let mut start = word - before.iter().rev().take_while(|byte| is_part(**byte)).count();
    // The letter of an escape is no part of it.
    if matches!(text.get(..=start), Some([.., b'\\', b'n' | b'r' | b't' | b'b' | b'f'])) {
        start += 1;
    }
    let rest = text.get(start..).unwrap_or_default();
    let length = rest.iter().take_while(|byte| is_part(**byte)).count();
    super::looks_at(word.saturating_sub(start) + length);
    let padding = rest[length..].iter().take(2).take_while(|byte| **byte == b'=').count();
    start..start + length + padding
}

fn is_part(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Writes what the run hides to `plain`; false where that is no text.
pub(super) fn decode(run: &[u8], plain: &mut Vec<u8>) -> bool {
    plain.clear();
    let solid = run.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let Some(solid) = run.get(..solid - usize::from(solid % 4 == 1)).filter(|solid| solid.len() >= RUN_BYTES_MIN)
    else {
        return false;
    };
    let url_safe = solid.iter().any(|byte| matches!(byte, b'-' | b'_'));
    let engine = if url_safe { &URL_SAFE } else { &STANDARD };
    engine.decode_vec(solid, plain).is_ok() && !super::is_binary(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_decoded_and_nothing_else() {
        let mut plain = Vec::new();
        for (run, expected) in [
            ("YWxpY2VAZXhhbXBsZS5jb20=", Some("alice@example.com")),
            ("YWxpY2VAZXhhbXBsZS5jb20", Some("alice@example.com")),
            ("w7zDvMO8w7zDvMO8w7w_Pz8-", Some("üüüüüüü???>")),
            ("w7zDvMO8w7zDvMO8w7w/Pz8+", Some("üüüüüüü???>")),
            ("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", None),
            ("InternationalizationOfDomains", None),
            ("YWJj", None),
            ("====", None),
            ("", None),
        ] {
            assert_eq!(
                decode(run.as_bytes(), &mut plain).then_some(plain.as_slice()),
                expected.map(str::as_bytes),
                "{run}"
            );
        }
        let text = br"{\nYWxpY2VAZXhhbXBsZS5jb20=\n}";
        assert_eq!(&text[run(text, 6, 0)], b"YWxpY2VAZXhhbXBsZS5jb20=");
    }
}
