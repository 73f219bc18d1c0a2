//! How a guest is restored between two trials.
//!
//! Invariant: **all that depends on the method is asked here**; the outcome of a trial does not depend on it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::target::{Capabilities, StateChange, StateDigest};
use crate::trial::clone::guest::CloneDisk;
use crate::trial::runner::{RunError, Runner};

/// The tag of the snapshot of a guest that has just started, for [`RestoreMethod::Loadvm`].
const TAG: &str = "flipsim-trial";

/// The method by which the guest is restored before a trial.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestoreMethod {
    /// In the same process, to a mark.
    #[default]
    Rewind,
    /// A new process a trial.
    Clone,
    /// In the same process, by QEMU's own snapshots.
    Loadvm,
}

/// Where [`RestoreMethod::go_back`] left a guest.
#[derive(Debug)]
pub enum WentBack {
    /// At its mark, from which it differed by this.
    ToMark(StateChange),
    /// At the snapshot of its start.
    ToSnapshot,
    /// Where it was: this method takes a new process.
    NotAtAll,
}

impl RestoreMethod {
    /// All of them, the fastest first.
    pub const ALL: [RestoreMethod; 3] = [RestoreMethod::Rewind, RestoreMethod::Clone, RestoreMethod::Loadvm];

    /// Its word on the command line and in what is stored.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RestoreMethod::Rewind => "rewind",
            RestoreMethod::Clone => "clone",
            RestoreMethod::Loadvm => "loadvm",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        RestoreMethod::ALL.into_iter().find(|method| method.name() == name)
    }

    /// What it does, for a list of all of them.
    #[must_use]
    pub fn summary(self) -> &'static str {
        match self {
            RestoreMethod::Rewind => "Within the process, to a mark",
            RestoreMethod::Clone => "A new process a trial",
            RestoreMethod::Loadvm => "Within the process, by QEMU's own snapshots",
        }
    }

    /// The method that is left of this one with such a QEMU.
    #[must_use]
    pub fn possible(self, capabilities: Capabilities) -> Self {
        if self == RestoreMethod::Rewind && !capabilities.mark { RestoreMethod::Clone } else { self }
    }

    /// Where its guests write what they write to their disk: a snapshot takes a file.
    #[must_use]
    pub fn disk(self) -> CloneDisk {
        if self.by_snapshot() { CloneDisk::Layer } else { CloneDisk::Memory }
    }

    /// Whether the digest of a state covers the disk: below QEMU's snapshots the disk is a file, which the
    /// digest knows nothing of.
    #[must_use]
    pub fn knows_disk(self) -> bool {
        !self.by_snapshot()
    }

    /// Whether two states are equal, as far as this method lets us compare them.
    #[must_use]
    pub fn is_same(self, here: &StateDigest, golden: &StateDigest) -> bool {
        if self.knows_disk() {
            return here.is_same(golden);
        }
        (here.ram, here.devices, here.virtual_ns, here.instructions)
            == (golden.ram, golden.devices, golden.virtual_ns, golden.instructions)
    }

    /// Whether the state right before a fault is marked; a snapshot of it is saved and loaded otherwise.
    #[must_use]
    pub fn marks(self, capabilities: Capabilities) -> bool {
        capabilities.mark && !self.by_snapshot()
    }

    /// Saves, where the method needs it, what a guest that has just started is restored from.
    ///
    /// # Errors
    /// QEMU refuses or is lost.
    pub fn save_start(self, runner: &mut Runner) -> Result<(), RunError> {
        if self.by_snapshot() { save_snapshot(runner, TAG) } else { Ok(()) }
    }

    /// Restores a guest within its process, where the method does that.
    ///
    /// # Errors
    /// There is no mark or no snapshot; or QEMU is lost.
    pub fn go_back(self, runner: &mut Runner) -> Result<WentBack, RunError> {
        let target = runner.guest.target();
        Ok(match self {
            RestoreMethod::Rewind => WentBack::ToMark(target.rewind()?),
            RestoreMethod::Clone => WentBack::NotAtAll,
            RestoreMethod::Loadvm => {
                target.load_snapshot(TAG)?;
                WentBack::ToSnapshot
            }
        })
    }

    fn by_snapshot(self) -> bool {
        self == RestoreMethod::Loadvm
    }
}

impl fmt::Display for RestoreMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Saves a snapshot of QEMU's own.
pub(super) fn save_snapshot(runner: &mut Runner, tag: &str) -> Result<(), RunError> {
    let line = format!("savevm {tag}");
    let target = runner.guest.target();
    // The human monitor says nothing when it worked.
    let said = target.qmp().map_or_else(|| Ok(String::new()), |qmp| qmp.hmp(&line))?;
    if said.trim().is_empty() {
        Ok(())
    } else {
        Err(RunError::NotRestored(format!("`{line}`: {}", said.trim())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::Digest128;

    #[test]
    fn a_guest_that_cannot_be_rewound_is_restored_by_a_new_process_unless_snapshots_are_wanted() {
        let partly = Capabilities { mark: false, ..Capabilities::ALL };
        assert_eq!(RestoreMethod::Rewind.possible(partly), RestoreMethod::Clone);
        assert_eq!(RestoreMethod::Loadvm.possible(partly), RestoreMethod::Loadvm);
        assert_eq!(RestoreMethod::Rewind.possible(Capabilities::ALL), RestoreMethod::Rewind);
    }

    #[test]
    fn its_name_is_the_word_that_is_stored() {
        for method in RestoreMethod::ALL {
            assert_eq!(serde_json::to_value(method).unwrap(), method.name());
            assert_eq!(RestoreMethod::named(method.name()), Some(method));
            assert_eq!(format!("{method:>8}"), format!("{:>8}", method.name()));
        }
    }

    #[test]
    fn only_below_snapshots_is_the_disk_left_out() {
        let golden: StateDigest = serde_json::from_value(serde_json::json!({
            "ram": "0b", "devices": "0c", "disks": "0d", "virtual-ns": 2, "instructions": 2,
            "pages-differing": 4, "pages-hashed": 3,
        }))
        .unwrap();
        let other_disk = StateDigest { disks: Some(Digest128(7)), ..golden.clone() };
        let other_ram = StateDigest { ram: Digest128(7), ..golden.clone() };
        for method in RestoreMethod::ALL {
            assert_eq!(method.is_same(&other_disk, &golden), !method.knows_disk(), "{method}");
            assert_eq!(method.disk() == CloneDisk::Memory, method.knows_disk(), "{method}");
            assert!(method.is_same(&golden, &golden) && !method.is_same(&other_ram, &golden), "{method}");
            assert_eq!(method.marks(Capabilities::ALL), method.knows_disk(), "{method}");
            assert!(!method.marks(Capabilities { mark: false, ..Capabilities::ALL }), "{method}");
        }
    }
}
