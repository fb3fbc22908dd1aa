//! Tidegate decides here. No socket, no clock: keys and time are arguments.

pub mod authority;
#[cfg(feature = "corpus")]
pub mod corpus;
pub mod document;
pub mod file;
pub mod identity;
pub mod mask;
pub mod recording;
pub mod scan;
pub mod schema;
pub mod snapshot;
pub mod subject;
pub mod view;

mod grant;
mod window;
