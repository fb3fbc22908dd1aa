//! Anchors as `tidegate audit verify --anchors` reads them: from a folder, or from an object store.

use std::path::Path;

use anyhow::Context as _;
use futures_lite::StreamExt as _;
use object_store::ObjectStoreExt as _;
use tidegate_audit::anchor::{ANCHOR_EXTENSION, in_directory};
use tidegate_audit::note::NOTE_BYTES_MAX;

use crate::control::anchors::{knows, open_store};

/// All anchors of a place: where each lies, and the note.
///
/// # Errors
/// The place cannot be read.
pub(super) fn read(place: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let Some(url) = url::Url::parse(place).ok().filter(|url| url.scheme() != "file") else {
        let folder = place.strip_prefix("file://").unwrap_or(place);
        return in_directory(Path::new(folder)).with_context(|| folder.to_owned());
    };
    knows(&url).map_err(anyhow::Error::msg)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (store, prefix) = open_store(&url)?;
        let mut objects = store.list(Some(&prefix));
        let mut found = Vec::new();
        while let Some(object) = objects.next().await {
            let object = object?;
            if object.location.extension() == Some(ANCHOR_EXTENSION) && object.size <= NOTE_BYTES_MAX as u64 {
                let note = store.get(&object.location).await?.bytes().await?;
                found.push((object.location.to_string(), note.to_vec()));
            }
        }
        found.sort();
        Ok(found)
    })
}
