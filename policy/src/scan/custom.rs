//! Classes of data that a policy defines: a regular expression, and what makes a match of it more
//! than a match: a check digit, or a word before it.
//!
//! Expressions run in time linear to the text (the `regex` crate: no backtracking) and within
//! bounds of memory. They see the text without its disguises, as the built-in classes do.

use std::ops::Range;

use regex::bytes::{Regex, RegexBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{checksum, context};

/// Memory that a compiled expression, and its cache while it runs, may take, in bytes.
const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Groups within each other.
const REGEX_DEPTH_MAX: u32 = 32;
/// Longest expression, in bytes.
pub const PATTERN_BYTES_MAX: usize = 1000;

/// A rule of check digits. It is held over the letters and digits of a match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckDigit {
    /// Luhn's (ISO/IEC 7812-1): the last digit; letters do not count.
    Luhn,
    /// ISO 7064 Mod 97-10 over digits and letters, the two check digits being the last.
    #[serde(rename = "mod97_10")]
    Mod97,
    /// ISO 7064 Mod 11,10: the last digit; letters do not count.
    #[serde(rename = "mod11_10")]
    Mod11,
    /// Verhoeff's: the last digit; letters do not count.
    Verhoeff,
}

/// A class of data that a policy defines.
#[derive(Debug)]
pub struct CustomClass {
    name: Box<str>,
    regex: Regex,
    check: Option<CheckDigit>,
    /// Folded, without spaces.
    keywords: Vec<Box<str>>,
    definition: String,
}

impl CustomClass {
    /// Compiles a class. `keywords` are words of which one has to stand before a match, in the key
    /// of its JSON member or before it in its line; none asks for none.
    ///
    /// # Errors
    /// What is wrong with the expression.
    pub fn new(name: &str, pattern: &str, check: Option<CheckDigit>, keywords: &[String]) -> Result<Self, String> {
        if pattern.len() > PATTERN_BYTES_MAX {
            return Err(format!("is longer than {PATTERN_BYTES_MAX} bytes"));
        }
        let regex = RegexBuilder::new(pattern)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .nest_limit(REGEX_DEPTH_MAX)
            .build()
            .map_err(|error| match error {
                regex::Error::CompiledTooBig(_) => format!("takes more than {REGEX_BYTES_MAX} bytes of memory"),
                other => {
                    // The crate draws the place under the expression; the last line says what is wrong.
                    let text = other.to_string();
                    let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                    format!("is not a regular expression: {last}")
                }
            })?;
        if regex.is_match(b"") {
            return Err("matches nothing at all, and so everywhere".to_owned());
        }
        let folded = |word: &String| super::folded(word).replace(' ', "").into_boxed_str();
        let keywords: Vec<Box<str>> = keywords.iter().map(folded).collect();
        let definition = format!("{pattern}\0{check:?}\0{keywords:?}");
        Ok(Self { name: name.into(), regex, check, keywords, definition })
    }

    /// The name, in policies and evidence.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// All that what it finds depends on.
    #[must_use]
    pub fn definition(&self) -> &str {
        &self.definition
    }

    /// Whether it says itself what its matches are, by a check digit or words before them.
    #[must_use]
    pub fn is_checked(&self) -> bool {
        self.check.is_some() || !self.keywords.is_empty()
    }

    /// Yields where data of this class stands in `text`.
    pub(super) fn find(&self, text: &[u8], mut each: impl FnMut(Range<usize>)) {
        for found in self.regex.find_iter(text) {
            if self.check.is_none_or(|check| check.holds(found.as_bytes()))
                && (self.keywords.is_empty() || context::has_any(&self.keywords, text, found.start()))
            {
                each(found.range());
            }
        }
    }
}

impl PartialEq for CustomClass {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.definition == other.definition
    }
}

impl Eq for CustomClass {}

impl CheckDigit {
    fn holds(self, found: &[u8]) -> bool {
        let digits = || -> Vec<u8> { found.iter().filter(|b| b.is_ascii_digit()).map(|b| b - b'0').collect() };
        match self {
            Self::Luhn => checksum::luhn(&digits()),
            Self::Mod97 => checksum::mod_97(found.iter().copied().filter(u8::is_ascii_alphanumeric)) == 1,
            Self::Mod11 => checksum::mod_11_10(&digits()),
            Self::Verhoeff => checksum::verhoeff(&digits()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(class: &CustomClass, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        class.find(text.as_bytes(), |span| found.push(text[span].to_owned()));
        found
    }

    #[test]
    fn check_digits_and_words_decide() {
        let class = CustomClass::new("k", r"\bKD-?\d{8}\b", None, &[]).unwrap();
        assert_eq!(found(&class, "KD-12345678, KD12345679 KD-123"), ["KD-12345678", "KD12345679"]);
        let class = CustomClass::new("k", r"\b\d{11}\b", Some(CheckDigit::Luhn), &[]).unwrap();
        assert_eq!(found(&class, "79927398713 79927398714"), ["79927398713"]);
        let class = CustomClass::new("k", r"\b\d{6}\b", None, &["Kunden-Nr".to_owned()]).unwrap();
        assert_eq!(found(&class, "Kundennr. 123456\norder 123457\n{\"kunden_nr\":123458}"), ["123456", "123458"]);
        let class = CustomClass::new("k", r"\b\d+\b", Some(CheckDigit::Verhoeff), &[]).unwrap();
        assert_eq!(found(&class, "2363 2364 123451 123450"), ["2363", "123451"]);
        let class = CustomClass::new("k", r"[A-Z0-9]{6}", Some(CheckDigit::Mod97), &[]).unwrap();
        assert_eq!(found(&class, "AB1268 AB1298").len(), 0);
    }

    #[test]
    fn expressions_are_bounded() {
        for (pattern, expected) in [
            ("(", "unclosed group"),
            ("a*", "everywhere"),
            (r"(\w{100}){100}{100}", "memory"),
            (r"(?=a)b", "look-around"),
            (r"(a)\1", "backreferences"),
        ] {
            let error = CustomClass::new("k", pattern, None, &[]).unwrap_err();
            assert!(error.contains(expected), "{pattern}: {error}");
        }
        assert!(CustomClass::new("k", &"a".repeat(PATTERN_BYTES_MAX + 1), None, &[]).is_err());
        // Exponential for whoever backtracks.
        let class = CustomClass::new("k", r"(a|a)*(a|aa)+$b", None, &[]).unwrap();
        assert!(found(&class, &"a".repeat(20_000)).is_empty());
    }
}
