//! Check digits that several classes share. Digits are values from 0 to 9, not ASCII.

/// Luhn's (ISO/IEC 7812-1, annex B).
pub(super) fn luhn(digits: &[u8]) -> bool {
    let doubled = |digit: u32| if digit < 5 { digit * 2 } else { digit * 2 - 9 };
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| if index % 2 == 0 { u32::from(*digit) } else { doubled(u32::from(*digit)) })
        .sum();
    sum.is_multiple_of(10)
}

/// The sum of digits by weights, over the shorter of both.
pub(super) fn weighted(digits: &[u8], weights: &[u8]) -> u32 {
    digits.iter().zip(weights).map(|(digit, weight)| u32::from(*digit) * u32::from(*weight)).sum()
}

/// The number that digits write; at most 19 of them.
pub(super) fn value(digits: &[u8]) -> u64 {
    digits.iter().fold(0u64, |value, digit| value.wrapping_mul(10).wrapping_add(u64::from(*digit)))
}

/// ISO 7064 Mod 11,10, the check digit being the last.
pub(super) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((check, rest)) = digits.split_last() else { return false };
    let mut product = 10;
    for digit in rest {
        let sum = (u32::from(*digit) + product) % 10;
        product = (if sum == 0 { 10 } else { sum }) * 2 % 11;
    }
    (11 - product) % 10 == u32::from(*check)
}

/// Verhoeff's, the check digit being the last (J. Verhoeff, "Error Detecting Decimal Codes", 1969).
/// Digits are added in the dihedral group of the pentagon, 0 to 4 being turns and 5 to 9 reflections.
pub(super) fn verhoeff(digits: &[u8]) -> bool {
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let add = |a: u8, b: u8| match (a < 5, b < 5) {
        (true, true) => (a + b) % 5,
        (true, false) => 5 + (a + b) % 5,
        (false, true) => 5 + (a + 5 - b) % 5,
        (false, false) => (a + 5 - b) % 5,
    };
    let permuted = |digit: u8, times: usize| (0..times).fold(digit, |digit, _| STEP[usize::from(digit % 10)]);
    let sum = digits.iter().rev().enumerate().fold(0, |sum, (at, digit)| add(sum, permuted(*digit, at % 8)));
    !digits.is_empty() && sum == 0
}

/// ISO 7064 Mod 97-10 over digits and letters (A is 10, Z is 35): the remainder.
pub(super) fn mod_97(characters: impl Iterator<Item = u8>) -> u32 {
    characters.fold(0, |remainder, character| match character {
        b'0'..=b'9' => (remainder * 10 + u32::from(character - b'0')) % 97,
        _ => (remainder * 100 + u32::from(character.to_ascii_uppercase().wrapping_sub(b'A')) + 10) % 97,
    })
}

/// Whether day and month can be a date. No year has them all, so 29 February counts always.
pub(super) fn is_date(day: u32, month: u32) -> bool {
    let days = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return false,
    };
    (1..=days).contains(&day)
}

/// Two digits as a number.
pub(super) fn two(digits: &[u8], at: usize) -> u32 {
    match digits.get(at..at + 2) {
        Some([tens, ones]) => u32::from(*tens) * 10 + u32::from(*ones),
        _ => 0,
    }
}
