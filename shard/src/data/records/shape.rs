//! A walk over a body before it is decoded: do its array counts fit the bytes that are there?
//!
//! `kafka-protocol` reserves memory for as many elements as an array's count claims. Five bytes
//! could so ask for hundreds of gigabytes and abort the process. A [`Shape`] describes a message
//! just closely enough to find every count; the walk refuses a count that the remaining bytes
//! cannot hold. It reads tagged fields as the decoder does: by their structure, not their length.

/// What stands at one place of a message.
#[derive(Debug)]
pub(super) enum Kind {
    /// So many bytes.
    Fixed(usize),
    /// A nullable string: its length in 16 bits, or a compact one.
    Text,
    /// Nullable bytes: their length in 32 bits, or a compact one.
    Blob,
    /// An array of structures.
    Array(&'static Shape),
    /// An array of elements of so many bytes, without tagged fields of their own.
    FixedArray(usize),
    /// A structure (in a tagged field).
    Struct(&'static Shape),
}

/// A field, in versions from `.0` to `.1`.
pub(super) type Field = (i16, i16, Kind);

/// A message or a structure in one.
#[derive(Debug)]
pub(super) struct Shape {
    /// From this version on, lengths are compact and tagged fields follow the fields.
    pub(super) flexible_from: i16,
    /// The fields, in order.
    pub(super) fields: &'static [Field],
    /// The tagged fields that the decoder knows: tag, version from, what stands in it.
    pub(super) tagged: &'static [(u32, i16, Kind)],
}

/// The last version of all.
const END: i16 = i16::MAX;

/// Why a body is not of its shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ShapeError {
    /// It ends too early.
    #[error("the body ends too early")]
    Truncated,
    /// A count claims more elements than there are bytes for.
    #[error("an array claims {count} elements in {remaining} bytes")]
    Count {
        /// The claim.
        count: u64,
        /// What is left of the body.
        remaining: usize,
    },
    /// More structures and tagged fields than a message may have.
    #[error("the message has more than {ELEMENTS_MAX} elements")]
    Elements,
    /// A varint of more than five bytes.
    #[error("a length is longer than five bytes")]
    Varint,
}

/// Structures and tagged fields that one message may have in all. A broker knows no such bound, but
/// decoded they take ten times their bytes; a fetch of everything in the largest clusters stays
/// below it.
const ELEMENTS_MAX: usize = 1_000_000;

/// Walks `body` as `shape` in `version`, and returns how many bytes are behind the message.
///
/// # Errors
/// [`ShapeError`] where decoding would fail or reserve more than the body can fill.
pub(super) fn check(body: &[u8], version: i16, shape: &Shape) -> Result<usize, ShapeError> {
    let mut walk = Walk { rest: body, version, elements_left: ELEMENTS_MAX };
    walk.structure(shape)?;
    Ok(walk.rest.len())
}

/// A walk in progress.
struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    elements_left: usize,
}

impl Walk<'_> {
    fn structure(&mut self, shape: &Shape) -> Result<(), ShapeError> {
        let flexible = self.version >= shape.flexible_from;
        for (from, to, kind) in shape.fields {
            if (*from..=*to).contains(&self.version) {
                self.field(flexible, kind)?;
            }
        }
        if flexible {
            self.tagged_fields(shape)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self, shape: &Shape) -> Result<(), ShapeError> {
        let count = self.varint()?;
        self.elements(count as usize)?;
        for _ in 0..count {
            let tag = self.varint()?;
            let size = self.varint()?;
            match shape.tagged.iter().find(|(known, from, _)| *known == tag && self.version >= *from) {
                Some((_, _, kind)) => self.field(true, kind)?,
                None => self.skip(size as usize)?,
            }
        }
        Ok(())
    }

    fn field(&mut self, flexible: bool, kind: &Kind) -> Result<(), ShapeError> {
        match kind {
            Kind::Fixed(bytes) => self.skip(*bytes),
            Kind::Text => {
                let length = if flexible { self.compact()? } else { i64::from(i16::from_be_bytes(self.take()?)) };
                self.skip(usize::try_from(length).unwrap_or(0))
            }
            Kind::Blob => {
                let length = self.length(flexible)?;
                self.skip(length)
            }
            Kind::Array(shape) => {
                let count = self.length(flexible)?;
                self.fits(count, shape.least_bytes(self.version))?;
                self.elements(count)?;
                (0..count).try_for_each(|_| self.structure(shape))
            }
            Kind::FixedArray(bytes) => {
                let count = self.length(flexible)?;
                self.fits(count, *bytes)?;
                self.skip(count * bytes)
            }
            Kind::Struct(shape) => self.structure(shape),
        }
    }

    fn fits(&self, count: usize, each: usize) -> Result<(), ShapeError> {
        if count.checked_mul(each).is_some_and(|bytes| bytes <= self.rest.len()) {
            return Ok(());
        }
        Err(ShapeError::Count { count: count as u64, remaining: self.rest.len() })
    }

    fn elements(&mut self, count: usize) -> Result<(), ShapeError> {
        self.elements_left = self.elements_left.checked_sub(count).ok_or(ShapeError::Elements)?;
        Ok(())
    }

    /// A length or count: 32 bits, or compact. Null and, for the decoder to refuse, negative ones are 0.
    fn length(&mut self, flexible: bool) -> Result<usize, ShapeError> {
        let length = if flexible { self.compact()? } else { i64::from(i32::from_be_bytes(self.take()?)) };
        Ok(usize::try_from(length).unwrap_or(0))
    }

    /// A compact length: one more than the length, 0 for null.
    fn compact(&mut self) -> Result<i64, ShapeError> {
        Ok(i64::from(self.varint()?) - 1)
    }

    fn varint(&mut self) -> Result<u32, ShapeError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.take()?;
            value |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(ShapeError::Varint)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], ShapeError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(ShapeError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    fn skip(&mut self, bytes: usize) -> Result<(), ShapeError> {
        self.rest = self.rest.get(bytes..).ok_or(ShapeError::Truncated)?;
        Ok(())
    }
}

impl Shape {
    /// The least bytes that an element takes; at least 1, so that a count is bounded by the body.
    fn least_bytes(&self, version: i16) -> usize {
        let flexible = version >= self.flexible_from;
        let (text, counted) = if flexible { (1, 1) } else { (2, 4) };
        let fields = self.fields.iter().filter(|(from, to, _)| (*from..=*to).contains(&version));
        let sum: usize = fields
            .map(|(_, _, kind)| match kind {
                Kind::Fixed(bytes) => *bytes,
                Kind::Text => text,
                Kind::Blob | Kind::Array(_) | Kind::FixedArray(_) => counted,
                Kind::Struct(_) => 0,
            })
            .sum();
        (sum + usize::from(flexible)).max(1)
    }
}

/// A structure of fields that every version has and whose tagged fields the decoder does not know.
macro_rules! plain {
    ($flexible:expr, $($kind:expr),*) => {
        Shape { flexible_from: $flexible, fields: &[$((0, END, $kind)),*], tagged: &[] }
    };
}

/// ProduceRequest v3–13.
pub(super) static PRODUCE_REQUEST: Shape = Shape {
    flexible_from: 9,
    fields: &[
        (0, END, Kind::Text),
        (0, END, Kind::Fixed(2 + 4)),
        (
            0,
            END,
            Kind::Array(&Shape {
                flexible_from: 9,
                fields: &[
                    (0, 12, Kind::Text),
                    (13, END, Kind::Fixed(16)),
                    (0, END, Kind::Array(&plain!(9, Kind::Fixed(4), Kind::Blob))),
                ],
                tagged: &[],
            }),
        ),
    ],
    tagged: &[],
};

/// Node id, host, port, rack.
static ENDPOINT: Shape = plain!(0, Kind::Fixed(4), Kind::Text, Kind::Fixed(4), Kind::Text);
/// Leader id and epoch; or an epoch and an offset elsewhere, which is 12 bytes.
static LEADER: Shape = plain!(0, Kind::Fixed(8));
static EPOCH_AND_OFFSET: Shape = plain!(0, Kind::Fixed(12));

/// ProduceResponse v3–13.
pub(super) static PRODUCE_RESPONSE: Shape = Shape {
    flexible_from: 9,
    fields: &[
        (
            0,
            END,
            Kind::Array(&Shape {
                flexible_from: 9,
                fields: &[
                    (0, 12, Kind::Text),
                    (13, END, Kind::Fixed(16)),
                    (
                        0,
                        END,
                        Kind::Array(&Shape {
                            flexible_from: 9,
                            fields: &[
                                (0, END, Kind::Fixed(4 + 2 + 8 + 8)),
                                (5, END, Kind::Fixed(8)),
                                (8, END, Kind::Array(&plain!(9, Kind::Fixed(4), Kind::Text))),
                                (8, END, Kind::Text),
                            ],
                            tagged: &[(0, 10, Kind::Struct(&LEADER))],
                        }),
                    ),
                ],
                tagged: &[],
            }),
        ),
        (0, END, Kind::Fixed(4)),
    ],
    tagged: &[(0, 10, Kind::Array(&ENDPOINT))],
};

/// FetchRequest v4–18.
pub(super) static FETCH_REQUEST: Shape = Shape {
    flexible_from: 12,
    fields: &[
        (0, 14, Kind::Fixed(4)),
        (0, END, Kind::Fixed(4 + 4 + 4 + 1)),
        (7, END, Kind::Fixed(4 + 4)),
        (
            0,
            END,
            Kind::Array(&Shape {
                flexible_from: 12,
                fields: &[
                    (0, 12, Kind::Text),
                    (13, END, Kind::Fixed(16)),
                    (
                        0,
                        END,
                        Kind::Array(&Shape {
                            flexible_from: 12,
                            fields: &[
                                (0, END, Kind::Fixed(4)),
                                (9, END, Kind::Fixed(4)),
                                (0, END, Kind::Fixed(8)),
                                (12, END, Kind::Fixed(4)),
                                (5, END, Kind::Fixed(8)),
                                (0, END, Kind::Fixed(4)),
                            ],
                            tagged: &[(0, 17, Kind::Fixed(16)), (1, 18, Kind::Fixed(8))],
                        }),
                    ),
                ],
                tagged: &[],
            }),
        ),
        (
            7,
            END,
            Kind::Array(&Shape {
                flexible_from: 12,
                fields: &[(0, 12, Kind::Text), (13, END, Kind::Fixed(16)), (0, END, Kind::FixedArray(4))],
                tagged: &[],
            }),
        ),
        (11, END, Kind::Text),
    ],
    tagged: &[(0, 12, Kind::Text), (1, 15, Kind::Struct(&EPOCH_AND_OFFSET))],
};

/// FetchResponse v4–18.
pub(super) static FETCH_RESPONSE: Shape = Shape {
    flexible_from: 12,
    fields: &[
        (0, END, Kind::Fixed(4)),
        (7, END, Kind::Fixed(2 + 4)),
        (
            0,
            END,
            Kind::Array(&Shape {
                flexible_from: 12,
                fields: &[
                    (0, 12, Kind::Text),
                    (13, END, Kind::Fixed(16)),
                    (
                        0,
                        END,
                        Kind::Array(&Shape {
                            flexible_from: 12,
                            fields: &[
                                (0, END, Kind::Fixed(4 + 2 + 8 + 8)),
                                (5, END, Kind::Fixed(8)),
                                (0, END, Kind::Array(&plain!(12, Kind::Fixed(16)))),
                                (11, END, Kind::Fixed(4)),
                                (0, END, Kind::Blob),
                            ],
                            tagged: &[
                                (0, 12, Kind::Struct(&EPOCH_AND_OFFSET)),
                                (1, 12, Kind::Struct(&LEADER)),
                                (2, 12, Kind::Struct(&EPOCH_AND_OFFSET)),
                            ],
                        }),
                    ),
                ],
                tagged: &[],
            }),
        ),
    ],
    tagged: &[(0, 16, Kind::Array(&ENDPOINT))],
};

/// ShareFetchRequest v1.
pub(super) static SHARE_FETCH_REQUEST: Shape = plain!(
    0,
    Kind::Text,
    Kind::Text,
    Kind::Fixed(4 * 6),
    Kind::Array(&plain!(
        0,
        Kind::Fixed(16),
        Kind::Array(&plain!(0, Kind::Fixed(4), Kind::Array(&plain!(0, Kind::Fixed(16), Kind::FixedArray(1)))))
    )),
    Kind::Array(&plain!(0, Kind::Fixed(16), Kind::FixedArray(4)))
);

/// ShareFetchResponse v1.
pub(super) static SHARE_FETCH_RESPONSE: Shape = Shape {
    flexible_from: 0,
    fields: &[
        (0, END, Kind::Fixed(4 + 2)),
        (0, END, Kind::Text),
        (0, END, Kind::Fixed(4)),
        (
            0,
            END,
            Kind::Array(&plain!(
                0,
                Kind::Fixed(16),
                Kind::Array(&plain!(
                    0,
                    Kind::Fixed(4 + 2),
                    Kind::Text,
                    Kind::Fixed(2),
                    Kind::Text,
                    Kind::Struct(&LEADER),
                    Kind::Blob,
                    Kind::Array(&plain!(0, Kind::Fixed(8 + 8 + 2)))
                ))
            )),
        ),
        (0, END, Kind::Array(&ENDPOINT)),
    ],
    tagged: &[],
};
