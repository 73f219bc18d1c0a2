//! Whether a clone of a template is what was saved: compared once for each template.
//!
//! Invariant: clock, registers and all of RAM are compared, and a difference is an error, never a warning.

use std::fs::File;

use jiff::Timestamp;

use crate::files::write_readable;
use crate::target::TargetError;
use crate::target::state::{PAGE, State, page_digests};
use crate::trial::clone::guest::{CloneGuest, CloneOptions};
use crate::trial::template::error::{TemplateError, io_error};
use crate::trial::template::saved::{Template, VERIFIED};
use crate::units::GuestPhys;

impl Template {
    /// Compares a clone with the template, unless that was done before: virtual clock, instruction count,
    /// every register, all of RAM. Reads RAM once, in pieces, between which it can be interrupted.
    ///
    /// # Errors
    /// No clone can be started; [`TemplateError::Differs`] when it is not what the template was.
    pub fn verify(&self, options: &CloneOptions) -> Result<(), TemplateError> {
        if self.is_verified() {
            return Ok(());
        }
        let mut clone = CloneGuest::start(self, options)?;
        let state = clone.state()?;
        drop(clone);
        let what = self.differences(&state, options.interrupted);
        // The differences themselves take a while to find in a large guest.
        if (options.interrupted)() {
            return Err(TargetError::Interrupted.into());
        }
        if !what.is_empty() {
            return Err(TemplateError::Differs { folder: self.folder.clone(), what: what.join("; ") });
        }
        let path = self.folder.join(VERIFIED);
        let text = format!("a clone had the same clock, registers and RAM on {}\n", Timestamp::now());
        write_readable(&path, text.as_bytes()).map_err(io_error("write", &path))
    }

    /// Where a state differs from the one at the quiescent point, in words.
    fn differences(&self, state: &State, interrupted: fn() -> bool) -> Vec<String> {
        let info = &self.info;
        let mut what = Vec::new();
        if state.clock != info.clock {
            what.push(format!("its clock is {:?}, the template's {:?}", state.clock, info.clock));
        }
        if state.registers.len() != info.registers.len() {
            what.push(format!("it has {} registers, not {}", state.registers.len(), info.registers.len()));
        }
        for ((name, mine), (_, theirs)) in
            info.registers.iter().zip(&state.registers).filter(|(mine, theirs)| mine != theirs)
        {
            what.push(format!("{name} is {theirs}, not {mine}"));
        }
        if state.ram_digest() != info.ram_digest {
            what.push(format!(
                "its RAM has the digest {}, not {}{}",
                state.ram_digest(),
                info.ram_digest,
                self.pages_apart(state, interrupted).unwrap_or_default()
            ));
        }
        what
    }

    /// The pages in which a state differs from the RAM file, in words; `None` where RAM is not one range.
    fn pages_apart(&self, state: &State, interrupted: fn() -> bool) -> Option<String> {
        let (range, pages) = state.ram.iter().find(|(range, _)| range.len() == self.info.plan.spec.memory)?;
        let file = page_digests(File::open(self.ram_file()).ok()?, interrupted).ok()?;
        let apart: Vec<GuestPhys> = file
            .iter()
            .zip(pages)
            .enumerate()
            .filter(|(_, (mine, theirs))| mine != theirs)
            .map(|(index, _)| GuestPhys(range.first.0 + (index * PAGE) as u64))
            .collect();
        if apart.is_empty() {
            return Some(", although it is equal to the template's file".to_owned());
        }
        let first: Vec<String> = apart.iter().take(8).map(ToString::to_string).collect();
        Some(format!(" ({} pages differ from its file: {} …)", apart.len(), first.join(", ")))
    }
}
