//! What is done to the bits of a fault.
//!
//! Invariant: **an operation is one row of [`ROWS`]**: its name in every stored form, what it does to a byte, and
//! whether it holds on. A new one is a variant and its row.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What is done to the bits of a mask. Stored forms that name none are flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Each bit becomes its opposite.
    #[default]
    Flip,
}

/// All that there is to know of an operation.
struct Row {
    operation: Operation,
    name: &'static str,
    /// The byte after, of the byte before and the bits of its mask.
    apply: fn(u8, u8) -> u8,
    /// Whether it stays in force after its instant.
    holds_on: bool,
}

/// In the order of the variants.
static ROWS: &[Row] =
    &[Row { operation: Operation::Flip, name: "flip", apply: |old, mask| old ^ mask, holds_on: false }];

impl Operation {
    /// Every operation.
    pub fn all() -> impl Iterator<Item = Operation> {
        ROWS.iter().map(|row| row.operation)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The bytes after, of the bytes before and the mask; both least significant (lowest address) first.
    #[must_use]
    pub fn apply(self, old: &[u8], mask: &[u8]) -> Vec<u8> {
        let apply = self.row().apply;
        old.iter().zip(mask).map(|(byte, bits)| apply(*byte, *bits)).collect()
    }

    /// Whether it stays in force after its instant: what the guest writes there later does not take.
    #[must_use]
    pub fn holds_on(self) -> bool {
        self.row().holds_on
    }

    /// Its name, as it is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.row().name
    }
}

/// Text that names no operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no operation `{0}`; write {names}", names = names())]
pub struct OperationError(String);

fn names() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Operation {
    type Err = OperationError;

    fn from_str(text: &str) -> Result<Self, OperationError> {
        let row = ROWS.iter().find(|row| row.name == text);
        row.map(|row| row.operation).ok_or_else(|| OperationError(text.to_owned()))
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Operation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Operation {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_operation_is_found_by_its_variant_and_by_its_name() {
        for (place, row) in ROWS.iter().enumerate() {
            assert_eq!(row.operation as usize, place);
            assert_eq!(row.name.parse::<Operation>().unwrap(), row.operation);
            let json = serde_json::to_string(&row.operation).unwrap();
            assert_eq!(json, format!("\"{}\"", row.name));
            assert_eq!(serde_json::from_str::<Operation>(&json).unwrap(), row.operation);
        }
        assert_eq!(Operation::all().count(), ROWS.len());
        let error = "flop".parse::<Operation>().unwrap_err().to_string();
        assert_eq!(error, "there is no operation `flop`; write flip");
        assert!(serde_json::from_str::<Operation>("\"flop\"").is_err());
    }

    #[test]
    fn what_each_operation_does_to_the_bits() {
        // A bit that is 0 and one that is 1, outside of the mask and inside.
        for operation in Operation::all() {
            let (expected, holds_on) = match operation {
                Operation::Flip => (0b0110, false),
            };
            assert_eq!(operation.apply(&[0b0101], &[0b0011]), [expected], "{operation}");
            assert_eq!(operation.holds_on(), holds_on, "{operation}");
        }
        assert_eq!(Operation::Flip.apply(&[0x0f, 0xf0], &[0xff, 0x01]), [0xf0, 0xf1]);
    }

    #[test]
    fn a_flip_done_twice_is_undone() {
        let old = [0x12, 0x34, 0x56];
        let mask = [0x81, 0x00, 0xff];
        assert_eq!(Operation::Flip.apply(&Operation::Flip.apply(&old, &mask), &mask), old);
    }
}
