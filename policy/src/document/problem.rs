//! What is wrong with a document, and where: the one form in which every error of a YAML file
//! reaches people.

use std::fmt;
use std::sync::Arc;

/// One thing that is wrong in a file. Displays as `file:line:column: path: message`, which editors
/// and terminals turn into a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file's name, as the caller gave it.
    pub file: Arc<str>,
    /// The value's path, for instance `grants[2].operations`; empty for the document itself.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and, where it can be said, what would be right.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: ", self.file, self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

/// Problems that are reported at most: nobody reads more, and a hostile file must not fill memory.
pub(super) const PROBLEMS_MAX: usize = 500;

/// Puts problems in the file's order, so that people fix from top to bottom, and drops repetitions
/// and what is over [`PROBLEMS_MAX`].
pub(super) fn in_file_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by(|a, b| (a.line, a.column, &a.path, &a.message).cmp(&(b.line, b.column, &b.path, &b.message)));
    problems.dedup();
    let more = problems.len().saturating_sub(PROBLEMS_MAX);
    problems.truncate(PROBLEMS_MAX);
    if let (1.., Some(first)) = (more, problems.first()) {
        let message = format!("{more} more problems are not shown");
        problems.push(Problem { file: first.file.clone(), path: String::new(), line: 1, column: 1, message });
    }
    problems
}

/// Appends a key to a path.
pub(crate) fn join_key(path: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    match (path.is_empty(), plain) {
        (true, true) => key.to_owned(),
        (false, true) => format!("{path}.{key}"),
        (_, false) => format!("{path}[{key:?}]"),
    }
}

/// Appends an index to a path.
pub(crate) fn join_index(path: &str, index: usize) -> String {
    format!("{path}[{index}]")
}

/// What of `text` fits into a sentence: it comes from the file and may be a megabyte.
pub(crate) fn shortened(text: &str) -> String {
    const CHARS_MAX: usize = 60;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX - 1).chain(std::iter::once('…')).collect()
}

/// The candidate that `typed` most likely was meant to be, if any is near enough to say so.
pub(crate) fn nearest<'a>(typed: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const TYPED_CHARS_MAX: usize = 64;
    if typed.chars().count() > TYPED_CHARS_MAX {
        return None;
    }
    let typed = typed.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (edits(&typed, candidate), candidate))
        .filter(|(edits, candidate)| *edits <= (candidate.chars().count() / 3).clamp(1, 3))
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, candidate)| candidate)
}

/// How many insertions, deletions, substitutions and swaps of neighbours turn `a` into `b`
/// (optimal string alignment).
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, cb) in b.iter().enumerate() {
            let substituted = above[j] + usize::from(ca != cb);
            let mut least = substituted.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *ca == b[j - 1] && a[i - 1] == *cb {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_keyboard_is_recognised_and_another_word_is_not() {
        let known = ["operations", "resources", "name", "not_before", "not_after"];
        for (typed, expected) in [
            ("operatons", Some("operations")),
            ("Operations", Some("operations")),
            ("nmae", Some("name")),
            ("notafter", Some("not_after")),
            ("topics", None),
            ("x", None),
        ] {
            assert_eq!(nearest(typed, known), expected, "{typed}");
        }
    }

    #[test]
    fn paths_quote_what_is_not_a_plain_key() {
        assert_eq!(join_key(&join_index("grants", 2), "name"), "grants[2].name");
        assert_eq!(join_key("brokers", "a.b"), "brokers[\"a.b\"]");
    }
}
