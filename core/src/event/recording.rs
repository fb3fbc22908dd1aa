//! What the evidence says of recordings: where each begins and ends, and the hash of each of its chunks, so that
//! an altered recording contradicts the Merkle tree.

use prost::Message;

/// One act on a recording; the entry's session is whose recording it is.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct RecordingNote {
    /// What happened.
    #[prost(enumeration = "RecordingAct", tag = "1")]
    pub act: i32,
    /// Which part of the session's recording, from 1: another begins where the rule changes.
    #[prost(uint32, tag = "2")]
    pub part: u32,
    /// The chunk's number, from 0; 0 for the header.
    #[prost(uint32, tag = "3")]
    pub chunk: u32,
    /// Where it begins in the file.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// Its bytes in the file.
    #[prost(uint64, tag = "5")]
    pub bytes: u64,
    /// SHA-256 of the byte 0x02 and these bytes.
    #[prost(bytes = "vec", tag = "6")]
    pub sha256: Vec<u8>,
    /// Exchanges in it; at the end: in all of the part.
    #[prost(uint64, tag = "7")]
    pub exchanges: u64,
    /// The rule of the policy.
    #[prost(string, tag = "8")]
    pub rule: String,
    /// `headers`, `masked` or `originals`.
    #[prost(string, tag = "9")]
    pub mode: String,
}

/// What happened to a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
pub enum RecordingAct {
    /// Never written.
    Unspecified = 0,
    /// It began: the file's header.
    Started = 1,
    /// A chunk was written.
    Chunk = 2,
    /// It ended with what it recorded: the end frame.
    Ended = 3,
    /// It was cut, and the session went on or was closed; the entry's detail says why. The end frame, where one
    /// could be written.
    Cut = 4,
    /// Its file was removed when its time had come.
    Removed = 5,
    /// Somebody watched it.
    Watched = 6,
}

impl RecordingAct {
    /// The name in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unspecified => "unknown",
            Self::Started => "started",
            Self::Chunk => "chunk",
            Self::Ended => "ended",
            Self::Cut => "cut",
            Self::Removed => "removed",
            Self::Watched => "watched",
        }
    }
}
