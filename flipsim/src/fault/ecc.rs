//! What an error-correcting memory makes of upsets: the filter between its cells and whoever reads them.
//!
//! The code is Hsiao's (72,64): 8 check bits for each aligned word of 8 bytes, columns of odd weight (M. Y. Hsiao: A class of
//! optimal minimum odd-weight-column SEC-DED codes, IBM J. Res. Dev. 14, 1970). The columns of the data bits are all 56 of
//! weight 3, in ascending order, and the 8 rotations of `00011111`.
//!
//! Invariant: **what is left of a fault is what every reader of the word gets**, as a controller decodes at each read.

use std::collections::BTreeMap;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::fault::model::Fault;
use crate::units::GuestPhys;

/// Whether memory corrects errors, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecc {
    /// It does not.
    #[default]
    None,
    /// A single bit of each aligned 64 is corrected, two are detected.
    Secded,
}

/// What it made of the upsets of a trial; of several words, the first of this order that one of them has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// An error that it cannot correct: the machine learns of it.
    Detected,
    /// It took the upset for a single one, and flipped another bit, or none of the data.
    Miscorrected,
    /// It is a word of the code again: nothing is noticed.
    Undetected,
    /// All is as it was.
    Corrected,
}

impl Ecc {
    /// Whether there is none.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Ecc::None
    }
}

/// Text that names no code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no code `{0}`; write none, or secded")]
pub struct EccError(String);

impl FromStr for Ecc {
    type Err = EccError;

    fn from_str(text: &str) -> Result<Self, EccError> {
        match text {
            "none" => Ok(Ecc::None),
            "secded" => Ok(Ecc::Secded),
            other => Err(EccError(other.to_owned())),
        }
    }
}

impl Verdict {
    /// The word in records.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Detected => "detected",
            Verdict::Miscorrected => "miscorrected",
            Verdict::Undetected => "undetected",
            Verdict::Corrected => "corrected",
        }
    }

    /// The verdict of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Verdict> {
        use Verdict::{Corrected, Detected, Miscorrected, Undetected};
        [Detected, Miscorrected, Undetected, Corrected].into_iter().find(|verdict| verdict.name() == name)
    }

    /// Whether readers get wrong data, so that there is something to run.
    #[must_use]
    pub fn goes_through(self) -> bool {
        matches!(self, Verdict::Miscorrected | Verdict::Undetected)
    }
}

/// The bytes of a word.
const WORD: u64 = 8;

/// The columns of the data bits in the parity-check matrix, a bit for each check bit.
const COLUMNS: [u8; 64] = {
    let mut columns = [0u8; 64];
    let (mut at, mut column) = (0, 0u8);
    while column < u8::MAX {
        if column.count_ones() == 3 {
            columns[at] = column;
            at += 1;
        }
        column += 1;
    }
    let mut turn = 0;
    while at < columns.len() {
        columns[at] = 0b0001_1111u8.rotate_left(turn);
        (at, turn) = (at + 1, turn + 1);
    }
    columns
};

/// What a decoder makes of an error of these bits of a word, and which of its bits are wrong behind it.
fn decode(error: u64) -> (Verdict, u64) {
    let bits = || (0..64).filter(|bit| error >> bit & 1 == 1);
    let syndrome = bits().fold(0, |sum, bit| sum ^ COLUMNS[bit]);
    match COLUMNS.iter().position(|column| *column == syndrome) {
        Some(bit) if error == 1 << bit => (Verdict::Corrected, 0),
        Some(bit) => (Verdict::Miscorrected, error ^ 1 << bit),
        None if syndrome == 0 => (Verdict::Undetected, error),
        // It corrects a check bit.
        None if syndrome.count_ones() == 1 => (Verdict::Miscorrected, error),
        None => (Verdict::Detected, error),
    }
}

/// What is left of flips in RAM at one instant: the same where nothing gets through. Each bit is in one of them.
#[must_use]
pub fn filter(faults: &[Fault]) -> (Verdict, Vec<Fault>) {
    let mut words: BTreeMap<u64, u64> = BTreeMap::new();
    let bytes = faults.iter().flat_map(|fault| {
        fault.address().into_iter().flat_map(|address| (address.0..).zip(fault.mask().iter().copied()))
    });
    for (byte, mask) in bytes.filter(|(_, mask)| *mask != 0) {
        *words.entry(byte / WORD).or_default() |= u64::from(mask) << (byte % WORD * 8);
    }
    let decoded: Vec<(u64, Verdict, u64)> = words
        .into_iter()
        .map(|(word, error)| {
            let (verdict, left) = decode(error);
            (word, verdict, left)
        })
        .collect();
    let verdict = decoded.iter().map(|(_, verdict, _)| *verdict).min().unwrap_or(Verdict::Corrected);
    if !verdict.goes_through() {
        return (verdict, faults.to_vec());
    }
    let left = decoded.into_iter().filter(|(_, _, left)| *left != 0).map(|(word, _, left)| {
        // From the first byte that is wrong to the last one.
        let first = left.trailing_zeros() / 8;
        let last = 7 - left.leading_zeros() / 8;
        let mask = (left >> (first * 8)).to_le_bytes()[..=(last - first) as usize].to_vec();
        Fault::in_ram(GuestPhys(word * WORD + u64::from(first)), mask)
    });
    (verdict, left.collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn flips(bits: &[u64]) -> u64 {
        bits.iter().fold(0, |word, bit| word | 1 << bit)
    }

    /// The code's published properties, over all 72 bits: a check bit's column has weight 1.
    #[test]
    fn the_code_has_hsiaos_properties() {
        let columns: Vec<u8> = COLUMNS.into_iter().chain((0..8).map(|bit| 1 << bit)).collect();
        let distinct: std::collections::BTreeSet<u8> = columns.iter().copied().collect();
        assert_eq!(distinct.len(), 72);
        assert!(columns.iter().all(|column| column.count_ones() % 2 == 1));
        // Each check bit sums 26 data bits and itself: the fewest that there can be, and as many in each row.
        for row in 0..8 {
            assert_eq!(columns.iter().filter(|column| *column >> row & 1 == 1).count(), 27);
        }
        assert_eq!(COLUMNS.iter().map(|column| column.count_ones()).sum::<u32>(), 208);
        // The published part of triple errors that are miscorrected is 56.28 %.
        let (mut all, mut wrong) = (0u32, 0u32);
        for a in 0..72 {
            for b in a + 1..72 {
                for c in b + 1..72 {
                    all += 1;
                    wrong += u32::from(distinct.contains(&(columns[a] ^ columns[b] ^ columns[c])));
                }
            }
        }
        assert_eq!(all, 59_640);
        let part = f64::from(wrong) / f64::from(all);
        assert!((part - 0.5628).abs() < 0.0005, "{part}");
    }

    #[test]
    fn a_code_is_found_by_its_name() {
        assert_eq!("secded".parse(), Ok(Ecc::Secded));
        assert_eq!("none".parse(), Ok(Ecc::None));
        let error = "hamming".parse::<Ecc>().unwrap_err().to_string();
        assert_eq!(error, "there is no code `hamming`; write none, or secded");
    }

    #[test]
    fn all_single_errors_are_corrected_and_all_double_ones_detected() {
        for a in 0..64 {
            assert_eq!(decode(1 << a), (Verdict::Corrected, 0));
            for b in 0..a {
                assert_eq!(decode(1 << a | 1 << b).0, Verdict::Detected, "{a} {b}");
            }
        }
    }

    #[test]
    fn a_miscorrected_error_has_one_bit_more_or_less_or_is_as_it_was() {
        // Columns 7, 11, 13 sum to 1, a check bit; 7, 11, 21 to 25, which is another data bit's.
        let column = |wanted: u8| COLUMNS.iter().position(|column| *column == wanted).unwrap() as u64;
        let check = flips(&[column(7), column(11), column(13)]);
        assert_eq!(decode(check), (Verdict::Miscorrected, check));
        let data = flips(&[column(7), column(11), column(21)]);
        assert_eq!(decode(data), (Verdict::Miscorrected, data | flips(&[column(25)])));
        // All four are a word of the code.
        let word = data | flips(&[column(25)]);
        assert_eq!(decode(word), (Verdict::Undetected, word));
    }

    #[test]
    fn a_trial_has_the_worst_of_its_words() {
        let at = |address, mask: u8| Fault::in_ram(GuestPhys(address), vec![mask]);
        let faults = [at(0x100, 1), at(0x108, 2)];
        assert_eq!(filter(&faults), (Verdict::Corrected, faults.to_vec()));
        let faults = [at(0x100, 1), at(0x107, 2)];
        assert_eq!(filter(&faults), (Verdict::Detected, faults.to_vec()));
        // What is corrected in one word is not left of those that get through in another.
        let column = |wanted: u8| COLUMNS.iter().position(|column| *column == wanted).unwrap() as u64;
        let through = flips(&[7, 11, 21, 25].map(column));
        let mask = through.to_le_bytes().to_vec();
        let (verdict, left) = filter(&[at(0x108, 1), Fault::in_ram(GuestPhys(0x100), mask)]);
        assert_eq!(verdict, Verdict::Undetected);
        assert_eq!(left.len(), 1);
        let (address, bytes) = (left[0].address().unwrap().0, left[0].mask());
        let word = bytes.iter().zip(address - 0x100..).map(|(byte, at)| u64::from(*byte) << (at * 8)).sum();
        assert_eq!((through, address >> 3), (word, 0x100 >> 3));
    }

    proptest! {
        /// What readers get is a word of the code, with the decoder's own bit: the syndrome of what it changed is that of the
        /// error.
        #[test]
        fn what_gets_through_is_a_word_of_the_code(error in 1u64..) {
            let syndrome = |word: u64| {
                (0..64).filter(|bit| word >> bit & 1 == 1).fold(0u8, |sum, bit| sum ^ COLUMNS[bit])
            };
            let (verdict, left) = decode(error);
            let own = syndrome(error);
            match verdict {
                Verdict::Corrected => prop_assert_eq!((left, error.count_ones()), (0, 1)),
                Verdict::Detected => prop_assert!(own != 0 && own.count_ones() != 1),
                Verdict::Undetected => prop_assert_eq!((left, own), (error, 0)),
                Verdict::Miscorrected => {
                    prop_assert_eq!(syndrome(error ^ left), if left == error { 0 } else { own });
                    prop_assert!((error ^ left).count_ones() <= 1);
                }
            }
        }
    }
}
