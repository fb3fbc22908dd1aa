//! YAML text → a JSON value with the place of every node.
//!
//! The text may be hostile. It is read as a stream of events, so that a document that is too big,
//! too deep or built of aliases is refused at the event where that shows and nothing is expanded.
//! What YAML offers beyond JSON's data model (anchors, tags, several documents, keys that are not
//! texts, not-a-number) is refused: nobody should have to know YAML's corners to read a policy.

use std::collections::HashMap;
use std::sync::Arc;

use saphyr::Scalar;
use saphyr_parser::{Event, Marker, Parser, ScanError};
use serde_json::{Map, Number, Value};

use super::problem::{PROBLEMS_MAX, Problem, join_index, join_key, shortened};

/// Largest document, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Deepest nesting of lists and maps.
pub const NESTING_DEPTH_MAX: usize = 32;
/// Most nodes (values and keys) of one document.
pub const NODES_MAX: usize = 200_000;

/// Where a node stands, line and column from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Place {
    const START: Self = Self { line: 1, column: 1 };

    fn of(marker: &Marker) -> Self {
        Self { line: marker.line().max(1), column: marker.col() + 1 }
    }
}

/// A parsed document: the value, and the place of every node by its path.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) file: Arc<str>,
    pub(super) value: Value,
    /// A map's entry stands where its key stands; a list's item where it begins.
    places: HashMap<String, Place>,
}

impl Tree {
    /// A problem at `path`; where no such node exists, at its nearest ancestor.
    pub(super) fn problem(&self, path: &str, message: impl Into<String>) -> Problem {
        let place = self.place(path);
        Problem {
            file: self.file.clone(),
            path: path.to_owned(),
            line: place.line,
            column: place.column,
            message: message.into(),
        }
    }

    fn place(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(place) = self.places.get(path) {
                return *place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return self.places.get("").copied().unwrap_or(Place::START),
            }
        }
    }

    /// Reads `text`. Problems that leave a tree to look at (a key given twice, a tag) are returned
    /// beside it.
    ///
    /// # Errors
    /// Every problem found where there is no tree: after a syntax error or over a bound.
    pub(super) fn read(text: &str, file_name: &str) -> Result<(Self, Vec<Problem>), Vec<Problem>> {
        let file: Arc<str> = Arc::from(file_name);
        let mut reader = Reader::new(file.clone());
        if text.len() > DOCUMENT_BYTES_MAX {
            let message = format!("the file has {} bytes; at most {DOCUMENT_BYTES_MAX} are read", text.len());
            reader.note("", Place::START, message);
            return Err(reader.problems);
        }
        let ended = reader.run(text.strip_prefix('\u{feff}').unwrap_or(text));
        match reader.root {
            Some(value) if ended.is_ok() => Ok((Self { file, value, places: reader.places }, reader.problems)),
            None if reader.problems.is_empty() => {
                reader.note("", Place::START, "the file is empty".to_owned());
                Err(reader.problems)
            }
            _ => Err(reader.problems),
        }
    }
}

/// A list or map that is still open.
enum Open {
    List { path: String, items: Vec<Value> },
    Map { path: String, entries: Map<String, Value>, key: Option<String> },
}

struct Reader {
    file: Arc<str>,
    open: Vec<Open>,
    root: Option<Value>,
    places: HashMap<String, Place>,
    problems: Vec<Problem>,
    nodes: usize,
    documents: usize,
}

/// Reading cannot go on; the problem is noted.
struct Stop;

impl Reader {
    fn new(file: Arc<str>) -> Self {
        let (open, places, problems) = (Vec::new(), HashMap::new(), Vec::new());
        Self { file, open, root: None, places, problems, nodes: 0, documents: 0 }
    }

    fn run(&mut self, text: &str) -> Result<(), Stop> {
        let mut parser = Parser::new_from_str(text);
        while let Some(next) = parser.next_event() {
            match next {
                Ok((event, span)) => self.event(event, Place::of(&span.start))?,
                Err(error) => self.syntax(&error)?,
            }
            if self.problems.len() >= PROBLEMS_MAX {
                return Err(Stop);
            }
        }
        Ok(())
    }

    fn note(&mut self, path: &str, place: Place, message: String) {
        let Place { line, column } = place;
        self.problems.push(Problem { file: self.file.clone(), path: path.to_owned(), line, column, message });
    }

    fn stop(&mut self, path: &str, place: Place, message: String) -> Result<(), Stop> {
        self.note(path, place, message);
        Err(Stop)
    }

    fn syntax(&mut self, error: &ScanError) -> Result<(), Stop> {
        let message = format!("not valid YAML: {}", shortened(error.info()));
        self.stop(&self.path(), Place::of(error.marker()), message)
    }

    fn event(&mut self, event: Event<'_>, place: Place) -> Result<(), Stop> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    return self.stop("", place, "a second document begins here; only one is read".to_owned());
                }
                Ok(())
            }
            Event::Alias(_) => {
                let message = "aliases (`*name`) are not accepted; write the value out".to_owned();
                self.stop(&self.path(), place, message)
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.node(anchor, tag.is_some(), place)?;
                if self.awaits_key() {
                    return self.key(text.into_owned(), place);
                }
                let path = self.enter(place);
                let value = match Scalar::parse_from_cow_and_metadata(text, style, None) {
                    Some(Scalar::Null) | None => Value::Null,
                    Some(Scalar::Boolean(value)) => Value::Bool(value),
                    Some(Scalar::Integer(value)) => Value::from(value),
                    Some(Scalar::FloatingPoint(value)) => match Number::from_f64(value.0) {
                        Some(number) => Value::Number(number),
                        None => {
                            self.note(&path, place, "not a finite number; to mean the text, quote it".to_owned());
                            Value::Null
                        }
                    },
                    Some(Scalar::String(value)) => Value::String(value.into_owned()),
                };
                self.put(value);
                Ok(())
            }
            Event::SequenceStart(anchor, tag) => {
                self.node(anchor, tag.is_some(), place)?;
                let path = self.open_at(place)?;
                self.open.push(Open::List { path, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(anchor, tag) => {
                self.node(anchor, tag.is_some(), place)?;
                let path = self.open_at(place)?;
                self.open.push(Open::Map { path, entries: Map::new(), key: None });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => {
                match self.open.pop() {
                    Some(Open::List { items, .. }) => self.put(Value::Array(items)),
                    Some(Open::Map { entries, .. }) => self.put(Value::Object(entries)),
                    None => {}
                }
                Ok(())
            }
        }
    }

    /// Counts a node and refuses what no node may have.
    fn node(&mut self, anchor: usize, tagged: bool, place: Place) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return self.stop("", place, format!("the file has more than {NODES_MAX} values"));
        }
        if anchor != 0 {
            let message = "anchors (`&name`) are not accepted; write the value out where it is used".to_owned();
            return self.stop(&self.path(), place, message);
        }
        if tagged {
            self.note(&self.path(), place, "tags (`!name`) are not accepted".to_owned());
        }
        Ok(())
    }

    /// Whether the next node is a map's key.
    fn awaits_key(&self) -> bool {
        matches!(self.open.last(), Some(Open::Map { key: None, .. }))
    }

    fn key(&mut self, text: String, place: Place) -> Result<(), Stop> {
        let path = join_key(&self.path(), &text);
        if self.places.insert(path.clone(), place).is_some() {
            self.note(&path, place, "this key is given twice".to_owned());
        }
        if let Some(Open::Map { key, .. }) = self.open.last_mut() {
            *key = Some(text);
        }
        Ok(())
    }

    /// Begins a list or map.
    fn open_at(&mut self, place: Place) -> Result<String, Stop> {
        if self.awaits_key() {
            self.stop(&self.path(), place, "a key must be a text".to_owned())?;
        }
        if self.open.len() >= NESTING_DEPTH_MAX {
            self.stop("", place, format!("nested more than {NESTING_DEPTH_MAX} deep"))?;
        }
        Ok(self.enter(place))
    }

    /// The path of the value that begins at `place`, whose place is remembered unless its key's is.
    fn enter(&mut self, place: Place) -> String {
        let path = self.path();
        self.places.entry(path.clone()).or_insert(place);
        path
    }

    /// The path of what is read next: an item, a value, or (before a key) the map itself.
    fn path(&self) -> String {
        match self.open.last() {
            None => String::new(),
            Some(Open::List { path, items }) => join_index(path, items.len()),
            Some(Open::Map { path, key: Some(key), .. }) => join_key(path, key),
            Some(Open::Map { path, key: None, .. }) => path.clone(),
        }
    }

    fn put(&mut self, value: Value) {
        match self.open.last_mut() {
            None => self.root = Some(value),
            Some(Open::List { items, .. }) => items.push(value),
            Some(Open::Map { entries, key, .. }) => {
                if let Some(key) = key.take() {
                    entries.insert(key, value);
                }
            }
        }
    }
}
