//! A small reader and writer for hcube's own binary formats: little-endian integers, length-prefixed bytes.
//!
//! Every decoder of hcube reads through [`Reader`], which never panics and never allocates more than its input.

use bytes::{Buf as _, Bytes};

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a field.
    #[error("the input ends inside {0}")]
    Truncated(&'static str),
    /// A field holds a value that this version does not know.
    #[error("{what} has the unknown value {value}")]
    Unknown {
        /// The field.
        what: &'static str,
        /// What it held.
        value: u64,
    },
    /// A field is well formed but cannot be right.
    #[error("{0} is invalid")]
    Invalid(&'static str),
    /// Bytes are left after the last field.
    #[error("{0} bytes are left over")]
    Trailing(usize),
}

/// Reads fields from the front of a shared buffer.
#[derive(Debug, Clone)]
pub struct Reader {
    rest: Bytes,
}

macro_rules! integers {
    ($($name:ident: $int:ty),*) => {$(
        /// A little-endian integer. Fails when the input ends.
        pub fn $name(&mut self, what: &'static str) -> Result<$int, DecodeError> {
            // Not by `take`, which counts one more owner of the input and one less.
            let raw = self.rest.first_chunk().ok_or(DecodeError::Truncated(what))?;
            let value = <$int>::from_le_bytes(*raw);
            self.rest.advance(size_of::<$int>());
            Ok(value)
        }
    )*};
}

impl Reader {
    /// Reads from the start of `input`.
    #[must_use]
    pub fn new(input: Bytes) -> Self {
        Self { rest: input }
    }

    integers!(u8: u8, u16: u16, u32: u32, u64: u64, u128: u128);

    /// Bytes not read yet.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `length` bytes, shared with the input.
    pub fn take(&mut self, length: usize, what: &'static str) -> Result<Bytes, DecodeError> {
        if length > self.rest.len() {
            return Err(DecodeError::Truncated(what));
        }
        Ok(self.rest.split_to(length))
    }

    /// Bytes behind their `u32` length.
    pub fn bytes(&mut self, what: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.u32(what)?;
        self.take(length as usize, what)
    }

    /// UTF-8 text behind its `u32` length.
    pub fn text(&mut self, what: &'static str) -> Result<String, DecodeError> {
        let length = self.u32(what)? as usize;
        let text = self.rest.get(..length).ok_or(DecodeError::Truncated(what))?;
        let text = str::from_utf8(text).map_err(|_| DecodeError::Invalid(what))?.to_owned();
        self.rest.advance(length);
        Ok(text)
    }

    /// A `u8` that is 0 or 1.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, DecodeError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            value => Err(DecodeError::Unknown { what, value: value.into() }),
        }
    }

    /// A `u8` of 0, or 1 and then what `item` reads.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        item: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        if self.flag(what)? { item(self).map(Some) } else { Ok(None) }
    }

    /// A `u32` count and then that many items.
    pub fn list<T>(
        &mut self,
        what: &'static str,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32(what)? as usize;
        // Every item takes at least a byte, so a lying count cannot make us allocate more than the input.
        if count > self.rest.len() {
            return Err(DecodeError::Truncated(what));
        }
        (0..count).map(|_| item(self)).collect()
    }

    /// Everything that is left.
    #[must_use]
    pub fn rest(self) -> Bytes {
        self.rest
    }

    /// Asserts that nothing is left.
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.rest.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(self.rest.len())) }
    }
}

/// Appends fields to a buffer; the counterpart of [`Reader`].
pub trait Writer {
    /// A `u8`.
    fn u8(&mut self, value: u8);
    /// A little-endian `u16`.
    fn u16(&mut self, value: u16);
    /// A little-endian `u32`.
    fn u32(&mut self, value: u32);
    /// A little-endian `u64`.
    fn u64(&mut self, value: u64);
    /// A little-endian `u128`.
    fn u128(&mut self, value: u128);
    /// Bytes behind their `u32` length.
    fn bytes(&mut self, value: &[u8]);
    /// UTF-8 text behind its `u32` length.
    fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }
    /// A `u8` that is 0 or 1.
    fn flag(&mut self, value: bool) {
        self.u8(value.into());
    }
    /// A `u8` of 0, or 1 and then what `item` writes.
    fn option<T>(&mut self, value: Option<T>, item: impl FnOnce(&mut Self, T)) {
        self.flag(value.is_some());
        if let Some(value) = value {
            item(self, value);
        }
    }
    /// A `u32` count and then the items.
    fn list<I: ExactSizeIterator>(&mut self, items: I, mut item: impl FnMut(&mut Self, I::Item)) {
        self.u32(length_u32(items.len()));
        for value in items {
            item(self, value);
        }
    }
}

impl Writer for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }
    fn u16(&mut self, value: u16) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn u128(&mut self, value: u128) {
        self.extend_from_slice(&value.to_le_bytes());
    }
    fn bytes(&mut self, value: &[u8]) {
        self.u32(length_u32(value.len()));
        self.extend_from_slice(value);
    }
}

/// A length as the `u32` that the formats hold.
///
/// # Panics
/// Above 4 GiB, which every limit of hcube stays far below.
#[must_use]
pub fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("lengths in hcube's formats stay far below 4 GiB")
}
