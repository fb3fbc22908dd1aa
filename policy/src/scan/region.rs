//! Telephone numbers as a country writes them at home (`030 1234567`, `06 12 34 56 78`): for regions that
//! a rule names, and only where a word before them says what they are.
//!
//! Which digits a region gives out is libphonenumber's knowledge: `numbers.tsv` is what `update.py` keeps of its
//! metadata (9.0.33, Apache-2.0). Its ports for Rust look numbers up under a lock, and bring fifteen crates; a
//! region's pattern is compiled here when a rule is, and a number is then one match of an automaton over at
//! most 15 digits.

use std::fmt;

use regex::bytes::{Regex, RegexBuilder};
use tidegate_core::words::DataClass;

use super::{Sink, begins_at, context, ends_at};

/// A word before it and a pattern of the region agree.
const CONFIDENCE: u8 = 85;
/// The shortest and longest national numbers that are looked at, trunk prefix included.
const DIGITS_MIN: usize = 7;
const DIGITS_MAX: usize = 15;
/// As in `(030) 123`, `0151 / 123`.
const SEPARATORS_MAX: usize = 3;
/// How far an area code may stand before the digits that were found: `(02241) / `.
const BEFORE_BYTES_MAX: usize = 12;
/// By region what is dialled before a number at home, and the pattern of the numbers of people.
const NUMBERS: &str = include_str!("region/numbers.tsv");
/// Memory that a compiled pattern, and its cache while it runs, may take, in bytes.
const PATTERN_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Regions whose national numbers are looked for.
pub struct Regions {
    names: Box<str>,
    regions: Box<[Region]>,
}

struct Region {
    /// Dialled before the number at home; none where the number is dialled whole.
    trunk: Box<[u8]>,
    numbers: Regex,
}

impl Regions {
    /// Compiles regions, given by the two letters of ISO 3166-1.
    ///
    /// # Errors
    /// The first that is not known.
    pub fn new<'n>(names: impl IntoIterator<Item = &'n str>) -> Result<Self, String> {
        let mut known: Vec<String> = names.into_iter().map(str::to_ascii_uppercase).collect();
        known.sort();
        known.dedup();
        let regions = known.iter().map(|name| region(name).ok_or_else(|| name.clone())).collect::<Result<_, _>>()?;
        Ok(Self { names: known.join(" ").into(), regions })
    }

    /// The regions' names, in order: all that what is found depends on.
    #[must_use]
    pub fn names(&self) -> &str {
        &self.names
    }

    /// Whether one of the regions gives out this number, written as it is dialled at home; some write it
    /// without what is dialled before it.
    fn has(&self, digits: &[u8]) -> bool {
        self.regions.iter().any(|region| {
            let number = digits.strip_prefix(&*region.trunk).unwrap_or(digits);
            region.numbers.is_match(number) || region.numbers.is_match(digits)
        })
    }
}

impl fmt::Debug for Regions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Regions").field(&self.names).finish()
    }
}

/// Whether the two letters are a region whose numbers are known.
#[must_use]
pub fn is_region(name: &str) -> bool {
    known(&name.to_ascii_uppercase()).is_some()
}

/// The trunk prefix and pattern of a region.
fn known(name: &str) -> Option<(&'static str, &'static str)> {
    let lines = NUMBERS.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once('\t')).find(|(region, _)| *region == name)?.1.split_once('\t')
}

fn region(name: &str) -> Option<Region> {
    let (trunk, pattern) = known(name)?;
    let pattern = format!("^(?:{pattern})$");
    let mut builder = RegexBuilder::new(&pattern);
    let numbers =
        builder.unicode(false).size_limit(PATTERN_BYTES_MAX).dfa_size_limit(PATTERN_BYTES_MAX).build().ok()?;
    Some(Region { trunk: trunk.as_bytes().into(), numbers })
}

/// Notes the telephone number that the digits at `start` are the end or the whole of; says where it
/// ends.
pub(super) fn find(text: &[u8], start: usize, sink: &mut Sink<'_>) -> Option<usize> {
    let regions = sink.regions?;
    let first = beginning(text, start);
    let found = from(text, first, regions, sink);
    if first == start { found } else { found.or_else(|| from(text, start, regions, sink)) }
}

fn from(text: &[u8], start: usize, regions: &Regions, sink: &mut Sink<'_>) -> Option<usize> {
    // What stands behind a '+' is found by that.
    if !begins_at(text, start) || text[..start].ends_with(b"+") {
        return None;
    }
    let mut digits = [0u8; DIGITS_MAX];
    let (mut count, mut at) = (0, start);
    let mut ends = [(0usize, 0usize); DIGITS_MAX];
    let mut groups = 0;
    at += usize::from(text.get(at) == Some(&b'('));
    loop {
        super::looks_at(SEPARATORS_MAX);
        let before = count;
        while let Some(byte @ b'0'..=b'9') = text.get(at) {
            *digits.get_mut(count)? = *byte;
            count += 1;
            at += 1;
        }
        if count == before {
            break;
        }
        if count >= DIGITS_MIN && ends_at(text, at) {
            ends[groups] = (count, at);
            groups += 1;
        }
        let separators = text[at..].iter().take(SEPARATORS_MAX + 1).take_while(|byte| is_separator(**byte)).count();
        if !(1..=SEPARATORS_MAX).contains(&separators) || groups == ends.len() {
            break;
        }
        at += separators;
    }
    // The longest that is one: what follows may be an extension or something else.
    let (_, end) = ends.get(..groups)?.iter().rev().find(|(count, _)| regions.has(&digits[..*count]))?;
    (context::speaks_of(DataClass::Phone, text, start) && sink.note(DataClass::Phone, start..*end, CONFIDENCE))
        .then_some(*end)
}

/// Where the number begins whose digits, or the last groups of them, begin at `at`.
fn beginning(text: &[u8], at: usize) -> usize {
    let floor = at.saturating_sub(BEFORE_BYTES_MAX);
    let before = text.get(floor..at).unwrap_or_default();
    let separators = before.iter().rev().take_while(|byte| is_separator(**byte)).count();
    let code = &before[..before.len() - separators];
    let digits = code.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let is_code = (1..=6).contains(&digits) && (1..=SEPARATORS_MAX).contains(&separators);
    if !is_code {
        return at;
    }
    let start = floor + code.len() - digits;
    match text[..start] {
        [.., b'('] => start - 1,
        _ => start,
    }
}

fn is_separator(byte: u8) -> bool {
    matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_region_compiles() {
        let names = NUMBERS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split('\t').next());
        let regions = Regions::new(names).unwrap();
        assert!(regions.regions.len() > 50);
        assert!(regions.has(b"03012345678") && !regions.has(b"000000000"));
    }
}
