//! The vCPU's part of the state at the end of the run, and where in it registers are: what a state's digest is where one of
//! them has another value.
//!
//! Invariant: **a place is believed only of a register that was changed there and nowhere else**.

use crate::target::{Digest128, page_hash};

/// The name of the part in QEMU's state.
pub const SECTION: &str = "cpu";

/// The vCPU's part of the state at the end of the run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vcpu {
    pub(super) content: Vec<u8>,
    /// Of each register, where its bytes are, from the least significant one on; none where that is not known.
    pub(super) places: Vec<Vec<u32>>,
}

impl Vcpu {
    /// Of its content.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        Vcpu { content, places: Vec::new() }
    }

    /// The pattern that a register of so many bytes is changed by, so that it is seen where each of them is.
    #[must_use]
    pub fn pattern(bytes: usize) -> Vec<u8> {
        (1..=u8::MAX).cycle().take(bytes).collect()
    }

    /// Notes where the next register is: `changed` is the content with its bytes changed by [`Vcpu::pattern`].
    pub fn locate(&mut self, bytes: usize, changed: &[u8]) {
        let differing = self.content.iter().zip(changed).enumerate();
        let differing: Vec<(usize, u8)> = differing
            .map(|(at, (before, after))| (at, before ^ after))
            .filter(|(_, bits)| *bits != 0)
            .collect();
        let one = |pattern: &u8| {
            let mut places = differing.iter().filter(|(_, bits)| bits == pattern);
            let found = places.next().filter(|_| places.next().is_none());
            found.and_then(|(at, _)| u32::try_from(*at).ok())
        };
        let places: Option<Vec<u32>> = Vcpu::pattern(bytes).iter().map(one).collect();
        let whole = self.content.len() == changed.len() && differing.len() == bytes;
        self.places.push(places.filter(|_| whole).unwrap_or_default());
    }

    /// Whether it is known where a register is.
    pub(super) fn knows(&self, register: u64) -> bool {
        usize::try_from(register).is_ok_and(|at| self.places.get(at).is_some_and(|places| !places.is_empty()))
    }

    /// The digest of it.
    #[must_use]
    pub fn digest(&self) -> Digest128 {
        page_hash::of_section(SECTION, &self.content)
    }

    /// The digest of it where the bits of a mask are others in a register; `None` where it is not known where that is.
    #[must_use]
    pub fn digest_with(&self, register: usize, mask: &[u8]) -> Option<Digest128> {
        let places = self.places.get(register).filter(|places| places.len() == mask.len())?;
        let mut content = self.content.clone();
        for (at, bits) in places.iter().zip(mask) {
            *content.get_mut(*at as usize)? ^= bits;
        }
        Some(page_hash::of_section(SECTION, &content))
    }
}

#[cfg(test)]
mod tests;
