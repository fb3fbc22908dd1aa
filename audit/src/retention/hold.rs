//! Legal holds: evidence of a time that must not be removed, whatever retention says.
//!
//! `DIR/holds.jsonl` is a list of acts, one JSON object a line, only ever added to: a hold was set, a hold was
//! lifted, by whom, why. So lifting a hold leaves as much of a trace as setting it, and the gateway copies each act
//! into the evidence. What cannot be read holds everything: whoever asks gets an error, not an empty list.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::keys::write_atomically;

/// The file of all acts, below the evidence directory.
pub const HOLDS_FILE: &str = "holds.jsonl";
/// How many of that file's bytes the gateway has copied into the evidence.
const LOGGED_FILE: &str = "holds.logged";
/// The largest file that is read, in bytes.
const BYTES_MAX: u64 = 16 << 20;

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hold {
    /// Its name, unique among those in force: letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// The earliest entries it keeps, in microseconds since the Unix epoch; without it, from the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_micros: Option<i64>,
    /// The latest entries it keeps; without it, all to come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_micros: Option<i64>,
}

impl Hold {
    /// Whether it keeps something of that time, both ends included.
    #[must_use]
    pub fn overlaps(&self, first_micros: i64, last_micros: i64) -> bool {
        self.from_micros.is_none_or(|from| last_micros >= from) && self.to_micros.is_none_or(|to| first_micros <= to)
    }
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub enum Action {
    /// A hold was set.
    Set(Hold),
    /// A hold was lifted.
    Lift {
        /// Its name.
        name: String,
    },
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Act {
    /// What was done.
    #[serde(flatten)]
    pub action: Action,
    /// By whom, as far as the machine knows.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When: microseconds since the Unix epoch.
    pub time_micros: i64,
}

impl Act {
    /// What was done, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> String {
        let time = |micros: Option<i64>, none: &str| micros.map_or_else(|| none.to_owned(), crate::json::time_text);
        let what = match &self.action {
            Action::Set(hold) => format!(
                "legal hold {} set on evidence from {} to {}",
                hold.name,
                time(hold.from_micros, "the beginning"),
                time(hold.to_micros, "its end")
            ),
            Action::Lift { name } => format!("legal hold {name} lifted"),
        };
        format!("{what}, by {}: {}", self.by, self.reason)
    }
}

/// Why holds cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum HoldError {
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line is no act, or lines are missing that the gateway has seen.
    #[error("{}: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The act makes no sense here.
    #[error("{0}")]
    Refused(String),
}

/// Adds an act.
///
/// # Errors
/// [`HoldError`]: it sets a hold that is in force, lifts one that is not, or cannot be written.
pub fn add(root: &Path, act: &Act) -> Result<(), HoldError> {
    let path = root.join(HOLDS_FILE);
    let io = |source| HoldError::Io { path: path.clone(), source };
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(&path).map_err(io)?;
    // Two who set holds at a time wait for each other.
    file.lock().map_err(io)?;
    let before = in_force(&read(root)?);
    let known = |name: &str| before.iter().any(|hold| hold.name == name);
    match &act.action {
        Action::Set(hold) if !is_name(&hold.name) => {
            return Err(HoldError::Refused("a hold's name has 1 to 64 letters, digits, `-`, `_` or `.`".to_owned()));
        }
        Action::Set(hold) if known(&hold.name) => {
            return Err(HoldError::Refused(format!("there is a hold {} already", hold.name)));
        }
        Action::Set(hold) if hold.from_micros.zip(hold.to_micros).is_some_and(|(from, to)| from > to) => {
            return Err(HoldError::Refused("the hold ends before it begins".to_owned()));
        }
        Action::Lift { name } if !known(name) => return Err(HoldError::Refused(format!("there is no hold {name}"))),
        _ if act.reason.trim().is_empty() => return Err(HoldError::Refused("a reason must be given".to_owned())),
        _ => {}
    }
    let mut line = serde_json::to_vec(act).map_err(|error| io(error.into()))?;
    line.push(b'\n');
    file.write_all(&line).and_then(|()| file.sync_all()).map_err(io)
}

/// The holds in force.
///
/// # Errors
/// [`HoldError`]: then all evidence must be taken as held.
pub fn active(root: &Path) -> Result<Vec<Hold>, HoldError> {
    Ok(in_force(&read(root)?))
}

/// Every act, the oldest first.
///
/// # Errors
/// [`HoldError`].
pub fn read(root: &Path) -> Result<Vec<Act>, HoldError> {
    let (text, logged) = (text(root)?, logged(root)?);
    let path = root.join(HOLDS_FILE);
    if (text.len() as u64) < logged {
        let why = "acts are missing that were there before".to_owned();
        return Err(HoldError::Damaged { path, why });
    }
    parse(&path, &text)
}

/// Acts that are not in the evidence yet; then [`mark_logged`].
///
/// # Errors
/// [`HoldError`].
pub fn unlogged(root: &Path) -> Result<(Vec<Act>, u64), HoldError> {
    let (text, logged) = (text(root)?, logged(root)?);
    let path = root.join(HOLDS_FILE);
    let new = usize::try_from(logged).ok().and_then(|logged| text.get(logged..));
    let Some(new) = new else {
        let why = "acts are missing that were there before".to_owned();
        return Err(HoldError::Damaged { path, why });
    };
    Ok((parse(&path, new)?, text.len() as u64))
}

/// Remembers that acts are in the evidence, up to what [`unlogged`] gave.
///
/// # Errors
/// [`HoldError`].
pub fn mark_logged(root: &Path, end: u64) -> Result<(), HoldError> {
    let path = root.join(LOGGED_FILE);
    write_atomically(&path, format!("{end}\n").as_bytes()).map_err(|source| HoldError::Io { path, source })
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

fn in_force(acts: &[Act]) -> Vec<Hold> {
    let mut holds: Vec<Hold> = Vec::new();
    for act in acts {
        match &act.action {
            Action::Set(hold) => holds.push(hold.clone()),
            Action::Lift { name } => holds.retain(|hold| hold.name != *name),
        }
    }
    holds
}

fn text(root: &Path) -> Result<String, HoldError> {
    let path = root.join(HOLDS_FILE);
    let io = |source| HoldError::Io { path: path.clone(), source };
    let mut text = String::new();
    match File::open(&path) {
        Ok(file) => file.take(BYTES_MAX + 1).read_to_string(&mut text).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(text),
        Err(error) => return Err(io(error)),
    };
    if text.len() as u64 > BYTES_MAX {
        return Err(HoldError::Damaged { path, why: "it is too long".to_owned() });
    }
    Ok(text)
}

fn parse(path: &Path, text: &str) -> Result<Vec<Act>, HoldError> {
    let damaged = |why: String| HoldError::Damaged { path: path.to_owned(), why };
    if !text.is_empty() && !text.ends_with('\n') {
        return Err(damaged("the last line is not ended".to_owned()));
    }
    let acts: Result<Vec<Act>, _> = text.lines().map(serde_json::from_str).collect();
    acts.map_err(|error| damaged(format!("a line is no act: {error}")))
}

fn logged(root: &Path) -> Result<u64, HoldError> {
    let path = root.join(LOGGED_FILE);
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map_err(|_| HoldError::Damaged { path, why: "it is no number".to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(source) => Err(HoldError::Io { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn act(action: Action) -> Act {
        Act { action, by: "dora".into(), reason: "case 7".into(), time_micros: 1_700_000_000_000_000 }
    }

    fn set(name: &str, from_micros: Option<i64>, to_micros: Option<i64>) -> Act {
        act(Action::Set(Hold { name: name.into(), from_micros, to_micros }))
    }

    #[test]
    fn holds_come_and_go_and_leave_a_trace() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!((active(root).unwrap(), unlogged(root).unwrap()), (vec![], (vec![], 0)));
        add(root, &set("case-7", Some(10), Some(20))).unwrap();
        add(root, &set("all", None, None)).unwrap();
        for refused in [
            set("all", None, None),
            set("a b", None, None),
            set("x", Some(2), Some(1)),
            act(Action::Lift { name: "y".into() }),
        ] {
            assert!(matches!(add(root, &refused), Err(HoldError::Refused(_))), "{refused:?}");
        }
        add(root, &act(Action::Lift { name: "all".into() })).unwrap();
        let holds = active(root).unwrap();
        assert_eq!(holds.iter().map(|hold| &*hold.name).collect::<Vec<_>>(), ["case-7"]);
        for (first, last, held) in [(0, 9, false), (0, 10, true), (20, 30, true), (21, 30, false), (12, 13, true)] {
            assert_eq!(holds[0].overlaps(first, last), held, "{first}..{last}");
        }
        let (acts, end) = unlogged(root).unwrap();
        assert_eq!(acts.len(), 3);
        assert!(acts[0].sentence().contains("legal hold case-7 set") && acts[0].sentence().contains("dora: case 7"));
        mark_logged(root, end).unwrap();
        add(root, &act(Action::Lift { name: "case-7".into() })).unwrap();
        assert_eq!(unlogged(root).unwrap().0.len(), 1);
        assert_eq!(read(root).unwrap().len(), 4);
    }

    #[test]
    fn what_cannot_be_read_is_an_error_and_not_an_empty_list() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        add(root, &set("a", None, None)).unwrap();
        mark_logged(root, unlogged(root).unwrap().1).unwrap();
        let whole = fs::read(root.join(HOLDS_FILE)).unwrap();
        for bytes in [&b"x\n"[..], &whole[..whole.len() - 1], &[], &[&whole[..], b"{}\n"].concat()] {
            fs::write(root.join(HOLDS_FILE), bytes).unwrap();
            assert!(active(root).is_err(), "{bytes:?}");
        }
        fs::remove_file(root.join(HOLDS_FILE)).unwrap();
        assert!(active(root).is_err(), "a file that is gone is not one that never was");
    }
}
