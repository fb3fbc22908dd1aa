//! Disguises undone: JSON's `\uXXXX` escapes, URL-encoding, and Unicode's look-alikes of what the
//! validators read (full-width forms, digits of other scripts, other spaces and dashes, characters
//! of no width).
//!
//! Any number of backslashes before the `u` counts as one, so that escapes in JSON within JSON are
//! undone as well. Other escapes (`\n`, `\"`) stay as they are: they hide nothing that the
//! validators look for. Surrogates stay too.
//!
//! Sources: RFC 8259, 7; RFC 3986, 2.1; Unicode's general category Nd and block "Halfwidth and
//! Fullwidth Forms".

use std::borrow::Cow;

/// Eight are what JSON in JSON in JSON in JSON has.
const BACKSLASHES_MAX: usize = 9;

/// What a disguise hides.
enum Plain {
    Char(char),
    Nothing,
}

/// Whether at `at`, a backslash or a byte beyond ASCII, stands what [`normalise`] undoes.
pub(super) fn is_disguise(text: &[u8], at: usize) -> bool {
    match text.get(at..) {
        Some(rest @ [b'\\', ..]) => escape(rest).is_some(),
        Some(rest @ [0x80..=0xff, ..]) => look_alike(rest).is_some(),
        _ => false,
    }
}

/// Whether the `%` at `at` begins an encoded character.
pub(super) fn is_percent(text: &[u8], at: usize) -> bool {
    text.get(at..).is_some_and(|rest| percent(rest).is_some())
}

/// Writes `bytes` with their disguises undone to `text`, and to `origins` where each byte came from,
/// with one entry more for the end. False where there was nothing to undo; the buffers then hold
/// nothing of use.
pub(super) fn normalise(bytes: &[u8], text: &mut Vec<u8>, origins: &mut Vec<u32>) -> bool {
    text.clear();
    origins.clear();
    let mut undone = false;
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let rest = &bytes[at..];
        let plain = match byte {
            b'\\' => escape(rest).map(|(character, length)| (Plain::Char(character), length)),
            b'%' => percent(rest).map(|(character, length)| (Plain::Char(character), length)),
            0x80.. => look_alike(rest),
            _ => None,
        };
        let before = text.len();
        undone |= plain.is_some();
        let length = match plain {
            Some((Plain::Char(character), length)) => {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                length
            }
            Some((Plain::Nothing, length)) => length,
            None => {
                text.push(*byte);
                1
            }
        };
        // Frames, and with them whatever is scanned, are below 4 GiB.
        origins.extend(std::iter::repeat_n(at as u32, text.len() - before));
        at += length;
    }
    origins.push(bytes.len() as u32);
    undone
}

/// `bytes` with their disguises undone, as far as the scanner goes.
pub(crate) fn normalised(bytes: &[u8]) -> Cow<'_, [u8]> {
    let mut plain = Cow::Borrowed(bytes);
    // Nearly all findings are as they look.
    if !bytes.iter().any(|byte| matches!(byte, b'\\' | b'%' | 0x80..)) {
        return plain;
    }
    for _ in 0..super::DISGUISES_MAX {
        let mut text = Vec::new();
        if !normalise(&plain, &mut text, &mut Vec::new()) {
            break;
        }
        plain = Cow::Owned(text);
    }
    plain
}

/// The escape that `bytes` begins with: its character and length.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    if bytes.first() != Some(&b'\\') {
        return None;
    }
    // Bounded, so that a megabyte of backslashes is not walked from each of them.
    let slashes = bytes.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    let digits = bytes.get(slashes..)?.strip_prefix(b"u")?.get(..4)?;
    let code = digits.iter().try_fold(0, |code, digit| Some(code * 16 + char::from(*digit).to_digit(16)?))?;
    Some((char::from_u32(code)?, slashes + 5))
}

/// The URL-encoded character of ASCII that `bytes` begins with. Others are let be: an address may
/// hold them as they are.
fn percent(bytes: &[u8]) -> Option<(char, usize)> {
    let [b'%', high, low, ..] = bytes else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let code = digit(*high)? * 16 + digit(*low)?;
    matches!(code, 0x20..=0x7e).then(|| char::from_u32(code)).flatten().map(|character| (character, 3))
}

/// What the character beyond ASCII that `bytes` begins with looks like.
fn look_alike(bytes: &[u8]) -> Option<(Plain, usize)> {
    // Most letters of Latin, Greek, Cyrillic and the scripts of East Asia end here.
    let length = match bytes.first()? {
        0xc2 | 0xd9 | 0xdb | 0xdf => 2,
        0xe0..=0xe3 | 0xea | 0xef => 3,
        0xf0 => 4,
        _ => return None,
    };
    let character = std::str::from_utf8(bytes.get(..length)?).ok()?.chars().next()?;
    Some((plain(character)?, length))
}

fn plain(character: char) -> Option<Plain> {
    let code = character as u32;
    let ascii = |code: u32| char::from_u32(code).map(Plain::Char);
    match code {
        // Soft hyphen, characters of no width, the byte order mark.
        0xad | 0x200b..=0x200d | 0x2060 | 0xfeff => Some(Plain::Nothing),
        0xa0 | 0x2000..=0x200a | 0x202f | 0x205f | 0x3000 => Some(Plain::Char(' ')),
        0x2010..=0x2015 | 0x2212 | 0xfe58 | 0xfe63 => Some(Plain::Char('-')),
        0x2024 | 0xfe52 => Some(Plain::Char('.')),
        0xfe6b => Some(Plain::Char('@')),
        0xfe62 => Some(Plain::Char('+')),
        // Superscript and subscript digits, and digits in circles.
        0xb2 | 0xb3 => ascii(code - 0x80),
        0xb9 => Some(Plain::Char('1')),
        0x2070 | 0x2074..=0x2079 => ascii(code - 0x2040),
        0x2080..=0x2089 => ascii(code - 0x2050),
        0x2460..=0x2468 => ascii(code - 0x2460 + 0x31),
        0x24ea | 0x24ff => Some(Plain::Char('0')),
        0x24f5..=0x24fd => ascii(code - 0x24f5 + 0x31),
        0x2776..=0x277e => ascii(code - 0x2776 + 0x31),
        0x2780..=0x2788 => ascii(code - 0x2780 + 0x31),
        0x278a..=0x2792 => ascii(code - 0x278a + 0x31),
        // Full-width letters, digits and what stands between them. The full-width comma and colon
        // are everyday characters of Chinese text and hide nothing.
        0xff0b | 0xff0d..=0xff0f | 0xff10..=0xff19 | 0xff20..=0xff3a | 0xff3f | 0xff41..=0xff5a => ascii(code - 0xfee0),
        // Mathematical digits: five alphabets of ten.
        0x1d7ce..=0x1d7ff => ascii(u32::from(b'0') + (code - 0x1d7ce) % 10),
        _ => {
            let zero = ZEROS.iter().copied().find(|zero| (*zero..*zero + 10).contains(&code))?;
            ascii(u32::from(b'0') + (code - zero))
        }
    }
}

/// The zeros of Unicode's decimal digits (general category Nd).
const ZEROS: [u32; 40] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xde6, 0xe50, 0xed0, 0xf20,
    0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40, 0x1c50, 0xa620, 0xa8d0,
    0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0x104a0, 0x11066, 0x110f0, 0x11136, 0x1fbf0,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_undone_and_places_kept() {
        let cases = [
            (r"a\u0040b", "a@b"),
            (r"a\\\\u0040b", "a@b"),
            ("a%40b%2Bc%7e", "a@b+c~"),
            ("１２３＠ａＺ＋．－", "123@aZ+.-"),
            ("٠١٢٣٤٥٦٧٨٩ ۹ ९ 𝟎𝟗𝟘𝟡", "0123456789 9 9 0909"),
            ("1\u{a0}2\u{202f}3\u{2009}4", "1 2 3 4"),
            ("1\u{200b}2\u{ad}3\u{feff}4", "1234"),
            ("1–2—3\u{2011}4−5", "1-2-3-4-5"),
            ("a﹫b", "a@b"),
            ("⁰¹²³⁴⁵⁶⁷⁸⁹₀₁₉", "0123456789019"),
            ("⓪①⑨⓿❶❾➀➈➊➒⓵⓽", "019019191919"),
        ];
        let (mut text, mut origins) = (Vec::new(), Vec::new());
        for (disguised, expected) in cases {
            assert!(normalise(disguised.as_bytes(), &mut text, &mut origins), "{disguised}");
            assert_eq!(String::from_utf8_lossy(&text), expected);
            assert_eq!(origins.len(), text.len() + 1);
            assert!(origins.is_sorted() && origins.last() == Some(&(disguised.len() as u32)));
            // Whatever is undone is noticed by its first byte.
            let noticed = disguised.bytes().enumerate().any(|(at, byte)| match byte {
                b'%' => is_percent(disguised.as_bytes(), at),
                _ => is_disguise(disguised.as_bytes(), at),
            });
            assert!(noticed, "{disguised}");
        }
        for plain in ["", "müller", "100% of", "%zz%4", r"\ud83d \n \u12", "价格：５", "“quoted” 5 € ’"] {
            let expected = plain == "价格：５";
            assert_eq!(normalise(plain.as_bytes(), &mut text, &mut origins), expected, "{plain}");
        }
        normalise(&[0xff, 0xe2, 0x80, 0xc2, b'%', b'4', b'0'], &mut text, &mut origins);
        assert_eq!(text, [0xff, 0xe2, 0x80, 0xc2, b'@']);
    }
}
