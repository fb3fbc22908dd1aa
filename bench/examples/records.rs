//! Writes the records of the bench `scan` to a file, for others to read: the length of each in four bytes,
//! the lowest first, then its bytes. `make bench-hyperscan` uses it.
//!
//! `cargo run --package tidegate-bench --example records -- clean|rare|full FILE`

use std::io::Write as _;

use tidegate_bench::payloads::{self, Content};

/// As much as the bench's larger set.
const BYTES: usize = 8 << 20;

fn main() -> std::io::Result<()> {
    let mut args = std::env::args().skip(1);
    let usage = || std::io::Error::other("give what records hold (clean, rare, full) and a file");
    let name = args.next().ok_or_else(usage)?;
    let (_, content) = Content::ALL.into_iter().find(|(known, _)| *known == name).ok_or_else(usage)?;
    let mut file = std::io::BufWriter::new(std::fs::File::create(args.next().ok_or_else(usage)?)?);
    for value in payloads::kilobytes(BYTES, content) {
        file.write_all(&(value.len() as u32).to_le_bytes())?;
        file.write_all(&value)?;
    }
    file.flush()
}
