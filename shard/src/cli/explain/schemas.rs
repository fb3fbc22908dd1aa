//! The schemas of a sample's records: one from a file, or the registry's.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use tidegate_policy::mask::schema::{self, Lookup, Schema, SchemaId, Schemas};

use crate::config::{Config, SchemaRegistry};
use crate::control;

/// Where schemas come from.
#[derive(Debug)]
pub(super) enum Source {
    /// Nowhere.
    None,
    /// Every record has this one, whatever number it gives.
    One(Arc<Schema>),
    /// A registry, which is asked when a record needs it.
    Registry(Box<SchemaRegistry>, RefCell<HashMap<SchemaId, Lookup>>),
}

impl Source {
    /// Reads a schema from a file, and those that it refers to by `NAME=FILE`.
    pub(super) fn file(file: &Path, references: &[String]) -> anyhow::Result<Self> {
        let read =
            |file: &Path| std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()));
        let text = read(file)?;
        let kind = match file.extension().and_then(|extension| extension.to_str()) {
            Some("proto") => "PROTOBUF",
            Some("avsc") => "AVRO",
            Some("json") => "JSON",
            _ => anyhow::bail!("{}: its name ends with none of .avsc, .proto and .json", file.display()),
        };
        let references = references
            .iter()
            .map(|reference| {
                let (name, file) = reference.split_once('=').context("a reference is NAME=FILE")?;
                Ok((name.to_owned(), read(Path::new(file))?))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let compiled = Schema::compile(Some(kind), &text, &references);
        let schema = compiled.map_err(|reason| anyhow::anyhow!("{}: {reason}", file.display()))?;
        Ok(Self::One(Arc::new(schema)))
    }

    /// The registry of a configuration.
    pub(super) fn registry(config: &Path) -> anyhow::Result<Self> {
        let config = Config::load(config).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            anyhow::anyhow!(problems.join("\n"))
        })?;
        let registry = config.schema_registry.context("the configuration names no schema registry")?;
        Ok(Self::Registry(Box::new(registry), RefCell::default()))
    }

    /// The schema of a record in a registry's framing, where it is known, and where the record's message
    /// begins.
    pub(super) fn of(&self, record: &[u8]) -> Option<(Arc<Schema>, usize)> {
        let (id, from) = schema::framing(record)?;
        match self.find(id) {
            Lookup::Known(schema) => Some((schema, from)),
            Lookup::Pending | Lookup::Unusable(_) => None,
        }
    }
}

impl Schemas for Source {
    fn find(&self, id: SchemaId) -> Lookup {
        match self {
            Self::None => Lookup::Unusable("give --schema, or --config with a registry".into()),
            Self::One(schema) => Lookup::Known(schema.clone()),
            Self::Registry(registry, known) => {
                let ask = || match control::fetch_schema(registry, id) {
                    Ok(schema) => Lookup::Known(schema),
                    Err(error) => Lookup::Unusable(format!("{error:#}").into()),
                };
                known.borrow_mut().entry(id).or_insert_with(ask).clone()
            }
        }
    }
}
