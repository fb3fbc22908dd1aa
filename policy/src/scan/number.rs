//! Digits in groups with single separators between them: what of it is a number of some class.
//!
//! A run of digits may hold several numbers side by side (`id 1234 4111 1111 1111 1111`), so each
//! group is taken as a beginning and each later one as an end; both are bounded by the longest
//! number, so the time stays linear.

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, card, ends_at, iban, national, network, spanish, vat};

/// A payment card's.
const DIGITS_MAX: usize = 19;
/// The French number has seven; two more show that something goes on.
const GROUPS_MAX: usize = 9;

/// The digits from one place on, as far as a number may reach.
#[derive(Debug, Default)]
pub(super) struct Number {
    start: usize,
    digits: [u8; DIGITS_MAX],
    /// For each group how many digits there are up to its end, and where it ends in the text.
    ends: [(usize, usize); GROUPS_MAX],
    /// What stands behind each group.
    separators: [u8; GROUPS_MAX],
    groups: usize,
    /// Digits of the first group, however many they are.
    first: usize,
}

impl Number {
    /// Reads the number that begins at `start`.
    fn read(&mut self, text: &[u8], start: usize) {
        self.start = start;
        self.groups = 0;
        let mut at = start;
        let mut count = 0;
        while let Some(end) = self.ends.get_mut(self.groups) {
            let length = text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
            if self.groups == 0 {
                self.first = length;
            }
            let Some(room) = self.digits.get_mut(count..count + length).filter(|room| !room.is_empty()) else { return };
            room.iter_mut().zip(&text[at..]).for_each(|(digit, byte)| *digit = byte - b'0');
            count += length;
            at += length;
            super::looks_at(length + 1);
            *end = (count, at);
            let separator = text.get(at).copied().unwrap_or(0);
            self.separators[self.groups] = separator;
            self.groups += 1;
            if !matches!(separator, b' ' | b'-' | b'.' | b'/') {
                return;
            }
            at += 1;
        }
    }

    /// The digits of the first `groups` groups.
    pub(super) fn digits(&self, groups: usize) -> &[u8] {
        let count = groups.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(0, |end| end.0);
        self.digits.get(..count).unwrap_or_default()
    }

    /// Where the first `groups` groups stand.
    pub(super) fn span(&self, groups: usize) -> Range<usize> {
        let end = groups.checked_sub(1).and_then(|last| self.ends.get(last)).map_or(self.start, |end| end.1);
        self.start..end
    }

    /// Whether the first `groups` groups have these lengths and these separators between them.
    pub(super) fn is_written(&self, groups: usize, lengths: &[u8], separators: &[u8]) -> bool {
        let mut before = 0;
        let same_lengths = lengths.iter().zip(&self.ends).all(|(length, (count, _))| {
            let same = count - before == usize::from(*length);
            before = *count;
            same
        });
        lengths.len() == groups && same_lengths && self.separators.starts_with(separators)
    }
}

/// Notes the numbers in the digits and separators that begin at `start`.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) {
    if !is_nothing(text, start) {
        find_all(text, start, sink);
    }
}

fn find_all(text: &[u8], start: usize, sink: &mut Sink<'_>) {
    let mut number = Number::default();
    let mut at = start;
    loop {
        number.read(text, at);
        let end = match find_at(text, &number, sink) {
            Some(end) => end,
            None => at + number.first,
        };
        let follows = matches!(text.get(end), Some(b' ' | b'-' | b'.' | b'/'));
        if !follows || !text.get(end + 1).is_some_and(u8::is_ascii_digit) {
            return;
        }
        at = end + 1;
    }
}

/// Whether the digits at `start` can be put aside at a glance: dates, times in milliseconds, amounts,
/// which are most of what is met. Whatever it is not sure about is looked at.
fn is_nothing(text: &[u8], start: usize) -> bool {
    if may_have_prefix(&text[..start]) {
        return false;
    }
    let (mut at, mut digits, mut groups) = (start, 0, 1);
    if let Some(window) = text.get(start..).and_then(<[u8]>::first_chunk) {
        let others = no_digits(window);
        let first = others.trailing_zeros() as usize;
        // As in `2026-03-01T12:34:56`.
        if others & 0b111_1111_1111 == 0b100_1001_0000 && window[4] == b'-' && window[10] == b'T' {
            return true;
        }
        if first < window.len() {
            (at, digits) = (start + first, first);
        }
    }
    loop {
        match text.get(at) {
            Some(b'0'..=b'9') => digits += 1,
            Some(b' ' | b'-' | b'.' | b'/') if text.get(at + 1).is_some_and(u8::is_ascii_digit) => groups += 1,
            _ => break,
        }
        super::looks_at(1);
        if digits > DIGITS_MAX || (groups > 1 && digits > 8) {
            return false;
        }
        at += 1;
    }
    let begin = text.get(start..start + 5).unwrap_or_default();
    match (digits, groups) {
        // Telephone numbers are found by their '+'.
        (0..=15, 1) if text[..start].ends_with(b"+") => true,
        // Three dots and few digits may be an address.
        (0..=8, 4..) => false,
        (0..=8, _) => {
            // A letter behind them may be a check letter, if nothing follows it.
            let letter = at + usize::from(matches!(text.get(at), Some(b' ' | b'-')));
            let is_letter = text.get(letter).is_some_and(u8::is_ascii_alphabetic);
            // Ireland's has two letters at times.
            let ends = ends_at(text, letter + 1) || (digits == 7 && ends_at(text, letter + 2));
            !is_letter || !matches!(digits, 6..=8) || (digits > 6 && !ends)
        }
        (12, 1) => !matches!(begin, [b'1', b'8' | b'9', ..] | [b'2', b'0', ..]),
        // Romania's has its month in the fourth and fifth digit, Slovenia's in the third and fourth;
        // their first digit, 1 mostly, is also that of times. Luxembourg's begins with a year.
        (13, 1) if begin.starts_with(b"1") => !matches!(
            begin,
            [_, _, _, b'0', b'1'..=b'9']
                | [_, _, _, b'1', b'0'..=b'2']
                | [_, _, b'0', b'1'..=b'9', _]
                | [_, _, b'1', b'0'..=b'2', _]
                | [_, b'9', ..]
        ),
        (14 | 16.., 1) => match begin {
            [b'0' | b'1' | b'7', ..] => true,
            [b'9', b'7', b'9', b'2', _] | [b'9', b'8', b'6', b'0', _] => false,
            [b'9', ..] => true,
            _ => false,
        },
        _ => false,
    }
}

/// Whether the letters at the end of `before` may begin what `prefixed` reads.
#[inline]
fn may_have_prefix(before: &[u8]) -> bool {
    let unparted = match before {
        [unparted @ .., b' ' | b'-'] => unparted,
        _ => before,
    };
    match unparted {
        // Two letters of a country, or the last two of `ATU`.
        [.., first, last] if last.is_ascii_alphabetic() && first.is_ascii_alphabetic() => true,
        // `AT U`.
        [.., b'A' | b'a', b'T' | b't', b' ' | b'-', b'U' | b'u'] => true,
        // `FR4K`.
        [.., b'F' | b'f', b'R' | b'r', b'0'..=b'9', last] if last.is_ascii_alphabetic() => true,
        // A NIF's first letter.
        [.., last] => matches!(last | 0x20, b'k'..=b'm' | b'x'..=b'z') && begins_at(before, unparted.len() - 1),
        [] => false,
    }
}

/// Which of 16 bytes are no digits, the first in the lowest bit.
fn no_digits(window: &[u8; 16]) -> u32 {
    const LOW: u64 = 0x0101_0101_0101_0101;
    let half = |half: &[u8]| {
        let bytes = half.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes)) ^ (LOW * u64::from(b'0'));
        // Digits are 0 to 9 now: adding 0x76 raises no highest bit, and what had one keeps it.
        let others = (((bytes & (LOW * 0x7f)) + LOW * 0x76) | bytes) & (LOW * 0x80);
        // The eight highest bits, gathered by a multiplication.
        ((others >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u32
    };
    let (low, high) = window.split_at(8);
    half(low) | half(high) << 8
}

/// Notes what begins where `number` begins; says where it ends.
fn find_at(text: &[u8], number: &Number, sink: &mut Sink<'_>) -> Option<usize> {
    let start = number.start;
    let total = number.digits(number.groups).len();
    // Most runs are dates, amounts and the like.
    if total < 4 || number.first > DIGITS_MAX {
        return None;
    }
    let mut found = None;
    if number.first <= 3 && number.separators.starts_with(b"...") && sink.wants(DataClass::Ipv4) {
        found = network::ipv4(text, start, sink);
        if found.is_some() {
            return found;
        }
    }
    if total < 6 || !begins_at(text, start) {
        // A prefix of letters is the beginning of what `vat` and `spanish` read.
        return if total >= 6 { prefixed(text, number, sink) } else { None };
    }
    if total >= card::DIGITS_MIN
        && sink.wants(DataClass::PaymentCard)
        && let Some(span) = card::at(text, start, start + number.first)
        && !iban::encloses(text, start)
    {
        found = Some(span.end);
        sink.note(DataClass::PaymentCard, span, card::CONFIDENCE);
    }
    // Telephone numbers are found by their '+', fractions are no numbers of anybody.
    if text[..start].ends_with(b"+") || card::is_fraction(text, start) {
        return found;
    }
    for groups in 1..=number.groups {
        let count = number.digits(groups).len();
        if count > national::DIGITS_MAX {
            break;
        }
        let end = number.span(groups).end;
        if count >= national::DIGITS_MIN
            && ends_at(text, end)
            && !card::goes_on(text, end)
            && national::find(text, number, groups, sink)
        {
            found = found.max(Some(end));
        }
        if count == 8 && sink.wants(DataClass::EsNif) {
            found = found.max(spanish::dni(text, number.span(groups), sink));
        }
        if count == 7 && sink.wants(DataClass::IePpsn) {
            found = found.max(national::ppsn(text, number.span(groups), sink));
        }
        if count == 9 && groups == 2 && number.is_written(2, &[6, 3], b"-") {
            found = found.max(hetu(text, number.span(2), sink));
        }
        // Its check character may be a digit.
        if count == 10 && number.is_written(groups, &[6, 4], b"-") {
            found = found.max(hetu(text, start..end - 1, sink));
        }
        if count == 6 && matches!(text.get(end), Some(b'A' | b'B' | b'a' | b'b')) && sink.wants(DataClass::FrNir) {
            let corsican = national::corsican(text, start).filter(|end| ends_at(text, *end));
            found = found.max(corsican.filter(|end| sink.note(DataClass::FrNir, start..*end, 80)));
        }
    }
    found.max(prefixed(text, number, sink))
}

/// Notes what begins with letters before the digits.
fn prefixed(text: &[u8], number: &Number, sink: &mut Sink<'_>) -> Option<usize> {
    if !text[..number.start]
        .last()
        .is_some_and(|before| before.is_ascii_alphanumeric() || matches!(before, b' ' | b'-'))
    {
        return None;
    }
    let mut found = None;
    if sink.wants(DataClass::EsNif) && number.first == 7 {
        found = spanish::nie(text, number.span(1), sink);
    }
    if sink.wants(DataClass::UkNino) {
        found = found.max(super::nino::find(text, number.start, sink));
    }
    if sink.wants(DataClass::EuVat) {
        found = found.max(vat::before_digits(text, number.start, sink));
    }
    found
}

/// Notes the Finnish code whose date and serial number stand at `span`, with one character for the
/// century between them and a check character behind.
pub(super) fn hetu(text: &[u8], span: Range<usize>, sink: &mut Sink<'_>) -> Option<usize> {
    let code = text.get(span.clone())?;
    let mut digits = [0u8; 9];
    let both = code.get(..6)?.iter().chain(code.get(7..10)?);
    for (digit, byte) in digits.iter_mut().zip(both) {
        *digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
    }
    // Decree 128/2010 as changed in 2023 has eleven signs for the centuries.
    let century = matches!(code.get(6)?.to_ascii_uppercase(), b'+' | b'-' | b'A'..=b'F' | b'U'..=b'Y');
    let end = span.end + 1;
    let check = *text.get(span.end)?;
    let valid = century
        && national::is_hetu(&digits, check)
        && begins_at(text, span.start)
        && !(check.is_ascii_digit() && national::is_of_neighbours(text, span.start));
    (valid && ends_at(text, end) && sink.note(DataClass::FiHetu, span.start..end, 90)).then_some(end)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::ClassSet;
    use super::*;

    /// What is found from the first digit on, without the glance.
    fn all_from(text: &[u8], start: usize) -> Vec<super::super::Finding> {
        let mut findings = Vec::new();
        find_all(
            text,
            start,
            &mut Sink { classes: ClassSet::ALL, findings: &mut findings, regions: None, encoded: None },
        );
        findings
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn the_glance_loses_nothing(
            // Words and prefixes that make weak numbers count.
            before in "(ssn |cpr: |\"ssn\":\"|nir |vat |DE|ATU|FR4K|X|AB |CY|ESA|IE|LU |[a-z\"]|\\+|)",
            number in "([0-9]{1,4}[ ./-]){0,6}[0-9]{1,16}",
            after in "([A-Z]|-[A-Z]|[0-9]| x|\"|\\.|[A-Z][0-9]|)",
        ) {
            let text = format!("{before}{number}{after}");
            let start = before.len();
            if is_nothing(text.as_bytes(), start) {
                prop_assert_eq!(all_from(text.as_bytes(), start), [], "{}", text);
            }
        }

        #[test]
        fn the_glance_lets_valid_numbers_through(
            number in prop_oneof![
                // Dates and issuers' digits, so that checks have a chance.
                "[0-3][0-9]0[1-9][0-9]{2}[-]?[0-9]{4}", "[0-9]{2}0[1-9][0-3][0-9]{5,7}", "[1-8][0-9]{2}0[1-9][0-3][0-9]{7,9}",
                "4[0-9]{12}", "4[0-9]{15}", "37[0-9]{13}", "756[0-9]{10}", "[12][0-9]{2}1[0-2][0-9]{8}", "[0-9]{8}[A-Z]", "(18|19|20)[0-9]{10}",
            ],
        ) {
            let text = format!("ssn cpr cnp nir bsn ahv pnr dni {number} , and so on and so on");
            let start = text.len() - number.len() - 22;
            prop_assert_eq!(&text[start..start + number.len()], &number);
            if is_nothing(text.as_bytes(), start) {
                prop_assert_eq!(all_from(text.as_bytes(), start), [], "{}", text);
            }
        }
    }

    #[test]
    fn digits_are_told_apart_sixteen_at_a_time() {
        for byte in 0..=u8::MAX {
            for at in 0..16 {
                let mut window = *b"0123456789012345";
                window[at] = byte;
                let expected = if byte.is_ascii_digit() { 0 } else { 1 << at };
                assert_eq!(no_digits(&window), expected, "{byte} at {at}");
            }
        }
    }

    #[test]
    fn what_is_put_aside_is_nothing_of_any_class() {
        // Every form that a validator takes is looked at, alone and between other bytes.
        for number in [
            "12345678Z",
            "12345678-Z",
            "1112.22.333",
            "943 476 5919",
            "811218-9876",
            "198112189876",
            "19811218-9876",
            "131052-308T",
            "1 84 12 2A 451 089 33",
            "184127645108946",
            "4111111111111111",
            "4222222222222",
            "378282246310005",
            "1630615123457",
            "7569217076985",
            "1.2.3.4",
            "30569309025904",
            "6205500000000000004",
        ] {
            for (before, after) in [("", ""), ("\"", "\""), ("x:", ", and so on and so on")] {
                let text = format!("{before}{number}{after}");
                assert!(!is_nothing(text.as_bytes(), before.len()), "{text}");
            }
        }
        for before in ["ATU", "AT U", "ESX", "FR4K", "FRK", "x X", "x X-", "DE ", "de-", "IE"] {
            assert!(may_have_prefix(before.as_bytes()), "{before}");
        }
        for before in ["", "\"", "9f5e-", "a5a", "x: ", "1 ", "9y-"] {
            assert!(!may_have_prefix(before.as_bytes()), "{before}");
        }
        for number in [
            "2026-03-01T12:34:56",
            "1772361296789",
            "17723612967891",
            "1772361296789123",
            "9876543210112345",
            "123456789.5 x",
        ] {
            let expected = !number.contains('.');
            assert_eq!(is_nothing(format!("{number}  , and so on").as_bytes(), 0), expected, "{number}");
        }
    }
}
