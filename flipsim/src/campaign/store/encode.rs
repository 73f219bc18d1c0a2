//! How values are kept in the columns of a store: signed numbers, words, JSON, compressed bytes.
//!
//! Invariant: a number that SQLite cannot keep exactly is an error, never a rounded one.

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde::Serialize;

use crate::campaign::store::error::StoreError;

/// A number as SQLite keeps it.
pub(super) fn signed(what: &'static str, value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::TooLarge { what, value })
}

/// The word that an enum is written as.
pub(super) fn word(value: &impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text keys and finite numbers only")
}

pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all that is written")
}
