//! The one way in which Tidegate reads a YAML file: the policy and the gateway's configuration.
//!
//! Text → tree with places (`tree`) → structure against the JSON Schema that the type itself
//! generates ([`crate::schema`]) → the type → the caller's semantic checks. All problems are
//! collected and reported at once, each with file, line, column and path ([`Problem`]).
//!
//! The schema that `tidegate check --schema` publishes is the very one that files are held
//! against, so an editor that uses it agrees with the gateway.

pub mod text;

mod problem;
mod structure;
mod tree;

use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

pub use problem::Problem;
pub use tree::{DOCUMENT_BYTES_MAX, NESTING_DEPTH_MAX, NODES_MAX};

pub(crate) use problem::{join_index, join_key, nearest, shortened};

use problem::in_file_order;
use tree::Tree;

/// A document that has the right structure, with the places of its values.
#[derive(Debug)]
pub struct Parsed<T> {
    /// What the document says.
    pub value: T,
    tree: Tree,
}

impl<T> Parsed<T> {
    /// A problem with the value at `path` (written as `grants[2].operations`), for checks that a
    /// schema cannot express. Where no such node exists, its nearest ancestor's place is named.
    #[must_use]
    pub fn problem(&self, path: impl AsRef<str>, message: impl Into<String>) -> Problem {
        self.tree.problem(path.as_ref(), message)
    }

    /// The file's name, as it was given.
    #[must_use]
    pub fn file_name(&self) -> &str {
        &self.tree.file
    }
}

/// The JSON Schema (draft 2020-12) that a document of type `T` is held against.
#[must_use]
pub fn schema<T: JsonSchema>() -> Value {
    crate::schema::of::<T>()
}

/// Reads `text` as a `T`. `file_name` is only quoted in problems.
///
/// # Errors
/// Every problem of syntax and structure, in the file's order.
pub fn parse<T: DeserializeOwned + JsonSchema>(text: &str, file_name: &str) -> Result<Parsed<T>, Vec<Problem>> {
    load(text, file_name, Ok)
}

/// Reads `text` as a `T` and makes of it what `check` makes of it. Where the structure is wrong in
/// ways that still leave a `T` to look at (unknown keys), `check` runs all the same, so that one
/// run reports the problems of both.
///
/// # Errors
/// Every problem of syntax, structure and `check`, in the file's order.
pub fn load<T, U>(
    text: &str,
    file_name: &str,
    check: impl FnOnce(Parsed<T>) -> Result<U, Vec<Problem>>,
) -> Result<U, Vec<Problem>>
where
    T: DeserializeOwned + JsonSchema,
{
    let (mut tree, mut problems) = Tree::read(text, file_name)?;
    problems.extend(structure::check(&mut tree, &schema::<T>()));
    match serde_json::from_value::<T>(tree.value.clone()) {
        Ok(value) => match check(Parsed { value, tree }) {
            Ok(made) if problems.is_empty() => return Ok(made),
            Ok(_) => {}
            Err(more) => problems.extend(more),
        },
        // The schema's words are better; serde's are for what the schema cannot say.
        Err(error) if problems.is_empty() => problems.push(tree.problem("", error.to_string())),
        Err(_) => {}
    }
    Err(in_file_order(problems))
}

#[cfg(test)]
mod tests;
