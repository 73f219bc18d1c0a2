//! How physical addresses lie in the arrays of memory chips, and the shapes of upsets there.
//!
//! A [`Mapping`] says of which bits of an address each bit of channel, rank, bank, row and column is the exclusive or. It is
//! a linear map over GF(2); where it can be inverted, the neighbours of a word in its array have addresses.
//!
//! Invariant: **a word has one place, and a place one word**: what cannot be inverted is no mapping.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::memory::RangeSet;
use crate::text::{hex, near_names};
use crate::units::{GuestPhys, format_size};

/// The bytes of a word: what a column of a 64-bit bus holds.
const WORD: u64 = 8;

/// How physical addresses lie in memory chips. Each entry of a list is a bit, the lowest first: the mask of the bits of an
/// address, counted from where the machine's RAM begins, whose exclusive or it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "RawMapping", into = "RawMapping")]
pub struct Mapping {
    raw: RawMapping,
    /// Of each bit of the place, columns first: the mask of the bits of a word's number.
    forward: Vec<u64>,
    /// Of each bit of a word's number: the mask of the bits of the place.
    back: Vec<u64>,
}

/// The same as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawMapping {
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    column: Vec<u64>,
    row: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    bank: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rank: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    channel: Vec<u64>,
}

/// A mapping that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It has no columns or no rows.
    #[error("mapping `{0}` needs bits of `column` and of `row`")]
    Empty(String),
    /// It has too many bits.
    #[error("mapping `{0}` has more than 40 bits of column, row, bank, rank and channel together")]
    TooLarge(String),
    /// A bit is of none, or of bits that are not the address's.
    #[error(
        "mapping `{name}`: {mask:#x} is no exclusive or of bits of an address; its {bits} bits are those from 3 to {last}, \
         as the lowest three choose a byte of a word"
    )]
    Mask {
        /// Of which mapping.
        name: String,
        /// What was written.
        mask: u64,
        /// How many bits the place has.
        bits: usize,
        /// The last bit of an address.
        last: usize,
    },
    /// It is of less RAM than there is.
    #[error(
        "mapping `{name}` has {covers}, and the guest's RAM reaches to byte {last:#x} of the machine's; give it more bits of \
         `row`"
    )]
    Small {
        /// Of which mapping.
        name: String,
        /// How much it has.
        covers: String,
        /// The last byte.
        last: u64,
    },
    /// Two words have one place.
    #[error("mapping `{0}`: two addresses have the same place, as one of its bits follows from the others")]
    Singular(String),
    /// No ready one.
    #[error(
        "there is no mapping `{name}`{}; write linear, bank-groups, permuted, or a table of your own",
        near_names(.name, READY.iter().map(|ready| ready.name))
    )]
    Unknown {
        /// What was asked for.
        name: String,
    },
}

/// A mapping that is ready, with its source.
struct Ready {
    name: &'static str,
    source: &'static str,
    /// Bits of an address, from the lowest above the byte of a word on: what each is.
    layout: &'static str,
    /// Whether the bits of the bank are exclusive-ored with the lowest of the row.
    permuted: bool,
}

/// `C` column, `B` bank, `R` row.
static READY: &[Ready] = &[
    Ready {
        name: "linear",
        source: "row, bank, column in this order (16R-2B-2BG-10C in AMD PG313, Versal NoC and integrated memory controller)",
        layout: "CCCCCCCCCCBBBBRRRRRRRRRRRRRRRR",
        permuted: false,
    },
    Ready {
        name: "bank-groups",
        source: "16R-2B-1BG-7C-1BG-3C in AMD PG313, Versal NoC and integrated memory controller",
        layout: "CCCBCCCCCCCBBBRRRRRRRRRRRRRRRR",
        permuted: false,
    },
    Ready {
        name: "permuted",
        source: "linear, with the bank exclusive-ored with the lowest bits of the row (Zhang, Zhu, Zhang: A permutation-based \
                 page interleaving scheme, MICRO 2000)",
        layout: "CCCCCCCCCCBBBBRRRRRRRRRRRRRRRR",
        permuted: true,
    },
];

impl Mapping {
    /// The ready one of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn ready(name: &str) -> Result<Mapping, MappingError> {
        let unknown = || MappingError::Unknown { name: name.to_owned() };
        let ready = READY.iter().find(|ready| ready.name == name).ok_or_else(unknown)?;
        let of = |what: u8| -> Vec<u64> {
            let bits = (3u32..).zip(ready.layout.bytes());
            bits.filter(|(_, kind)| *kind == what).map(|(bit, _)| 1 << bit).collect()
        };
        let (row, mut bank) = (of(b'R'), of(b'B'));
        if ready.permuted {
            bank.iter_mut().zip(&row).for_each(|(bank, row)| *bank |= row);
        }
        let (name, source) = (ready.name.to_owned(), Some(ready.source.to_owned()));
        RawMapping { name, source, column: of(b'C'), row, bank, ..RawMapping::default() }.try_into()
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.raw.name
    }

    /// Its name; with a digest of its bits, where it is no ready one.
    #[must_use]
    pub fn distinct_name(&self) -> String {
        if Mapping::ready(self.name()).is_ok_and(|ready| ready == *self) {
            return self.name().to_owned();
        }
        let mut hash = Sha256::new();
        self.forward.iter().for_each(|mask| hash.update(mask.to_le_bytes()));
        hash.update((self.raw.column.len() as u64).to_le_bytes());
        hash.update((self.raw.row.len() as u64).to_le_bytes());
        format!("{} {}", self.name(), &hex(&hash.finalize())[..8])
    }

    /// Where a byte is, counted from the first of RAM: the bits of column, row, and all others.
    fn place(&self, offset: u64) -> Option<[u64; 3]> {
        let word = offset / WORD;
        if word >> self.forward.len() != 0 {
            return None;
        }
        let parity = |mask: &u64| u64::from((mask & word).count_ones() % 2);
        let place = self.forward.iter().zip(0..).map(|(mask, bit)| parity(mask) << bit).sum::<u64>();
        let (columns, rows) = (self.raw.column.len(), self.raw.row.len());
        let low = |bits: usize| (1u64 << bits) - 1;
        Some([place & low(columns), place >> columns & low(rows), place >> (columns + rows)])
    }

    /// The byte in the word that is so many rows and columns further in the same array, in the same place of its word;
    /// `None` where the array has no such.
    #[must_use]
    pub fn neighbour(&self, offset: u64, rows: i32, columns: i32) -> Option<u64> {
        let [column, row, rest] = self.place(offset)?;
        let moved =
            |at: u64, by: i32, bits: usize| at.checked_add_signed(by.into()).filter(|at| *at >> bits == 0);
        let column = moved(column, columns, self.raw.column.len())?;
        let row = moved(row, rows, self.raw.row.len())?;
        let place =
            column | row << self.raw.column.len() | rest << (self.raw.column.len() + self.raw.row.len());
        let parity = |mask: &u64| u64::from((mask & place).count_ones() % 2);
        let word: u64 = self.back.iter().zip(0..).map(|(mask, bit)| parity(mask) << bit).sum();
        Some(word * WORD + offset % WORD)
    }
}

impl TryFrom<RawMapping> for Mapping {
    type Error = MappingError;

    fn try_from(raw: RawMapping) -> Result<Self, MappingError> {
        let RawMapping { name, column, row, bank, rank, channel, .. } = &raw;
        let masks: Vec<u64> = [column, row, bank, rank, channel].into_iter().flatten().copied().collect();
        let bits = masks.len();
        if column.is_empty() || row.is_empty() {
            return Err(MappingError::Empty(name.clone()));
        }
        if bits > 40 {
            return Err(MappingError::TooLarge(name.clone()));
        }
        let all = ((1u64 << bits) - 1) * WORD;
        if let Some(mask) = masks.iter().find(|mask| **mask == 0 || **mask & !all != 0) {
            return Err(MappingError::Mask { name: name.clone(), mask: *mask, bits, last: bits + 2 });
        }
        let forward: Vec<u64> = masks.iter().map(|mask| mask / WORD).collect();
        let back = inverse(&forward).ok_or_else(|| MappingError::Singular(name.clone()))?;
        Ok(Mapping { raw, forward, back })
    }
}

impl From<Mapping> for RawMapping {
    fn from(mapping: Mapping) -> RawMapping {
        mapping.raw
    }
}

/// The inverse of a square matrix over GF(2), whose rows are masks.
fn inverse(rows: &[u64]) -> Option<Vec<u64>> {
    let mut rows: Vec<(u64, u64)> = rows.iter().zip(0..).map(|(row, bit)| (*row, 1u64 << bit)).collect();
    for bit in 0..rows.len() {
        let pivot = (bit..rows.len()).find(|at| rows[*at].0 >> bit & 1 == 1)?;
        rows.swap(bit, pivot);
        let (row, of) = rows[bit];
        for (at, other) in rows.iter_mut().enumerate() {
            if at != bit && other.0 >> bit & 1 == 1 {
                *other = (other.0 ^ row, other.1 ^ of);
            }
        }
    }
    Some(rows.into_iter().map(|(_, of)| of).collect())
}

/// A shape of upsets: cells that flip together, as rows and columns from the first, and how often it comes beside others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Rows and columns from the cell that is drawn, which is `[0, 0]` and is one of them.
    pub cells: Vec<[i32; 2]>,
    /// How often it comes, beside those of the other shapes.
    pub weight: f64,
}

/// What is wrong with a shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Cells that cannot be.
    #[error("a cluster has 1 to 64 different cells, and [0, 0], which is drawn, is one of them")]
    Cells,
    /// A weight that cannot be.
    #[error("the weight of a cluster is a number above 0, up to 1e9")]
    Weight,
}

impl Shape {
    /// Refuses what cannot be.
    ///
    /// # Errors
    /// The cells or the weight.
    pub fn check(&self) -> Result<(), ShapeError> {
        let twice = (1..self.cells.len()).any(|at| self.cells[..at].contains(&self.cells[at]));
        if twice || !self.cells.contains(&[0, 0]) || self.cells.len() > 64 {
            return Err(ShapeError::Cells);
        }
        if !(self.weight > 0.0 && self.weight <= 1e9) {
            return Err(ShapeError::Weight);
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cells = self.cells.iter().map(|[row, column]| format!("{row},{column}"));
        write!(f, "{} × {}", cells.collect::<Vec<_>>().join(" "), self.weight)
    }
}

/// Where the machine's RAM begins, of which a guest may not use the first bytes: at a multiple of 1 GiB.
fn origin(ram: &RangeSet) -> u64 {
    ram.ranges().first().map_or(0, |range| range.first.0 >> 30 << 30)
}

/// Clusters of upsets in the RAM of a guest.
#[derive(Clone, Debug)]
pub struct Clusters {
    mapping: Mapping,
    shapes: Vec<Shape>,
    ram: RangeSet,
}

impl Clusters {
    /// Of these shapes, which were checked, in this RAM.
    ///
    /// # Errors
    /// The mapping does not have all of it.
    pub fn new(mapping: Mapping, shapes: Vec<Shape>, ram: RangeSet) -> Result<Clusters, MappingError> {
        let last = ram.ranges().last().map_or(0, |range| range.last.0 - origin(&ram));
        if mapping.place(last).is_none() {
            let covers = format_size(WORD << mapping.forward.len());
            return Err(MappingError::Small { name: mapping.raw.name, covers, last });
        }
        Ok(Clusters { mapping, shapes, ram })
    }

    /// The other bytes of the cluster at a byte, for a number that is drawn from 0 to 1: those that the array and the guest
    /// have.
    #[must_use]
    pub fn others(&self, address: GuestPhys, drawn: f64) -> Vec<GuestPhys> {
        let all: f64 = self.shapes.iter().map(|shape| shape.weight).sum();
        let mut left = drawn * all;
        let shape = self.shapes.iter().find(|shape| {
            left -= shape.weight;
            left < 0.0
        });
        let Some(shape) = shape.or(self.shapes.last()) else { return Vec::new() };
        let first = origin(&self.ram);
        let others = shape.cells.iter().filter(|cell| **cell != [0, 0]);
        let others = others.filter_map(|[row, column]| {
            let offset = self.mapping.neighbour(address.0.checked_sub(first)?, *row, *column)?;
            first.checked_add(offset).map(GuestPhys)
        });
        others.filter(|address| self.ram.ranges().iter().any(|range| range.contains(*address))).collect()
    }
}

#[cfg(test)]
mod tests;
