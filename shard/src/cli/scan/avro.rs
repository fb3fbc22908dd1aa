//! Avro object container files (Apache Avro 1.12, "Object Container Files"): blocks of records after a
//! header with their schema. Codecs: null, deflate, snappy, zstandard.

use std::collections::HashMap;
use std::io::{BufRead, Read};
use std::sync::Arc;

use anyhow::{Context as _, bail, ensure};
use tidegate_policy::mask::schema::Schema;

/// What such a file begins with.
pub(super) const MAGIC: &[u8] = b"Obj\x01";
/// Largest block, as it is written and unpacked, in bytes.
const BLOCK_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// Largest entry of the header, in bytes.
const META_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Entries of the header.
const META_MAX: i64 = 1024;
const SYNC_BYTES: usize = 16;

/// A file whose header was read.
pub(super) struct Container<R> {
    input: R,
    codec: String,
    sync: [u8; SYNC_BYTES],
    pub(super) schema: Arc<Schema>,
    block: Vec<u8>,
    /// Where the next record of the block begins.
    at: usize,
    left: u64,
}

impl<R: BufRead> Container<R> {
    /// Reads the header, magic included.
    pub(super) fn open(mut input: R) -> anyhow::Result<Self> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic)?;
        ensure!(magic == *MAGIC, "it does not begin as an Avro file");
        let mut meta = HashMap::new();
        loop {
            let count = long(&mut input)?;
            if count == 0 {
                break;
            }
            if count < 0 {
                long(&mut input)?;
            }
            ensure!(count.saturating_abs() <= META_MAX, "its header has too many entries");
            for _ in 0..count.abs() {
                let key = sized(&mut input)?;
                meta.insert(String::from_utf8_lossy(&key).into_owned(), sized(&mut input)?);
            }
        }
        let mut sync = [0; SYNC_BYTES];
        input.read_exact(&mut sync)?;
        let entry = |name: &str| meta.get(name).map(|value| String::from_utf8_lossy(value).into_owned());
        let schema = entry("avro.schema").context("its header has no schema")?;
        let schema = Schema::compile(Some("AVRO"), &schema, &[]).map_err(|reason| anyhow::anyhow!("{reason}"))?;
        let codec = entry("avro.codec").unwrap_or_else(|| "null".to_owned());
        Ok(Self { input, codec, sync, schema: Arc::new(schema), block: Vec::new(), at: 0, left: 0 })
    }

    /// The next record's bytes; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<&[u8]>> {
        while self.left == 0 {
            ensure!(self.at == self.block.len(), "a block holds more than its records");
            if self.input.fill_buf()?.is_empty() {
                return Ok(None);
            }
            self.read_block()?;
        }
        let rest = self.block.get(self.at..).unwrap_or_default();
        let length = self.schema.length(rest).map_err(|reason| anyhow::anyhow!("{reason}"))?;
        self.left -= 1;
        self.at += length;
        Ok(rest.get(..length))
    }

    fn read_block(&mut self) -> anyhow::Result<()> {
        let count = u64::try_from(long(&mut self.input)?).context("a block counts less than no records")?;
        let size = u64::try_from(long(&mut self.input)?).ok().filter(|size| *size <= BLOCK_BYTES_MAX);
        let size = size.with_context(|| format!("a block over {BLOCK_BYTES_MAX} bytes is not scanned"))?;
        let mut packed = Vec::new();
        self.input.by_ref().take(size).read_to_end(&mut packed)?;
        let mut sync = [0; SYNC_BYTES];
        self.input.read_exact(&mut sync).context("a block is cut off")?;
        ensure!(packed.len() as u64 == size && sync == self.sync, "a block does not end where it should");
        self.block = unpack(&self.codec, packed)?;
        // Records that take no bytes are all the same.
        (self.at, self.left) = (0, count.min(self.block.len() as u64 + 1));
        Ok(())
    }
}

fn unpack(codec: &str, packed: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    match codec {
        "null" => return Ok(packed),
        "deflate" => {
            let reader = flate2::bufread::DeflateDecoder::new(packed.as_slice());
            reader.take(BLOCK_BYTES_MAX + 1).read_to_end(&mut unpacked)?;
        }
        "zstandard" => {
            let reader = zstd::stream::read::Decoder::with_buffer(packed.as_slice())?;
            reader.take(BLOCK_BYTES_MAX + 1).read_to_end(&mut unpacked)?;
        }
        "snappy" => {
            // Four bytes of check sum stand behind it.
            let packed = packed.get(..packed.len().saturating_sub(4)).unwrap_or_default();
            ensure!(snap::raw::decompress_len(packed)? as u64 <= BLOCK_BYTES_MAX, "a block is too large");
            unpacked = snap::raw::Decoder::new().decompress_vec(packed)?;
        }
        other => bail!("its codec {other} is not known (null, deflate, snappy and zstandard are)"),
    }
    ensure!(unpacked.len() as u64 <= BLOCK_BYTES_MAX, "a block over {BLOCK_BYTES_MAX} bytes is not scanned");
    Ok(unpacked)
}

fn sized(input: &mut impl Read) -> anyhow::Result<Vec<u8>> {
    let size = u64::try_from(long(input)?).ok().filter(|size| *size <= META_BYTES_MAX).context("a wrong length")?;
    let mut bytes = Vec::new();
    input.take(size).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 == size, "it is cut off");
    Ok(bytes)
}

fn long(input: &mut impl Read) -> anyhow::Result<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let mut byte = [0];
        input.read_exact(&mut byte).context("it is cut off")?;
        let [byte] = byte;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok((value >> 1) as i64 ^ -((value & 1) as i64));
        }
    }
    bail!("a number is too long")
}
