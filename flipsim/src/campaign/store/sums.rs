//! Checksums: of each row that says what came out, of all of them together, and of what the campaign was made from.
//!
//! A row's is the first half of the SHA-256 of its table's name, the plan's digest and all its values, its trial's
//! number among them: a row of another trial or campaign has another one. It is there for damage and for careless
//! edits; whoever wants to forge a result can.
//!
//! Invariant: **all values of a row are in its checksum**, each with its type and length.

use rusqlite::types::{Value, ValueRef};
use sha2::{Digest, Sha256};

use crate::text::hex;

/// The checksum of a row.
pub(super) type Sum = [u8; 16];

/// The checksums of one campaign.
#[derive(Clone, Debug)]
pub(super) struct Sums {
    result: Sha256,
    console: Sha256,
    attempt: Sha256,
    tally: Sha256,
}

impl Sums {
    /// Of the campaign with this plan.
    pub(super) fn new(plan: &str) -> Self {
        let of = |table: &str| Sha256::new().chain_update(format!("flipsim {table} {plan}\n"));
        Sums { result: of("result"), console: of("console"), attempt: of("attempt"), tally: of("tally") }
    }

    /// Of a row of `result`: all its columns but the checksum, in their order.
    pub(super) fn result<'a>(&self, values: impl IntoIterator<Item = ValueRef<'a>>) -> Sum {
        sum(&self.result, values)
    }

    /// Of a row of `console`.
    pub(super) fn console(&self, trial: i64, bytes: i64, zlib: &[u8]) -> Sum {
        sum(&self.console, [ValueRef::Integer(trial), ValueRef::Integer(bytes), ValueRef::Blob(zlib)])
    }

    /// Of a row of `attempt`: all its columns but its own number and the checksum.
    pub(super) fn attempt<'a>(&self, values: impl IntoIterator<Item = ValueRef<'a>>) -> Sum {
        sum(&self.attempt, values)
    }

    /// Of the row of `tally`.
    pub(super) fn tally(&self, numbers: [i64; 3], folds: [&[u8]; 2]) -> Sum {
        let numbers = numbers.map(ValueRef::Integer);
        sum(&self.tally, numbers.into_iter().chain(folds.map(ValueRef::Blob)))
    }
}

fn sum<'a>(begun: &Sha256, values: impl IntoIterator<Item = ValueRef<'a>>) -> Sum {
    let mut hash = begun.clone();
    for value in values {
        match value {
            ValueRef::Null => hash.update([0]),
            ValueRef::Integer(number) => sized(&mut hash, 1, &number.to_le_bytes()),
            ValueRef::Real(number) => sized(&mut hash, 2, &number.to_bits().to_le_bytes()),
            ValueRef::Text(bytes) => sized(&mut hash, 3, bytes),
            ValueRef::Blob(bytes) => sized(&mut hash, 4, bytes),
        }
    }
    let whole: [u8; 32] = hash.finalize().into();
    let mut half = [0; 16];
    half.copy_from_slice(&whole[..16]);
    half
}

fn sized(hash: &mut Sha256, tag: u8, bytes: &[u8]) {
    let mut head = [tag; 9];
    head[1..].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    hash.update(head);
    hash.update(bytes);
}

/// Values as they are hashed.
pub(super) fn refs(values: &[Value]) -> impl Iterator<Item = ValueRef<'_>> {
    values.iter().map(ValueRef::from)
}

/// The checksums of rows together, whatever their order: one that is missing, or there twice, changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fold(u128);

impl Fold {
    pub(super) fn add(&mut self, sum: Sum) {
        self.0 = self.0.wrapping_add(u128::from_le_bytes(sum));
    }

    pub(super) fn take(&mut self, sum: Sum) {
        self.0 = self.0.wrapping_sub(u128::from_le_bytes(sum));
    }

    /// As it is stored.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// As it was stored.
    pub(super) fn of(bytes: [u8; 16]) -> Self {
        Fold(u128::from_le_bytes(bytes))
    }
}

/// The SHA-256, in hex, of parts that have a length each.
pub(super) fn digest_of<'a>(name: &str, parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hash = Sha256::new().chain_update(format!("flipsim {name}\n"));
    parts.into_iter().for_each(|part| sized(&mut hash, 4, part));
    hex(&hash.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_its_place_and_its_type_are_in_a_checksum() {
        let sums = Sums::new("plan");
        let of = |values: &[Value]| sums.result(refs(values));
        let (text, blob) = (|text: &str| Value::Text(text.into()), |text: &str| Value::Blob(text.into()));
        let all = [
            of(&[text("ab"), text("c")]),
            of(&[text("a"), text("bc")]),
            of(&[text("c"), text("ab")]),
            of(&[blob("ab"), text("c")]),
            of(&[text("ab"), text("c"), Value::Null]),
            of(&[Value::Integer(1)]),
            of(&[Value::Real(1.0)]),
            of(&[text("1")]),
            sums.attempt(refs(&[Value::Integer(1)])),
            Sums::new("other").result(refs(&[Value::Integer(1)])),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(all.iter().skip(at + 1).all(|other| other != one), "{at}");
        }
    }

    #[test]
    fn rows_together_have_one_checksum_in_any_order_and_twice_is_not_once() {
        let fold = |sums: &[Sum]| {
            let mut fold = Fold::default();
            sums.iter().for_each(|sum| fold.add(*sum));
            fold
        };
        let (a, b) = ([7; 16], [0xff; 16]);
        assert_eq!(fold(&[a, b]), fold(&[b, a]));
        assert_ne!(fold(&[a, b, b]), fold(&[a, b]));
        let mut less = fold(&[a, b]);
        less.take(b);
        assert_eq!((less, Fold::of(less.bytes())), (fold(&[a]), less));
    }
}
