//! Numbers in few bytes: seven bits in each, the lowest first, and the eighth says whether more follow (LEB128).

/// Appends a number.
pub(super) fn put(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// A difference as a number that is small where the difference is, whatever its sign.
pub(super) fn folded(difference: i64) -> u64 {
    (difference << 1 ^ difference >> 63) as u64
}

/// The difference that was [`folded`].
pub(super) fn unfolded(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Takes numbers and bytes from the front of a slice; `None` where they end too soon or fit no 64 bits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next number.
    pub(super) fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        // Most have one byte.
        if *first < 0x80 {
            return Some(u64::from(*first));
        }
        let mut number = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return None;
            }
            number |= part << shift;
            if *byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    /// The next number, which fits another type.
    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.number()?).ok()
    }

    /// The next bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Whether nothing is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(numbers in prop::collection::vec(any::<u64>().prop_flat_map(|n| (0u32..64).prop_map(move |s| n >> s)), 0..20)) {
            let mut bytes = Vec::new();
            numbers.iter().for_each(|number| put(&mut bytes, *number));
            let mut reader = Reader(&bytes);
            for number in &numbers {
                prop_assert_eq!(reader.number(), Some(*number));
            }
            prop_assert!(reader.is_empty() && reader.number().is_none());
        }

        #[test]
        fn differences_come_back(difference: i64) {
            prop_assert_eq!(unfolded(folded(difference)), difference);
        }
    }

    #[test]
    fn small_differences_are_small_numbers() {
        assert_eq!([0, -1, 1, -2, 2].map(folded), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_number_that_does_not_fit_is_none() {
        assert_eq!(Reader(&[0xff; 9]).number(), None);
        assert_eq!(Reader(&[0xff; 11]).number(), None);
        let most = [[0xff; 9].as_slice(), &[1]].concat();
        assert_eq!(Reader(&most).number(), Some(u64::MAX));
        assert_eq!(Reader(&[[0xff; 9].as_slice(), &[2]].concat()).number(), None);
        assert_eq!((Reader(&[0x80, 2]).small::<u8>(), Reader(&[0x7f]).small::<u8>()), (None, Some(127)));
    }
}
