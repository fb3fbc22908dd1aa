//! Zig-zag variable-length integers, as record fields are encoded (KIP-98; Protocol Buffers' `sint`).
//!
//! Reading never goes beyond the slice. An encoding whose last byte carries bits beyond the type is
//! refused: clients differ in what they make of it, and what two readers understand differently
//! could hide bytes from the scanner.

/// Longest encoding of 32 bits.
const BYTES_32_MAX: u32 = 5;
/// Longest encoding of 64 bits.
const BYTES_64_MAX: u32 = 10;

/// Reads a 32-bit integer at `*at` and moves `*at` behind it.
#[inline]
pub(super) fn read_i32(bytes: &[u8], at: &mut usize) -> Option<i32> {
    let first = *bytes.get(*at)?;
    let raw = if first < 0x80 {
        *at += 1;
        u32::from(first)
    } else {
        u32::try_from(read_unsigned(bytes, at, BYTES_32_MAX)?).ok()?
    };
    Some((raw >> 1) as i32 ^ -((raw & 1) as i32))
}

/// Reads a 64-bit integer at `*at` and moves `*at` behind it.
#[inline]
pub(super) fn read_i64(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let raw = read_unsigned(bytes, at, BYTES_64_MAX)?;
    Some((raw >> 1) as i64 ^ -((raw & 1) as i64))
}

fn read_unsigned(bytes: &[u8], at: &mut usize, bytes_max: u32) -> Option<u64> {
    let mut value = 0u64;
    for index in 0..bytes_max {
        let byte = *bytes.get(*at)?;
        *at += 1;
        let bits = u64::from(byte & 0x7f);
        let shift = index * 7;
        // The tenth byte has room for one bit only.
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Appends a 32-bit integer.
pub(super) fn write_i32(out: &mut Vec<u8>, value: i32) {
    write_i64(out, i64::from(value));
}

/// Appends a 64-bit integer.
pub(super) fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut raw = ((value << 1) ^ (value >> 63)) as u64;
    while raw >= 0x80 {
        out.push((raw as u8 & 0x7f) | 0x80);
        raw >>= 7;
    }
    out.push(raw as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extremes_survive_and_use_the_expected_length() {
        for (value, length) in [(0, 1), (-1, 1), (63, 1), (-64, 1), (64, 2), (i32::MAX, 5), (i32::MIN, 5)] {
            let mut out = Vec::new();
            write_i32(&mut out, value);
            let mut at = 0;
            assert_eq!(read_i32(&out, &mut at), Some(value));
            assert_eq!((at, out.len()), (length, length), "{value}");
        }
        for value in [0, -1, i64::MAX, i64::MIN, 1_700_000_000_000] {
            let mut out = Vec::new();
            write_i64(&mut out, value);
            let mut at = 0;
            assert_eq!(read_i64(&out, &mut at), Some(value));
            assert_eq!(at, out.len());
        }
    }

    #[test]
    fn cut_overlong_and_overflowing_encodings_are_refused() {
        for bytes in [&[][..], &[0x80], &[0xff, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x1f], &[0x80; 6]] {
            assert_eq!(read_i32(bytes, &mut 0), None, "{bytes:?}");
        }
        assert_eq!(read_i64(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], &mut 0), None);
        // Longer than needed, yet unambiguous.
        assert_eq!(read_i32(&[0x82, 0x00], &mut 0), Some(1));
    }
}
