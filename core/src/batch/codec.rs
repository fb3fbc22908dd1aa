//! The compression codecs of record batches: gzip, snappy (raw and xerial-framed), lz4 frames, zstd.
//!
//! Decompression is bounded by what is produced, never by what the bytes declare: the output buffer
//! grows as data arrives and never beyond the limit, so a bomb costs at most the limit and a liar
//! nothing. Working memory beside the output is constant (lz4 at most 8 MiB of frame buffers, zstd
//! a window of at most the limit or 8 MiB).
//!
//! Recompression uses each codec's default level and the framing that Kafka's own clients read: lz4
//! with independent 64 KiB blocks, snappy in the framing that the batch came in.

use std::io::{self, Read, Write};

use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;
use lz4_flex::frame::{BlockMode, BlockSize, FrameDecoder, FrameEncoder, FrameInfo};
use zstd::zstd_safe::{CCtx, CParameter, DCtx, DParameter, InBuffer, OutBuffer, ResetDirective};

use super::BatchError;

/// How a batch's records are compressed: bits 0 to 2 of its attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Codec {
    /// Not at all.
    #[default]
    None = 0,
    /// gzip (RFC 1952).
    Gzip = 1,
    /// Snappy, raw or in the framing of xerial's snappy-java.
    Snappy = 2,
    /// An LZ4 frame.
    Lz4 = 3,
    /// Zstandard (RFC 8878).
    Zstd = 4,
}

impl Codec {
    /// Every codec.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec that a batch's attributes name.
    pub(super) fn from_attributes(attributes: i16) -> Result<Self, BatchError> {
        let number = (attributes & 0b111) as u8;
        Self::ALL.get(usize::from(number)).copied().ok_or(BatchError::Codec(number))
    }
}

/// How snappy data is framed. A rewritten batch keeps the framing it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SnappyFraming {
    /// One raw block, as librdkafka writes it.
    Raw,
    /// A header and blocks of at most 32 KiB, as the Java client writes it.
    #[default]
    Xerial,
}

/// xerial's magic, version 1, compatible with version 1.
const XERIAL_HEADER: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// The magic alone; a reader accepts any version, as snappy-java does.
const XERIAL_MAGIC_BYTES: usize = 8;
/// Block size of snappy-java.
const XERIAL_BLOCK_BYTES: usize = 32 * 1024;
/// No snappy element yields more than 64 bytes from 3 (a copy with a two-byte offset).
const SNAPPY_EXPANSION_MAX: usize = 22;
/// The output buffer begins with this much, or less where the limit is lower.
const OUTPUT_BYTES_FIRST: usize = 64 * 1024;
/// Window bits granted whatever the limit, since streaming encoders declare 2 to 8 MiB for tiny data.
const ZSTD_WINDOW_LOG_LEAST: u32 = 23;
/// Window bits granted at most: the format's own recommendation for levels up to 22.
const ZSTD_WINDOW_LOG_MOST: u32 = 27;
/// zstd's default level, and Kafka's.
const ZSTD_LEVEL: i32 = 3;

/// A growing output that stops at a limit. It stays initialised between uses, so reusing it costs
/// neither an allocation nor a clearing.
#[derive(Debug, Default)]
pub(super) struct Plain {
    buffer: Vec<u8>,
    len: usize,
    limit: usize,
}

impl Plain {
    /// Lets go of the buffer that a rare large batch has left.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        if self.buffer.len() > bytes_max {
            self.buffer = Vec::new();
        }
    }

    fn restart(&mut self, limit: usize) {
        self.len = 0;
        self.limit = limit;
    }

    /// Bytes allocated.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// What was decompressed last.
    pub(super) fn written(&self) -> &[u8] {
        &self.buffer[..self.len]
    }

    /// The room for what comes next, `at_least` bytes if the limit has as many; empty at the limit.
    fn room(&mut self, at_least: usize) -> &mut [u8] {
        let wanted = self.len.saturating_add(at_least.max(1));
        if wanted > self.buffer.len() {
            let target = wanted.max(self.buffer.len().saturating_mul(2)).max(OUTPUT_BYTES_FIRST).min(self.limit);
            self.buffer.reserve_exact(target.saturating_sub(self.buffer.len()));
            self.buffer.resize(target.max(self.buffer.len()), 0);
        }
        let end = self.buffer.len().min(self.limit);
        &mut self.buffer[self.len..end]
    }

    fn over(&self) -> BatchError {
        BatchError::OverLimit { limit: "batch_decompressed_bytes_max", max: self.limit as u64 }
    }

    /// Reads to the end; an error as soon as the limit is passed.
    fn fill(&mut self, mut reader: impl Read) -> Result<(), BatchError> {
        loop {
            let room = self.room(1);
            let at_limit = room.is_empty();
            let read = if at_limit { reader.read(&mut [0]) } else { reader.read(room) };
            match read {
                Ok(0) => return Ok(()),
                Ok(_) if at_limit => return Err(self.over()),
                Ok(count) => self.len += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("stream", &error)),
            }
        }
    }
}

fn failed(what: &str, error: &dyn std::fmt::Display) -> BatchError {
    BatchError::Decompress(format!("{what}: {error}"))
}

/// The codecs' contexts, kept from batch to batch.
#[derive(Default)]
pub(super) struct Codecs {
    snappy_decoder: snap::raw::Decoder,
    zstd_decoder: Option<DCtx<'static>>,
    zstd_encoder: Option<CCtx<'static>>,
}

impl Codecs {
    /// Decompresses `input` into `plain`, at most `limit` bytes.
    pub(super) fn decompress(
        &mut self,
        codec: Codec,
        input: &[u8],
        limit: usize,
        plain: &mut Plain,
    ) -> Result<(), BatchError> {
        plain.restart(limit);
        match codec {
            Codec::None => Err(BatchError::Decompress("the batch is not compressed".to_owned())),
            // Several members may follow each other, and Java's reader goes on to the next.
            Codec::Gzip => plain.fill(MultiGzDecoder::new(input)),
            Codec::Lz4 => plain.fill(FrameDecoder::new(input)),
            Codec::Snappy => self.unsnap(input, plain),
            Codec::Zstd => self.unzstd(input, plain),
        }
    }

    fn unsnap(&mut self, input: &[u8], plain: &mut Plain) -> Result<(), BatchError> {
        if framing(input) == SnappyFraming::Raw {
            return self.unsnap_block(input, plain);
        }
        let mut rest = input.get(XERIAL_HEADER.len()..).ok_or(BatchError::Malformed("snappy header"))?;
        while !rest.is_empty() {
            let (length, blocks) = rest.split_first_chunk().ok_or(BatchError::Malformed("snappy block length"))?;
            let length = usize::try_from(i32::from_be_bytes(*length)).ok();
            let (block, behind) = length
                .and_then(|length| blocks.split_at_checked(length))
                .ok_or(BatchError::Malformed("snappy block length"))?;
            self.unsnap_block(block, plain)?;
            rest = behind;
        }
        Ok(())
    }

    fn unsnap_block(&mut self, block: &[u8], plain: &mut Plain) -> Result<(), BatchError> {
        let declared = snap::raw::decompress_len(block).map_err(|error| failed("snappy", &error))?;
        if declared > plain.limit - plain.len {
            return Err(plain.over());
        }
        if declared > block.len().saturating_mul(SNAPPY_EXPANSION_MAX) {
            return Err(BatchError::Decompress("snappy: the declared size is impossible".to_owned()));
        }
        let room = plain.room(declared);
        let written = self.snappy_decoder.decompress(block, room).map_err(|error| failed("snappy", &error))?;
        plain.len += written;
        Ok(())
    }

    fn unzstd(&mut self, input: &[u8], plain: &mut Plain) -> Result<(), BatchError> {
        let window = (plain.limit.max(1).ilog2()).clamp(ZSTD_WINDOW_LOG_LEAST, ZSTD_WINDOW_LOG_MOST);
        let context = match &mut self.zstd_decoder {
            Some(context) => context,
            none => none.insert(DCtx::try_create().ok_or(BatchError::Decompress("zstd: out of memory".to_owned()))?),
        };
        let fault = |code| failed("zstd", &zstd::zstd_safe::get_error_name(code));
        context.reset(ResetDirective::SessionAndParameters).map_err(fault)?;
        context.set_parameter(DParameter::WindowLogMax(window)).map_err(fault)?;
        let mut source = InBuffer::around(input);
        loop {
            let room = plain.room(1);
            let at_limit = room.is_empty();
            let mut one = [0u8; 1];
            let mut target = OutBuffer::around(if at_limit { &mut one[..] } else { room });
            let capacity = target.capacity();
            let wanted = context.decompress_stream(&mut target, &mut source).map_err(fault)?;
            let produced = target.pos();
            if at_limit && produced > 0 {
                return Err(plain.over());
            }
            plain.len += produced;
            if source.pos() == input.len() {
                // Nothing is wanted only where a frame has ended and all of it is out.
                if wanted == 0 {
                    return Ok(());
                }
                if produced < capacity {
                    return Err(failed("zstd", &"the frame is cut short"));
                }
            }
        }
    }

    /// Appends `plain`, compressed, to `out`.
    pub(super) fn compress(
        &mut self,
        codec: Codec,
        framing: SnappyFraming,
        plain: &[u8],
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        match codec {
            Codec::None => out.extend_from_slice(plain),
            Codec::Gzip => {
                let mut encoder = GzEncoder::new(out, flate2::Compression::default());
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Codec::Snappy => match framing {
                SnappyFraming::Raw => snap_block(plain, out)?,
                SnappyFraming::Xerial => {
                    out.extend_from_slice(&XERIAL_HEADER);
                    for block in plain.chunks(XERIAL_BLOCK_BYTES) {
                        let length_at = out.len();
                        out.extend_from_slice(&[0; 4]);
                        snap_block(block, out)?;
                        // A block of 32 KiB never grows beyond an `i32`.
                        let length = (out.len() - length_at - 4) as u32;
                        out[length_at..length_at + 4].copy_from_slice(&length.to_be_bytes());
                    }
                }
            },
            Codec::Lz4 => {
                // Java's reader knows independent blocks only.
                let info = FrameInfo::new().block_mode(BlockMode::Independent).block_size(BlockSize::Max64KB);
                let mut encoder = FrameEncoder::with_frame_info(info, out);
                encoder.write_all(plain)?;
                encoder.finish()?;
            }
            Codec::Zstd => {
                let context = self.zstd_encoder.get_or_insert_with(CCtx::create);
                let fault = |code| io::Error::other(zstd::zstd_safe::get_error_name(code));
                context.set_parameter(CParameter::CompressionLevel(ZSTD_LEVEL)).map_err(fault)?;
                let start = out.len();
                out.resize(start + zstd::zstd_safe::compress_bound(plain.len()), 0);
                let written = context.compress2(&mut out[start..], plain).map_err(fault)?;
                out.truncate(start + written);
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for Codecs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codecs").finish_non_exhaustive()
    }
}

/// How snappy data is framed.
pub(super) fn framing(input: &[u8]) -> SnappyFraming {
    if input.get(..XERIAL_MAGIC_BYTES) == Some(&XERIAL_HEADER[..XERIAL_MAGIC_BYTES]) {
        SnappyFraming::Xerial
    } else {
        SnappyFraming::Raw
    }
}

fn snap_block(plain: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
    let start = out.len();
    out.resize(start + snap::raw::max_compress_len(plain.len()), 0);
    let written = snap::raw::Encoder::new().compress(plain, &mut out[start..])?;
    out.truncate(start + written);
    Ok(())
}
