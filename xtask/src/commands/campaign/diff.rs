//! `--diff`: how far a fault has spread, beside the golden run.
//!
//! Invariant: what is shown as a difference was read from two guests at one time, or, past the golden run's
//! end, from the guest and from what is kept of that end.

use std::time::Duration;

use flipsim::fault::GuestNames;
use flipsim::target::{StateDigest, devices_between, pages_between};
use flipsim::text::visible;
use flipsim::trial::clone::CloneDisk;
use flipsim::trial::golden::{Checkpoint, Golden};
use flipsim::trial::template::Template;
use flipsim::trial::{RunError, Runner, registers};

use crate::guest::template::clones_dir;
use crate::interrupt;

/// How many pages and registers are listed.
const LISTED: usize = 16;

/// How long the golden run may take to the next checkpoint on the host's clock.
const WALL: Duration = Duration::from_secs(60);

/// The golden run beside a trial.
pub struct Diff<'a> {
    template: &'a Template,
    golden: &'a Golden,
    names: &'a GuestNames,
    /// A guest without a fault that is let run along.
    twin: Option<Runner>,
}

/// How the golden run stands at a moment.
struct Beside<'a> {
    state: Option<&'a StateDigest>,
    registers: &'a [(String, String)],
    console: &'a [u8],
}

impl<'a> Diff<'a> {
    /// Beside the golden run of this template.
    pub fn new(template: &'a Template, golden: &'a Golden, names: &'a GuestNames) -> Self {
        Diff { template, golden, names, twin: None }
    }

    /// Shows what differs at a checkpoint.
    pub fn at_checkpoint(&mut self, runner: &mut Runner, checkpoint: &Checkpoint) -> Result<(), RunError> {
        // Where a state cannot be read, two guests are not at one time either.
        if checkpoint.state.is_none() {
            let console = self.golden.console_at(checkpoint);
            return self.show(&Beside { state: None, registers: &[], console }, runner);
        }
        let twin = match self.twin.take() {
            Some(twin) => twin,
            None => Runner::start(
                self.template,
                // Where the folder is not known, the start says why.
                &clones_dir().unwrap_or_default(),
                CloneDisk::Memory,
                interrupt::raised,
            )?,
        };
        let twin = self.twin.insert(twin);
        twin.walk_to(checkpoint.at, WALL)?;
        let (state, registers) = (twin.state(true)?, registers(twin)?);
        let console = twin.console.said().to_vec();
        self.show(&Beside { state: state.as_ref(), registers: &registers, console: &console }, runner)
    }

    /// Shows what differs from the golden run's end, for a guest that is past it and not done.
    pub fn late(&self, runner: &mut Runner) -> Result<(), RunError> {
        let golden = self.golden;
        let state = golden.checkpoints.last().and_then(|last| last.state.as_ref());
        let registers = if state.is_some() { golden.registers.as_slice() } else { &[] };
        outln!("    beside the golden run's end:");
        self.show(&Beside { state, registers, console: &golden.console }, runner)
    }

    fn show(&self, beside: &Beside<'_>, runner: &mut Runner) -> Result<(), RunError> {
        let here = runner.state(true)?;
        let states = beside.state.zip(here.as_ref());
        if let Some((golden, here)) = states {
            self.show_pages(golden, here);
        }
        let theirs = registers(runner)?;
        let pairs = beside.registers.iter().zip(&theirs).filter(|(one, other)| one != other);
        for ((name, golden), (_, here)) in pairs.take(LISTED) {
            outln!("    {}: {golden} in the golden run, {here} here", visible(name));
        }
        if let Some((golden, here)) = first_difference(beside.console, runner.console.said()) {
            outln!("    console: `{}` in the golden run, `{}` here", visible(&golden), visible(&here));
        }
        let devices = states.map(|(golden, here)| devices_between(golden, here)).unwrap_or_default();
        if !devices.is_empty() {
            outln!("    devices: {}", devices.join(", "));
        }
        Ok(())
    }

    fn show_pages(&self, golden: &StateDigest, here: &StateDigest) {
        let pages = pages_between(golden, here);
        for (block, offset) in pages.iter().take(LISTED) {
            let Some(address) = self.names.map.address_of(Some(block), *offset) else {
                outln!("    page {offset:#x} of {block}, which the guest does not see there");
                continue;
            };
            let symbol = self.names.symbol_at(address);
            let symbol = symbol.map(|name| format!(" ({name})")).unwrap_or_default();
            outln!("    page {address} of {block}{}", visible(&symbol));
        }
        if pages.len() > LISTED {
            outln!("    and {} pages more", pages.len() - LISTED);
        }
    }
}

/// The lines in which two consoles differ first.
fn first_difference(golden: &[u8], here: &[u8]) -> Option<(String, String)> {
    let first = golden.iter().zip(here).take_while(|(one, other)| one == other).count();
    if first == golden.len().max(here.len()) {
        return None;
    }
    let line = |text: &[u8]| {
        let from = text[..first].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let rest = String::from_utf8_lossy(&text[from..]).into_owned();
        rest.lines().next().unwrap_or("nothing").trim_end().to_owned()
    };
    Some((line(golden), line(here)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_shown_whole_from_both_sides() {
        assert_eq!(first_difference(b"a\nbc\n", b"a\nbc\n"), None);
        let (golden, here) = first_difference(b"a\nbc\nd\n", b"a\nbx\n").unwrap();
        assert_eq!((golden.as_str(), here.as_str()), ("bc", "bx"));
        let (golden, here) = first_difference(b"a\ndone\n", b"a\n").unwrap();
        assert_eq!((golden.as_str(), here.as_str()), ("done", "nothing"));
        let (golden, here) = first_difference(b"", b"oops").unwrap();
        assert_eq!((golden.as_str(), here.as_str()), ("nothing", "oops"));
    }
}
