//! JSON's `\uXXXX` escapes, undone.
//!
//! Any number of backslashes before the `u` counts as one, so that escapes in JSON within JSON are
//! undone as well. Other escapes (`\n`, `\"`) stay as they are: they hide nothing that the
//! validators look for. Surrogates stay too.

/// Writes `bytes` with its escapes undone to `text`, and to `origins` where each byte came from,
/// with one entry more for the end. False where there was nothing to undo; the buffers then hold
/// nothing of use.
pub(crate) fn unescape(bytes: &[u8], text: &mut Vec<u8>, mut origins: Option<&mut Vec<u32>>) -> bool {
    text.clear();
    if let Some(origins) = &mut origins {
        origins.clear();
    }
    let mut undone = false;
    let mut at = 0;
    while at < bytes.len() {
        let (character, length) = match escape(&bytes[at..]) {
            Some((character, length)) => {
                undone = true;
                (Some(character), length)
            }
            None => (None, 1),
        };
        let before = text.len();
        match character {
            Some(character) => text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            None => text.push(bytes[at]),
        }
        if let Some(origins) = &mut origins {
            // Frames, and with them whatever is scanned, are below 4 GiB.
            origins.extend(std::iter::repeat_n(at as u32, text.len() - before));
        }
        at += length;
    }
    if let Some(origins) = origins {
        origins.push(bytes.len() as u32);
    }
    undone
}

/// The escape that `bytes` begins with: its character and length.
fn escape(bytes: &[u8]) -> Option<(char, usize)> {
    if bytes.first() != Some(&b'\\') {
        return None;
    }
    // Bounded, so that a megabyte of backslashes is not walked from each of them.
    let slashes = bytes.iter().take(BACKSLASHES_MAX).take_while(|byte| **byte == b'\\').count();
    let digits = bytes.get(slashes..)?.strip_prefix(b"u")?.get(..4)?;
    let mut code = 0;
    for digit in digits {
        code = code * 16 + char::from(*digit).to_digit(16)?;
    }
    Some((char::from_u32(code)?, slashes + 5))
}

/// Eight are what JSON in JSON in JSON in JSON has.
const BACKSLASHES_MAX: usize = 9;
