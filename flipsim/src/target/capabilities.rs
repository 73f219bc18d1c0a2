//! What a QEMU can do of that which trials want, and what follows where it cannot.
//!
//! Invariant: this is asked once, when the template is made, and kept with it: a template is only ever used by
//! the QEMU that made it.

use serde::{Deserialize, Serialize};

use crate::target::error::MarkError;
use crate::target::interface::Target;
use crate::target::live::LiveTarget;

use crate::units::Timing;

/// What the lab's patches add to a QEMU (`qemu-patches/`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Abilities {
    /// It stops at exactly the virtual time asked for.
    pub stop_at: bool,
    /// It marks a state, goes back to it, tells it by a digest, and keeps what is written to the disk in
    /// memory.
    pub mark: bool,
}

impl Default for Abilities {
    fn default() -> Self {
        Abilities::ALL
    }
}

impl Abilities {
    /// What a QEMU with all of the patches can do.
    pub const ALL: Abilities = Abilities { stop_at: true, mark: true };

    /// Asks a guest's QEMU.
    ///
    /// # Errors
    /// QEMU is lost.
    pub fn of(target: &mut LiveTarget) -> Result<Self, MarkError> {
        let stop_at = target.timing() == Timing::Exact;
        Ok(Abilities { stop_at, mark: stop_at && target.can_rewind()? })
    }

    /// Whether nothing is missing.
    #[must_use]
    pub fn is_all(&self) -> bool {
        *self == Abilities::ALL
    }

    /// How exactly the times of trials are known.
    #[must_use]
    pub fn timing(&self) -> Timing {
        if self.stop_at { Timing::Exact } else { Timing::Approximate }
    }

    /// What is missing and what that means, in words; `None` where nothing is.
    #[must_use]
    pub fn missing(&self) -> Option<&'static str> {
        match (self.stop_at, self.mark) {
            (true, true) => None,
            (true, false) => {
                Some("this QEMU has no mark-state, so nobody can tell which state a guest is in")
            }
            (false, _) => Some(
                "this QEMU lacks the lab's patches, so guests are stopped at about the time asked for, and \
                 nobody can tell which state they are in",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_and_only_then() {
        assert_eq!(Abilities::ALL.missing(), None);
        let (partly, plain) =
            (Abilities { stop_at: true, mark: false }, Abilities { stop_at: false, mark: false });
        assert!(partly.missing().is_some_and(|why| !why.contains("about the time")));
        assert!(plain.missing().is_some_and(|why| why.contains("about the time")));
        assert_eq!((partly.timing(), plain.timing()), (Timing::Exact, Timing::Approximate));
    }
}
