//! A permutation of a large number of things, without a table.
//!
//! Invariant: it depends on seed, number and length alone, and sends no two things to the same place.

use rand::{Rng, SeedableRng};

use crate::fault::{FaultRng, fault_rng};

/// How often a number is mixed. Four times would do for a large set (Luby and Rackoff 1988); small sets
/// need more.
const ROUNDS: u64 = 10;

/// A seeded permutation of the numbers below `len`, computed one number at a time: a Feistel network over
/// pairs of digits in base ⌈√len⌉, whose round function is a block of the generator's stream. What falls
/// past the end is sent through again ("cycle walking": Black and Rogaway, "Ciphers with arbitrary finite
/// domains", 2002).
#[derive(Debug)]
pub(super) struct Permutation {
    len: u128,
    side: u128,
    key: [u8; 32],
}

impl Permutation {
    /// Permutation `number` of a seed; `None` where `len` is too large for it.
    pub(super) fn new(seed: u64, number: u64, len: u128) -> Option<Self> {
        if len == 0 || len >> 120 != 0 {
            return None;
        }
        let root = len.isqrt();
        let side = root + u128::from(root * root < len);
        let mut key = [0; 32];
        // Apart from the streams that other commands draw from.
        fault_rng(seed, 1 << 63 | number).fill_bytes(&mut key);
        Some(Permutation { len, side, key })
    }

    /// Where `index`, which is below the length, is sent to.
    pub(super) fn nth(&self, index: u128) -> u128 {
        let mut value = index;
        loop {
            let (mut left, mut right) = (value / self.side, value % self.side);
            for round in 0..ROUNDS {
                (left, right) = (right, (left + self.block(round, right)) % self.side);
            }
            value = left * self.side + right;
            if value < self.len {
                return value;
            }
        }
    }

    /// 127 bits of a block of a round's stream. A remainder of so large a number is uniform to 2^-67.
    fn block(&self, round: u64, number: u128) -> u128 {
        let mut rng = FaultRng::from_seed(self.key);
        rng.set_stream(round);
        // A block has 16 words.
        rng.set_word_pos(number << 4);
        (u128::from(rng.next_u64()) << 64 | u128::from(rng.next_u64())) >> 1
    }
}
