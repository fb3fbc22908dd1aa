//! A labelled corpus: texts with personal data of every class, at known places, made from a seed.
//!
//! It is what accuracy is measured on (`make accuracy`), and nothing of it is shared with the
//! scanner: check digits are computed here from the definitions again, forwards (`values`), so that a
//! mistake of a validator shows as a miss. Texts are built of templates in twelve European locales,
//! of JSON, CSV and log lines (`words`). Another seed, other forms of values and other texts (`held`)
//! make [`Part::HeldOut`], which nobody looks at while validators and dictionaries are written.

mod documents;
mod held;
mod random;
mod registers;
mod values;
mod vat;
mod words;

use std::ops::Range;

use tidegate_core::words::DataClass;

pub use words::LOCALES;

use random::Random;
use values::Value;

/// What a sample is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Holds data as people and services write it.
    Positive,
    /// Holds what almost is data: a wrong check digit, a part out of range, no word before it.
    NearMiss,
    /// Holds data in disguise: escapes, URL-encoding, other digits, other separators.
    Evasive,
    /// Holds what services write that is no data: identifiers, times, hashes, amounts.
    Noise,
}

/// Which forms and texts a sample is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Those that may be looked at when a miss is found.
    Development,
    /// Those held out.
    HeldOut,
}

/// A text and where data stands in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The text.
    pub text: String,
    /// Class and place of all data in it.
    pub labels: Vec<(DataClass, Range<usize>)>,
    /// The class it was made for; near misses have it and no label.
    pub class: Option<DataClass>,
    /// What it is for.
    pub kind: Kind,
}

/// Samples of `class`: `count` of each kind, of one part, the same for the same seed.
#[must_use]
pub fn samples(class: DataClass, count: usize, part: Part, seed: u64) -> Vec<Sample> {
    let stream = seed ^ (class as u64 + 1) << 32 ^ u64::from(part == Part::HeldOut);
    let mut random = Random::new(stream);
    let (valid, near_miss, disguise): (ValueOf, ValueOf, DisguiseOf) = match part {
        Part::Development => (values::valid, values::near_miss, disguise),
        Part::HeldOut => (held::valid, held::near_miss, held::disguise),
    };
    let mut samples = Vec::with_capacity(3 * count);
    for _ in 0..count {
        let value = valid(class, &mut random);
        samples.push(placed(class, &value, &value.text, Kind::Positive, part, &mut random));
        let missed = near_miss(class, &mut random);
        samples.push(placed(class, &missed, &missed.text, Kind::NearMiss, part, &mut random));
        let value = valid(class, &mut random);
        let disguised = disguise(class, &value.text, &mut random);
        samples.push(placed(class, &value, &disguised, Kind::Evasive, part, &mut random));
    }
    samples
}

/// As [`samples`], of telephone numbers as they are dialled at home, in the [`regions`].
#[must_use]
pub fn national_phones(count: usize, part: Part, seed: u64) -> Vec<Sample> {
    let mut random = Random::new(seed ^ 0x0074_656c ^ u64::from(part == Part::HeldOut) << 32);
    let class = DataClass::Phone;
    let (separators, in_parentheses, disguise): (&[&str], bool, DisguiseOf) = match part {
        Part::Development => (&[" ", "-", ""], false, disguise),
        Part::HeldOut => (&[" ", "/", ".", "", " "], true, held::disguise),
    };
    let mut samples = Vec::with_capacity(3 * count);
    for _ in 0..count {
        let value = registers::national_phone(&mut random, separators, in_parentheses);
        samples.push(placed(class, &value, &value.text, Kind::Positive, part, &mut random));
        let missed = registers::no_phone(&mut random);
        samples.push(placed(class, &missed, &missed.text, Kind::NearMiss, part, &mut random));
        let value = registers::national_phone(&mut random, separators, in_parentheses);
        let disguised = disguise(class, &value.text, &mut random);
        samples.push(placed(class, &value, &disguised, Kind::Evasive, part, &mut random));
    }
    samples
}

/// The regions of [`national_phones`].
#[must_use]
pub fn regions() -> [&'static str; 12] {
    registers::REGIONS
}

/// Texts without any data, as services write them.
#[must_use]
pub fn noise(count: usize, part: Part, seed: u64) -> Vec<Sample> {
    let mut random = Random::new(seed ^ 0x006e_6f69_7365);
    let text = match part {
        Part::Development => words::noise,
        Part::HeldOut => held::noise,
    };
    let sample = |_| Sample { text: text(&mut random), labels: Vec::new(), class: None, kind: Kind::Noise };
    (0..count).map(sample).collect()
}

type ValueOf = fn(DataClass, &mut Random) -> Value;
type DisguiseOf = fn(DataClass, &str, &mut Random) -> String;

/// A text with `written`, which is `value`, in it.
fn placed(class: DataClass, value: &Value, written: &str, kind: Kind, part: Part, random: &mut Random) -> Sample {
    let around = match part {
        Part::Development => words::around,
        Part::HeldOut => held::around,
    };
    let (before, after) = around(class, value.needs_word, kind == Kind::Evasive, random);
    let text = format!("{before}{written}{after}");
    let span = before.len()..before.len() + written.len();
    let labels = if kind == Kind::NearMiss { Vec::new() } else { vec![(class, span)] };
    Sample { text, labels, class: Some(class), kind }
}

/// The value as somebody writes it who does not want it to be found.
fn disguise(class: DataClass, value: &str, random: &mut Random) -> String {
    let escape = |character: char| format!("\\u{:04x}", character as u32);
    let full_width = |character: char| char::from_u32(character as u32 + 0xfee0).unwrap_or(character);
    match random.below(6) {
        // One character in three as an escape of JSON, the '@' always.
        0 => value
            .chars()
            .map(|character| match character {
                '@' | '+' => escape(character),
                _ if character.is_ascii_alphanumeric() && random.below(3) == 0 => escape(character),
                _ => character.to_string(),
            })
            .collect(),
        1 => value
            .chars()
            .map(|character| match character {
                ' ' | '@' | '+' | ':' | '/' => format!("%{:02X}", character as u32),
                _ if character.is_ascii_digit() && random.below(4) == 0 => format!("%{:02x}", character as u32),
                _ => character.to_string(),
            })
            .collect(),
        2 => value
            .chars()
            .map(|character| match character {
                '0'..='9' | '@' | '+' => full_width(character),
                _ => character,
            })
            .collect(),
        3 => value.replace(' ', "\u{a0}").replace('-', "\u{2011}"),
        // Characters of no width within.
        4 => {
            let at = value.char_indices().nth(value.chars().count() / 2).map_or(0, |(at, _)| at);
            format!("{}\u{200b}{}", &value[..at], &value[at..])
        }
        _ if matches!(class, DataClass::Email | DataClass::Iban | DataClass::MacAddress | DataClass::Ipv6) => {
            value.to_uppercase()
        }
        _ => value
            .chars()
            .map(|character| match character.to_digit(10) {
                // Arabic-Indic.
                Some(digit) => char::from_u32(0x660 + digit).unwrap_or(character),
                None => character,
            })
            .collect(),
    }
}
