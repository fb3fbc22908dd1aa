//! Digits in groups with single separators between them: what of it is a number of some class.
//!
//! A run of digits may hold several numbers side by side (`id 1234 4111 1111 1111 1111`), so each
//! group is taken as a beginning and each later one as an end; both are bounded by the longest
//! number, so the time stays linear.

use std::ops::Range;

use tidegate_core::words::DataClass;

use super::{Sink, begins_at, card, ends_at, national, network, spanish, vat};

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
        if count == 9 && groups == 2 && number.is_written(2, &[6, 3], b"-") {
            found = found.max(hetu(text, number.span(2), sink));
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
    let valid = century && national::is_hetu(&digits, *text.get(span.end)?) && begins_at(text, span.start);
    (valid && ends_at(text, end) && sink.note(DataClass::FiHetu, span.start..end, 90)).then_some(end)
}
