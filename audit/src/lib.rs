//! Tidegate's evidence: append-only segment files, one writer a shard.
//!
//! Reading order:
//! 1. `FORMAT.md` beside this crate's manifest: the bytes of everything, for independent readers too. That page
//!    and [`format`] change together, with the version number.
//! 2. [`format`]: header page and frames, encoded and parsed. [`tree`]: the Merkle tree of RFC 6962. [`note`]:
//!    keys, signed notes, checkpoints. All pure.
//! 3. [`entry`]: an event as a frame, cut to the size limit.
//! 4. [`directory`]: where segments lie, how they are named, listed and created. [`keys`]: where keys lie, and how they
//!    are replaced.
//! 5. [`log`]: [`log::ShardLog`], the writer: append, group commit, rotation, and its notary, which hashes what was
//!    written and signs checkpoints on another thread.
//! 6. [`recover`]: what opening does after a crash, and when it refuses to.
//! 7. [`read`]: [`read::SegmentReader`], tolerant of a live writer.
//! 8. [`verify`]: intact, unsealed tail, or tampered, and where. [`prove`]: one entry, proven to somebody else.
//! 9. [`tail`]: [`tail::Tail`], all shards merged and followed. [`query`]: which entries, and finding them, with
//!    [`index`] to skip segments.
//! 10. [`retention`]: removing what is old, unless a legal hold keeps it, so that the rest still verifies.
//! 11. [`subject`]: whose data was in which records, and who saw it, by keyed tags.
//! 12. [`report`]: what evidence says, written for people.
//! 13. [`export`]: entries for other systems, as they come; [`lake`]: sealed segments as Parquet files (`PARQUET.md`). [`anchor`]:
//!     checkpoints kept elsewhere.
//! 14. [`recording`]: sessions' exchanges, written chunk by chunk, bound into the tree, read and verified.
//! 15. [`json`] and [`table`]: an entry as JSON, with names instead of numbers, and as a line for people.
//!
//! ```text
//! event → entry → pending → segment file → (released)
//!                              ↓ read back, compared, hashed, synced: another thread
//!                            tree → signed checkpoint → segment file and DIR/shard-NNN/checkpoint
//! ```
//!
//! # Who may change what
//! A segment changes only at its end, by its one writer, which holds the lock. Recovery is the one
//! thing that takes bytes away: those after the last whole frame of the last, unsealed segment, and only
//! beyond every signed size; it keeps a copy of them. Where signed entries are missing or changed, the log
//! does not open. Nothing here deletes or overwrites a file that it did not write, and only [`retention`] deletes
//! segments, after an entry says so, leaving a signed note in their place.

pub mod anchor;
pub mod directory;
pub mod entry;
pub mod export;
pub mod format;
pub mod index;
pub mod json;
pub mod keys;
pub mod lake;
pub mod log;
pub mod note;
pub mod prove;
pub mod query;
pub mod read;
pub mod recording;
pub mod recover;
pub mod report;
pub mod retention;
pub mod subject;
pub mod table;
pub mod tail;
pub mod tree;
pub mod verify;
