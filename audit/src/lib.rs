//! Tidegate's evidence: append-only segment files, one writer a shard.
//!
//! Reading order:
//! 1. [`format`]: the bytes of a segment: header page and frames (described here, below).
//! 2. [`entry`]: an event as a frame, cut to the size limit.
//! 3. [`directory`]: where segments lie, how they are named, listed and created.
//! 4. [`log`]: [`log::ShardLog`], the writer: append, group commit, rotation.
//! 5. [`recover`]: what opening does after a crash.
//! 6. [`read`]: [`read::SegmentReader`], tolerant of a live writer.
//! 7. [`tail`]: [`tail::Tail`], all shards merged and followed.
//! 8. [`json`] and [`table`]: an entry as JSON, with names instead of numbers, and as a line for people.
//!
//! # Files
//! ```text
//! DIR/shard-000/00000000000000000000.tgs   a segment, named by its first sequence number
//! DIR/shard-000/00000000000000048213.tgs   the next one; the last one is being written
//! DIR/shard-000/lock                       held (flock) by the gateway that writes; its pid inside
//! DIR/shard-000/prepared-N.tmp             the next segment, allocated ahead; no evidence in it
//! DIR/shard-000/SEGMENT.OFFSET.torn        bytes that recovery took off a segment's end, kept for inspection
//! ```
//!
//! # A segment
//! All integers are little-endian. A segment is a header page of 4096 bytes and frames, one after
//! the other, without padding. The segment being written is longer than what it holds: the rest is
//! zeros, and a frame length of zero ends it. A sealed segment ends with its seal frame.
//!
//! ## Header page
//! ```text
//! offset  bytes
//!      0      8  magic: 89 54 47 53 0D 0A 1A 0A ("\x89TGS\r\n\x1a\n")
//!      8      2  version: 1. A reader refuses a version that it does not know
//!     10      2  bytes of this header: 4096
//!     12      4  flags: 0. A reader refuses flags that it does not know
//!     16      4  shard
//!     20      1  codec of bodies: 1 = Protocol Buffers, `tidegate_core::event::Event`
//!     21      1  hash of leaves: 0 = none yet (1 will be SHA-256 as in RFC 6962)
//!     22      1  encryption of bodies: 0 = none
//!     23      1  reserved, 0
//!     24      8  number of this segment within its shard, from 0
//!     32      8  sequence number of the first entry
//!     40      8  created: microseconds since the Unix epoch, signed
//!     48      8  bytes allocated for the segment
//!     56      2  bytes of the origin's name
//!     58      6  reserved, 0
//!     64    256  the origin's name (which gateway), UTF-8, zero-padded
//!    320     32  link to the previous segment (its tree's root); reserved, 0
//!    352   2112  compact range of the tree before this segment (8 bytes size, 64 hashes of 32 bytes, 56 spare);
//!                reserved, 0
//!   2464   1628  reserved, 0
//!   4092      4  CRC-32C of bytes 0..4092
//! ```
//!
//! ## Frame
//! ```text
//! offset  bytes
//!      0      4  length: bytes after the CRC field, 17 + body. 0 = nothing written from here on
//!      4      4  CRC-32C of the bytes that the length counts
//!      8      1  type: 1 = event, 2 = seal; 3 = checkpoint and 4 = index are reserved
//!      9      8  sequence number. An event's own; any other frame bears the one of the next event
//!     17      8  time: microseconds since the Unix epoch, signed
//!     25         body
//! ```
//! Only events consume sequence numbers, and theirs are contiguous from the header's first one.
//! Frames of a type that a reader does not know are checked and skipped.
//!
//! An event's body is a Protocol Buffers message, `tidegate_core::event::Event`.
//!
//! ## Body of a seal
//! ```text
//!      0      8  sequence number of the segment's first entry
//!      8      8  entries in the segment
//!     16      8  offset of the seal frame in the file
//!     24     40  reserved (root hash of the tree, checkpoint's offset), 0
//! ```
//!
//! # Who may change what
//! A segment changes only at its end, by its one writer, which holds the lock. Recovery is the one
//! thing that takes bytes away: those after the last whole frame of the last, unsealed segment; it
//! keeps a copy of them. Nothing here deletes or overwrites a file that it did not write.

pub mod directory;
pub mod entry;
pub mod format;
pub mod index;
pub mod json;
pub mod keys;
pub mod log;
pub mod note;
pub mod prove;
pub mod query;
pub mod read;
pub mod recover;
pub mod table;
pub mod tail;
pub mod tree;
pub mod verify;
