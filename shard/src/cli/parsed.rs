//! For tests: what the command line makes of words, for one subcommand's arguments.

use std::ffi::OsString;

use clap::{Args, Parser};

#[derive(Parser)]
struct Cli<A: Args> {
    #[command(flatten)]
    args: A,
}

/// The arguments that stand in `words`, the subcommand's name first.
///
/// # Errors
/// What clap would say.
pub(super) fn parsed<A: Args>(words: impl IntoIterator<Item: Into<OsString> + Clone>) -> Result<A, clap::Error> {
    Cli::try_parse_from(words).map(|cli| cli.args)
}
