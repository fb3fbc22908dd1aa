//! Records of a sample, one after the other, in the forms that people have them in.

use std::io::{BufRead, Read};

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;

/// Longest record, and longest sample of one record, in bytes.
const RECORD_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How records stand in a sample.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Form {
    /// A line each
    Lines,
    /// A line each, in base64
    Base64,
    /// A line each, in hexadecimal digits
    Hex,
    /// Each behind its length in four bytes, as `kcat -f '%R%s'` writes them
    Sized,
    /// The whole sample is one record
    One,
}

/// A sample that is being read.
pub(super) struct Sample<R> {
    input: R,
    form: Form,
    read_any: bool,
}

impl<R: BufRead> Sample<R> {
    pub(super) fn new(input: R, form: Form) -> Self {
        Self { input, form, read_any: false }
    }

    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let first = !std::mem::replace(&mut self.read_any, true);
        match self.form {
            Form::Lines => self.line(),
            Form::Base64 => {
                let line = self.line()?;
                line.map(|line| STANDARD.decode(line.trim_ascii()).context("a line is not base64")).transpose()
            }
            Form::Hex => {
                let line = self.line()?;
                line.map(|line| from_hex(line.trim_ascii()).context("a line is not hexadecimal")).transpose()
            }
            Form::Sized => self.sized(),
            Form::One => {
                let mut record = Vec::new();
                if first {
                    self.input.by_ref().take(RECORD_BYTES_MAX + 1).read_to_end(&mut record)?;
                    ensure!(record.len() as u64 <= RECORD_BYTES_MAX, "it is over {RECORD_BYTES_MAX} bytes");
                }
                Ok((!record.is_empty()).then_some(record))
            }
        }
    }

    fn line(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut line = Vec::new();
        if self.input.by_ref().take(RECORD_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok(None);
        }
        if line.ends_with(b"\n") {
            line.pop();
        }
        Ok(Some(line))
    }

    fn sized(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        loop {
            if self.input.fill_buf()?.is_empty() {
                return Ok(None);
            }
            let mut length = [0; 4];
            self.input.read_exact(&mut length).context("a length is cut off")?;
            // A record without a value has -1.
            let Ok(length) = u64::try_from(i32::from_be_bytes(length)) else { continue };
            ensure!(length <= RECORD_BYTES_MAX, "a record is over {RECORD_BYTES_MAX} bytes");
            let mut record = Vec::new();
            self.input.by_ref().take(length).read_to_end(&mut record)?;
            ensure!(record.len() as u64 == length, "a record is cut off");
            return Ok(Some(record));
        }
    }
}

fn from_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let value = |digit: u8| char::from(digit).to_digit(16);
    let (pairs, rest) = digits.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| u8::try_from(value(*high)? << 4 | value(*low)?).ok();
    if rest.is_empty() { pairs.iter().map(byte).collect() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_gives_its_records() {
        let read = |form, text: &[u8]| {
            let mut sample = Sample::new(text, form);
            let mut records = Vec::new();
            while let Some(record) = sample.next()? {
                records.push(record);
            }
            anyhow::Ok(records)
        };
        let two = vec![b"a\0".to_vec(), b"b".to_vec()];
        assert_eq!(read(Form::Lines, b"a\0\nb\n").unwrap(), two);
        assert_eq!(read(Form::Base64, b"YQA=\nYg==").unwrap(), two);
        assert_eq!(read(Form::Hex, b"6100\n62\n").unwrap(), two);
        assert_eq!(read(Form::Sized, b"\0\0\0\x02a\0\xff\xff\xff\xff\0\0\0\x01b").unwrap(), two);
        assert_eq!(read(Form::One, b"a\nb\n").unwrap(), [b"a\nb\n"]);
        for (form, bad) in
            [(Form::Base64, &b"?"[..]), (Form::Hex, b"abc"), (Form::Hex, b"0g"), (Form::Sized, b"\0\0\0\x02a")]
        {
            assert!(read(form, bad).is_err(), "{form:?}");
        }
    }
}
