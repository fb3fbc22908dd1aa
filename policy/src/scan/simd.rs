//! Reads a window of 64 bytes with the widest registers that the machine has. The crate's only
//! unsafe code.
//!
//! Which instructions there are is asked once a process. What is chosen must first read all 256
//! values of a byte as [`Portable`] does, else it is not used; tests hold whole texts against it.

#![allow(unsafe_code)]

use super::prefilter::{Candidates, Portable, Wanted, fill};

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
    fill(text, from, wanted, out, Portable)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::is_x86_feature_detected;
    use std::arch::x86_64::*;
    use std::sync::OnceLock;

    use super::super::prefilter::{Block, Candidates, Portable, Rare, Read, WINDOW, Wanted, fill};

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
        if has_avx512() && reads_all_bytes(Avx512(())) {
            Level::Avx512
        } else if has_avx2() && reads_all_bytes(Avx2(())) {
            Level::Avx2
        } else {
            Level::Portable
        }
    }

    /// Whether each value of a byte is read as [`Portable`] reads it.
    pub(super) fn reads_all_bytes(read: impl Read) -> bool {
        let quarters = (0..4u8).all(|quarter| {
            let window: [u8; WINDOW] = std::array::from_fn(|index| quarter * 64 + index as u8);
            read.block(&window) == Portable.block(&window) && read.rare(&window) == Portable.rare(&window)
        });
        // Whether there is anything rare is one answer for the whole window.
        quarters && (0..=u8::MAX).all(|byte| read.block(&[byte; WINDOW]) == Portable.block(&[byte; WINDOW]))
    }

    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    pub(super) fn fill_avx512(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates) -> usize {
        fill(text, from, wanted, out, Avx512(()))
    }

    #[target_feature(enable = "avx2,bmi1,bmi2")]
    pub(super) fn fill_avx2(text: &[u8], from: usize, wanted: &Wanted, out: &mut Candidates) -> usize {
        fill(text, from, wanted, out, Avx2(()))
    }

    /// Reads with AVX-512. Only made where the processor has it.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Avx512(pub(super) ());

    /// Reads with AVX2. Only made where the processor has it.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Avx2(pub(super) ());

    impl Read for Avx512 {
        #[inline(always)]
        fn block(self, window: &[u8; WINDOW]) -> Block {
            // SAFETY: there is an `Avx512` only where the processor has the features.
            unsafe { block_avx512(window) }
        }

        #[inline(always)]
        fn rare(self, window: &[u8; WINDOW]) -> Rare {
            // SAFETY: there is an `Avx512` only where the processor has the features.
            unsafe { rare_avx512(window) }
        }
    }

    impl Read for Avx2 {
        #[inline(always)]
        fn block(self, window: &[u8; WINDOW]) -> Block {
            // SAFETY: there is an `Avx2` only where the processor has the features.
            unsafe { block_avx2(window) }
        }

        #[inline(always)]
        fn rare(self, window: &[u8; WINDOW]) -> Rare {
            // SAFETY: there is an `Avx2` only where the processor has the features.
            unsafe { rare_avx2(window) }
        }
    }

    /// What a byte is, a bit each. Every class is a set of high halves of a byte and a set of low
    /// halves that goes with each of them, so two lookups of 16 entries and an AND tell all at once;
    /// letters are two such classes.
    mod class {
        pub(super) const DIGIT: u8 = 0x80;
        /// `A` to `O` and `a` to `o`.
        pub(super) const LETTER_TO_O: u8 = 0x40;
        /// `P` to `Z` and `p` to `z`.
        pub(super) const LETTER_FROM_P: u8 = 0x20;
        pub(super) const SEPARATOR: u8 = 0x10;
        pub(super) const COLON: u8 = 0x08;
        /// `%` and `+`.
        pub(super) const PERCENT_PLUS: u8 = 0x04;
        pub(super) const AT: u8 = 0x02;
        pub(super) const BACKSLASH: u8 = 0x01;

        pub(super) const RARE: u8 = PERCENT_PLUS | AT | BACKSLASH;

        /// By the low half of a byte.
        pub(super) const LOW: [u8; 16] = {
            let mut table = [0; 16];
            let mut half = 0u8;
            while half < 16 {
                let mut classes = 0;
                if half <= 9 {
                    classes |= DIGIT;
                }
                if half >= 1 {
                    classes |= LETTER_TO_O;
                }
                if half <= 10 {
                    classes |= LETTER_FROM_P;
                }
                if half == 0 || half >= 13 {
                    classes |= SEPARATOR;
                }
                if half == 10 {
                    classes |= COLON;
                }
                if half == 5 || half == 11 {
                    classes |= PERCENT_PLUS;
                }
                if half == 0 {
                    classes |= AT;
                }
                if half == 12 {
                    classes |= BACKSLASH;
                }
                table[half as usize] = classes;
                half += 1;
            }
            table
        };

        /// By the high half.
        pub(super) const HIGH: [u8; 16] = {
            let mut table = [0; 16];
            table[2] = SEPARATOR | PERCENT_PLUS;
            table[3] = DIGIT | COLON;
            table[4] = LETTER_TO_O | AT;
            table[5] = LETTER_FROM_P | BACKSLASH;
            table[6] = LETTER_TO_O;
            table[7] = LETTER_FROM_P;
            table
        };
    }

    const fn four_times(table: [u8; 16]) -> [u8; 64] {
        let mut wide = [0; 64];
        let mut at = 0;
        while at < 64 {
            wide[at] = table[at % 16];
            at += 1;
        }
        wide
    }

    static LOW: [u8; 64] = four_times(class::LOW);
    static HIGH: [u8; 64] = four_times(class::HIGH);

    /// The window's bytes and their classes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    fn classes_avx512(window: &[u8; WINDOW]) -> (__m512i, __m512i) {
        // SAFETY: all three have the 64 bytes that are read; the instruction needs no alignment.
        let (bytes, low, high) = unsafe {
            (
                _mm512_loadu_si512(window.as_ptr().cast()),
                _mm512_loadu_si512(LOW.as_ptr().cast()),
                _mm512_loadu_si512(HIGH.as_ptr().cast()),
            )
        };
        let halves = _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), _mm512_set1_epi8(0x0f));
        (bytes, _mm512_and_si512(_mm512_shuffle_epi8(low, bytes), _mm512_shuffle_epi8(high, halves)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    fn block_avx512(window: &[u8; WINDOW]) -> Block {
        let (bytes, classes) = classes_avx512(window);
        let are = |class: u8| _mm512_test_epi8_mask(classes, _mm512_set1_epi8(class as i8));
        Block {
            digit: are(class::DIGIT),
            letter: are(class::LETTER_TO_O | class::LETTER_FROM_P),
            separator: are(class::SEPARATOR),
            colon: are(class::COLON),
            has_rare: are(class::RARE) | _mm512_movepi8_mask(bytes) != 0,
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx2,bmi1,bmi2")]
    fn rare_avx512(window: &[u8; WINDOW]) -> Rare {
        let (bytes, classes) = classes_avx512(window);
        let are = |class: u8| _mm512_test_epi8_mask(classes, _mm512_set1_epi8(class as i8));
        Rare {
            special: are(class::PERCENT_PLUS | class::AT),
            backslash: are(class::BACKSLASH),
            high: _mm512_movepi8_mask(bytes),
        }
    }

    /// Half a window's bytes and their classes.
    #[derive(Clone, Copy)]
    struct Half {
        bytes: __m256i,
        classes: __m256i,
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn halves_avx2(window: &[u8; WINDOW]) -> (Half, Half) {
        // SAFETY: the window has the 64 bytes, and each table the 32, that are read; the instruction
        // needs no alignment.
        let (first, second, low, high) = unsafe {
            let window = window.as_ptr().cast::<__m256i>();
            (
                _mm256_loadu_si256(window),
                _mm256_loadu_si256(window.add(1)),
                _mm256_loadu_si256(LOW.as_ptr().cast()),
                _mm256_loadu_si256(HIGH.as_ptr().cast()),
            )
        };
        let half = |bytes| {
            let halves = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), _mm256_set1_epi8(0x0f));
            let classes = _mm256_and_si256(_mm256_shuffle_epi8(low, bytes), _mm256_shuffle_epi8(high, halves));
            Half { bytes, classes }
        };
        (half(first), half(second))
    }

    /// The highest bit of each byte.
    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn highest(first: __m256i, second: __m256i) -> u64 {
        u64::from(_mm256_movemask_epi8(first) as u32) | u64::from(_mm256_movemask_epi8(second) as u32) << 32
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn block_avx2(window: &[u8; WINDOW]) -> Block {
        let (first, second) = halves_avx2(window);
        let (a, b) = (first.classes, second.classes);
        // Shifting moves a class's bit to the highest of its byte; what moves over from the byte beside
        // it lands below.
        let letters = |classes| _mm256_or_si256(_mm256_slli_epi16::<1>(classes), _mm256_slli_epi16::<2>(classes));
        let rare = _mm256_and_si256(_mm256_or_si256(a, b), _mm256_set1_epi8(class::RARE as i8));
        let high = _mm256_and_si256(_mm256_or_si256(first.bytes, second.bytes), _mm256_set1_epi8(0x80u8 as i8));
        let any = _mm256_or_si256(rare, high);
        Block {
            digit: highest(a, b),
            letter: highest(letters(a), letters(b)),
            separator: highest(_mm256_slli_epi16::<3>(a), _mm256_slli_epi16::<3>(b)),
            colon: highest(_mm256_slli_epi16::<4>(a), _mm256_slli_epi16::<4>(b)),
            has_rare: _mm256_testz_si256(any, any) == 0,
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,bmi1,bmi2")]
    fn rare_avx2(window: &[u8; WINDOW]) -> Rare {
        let (first, second) = halves_avx2(window);
        let (a, b) = (first.classes, second.classes);
        let special = |classes| _mm256_or_si256(_mm256_slli_epi16::<5>(classes), _mm256_slli_epi16::<6>(classes));
        Rare {
            special: highest(special(a), special(b)),
            backslash: highest(_mm256_slli_epi16::<7>(a), _mm256_slli_epi16::<7>(b)),
            high: highest(first.bytes, second.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::prefilter::{Block, Kind, Rare, Read, WINDOW};
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
            ("portable", &|text, from, wanted, out| fill(text, from, wanted, out, Portable)),
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

    /// Sees nothing.
    #[derive(Clone, Copy)]
    struct Blind;

    impl Read for Blind {
        fn block(self, _: &[u8; WINDOW]) -> Block {
            Block::default()
        }

        fn rare(self, _: &[u8; WINDOW]) -> Rare {
            Rare::default()
        }
    }

    #[test]
    fn every_byte_is_read_alike() {
        #[cfg(target_arch = "x86_64")]
        {
            assert!(x86::reads_all_bytes(Portable));
            if x86::has_avx2() {
                assert!(x86::reads_all_bytes(x86::Avx2(())));
            }
            if x86::has_avx512() {
                assert!(x86::reads_all_bytes(x86::Avx512(())));
            }
            assert!(!x86::reads_all_bytes(Blind));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 1500, ..ProptestConfig::default() })]

        #[test]
        fn all_ways_find_the_same_in_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300), from in 0..9usize) {
            let text = bytes.get(from..).unwrap_or_default();
            let expected = all(text, &|text, from, wanted, out| fill(text, from, wanted, out, Portable));
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
