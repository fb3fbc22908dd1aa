//! Reads a window of 64 bytes with the widest registers that the machine has. The crate's only
//! unsafe code.
//!
//! Which instructions there are is asked once a process. What is chosen must first read all 256
//! values of a byte as [`portable`] does, else it is not used; tests hold whole texts against it.

#![allow(unsafe_code)]

use super::prefilter::{Candidates, Wanted, fill, portable};

/// Finds candidates as [`fill`] does, with the best there is.
pub(super) fn candidates(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates) -> usize {
    #[cfg(target_arch = "x86_64")]
    match x86::LEVEL.get() {
        // SAFETY: the level is chosen only where the processor has the function's features.
        x86::Level::Avx512 => return unsafe { x86::fill_avx512(text, from, wanted, out) },
        // SAFETY: the level is chosen only where the processor has the function's features.
        x86::Level::Avx2 => return unsafe { x86::fill_avx2(text, from, wanted, out) },
        x86::Level::Portable => {}
    }
    fill(text, from, wanted, out, portable)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::*;
    use std::sync::OnceLock;

    use super::super::prefilter::{Block, Candidates, WINDOW, Wanted, fill, portable};

    /// What the process uses.
    pub(super) static LEVEL: Chosen = Chosen(OnceLock::new());

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(super) enum Level {
        Avx512,
        Avx2,
        Portable,
    }

    pub(super) struct Chosen(OnceLock<Level>);

    impl Chosen {
        #[inline]
        pub(super) fn get(&self) -> Level {
            *self.0.get_or_init(choose)
        }
    }

    pub(super) fn has_avx512() -> bool {
        is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
    }

    pub(super) fn has_avx2() -> bool {
        is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi1") && is_x86_feature_detected!("bmi2")
    }

    fn choose() -> Level {
        // SAFETY: called only behind the check for the features.
        if has_avx512() && reads_all_bytes(|window| unsafe { read_avx512(window) }) {
            Level::Avx512
        // SAFETY: called only behind the check for the features.
        } else if has_avx2() && reads_all_bytes(|window| unsafe { read_avx2(window) }) {
            Level::Avx2
        } else {
            Level::Portable
        }
    }

    /// Whether each value of a byte is read as [`portable`] reads it.
    pub(super) fn reads_all_bytes(read: impl Fn(&[u8; WINDOW]) -> Block) -> bool {
        (0..4u8).all(|quarter| {
            let window: [u8; WINDOW] = std::array::from_fn(|index| quarter * 64 + index as u8);
            read(&window) == portable(&window)
        })
    }

    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    pub(super) fn fill_avx512(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates) -> usize {
        fill(text, from, wanted, out, |window| read_avx512(window))
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn fill_avx2(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates) -> usize {
        fill(text, from, wanted, out, |window| read_avx2(window))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    pub(super) fn read_avx512(window: &[u8; WINDOW]) -> Block {
        // SAFETY: the window has the 64 bytes that are read; the instruction needs no alignment.
        let bytes = unsafe { _mm512_loadu_si512(window.as_ptr().cast()) };
        let splat = |byte: u8| _mm512_set1_epi8(byte as i8);
        let is = |byte: u8| _mm512_cmpeq_epi8_mask(bytes, splat(byte));
        // Whether a byte is at least `first` and less than `first + count`, as unsigned numbers.
        let within =
            |bytes, first: u8, count: u8| _mm512_cmplt_epu8_mask(_mm512_sub_epi8(bytes, splat(first)), splat(count));
        let dash = is(b'-');
        Block {
            digit: within(bytes, b'0', 10),
            letter: within(_mm512_or_si512(bytes, splat(0x20)), b'a', 26),
            special: is(b'@') | is(b'+') | is(b'%'),
            colon: is(b':'),
            dash,
            separator: within(bytes, b'-', 3) | is(b' '),
            backslash: is(b'\\'),
            high: _mm512_movepi8_mask(bytes),
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn read_avx2(window: &[u8; WINDOW]) -> Block {
        let (low, high) = window.split_at(WINDOW / 2);
        // SAFETY: each half has the 32 bytes that are read; the instruction needs no alignment.
        let (low, high) =
            unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) };
        let (low, high) = (read_half(low), read_half(high));
        let join = |low: __m256i, high: __m256i| {
            u64::from(_mm256_movemask_epi8(low) as u32) | u64::from(_mm256_movemask_epi8(high) as u32) << 32
        };
        Block {
            digit: join(low.digit, high.digit),
            letter: join(low.letter, high.letter),
            special: join(low.special, high.special),
            colon: join(low.colon, high.colon),
            dash: join(low.dash, high.dash),
            separator: join(low.separator, high.separator),
            backslash: join(low.backslash, high.backslash),
            high: join(low.high, high.high),
        }
    }

    /// The bytes of half a window, each 0 or with its highest bit set.
    struct Half {
        digit: __m256i,
        letter: __m256i,
        special: __m256i,
        colon: __m256i,
        dash: __m256i,
        separator: __m256i,
        backslash: __m256i,
        high: __m256i,
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn read_half(bytes: __m256i) -> Half {
        let splat = |byte: u8| _mm256_set1_epi8(byte as i8);
        let is = |byte: u8| _mm256_cmpeq_epi8(bytes, splat(byte));
        // There is no unsigned comparison: the range is moved to the least of the signed numbers.
        let within = |bytes, first: u8, count: u8| {
            let moved = _mm256_add_epi8(bytes, splat(0x80u8.wrapping_sub(first)));
            _mm256_cmpgt_epi8(splat(0x80u8.wrapping_add(count)), moved)
        };
        let dash = is(b'-');
        Half {
            digit: within(bytes, b'0', 10),
            letter: within(_mm256_or_si256(bytes, splat(0x20)), b'a', 26),
            special: _mm256_or_si256(_mm256_or_si256(is(b'@'), is(b'+')), is(b'%')),
            colon: is(b':'),
            dash,
            separator: _mm256_or_si256(within(bytes, b'-', 3), is(b' ')),
            backslash: is(b'\\'),
            high: bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prefilter::{Block, Kind, WINDOW};
    use super::*;

    fn wanted(stops_at_disguise: bool) -> Wanted {
        let mut wanted = Wanted { stops_at_disguise, ..Wanted::default() };
        let kinds = [Kind::Special, Kind::Number, Kind::Head, Kind::Word, Kind::Colon, Kind::Dash, Kind::Dated];
        kinds.into_iter().for_each(|kind| wanted.insert(kind));
        wanted
    }

    type Fill<'a> = &'a dyn Fn(&[u8], usize, &Wanted, &mut Candidates) -> usize;

    /// Every way of reading that this machine has.
    fn ways() -> Vec<(&'static str, Fill<'static>)> {
        let mut ways: Vec<(&str, Fill<'static>)> = vec![
            ("chosen", &candidates),
            ("portable", &|text, from, wanted, out| fill(text, from, wanted, out, portable)),
        ];
        #[cfg(target_arch = "x86_64")]
        {
            if x86::has_avx2() {
                // SAFETY: the processor has the features.
                ways.push(("avx2", &|text, from, wanted, out| unsafe { x86::fill_avx2(text, from, wanted, out) }));
            }
            if x86::has_avx512() {
                // SAFETY: the processor has the features.
                ways.push(("avx512", &|text, from, wanted, out| unsafe { x86::fill_avx512(text, from, wanted, out) }));
            }
        }
        ways
    }

    fn all(text: &[u8], fill: Fill<'_>) -> Vec<(usize, Kind)> {
        let (mut places, mut out, mut at) = (Vec::new(), Candidates::default(), 0);
        while at < text.len() {
            out.clear();
            at = fill(text, at, &wanted(false), &mut out);
            places.extend(out.iter().map(|(kind, at)| (at, kind)));
        }
        places.sort();
        places
    }

    /// The patterns as they are defined, byte by byte and without windows.
    fn reference(text: &[u8]) -> Vec<(usize, Kind)> {
        let byte = |at: Option<usize>| at.and_then(|at| text.get(at).copied()).unwrap_or(0);
        let back = |at: usize, count: usize| at.checked_sub(count);
        let digit = |at: Option<usize>| byte(at).is_ascii_digit();
        let letter = |at: Option<usize>| byte(at).is_ascii_alphabetic() && byte(at.and_then(|at| back(at, 1))) != b'\\';
        let word = |at: Option<usize>| digit(at) || letter(at);
        let run = |at: Option<usize>| {
            let between = |at: usize| digit(back(at, 1)) && digit(Some(at + 1));
            digit(at) || at.is_some_and(|at| matches!(text.get(at), Some(b' ' | b'-' | b'.' | b'/')) && between(at))
        };
        let seven = |at: Option<usize>| at.is_some_and(|at| (0..7).all(|count| run(back(at, count))));
        let long = |at: Option<usize>| at.is_some_and(|at| (0..14).all(|count| word(back(at, count))));
        // The colon before `at` that is parted from it by a word only.
        let previous_colon = |at: usize| {
            let length = text[..at].iter().rposition(|byte| *byte == b':').map(|colon| at - colon - 1)?;
            (length > 0 && (1..=length).all(|count| word(back(at, count)))).then_some(at - length - 1)
        };
        let mut places = Vec::new();
        for (at, byte_at) in text.iter().copied().enumerate() {
            let here = Some(at);
            let mut note = |is: bool, kind| places.extend(is.then_some((at, kind)));
            note(matches!(byte_at, b'@' | b'+' | b'%'), Kind::Special);
            note(seven(here) && !seven(back(at, 1)), Kind::Number);
            let head = digit(here) && digit(back(at, 1)) && letter(back(at, 2)) && letter(back(at, 3));
            note(head && !word(back(at, 4)), Kind::Head);
            note(long(here) && !long(back(at, 1)), Kind::Word);
            let chain = byte_at == b':'
                && previous_colon(at).is_some_and(|colon| {
                    at - colon <= 5 && previous_colon(colon).is_some_and(|first| colon - first <= 5)
                });
            note(chain || byte_at == b':' && byte(back(at, 1)) == b':', Kind::Colon);
            let dash = |count| byte(back(at, count)) == b'-';
            note(dash(0) && dash(3) && dash(6), Kind::Dash);
            let digits = [0, 1, 2, 4, 5, 6, 7, 8, 9].iter().all(|count| digit(back(at, *count)));
            note(digits && letter(back(at, 3)), Kind::Dated);
        }
        places.sort();
        places
    }

    #[test]
    fn every_byte_is_read_alike() {
        #[cfg(target_arch = "x86_64")]
        {
            assert!(x86::reads_all_bytes(portable));
            if x86::has_avx2() {
                // SAFETY: the processor has the features.
                assert!(x86::reads_all_bytes(|window| unsafe { x86::read_avx2(window) }));
            }
            if x86::has_avx512() {
                // SAFETY: the processor has the features.
                assert!(x86::reads_all_bytes(|window| unsafe { x86::read_avx512(window) }));
            }
            assert!(!x86::reads_all_bytes(|_: &[u8; WINDOW]| Block::default()));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn all_ways_find_the_same_in_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), from in 0..9usize) {
            let text = bytes.get(from..).unwrap_or_default();
            let expected = all(text, &|text, from, wanted, out| fill(text, from, wanted, out, portable));
            for (name, way) in ways() {
                prop_assert_eq!(&all(text, way), &expected, "{}", name);
            }
        }

        #[test]
        fn all_ways_find_what_is_defined(text in "([0-9]|[0-9]{3,9}|[A-Za-z]{1,3}|[a-f0-9]{4,16}|[ :./@+%\\\\-]|:|-|\u{e9}){0,90}", from in 0..9usize) {
            let text = text.as_bytes().get(from..).unwrap_or_default();
            // Words between colons that are longer than any address has are not looked back over.
            let near = |places: Vec<(usize, Kind)>| -> Vec<_> {
                places.into_iter().filter(|(at, kind)| *kind != Kind::Colon || is_near(text, *at)).collect()
            };
            let expected = near(reference(text));
            for (name, way) in ways() {
                prop_assert_eq!(&near(all(text, way)), &expected, "{}", name);
            }
        }
    }

    /// Whether the two colons before the one at `at` are near, or one is right before it.
    fn is_near(text: &[u8], at: usize) -> bool {
        let colons: Vec<usize> = (at.saturating_sub(10)..at).filter(|at| text[*at] == b':').collect();
        match colons[..] {
            [.., last] if last + 1 == at => true,
            [.., first, second] => at - second <= 5 && second - first <= 5,
            _ => false,
        }
    }
}
