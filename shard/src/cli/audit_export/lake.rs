//! `tidegate audit export --format parquet`: sealed segments as Parquet files, to a folder or an object store.
//!
//! The cursor lies beside the files, since it speaks of them; see `audit/PARQUET.md`.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use object_store::path::Path as ObjectPath;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tidegate_audit::lake::{Done, Folder, Lake, Sink};
use tokio::runtime::Runtime;

use super::Args;
use crate::control::anchors::{knows, open_store};

/// How often it is looked for sealed segments when following.
const LOOK: Duration = Duration::from_secs(5);

/// Runs the export and returns the exit code.
///
/// # Errors
/// An argument is wrong.
pub(super) fn run(args: &Args, out: &mut dyn Write, errors: &mut dyn Write) -> anyhow::Result<u8> {
    anyhow::ensure!(args.cursor.is_none(), "--cursor: Parquet files have their cursor beside them");
    anyhow::ensure!(args.to != "-", "--to -: Parquet files need a folder or an object store");
    let mut sink = sink(&args.to)?;
    let mut lake = Lake::new(&args.dir, &mut *sink);
    loop {
        match lake.export() {
            Ok(done) => tell(&done, out, errors)?,
            Err(error) => {
                writeln!(errors, "tidegate: {error}")?;
                return Ok(1);
            }
        }
        if !args.follow {
            return Ok(0);
        }
        std::thread::sleep(LOOK);
    }
}

fn tell(done: &Done, out: &mut dyn Write, errors: &mut dyn Write) -> io::Result<()> {
    if done.missed > 0 {
        writeln!(errors, "tidegate: {} entries were removed by retention before they were exported", done.missed)?;
    }
    if done.segments > 0 {
        let Done { segments, files, entries, bytes, .. } = done;
        writeln!(out, "{entries} entries of {segments} sealed segments in {files} files, {bytes} bytes")?;
    }
    Ok(())
}

fn sink(to: &str) -> anyhow::Result<Box<dyn Sink>> {
    let Some(url) = url::Url::parse(to).ok().filter(|url| url.scheme() != "file") else {
        return Ok(Box::new(Folder(PathBuf::from(to.strip_prefix("file://").unwrap_or(to)))));
    };
    knows(&url).map_err(|error| anyhow::anyhow!("--to {error}"))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (store, prefix) = open_store(&url)?;
    Ok(Box::new(Store { runtime, store, prefix }))
}

/// A folder of an object store.
struct Store {
    runtime: Runtime,
    store: Box<dyn ObjectStore>,
    prefix: ObjectPath,
}

impl Store {
    /// The object of a file. Names are made of what every store takes, so nothing is escaped again.
    fn path(&self, name: &str) -> io::Result<ObjectPath> {
        let path = Path::new(self.prefix.as_ref()).join(name);
        ObjectPath::parse(path.to_string_lossy()).map_err(io::Error::other)
    }
}

impl Sink for Store {
    fn read(&mut self, name: &str) -> io::Result<Option<Vec<u8>>> {
        let path = self.path(name)?;
        let read = self.runtime.block_on(async { self.store.get(&path).await?.bytes().await });
        match read {
            Ok(bytes) => Ok(Some(bytes.to_vec())),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn write(&mut self, name: &str, bytes: Vec<u8>) -> io::Result<()> {
        let path = self.path(name)?;
        let put = self.runtime.block_on(self.store.put(&path, PutPayload::from(bytes)));
        put.map(drop).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_store_is_a_folder_too() {
        let (store, prefix) = (Box::new(object_store::memory::InMemory::new()), ObjectPath::from("evidence/a"));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut store = Store { runtime, store, prefix };
        let name = "date=2026-11-24/gw%2Fa_shard-000_0.parquet";
        assert_eq!(store.read(name).unwrap(), None);
        for bytes in [b"one", b"two"] {
            store.write(name, bytes.to_vec()).unwrap();
            assert_eq!(store.read(name).unwrap().unwrap(), bytes);
        }
        assert_eq!(store.path(name).unwrap().as_ref(), format!("evidence/a/{name}"));
        store.prefix = ObjectPath::default();
        assert_eq!(store.path(name).unwrap().as_ref(), name);
        let error = sink("gopher://x/y").err().unwrap().to_string();
        assert!(error.contains("gopher"), "{error}");
    }
}
