//! The running gateway: `data` is the hot path, `control` everything that is not per record.

#[cfg(feature = "benching")]
pub mod benching;
pub mod cli;
pub mod config;
pub mod control;
pub mod data;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;
pub mod shared;
pub mod tokens;
pub mod upstream;
