//! Paths of fields, written as in JSONPath (RFC 9535), of which they are a part:
//!
//! | written | means |
//! |---|---|
//! | `$` | the document |
//! | `.name`, `['name']`, `["name"]` | the member of this name |
//! | `[0]` | the element at this index, from 0 |
//! | `[*]`, `.*` | every element, or every member |
//! | `..name` | the member of this name at any depth; once in a path |
//!
//! There are no filters, slices, unions or negative indices. A path that leads to an object or an
//! array means every value in it. A path leads on into a string that holds a JSON document itself.

use std::fmt;

/// Steps that a path may have.
pub const STEPS_MAX: usize = 32;

/// A path to fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path(Vec<Step>);

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Step {
    /// The member of this name.
    Member(Box<str>),
    /// The member of this name, at any depth.
    Deep(Box<str>),
    /// The element at this index.
    Element(u32),
    /// Every member and element.
    All,
}

impl Path {
    /// Reads a path.
    ///
    /// # Errors
    /// What is wrong with it, and what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut rest = text.strip_prefix('$').ok_or("a path begins with `$`, as in `$.customer.email`")?;
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = step(rest)?;
            steps.push(step);
            rest = after;
        }
        if steps.is_empty() {
            return Err("names the whole document; name a field of it, as in `$.customer.email`".to_owned());
        }
        // Several would multiply what has to be followed at once.
        if steps.iter().filter(|step| matches!(step, Step::Deep(_))).count() > 1 {
            return Err("may have `..` only once".to_owned());
        }
        if steps.len() > STEPS_MAX {
            return Err(format!("has more than {STEPS_MAX} steps"));
        }
        Ok(Self(steps))
    }

    /// A path of steps that were not written by anybody: not more than [`STEPS_MAX`], and `..` only once.
    pub(super) fn of(steps: Vec<Step>) -> Self {
        Self(steps)
    }

    pub(super) fn steps(&self) -> &[Step] {
        &self.0
    }
}

fn step(rest: &str) -> Result<(Step, &str), String> {
    if let Some(rest) = rest.strip_prefix("..") {
        let (name, rest) = match rest.strip_prefix('[') {
            Some(bracketed) => quoted(bracketed)?,
            None => shorthand(rest)?,
        };
        return Ok((Step::Deep(name), rest));
    }
    if let Some(rest) = rest.strip_prefix(".*") {
        return Ok((Step::All, rest));
    }
    if let Some(rest) = rest.strip_prefix('.') {
        let (name, rest) = shorthand(rest)?;
        return Ok((Step::Member(name), rest));
    }
    let Some(bracketed) = rest.strip_prefix('[') else {
        return Err("steps begin with `.` or `[`, as in `$.items[*].phone`".to_owned());
    };
    if let Some(rest) = bracketed.strip_prefix("*]") {
        return Ok((Step::All, rest));
    }
    let digits = bracketed.len() - bracketed.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    if digits > 0 {
        let (number, after) = bracketed.split_at(digits);
        let index = number.parse().map_err(|_| format!("the index {number} is too large"))?;
        let after = after.strip_prefix(']').ok_or("only `[3]`, `[*]` and `['name']` may stand in brackets")?;
        return Ok((Step::Element(index), after));
    }
    let (name, rest) = quoted(bracketed)?;
    Ok((Step::Member(name), rest))
}

/// The name that `rest` begins with.
fn shorthand(rest: &str) -> Result<(Box<str>, &str), String> {
    let is_first = |c: char| c.is_ascii_alphabetic() || c == '_' || !c.is_ascii();
    let length = rest.find(|c: char| !(is_first(c) || c.is_ascii_digit())).unwrap_or(rest.len());
    let (name, after) = rest.split_at(length);
    if !name.starts_with(is_first) || after.starts_with(|c| c != '.' && c != '[') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        return Err(format!(
            "a name with other characters than letters, digits and `_` is written ['{}']",
            &rest[..end]
        ));
    }
    Ok((name.into(), after))
}

/// The name in quotes that `rest`, behind a bracket, begins with.
fn quoted(rest: &str) -> Result<(Box<str>, &str), String> {
    let wrong = || "only `[3]`, `[*]` and `['name']` may stand in brackets".to_owned();
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"')).ok_or_else(wrong)?;
    let mut name = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped @ ('\\' | '\'' | '"'))) => name.push(escaped),
                _ => return Err("in a name only `\\\\`, `\\'` and `\\\"` are escapes".to_owned()),
            },
            _ if character == quote => {
                let after = rest[at + 1..].strip_prefix(']').ok_or_else(wrong)?;
                return Ok((name.into(), after));
            }
            _ => name.push(character),
        }
    }
    Err("a quotation mark is missing".to_owned())
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |name: &str| format!("['{}']", name.replace('\\', "\\\\").replace('\'', "\\'"));
        f.write_str("$")?;
        for step in &self.0 {
            match step {
                Step::Member(member) => f.write_str(&name(member))?,
                Step::Deep(member) => write!(f, "..{}", name(member))?,
                Step::Element(index) => write!(f, "[{index}]")?,
                Step::All => f.write_str("[*]")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_and_written() {
        for (text, expected) in [
            ("$.customer.email", "$['customer']['email']"),
            ("$.items[*].phone", "$['items'][*]['phone']"),
            ("$.items.*.a_1", "$['items'][*]['a_1']"),
            ("$..email", "$..['email']"),
            ("$..['e-mail'][0]", "$..['e-mail'][0]"),
            ("$['a.b'][\"c'd\"]", r"$['a.b']['c\'d']"),
            (r"$['\\']", r"$['\\']"),
            ("$.größe", "$['größe']"),
            ("$[*]", "$[*]"),
        ] {
            let path = Path::parse(text).unwrap();
            assert_eq!(path.to_string(), expected);
            assert_eq!(Path::parse(expected), Ok(path));
        }
        for (text, expected) in [
            ("", "begins with `$`"),
            ("customer.email", "begins with `$`"),
            ("$", "whole document"),
            ("$customer", "`.` or `[`"),
            ("$.first-name.x", "['first-name']"),
            ("$.1", "['1']"),
            ("$.", "['']"),
            ("$..", "['']"),
            ("$[-1]", "in brackets"),
            ("$[1:2]", "in brackets"),
            ("$[?@.a]", "in brackets"),
            ("$['a", "quotation mark"),
            ("$['a'", "in brackets"),
            (r"$['\n']", "escapes"),
            ("$[99999999999]", "too large"),
            ("$..a..b", "only once"),
        ] {
            let error = Path::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!(Path::parse(&format!("${}", ".a".repeat(STEPS_MAX + 1))).is_err());
    }
}
