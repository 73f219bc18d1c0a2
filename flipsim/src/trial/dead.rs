//! Whether what differs from the golden run at a look is dead: never to be read again.
//!
//! Where registers, devices and disks are the golden run's, but for the register of the fault if that is never used again,
//! and no byte of RAM that differs is read before it is overwritten, every instruction from there on is the golden run's.
//! Bytes that are overwritten are its own then, and the others stay as they are to the end.
//!
//! Invariant: **a trial is ended early only where its whole rest is known**; no content of a page is taken from digests
//! alone.

use crate::fault::{Fault, FlipError, flip};
use crate::target::StateDigest;
use crate::trial::accesses::{Next, PAGE};
use crate::trial::clone::ram::ProcessRam;
use crate::trial::golden::model::Checkpoint;
use crate::trial::runner::{RunError, Runner};
use crate::trial::settle::Settling;
use crate::units::VirtualNs;

/// What is left of a difference that is dead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dead {
    /// Bytes that keep their value to the end of the run, by their offset in RAM.
    pub left: Vec<(u64, u8)>,
    /// When the last of the others is overwritten, if there are others.
    pub over: Option<VirtualNs>,
    /// Whether the register of the fault keeps it to the end.
    pub register: bool,
}

impl Dead {
    /// Whether the state at the end is the golden run's.
    pub(super) fn is_gone(&self) -> bool {
        self.left.is_empty() && !self.register
    }
}

impl Settling<'_> {
    /// What is left of what differs at a checkpoint at which the guest stands, if all of it is dead. The fault is the flip
    /// that did what was done.
    ///
    /// # Errors
    /// The guest is lost.
    pub(super) fn dead(
        &self,
        runner: &mut Runner,
        golden: &Checkpoint,
        fault: &Fault,
    ) -> Result<Option<Dead>, RunError> {
        let Ok(instant) = self.accesses().instants().binary_search(&golden.at) else { return Ok(None) };
        let Some(wanted) = &golden.state else { return Ok(None) };
        let same_but_ram =
            |here: &StateDigest| StateDigest { ram: wanted.ram, ..here.clone() }.is_same(wanted);
        let mut register = false;
        if !runner.state(false)?.as_ref().is_some_and(same_but_ram) {
            let unused = fault.register().is_some_and(|name| self.next_use(name, golden.at) == Next::Never);
            if !unused || self.with_register(fault).is_none() {
                return Ok(None);
            }
            // Without the fault in its register it may be.
            let failed = |error: FlipError| RunError::NotRestored(error.to_string());
            flip(runner.guest.target(), fault).map_err(failed)?;
            let without = runner.state(false)?;
            flip(runner.guest.target(), fault).map_err(failed)?;
            if !without.as_ref().is_some_and(same_but_ram) {
                return Ok(None);
            }
            register = true;
        }
        let here = runner.state(true)?.and_then(|state| state.pages).unwrap_or_default();
        let (block, name) = self.block();
        // Other blocks are not recorded by content.
        if self.others_differ(&here) {
            return Ok(None);
        }
        let Some(pages) = self.pages().differing(&here, name, instant) else { return Ok(None) };
        let read = || -> std::io::Result<Option<Dead>> {
            let ram = ProcessRam::open(runner.guest.pid(), self.file())?;
            let mut dead = Dead { left: Vec::new(), over: None, register };
            for offset in pages {
                let mut mine = [0; PAGE];
                ram.read(offset, &mut mine)?;
                let theirs = self.golden_page(offset, instant)?;
                for (at, value) in (offset..)
                    .zip(mine)
                    .zip(theirs)
                    .filter_map(|((at, mine), theirs)| (mine != theirs).then_some((at, mine)))
                {
                    match self.accesses().next_of(block, at, golden.at) {
                        Next::Never => dead.left.push((at, value)),
                        Next::Overwritten { from, .. } => dead.over = dead.over.max(Some(from)),
                        Next::Read { .. } | Next::Unknown => return Ok(None),
                    }
                }
            }
            Ok(Some(dead))
        };
        read().map_err(|cause| RunError::Console { path: runner.guest.folder().to_owned(), cause })
    }
}
